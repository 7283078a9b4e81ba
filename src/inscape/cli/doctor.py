"""`inscape doctor`: whether this machine and this installation are in order."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import typer

from inscape.cli.common import Json, print_json


def command(json: Json = False) -> None:
    """Check the installation: packages, processor, memory, disk, the bundled model."""
    checks = [*_machine(), *_packages(), _kernels(), _bundled()]
    if json:
        print_json({name: {"found": found, "in_order": good} for name, found, good in checks})
    else:
        width = max(len(name) for name, _, _ in checks)
        for name, found, good in checks:
            typer.echo(f"{'ok' if good else '!!'}  {name:<{width}}  {found}")
    if not all(good for _, _, good in checks):
        raise typer.Exit(1)


Check = tuple[str, str, bool]


def _machine() -> list[Check]:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return [
        ("python", platform.python_version(), sys.version_info >= (3, 11)),
        ("processor", f"{cores} cores, {torch.backends.cpu.get_cpu_capability()}", True),
        ("gpu", ", ".join(gpus) or "none: everything runs on the processor", True),
        ("disk", f"{free:.1f} GB free here", free > 1),
    ]


def _packages() -> list[Check]:
    found: list[Check] = []
    for requirement in requires("inscape") or []:
        if "extra ==" in requirement:
            continue
        name = requirement.split(">")[0].split("=")[0].strip()
        try:
            found.append((name, version(name), True))
        except PackageNotFoundError:
            found.append((name, f"missing; run: pip install {name}", False))
    return found


def _kernels() -> Check:
    """One small decode through the compiled kernels against plain torch."""
    import torch

    from inscape.dictionary import Dictionary, DictionaryConfig

    config = DictionaryConfig(
        site_in="final", site_out="final", d_in=8, d_out=8, d_dict=32, k=4, subtract_b_dec=True
    )
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, Any] = {"W_enc": (32, 8), "b_enc": (32,), "W_dec": (32, 8), "b_dec": (8,)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    dictionary = Dictionary(config, weights)
    x = torch.randn(5, 8, generator=generator)
    code = dictionary.encode(x)
    dense = torch.zeros(5, 32).scatter_(1, code.indices, code.values)
    error = float(
        (dense @ weights["W_dec"] + weights["b_dec"] - dictionary.decode(code, x)).abs().max()
    )
    return "kernels", f"compiled, error {error:.1g} against plain torch", error < 1e-4


def _bundled() -> Check:
    folder = Path(__file__).parents[1] / "microworld" / "weights"
    missing = [
        name
        for name in ("config.json", "model.safetensors", "tokenizer.json")
        if not (folder / name).is_file()
    ]
    found = "there" if not missing else f"lacks {', '.join(missing)}; install inscape again"
    return "bundled model", found, not missing

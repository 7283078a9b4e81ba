"""Planned beside measured: the time of a training step, and the peak memory of a process.

1. In a process of its own, rates are measured and steps taken in turn, round after round: a machine
   that slows down slows both. The figure is the median over rounds of planned / measured.
2. In another one some steps are taken, and its peak memory less what it held before is compared;
   once more with freed memory kept by the allocator, as `inscape train` asks it to.

The plan knows the size of the training and the share of dead features, and nothing of its steps.
Dead features are spread over the dictionary, as they are in trainings. JumpReLU is at its start,
where very many features are active.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks.contenders import DEAD_SHARE, FAINT
from benchmarks.measurement import Measurement, Run
from benchmarks.turns import held, ratio
from inscape.core import keep_freed_memory
from inscape.dictionary import DictionaryConfig
from inscape.training import TrainConfig, Trainer, initial_weights, measure
from inscape.training.costs import Costs
from inscape_microworld.benchmark import Check, Row

D_MODEL, K = 512, 32
ROUNDS, STEPS = 5, 3
EVERY = round(1 / DEAD_SHARE)
BAR = "≤ 0.2"


def asked(variant: str, d_dict: int, batch: int) -> tuple[DictionaryConfig, TrainConfig]:
    """The dictionary and its training."""
    shape = DictionaryConfig(
        site_in="resid_post.0",
        site_out="resid_post.0",
        d_in=D_MODEL,
        d_out=D_MODEL,
        d_dict=d_dict,
        k=K,
        subtract_b_dec=True,
    )
    config = TrainConfig(
        d_dict=d_dict,
        k=K,
        batch_size=batch,
        variant=variant,
        tokens=1000 * batch,
        dead_tokens=10**12,
    )
    return shape, config


def stepping(shape: DictionaryConfig, config: TrainConfig, seed: int) -> Callable[[], None]:
    """A training with dead features; each call takes a step on a fresh batch."""
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn((64, shape.d_in), generator=generator)
    weights = initial_weights(shape, sample=sample, target_mean=sample.mean(0), seed=seed)
    weights["W_enc"][::EVERY] *= FAINT
    trainer = Trainer(shape, config, weights)
    pre = (sample - weights["b_dec"]) @ weights["W_enc"].T
    for key, value in trainer.variant.started(pre).items():
        trainer.weights[key].fill_(value)

    def step() -> None:
        trainer.silent_tokens[::EVERY] = 10**12
        x = torch.randn((config.batch_size, shape.d_in), generator=generator)
        trainer.step(x, x)

    return step


def times(variant: str, d_dict: int, batch: int, seed: int) -> dict[str, list[float]]:
    """Seconds of a step by round, planned and measured."""
    shape, config = asked(variant, d_dict, batch)
    costs = Costs(shape, config)
    activity = costs.activity(0.0, DEAD_SHARE)
    step = stepping(shape, config, seed)
    found: dict[str, list[float]] = {"planned": [], "measured": []}
    step()
    for _ in range(ROUNDS):
        rates = measure(costs.workload(activity))
        found["planned"].append(sum(costs.seconds(activity, rates).values()))
        began = time.perf_counter()
        for _ in range(STEPS):
            step()
        found["measured"].append((time.perf_counter() - began) / STEPS)
    return found


def memory(variant: str, d_dict: int, batch: int, seed: int) -> dict[str, float]:
    """Bytes beyond what the process held before, planned and measured."""
    stepping(*asked(variant, 256, 64), seed)()  # what is compiled and loaded is not the training's
    gc.collect()
    before = held("VmRSS")
    shape, config = asked(variant, d_dict, batch)
    step = stepping(shape, config, seed)
    for _ in range(STEPS):
        step()
    costs = Costs(shape, config)
    planned = sum(costs.memory(costs.activity(0.0, DEAD_SHARE)).values())
    return {"planned": planned, "measured": float(held("VmHWM") - before)}


def beside(variant: str, d_dict: int, batch: int, run: Run) -> Row:
    """The row of one size."""
    size = (variant, d_dict, batch, run.seed)
    spent, space = _alone("times", *size), _alone("memory", *size)
    kept = _alone("memory", *size, "kept")
    planned, measured = (np.array(spent[name]) for name in ("planned", "measured"))
    figure, interval = ratio(planned, measured, run.seed)
    share = space["planned"] / space["measured"]
    return Row(
        f"plan-{variant}-{d_dict}",
        f"planned beside measured, {variant}, d {D_MODEL}, {d_dict} features",
        (
            Check("time, planned / measured", figure, "", interval),
            Check("time, off by a share of", abs(figure - 1), BAR),
            Check("memory, planned / measured", share, ""),
            Check("memory, off by a share of", abs(share - 1), BAR),
            Check(
                "memory with freed memory kept, planned / measured",
                kept["planned"] / kept["measured"],
                "",
            ),
        ),
        samples=f"{ROUNDS} rounds of {STEPS} steps; batch {batch}, k {K}, "
        f"{DEAD_SHARE:.0%} dead features; {torch.get_num_threads()} threads",
        seed=run.seed,
        detail={
            "seconds": {
                "planned": float(np.median(planned)),
                "measured": float(np.median(measured)),
            },
            "GB": {name: value / 1e9 for name, value in space.items()},
            "GB, kept": kept["measured"] / 1e9,
        },
    )


def _alone(what: str, *size: object) -> Any:
    """What a process of its own measures."""
    command = [sys.executable, "-m", "benchmarks.plan", what, *map(str, size)]
    made = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return json.loads(made.stdout.splitlines()[-1])


def main(arguments: Sequence[str]) -> None:
    """Measure one size and print it: what runs in a process of its own."""
    what, variant, d_dict, batch, seed, *kept = arguments
    work: Callable[..., Any] = {"times": times, "memory": memory}[what]
    if what == "times" or kept:
        keep_freed_memory()  # as `inscape train` does
    print(json.dumps(work(variant, int(d_dict), int(batch), int(seed))))


FIGURES: Mapping[str, Measurement] = {
    f"plan-{variant}-{d_dict}": Measurement(partial(beside, variant, d_dict, batch))
    for variant, d_dict, batch in (
        ("topk", 8192, 4096),
        ("topk", 32768, 4096),
        ("batch_topk", 8192, 4096),
        ("batch_topk", 32768, 4096),
        ("jumprelu", 8192, 4096),
        ("jumprelu", 32768, 1024),
    )
}

if __name__ == "__main__":
    main(sys.argv[1:])

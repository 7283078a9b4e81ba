"""A training step on a graphics card at the size of large dictionaries, beside other libraries'.

1. Peak memory: each contender in a process of its own; a peer's is that of its leaner way.
2. Ours in the type that it chooses there (bf16 for the encoder's product), the product alone, and
   the peers in their own ways, take turns on batches that lie on the card; see `turns`.
3. A peer's figure is that of the faster of its ways in each round. sparsify has one on a card: its
   forward pass is always in bf16 autocast. Peers' products in fp32 are in TF32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import contenders
from benchmarks.contenders import Setting
from benchmarks.measurement import Absent, Measurement, Run
from benchmarks.turns import floor, own_type, peak, ratio, times
from inscape_microworld.benchmark import Check, Row

SETTING = Setting(d_model=4096, d_dict=131072, k=64, batch=8192)
ROUNDS, WARM, STEPS = 15, 3, 3
WAYS: Mapping[str, Sequence[str]] = {
    "sparsify": ("sparsify autocast",),
    "SAELens": ("SAELens", "SAELens autocast"),
}


def on_card(setting: Setting, run: Run, *, device: str = "cuda", rounds: int = ROUNDS) -> Row:
    """A step beside the encoder's product and the peers'; tokens per second, and memory.

    Raises:
        Absent: there is no such card.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise Absent("there is no graphics card", expected="one that torch.cuda finds")
    dtype = own_type(setting, device)
    ways = {name: own for name, own in WAYS.items() if name in contenders.installed()}
    names = ["inscape", *(way for own in ways.values() for way in own)]
    # Memory comes first: what this process has taken of the card the others would not find free.
    held = {name: peak(name, setting, STEPS, device=device) / 1e9 for name in names}
    made = {name: partial(contenders.named, name, setting, device=device) for name in names}
    product = {"product": partial(floor, setting, dtype, device=device)}
    found = times(
        {**made, **product}, setting, rounds=rounds, warm=WARM, seed=run.seed, device=device
    )
    ours = found["inscape"]
    figure, interval = ratio(ours, found["product"], run.seed)
    checks = [
        Check("step / product", figure, "≤ 2", interval),
        *_of("inscape", setting, ours, held["inscape"]),
    ]
    for name, own in ways.items():
        there = [found[way] for way in own if way in found]
        if there:
            best = np.minimum.reduce(there)
            figure, interval = ratio(best, ours, run.seed)
            checks.append(Check(f"{name} / inscape", figure, "", interval))
            checks += _of(name, setting, best, min(held[way] for way in own))
    detail: dict[str, Any] = {name: float(np.median(spent)) for name, spent in found.items()}
    left = [name for name in names if name not in found]
    if left:
        detail["too large beside the others"] = left
    kind = str(dtype).removeprefix("torch.")
    return Row(
        "train-card",
        f"a TopK step on a card, d {setting.d_model}, {setting.d_dict} features, product in {kind}",
        tuple(checks),
        samples=f"{rounds} rounds after {WARM}; batch {setting.batch}, k {setting.k}, "
        f"{setting.num_dead} dead features; memory after {STEPS} steps",
        detail=detail,
    )


def _of(name: str, setting: Setting, seconds: np.ndarray, held: float) -> list[Check]:
    """What is told of each contender without a bar."""
    return [
        Check(f"{name}, tokens per second", setting.batch / float(np.median(seconds)), ""),
        Check(f"{name}, GB", held, ""),
    ]


FIGURES: Mapping[str, Measurement] = {
    "train-card": Measurement(partial(on_card, SETTING), seeded=False)
}

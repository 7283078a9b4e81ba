"""The control: random sets of as many features, as active on the same prompts as the found ones.

Each member is matched to the features of its own dictionary that are active on the failures,
among the nearest 30 by summed activation; found features are never drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from inscape.core import bootstrap_mean, seeded, track
from inscape.diagnosis.candidates import Member, Pushes
from inscape.diagnosis.cases import Batch, last_logits
from inscape.diagnosis.result import RandomControl
from inscape.dictionary import Dictionary
from inscape.intervention import FeatureEdit
from inscape.model import Model

NEAREST = 30


def matched_sets(
    members: Sequence[Member], pushes: Sequence[Pushes], num_sets: int, seed: int
) -> list[list[FeatureEdit]]:
    """`num_sets` random sets, each as large as `members`."""
    generator = np.random.default_rng(seeded(seed, "matched random sets"))
    taken = {(dictionary.name, feature) for dictionary, feature in members}
    pools: list[tuple[Dictionary, np.ndarray]] = []
    for dictionary, member in members:
        push = next(p for p in pushes if p.dictionary is dictionary)
        active = torch.nonzero(push.mass > 0).flatten()
        free = torch.tensor([(dictionary.name, int(f)) not in taken for f in active])
        active = active[free] if len(active) else active
        distance = (push.mass[active].log() - push.mass[member].log()).abs()
        pools.append((dictionary, active[distance.argsort()[:NEAREST]].numpy()))
    sets = []
    for _ in range(num_sets):
        drawn: dict[tuple[str, int], FeatureEdit] = {}
        for dictionary, pool in pools:
            for feature in generator.permutation(pool):
                key = (dictionary.name, int(feature))
                if key not in drawn:
                    drawn[key] = FeatureEdit(dictionary, int(feature), "ablate")
                    break
        sets.append(list(drawn.values()))
    return sets


def random_control(
    model: Model, sets: Sequence[Sequence[FeatureEdit]], failures: Batch, seed: int
) -> RandomControl:
    """How often a random set restores the correct answer, over all sets and failures."""
    if not sets:
        return RandomControl()
    restored = np.zeros(len(failures))
    for changes in track(sets, "matched random sets"):
        logits = last_logits(model, failures, changes)
        restored += (logits.argmax(-1) == failures.correct).numpy()
    each = restored / len(sets)
    return RandomControl(
        value=float(each.mean()),
        interval=bootstrap_mean(each.tolist(), seed),
        num_sets=len(sets),
        num_prompts=len(failures),
        num_features=min(map(len, sets)),
    )

"""The control: random sets of as many features, as active on the same prompts as the found ones.

Each member is matched to a feature of its own dictionary that is active on the failures, drawn from
the nearest 30 by summed activation, or, where these are used up, the nearest that is left; found
features are never drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from inscape.core import bootstrap_mean, seeded, wilson
from inscape.diagnosis.candidates import Estimates
from inscape.diagnosis.outcomes import Member, Set
from inscape.diagnosis.result import RandomControl
from inscape.diagnosis.study import Study

NEAREST = 30


def matched_sets(
    members: Sequence[Member], estimates: Estimates, num_sets: int, seed: int
) -> list[Set]:
    """`num_sets` random sets, each as large as `members` unless too few features are active."""
    generator = np.random.default_rng(seeded(seed, "matched random sets"))
    pools = []
    for dictionary, member in members:
        mass = estimates[dictionary].mass
        taken = [feature for owner, feature in members if owner is dictionary]
        free = mass > 0
        free[taken] = False
        active = free.nonzero().flatten()
        distance = (mass[active].log() - mass[member].log()).abs()
        pools.append((dictionary, active[distance.argsort(stable=True)].numpy()))
    sets: list[Set] = []
    for _ in range(num_sets):
        drawn: dict[Member, float] = {}
        for dictionary, pool in pools:
            near = generator.permutation(pool[:NEAREST])
            order = np.concatenate([near, pool[NEAREST:]])
            new = next((f for f in order if (dictionary, int(f)) not in drawn), None)
            if new is not None:
                drawn[dictionary, int(new)] = 1.0
        sets.append(drawn)
    return sets


def random_control(study: Study, sets: Sequence[Set]) -> RandomControl:
    """How often a random set restores the correct answer, over all sets and failures.

    The interval is over the failures, by bootstrap; of one failure over the sets (Wilson).
    """
    if not sets or not len(study.failures):
        return RandomControl()
    tried = study.outcomes(sets, "matched random sets")
    each = torch.stack([result.answered for result in tried]).double().mean(0).tolist()
    value, one = float(np.mean(each)), len(each) == 1
    return RandomControl(
        value=value,
        interval=wilson(round(value * len(sets)), len(sets))
        if one
        else bootstrap_mean(each, study.seed),
        num_sets=len(sets),
        num_prompts=len(each),
        num_features=min(map(len, sets)),
    )

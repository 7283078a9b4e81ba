"""A set of features whose ablation restores the correct answers and harms nothing.

1. Candidates come ranked by how much of the wrong answer's lead ablating each one alone takes.
   Nested sets of the first 1, 2, 3, 5, 7, 10, 14, ... of them are ablated together.
2. A set's gain: the fraction of failures repaired, and a tenth of the mean squashed margin. Its
   harm: the fraction of controls whose lead over the best other answer falls below half of what it
   was. (Half, not zero: the given controls stand for others that were closer to the edge.) Every
   feature costs a twentieth of a failure: where these are few, a few features are to do.
3. The set with the greatest score is taken. Members are left out again, the weakest first,
   wherever the score does not fall by it.
4. Where that repairs too few, and the failures are many, the mistake may be spread over features
   none of which does much alone: sets from a learned mask (mask.py) are tried. The mask is learned
   on two thirds of the prompts; its sets and the one found before are scored on the rest. They
   replace it where they score higher by more than chance would have it, 1/√n of n failures.

A mistake that every layer takes part in has no single cause: one feature at a time repairs nobody,
so a search that asks every step to pay for itself stops before it has begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import seeded, track
from inscape.diagnosis.candidates import Effect
from inscape.diagnosis.cases import Batch
from inscape.diagnosis.mask import learned_sets
from inscape.diagnosis.outcomes import Member, Set, outcomes
from inscape.diagnosis.study import MEASURED_ON, Study

HARM_WEIGHT = 1.0
MARGIN_WEIGHT = 0.1
FEATURE_PRICE = 0.05
KEPT_LEAD = 0.5
GROWTH = 1.4
FEW = 0.9
"""Repaired less harmed; below it a learned mask is tried."""
MANY = 24
"""Failures from which on a mask is learned: a third of them has to judge it."""


@dataclass(frozen=True)
class Found:
    """A set of features, and what its ablation does to the prompts that it was chosen on."""

    members: tuple[Member, ...] = ()
    repaired: float = 0.0
    harmed: float = 0.0
    score: float = -1.0

    @property
    def removed(self) -> Set:
        """The ablations."""
        return dict.fromkeys(self.members, 1.0)


class Judge:
    """Scores sets on failures and controls, which the model answers correctly.

    price: of a feature, in failures.
    """

    def __init__(self, study: Study, controls: Batch | None, price: float = FEATURE_PRICE) -> None:
        self.study, self.price = study, price
        self.controls = controls if controls is not None and len(controls) else None
        self.lead = None if self.controls is None else self._leads([{}])[0]

    def trials(self, sets: Sequence[Sequence[Member]]) -> list[Found]:
        """The sets with their scores."""
        removed: list[Set] = [dict.fromkeys(members, 1.0) for members in sets]
        leads = [None] * len(sets) if self.controls is None else self._leads(removed)
        batch, found = self.study.failures, []
        results = outcomes(self.study.model, batch, removed)
        for members, result, lead in zip(sets, results, leads, strict=True):
            margin = torch.tanh(-batch.lead(result.logits(self.study.model, batch)))
            repaired, harmed = float(result.answered.float().mean()), 0.0
            if lead is not None and self.lead is not None:
                harmed = float((lead < KEPT_LEAD * self.lead).float().mean())
            score = repaired + MARGIN_WEIGHT * float(margin.mean()) - HARM_WEIGHT * harmed
            price = self.price * len(members) / len(batch)
            found.append(Found(tuple(members), repaired, harmed, score - price))
        return found

    def _leads(self, sets: Sequence[Set]) -> list[Float[Tensor, " case"]]:
        """By how much the controls' correct answers lead the best other ones."""
        assert self.controls is not None
        model, batch, found = self.study.model, self.controls, []
        rows = torch.arange(len(batch))
        for result in outcomes(model, batch, sets):
            logits = batch.visible(result.logits(model, batch))
            correct = logits[rows, batch.correct].clone()
            logits[rows, batch.correct] = -torch.inf
            found.append(correct - logits.amax(-1))
        return found


def find_set(
    study: Study,
    candidates: Sequence[Effect],
    controls: Batch | None,
    *,
    max_features: int,
    max_spread: int,
) -> Found:
    """The best set of at most `max_features` ranked candidates, or of `max_spread` features."""
    guard = None if controls is None else controls.drawn(2 * MEASURED_ON, study.seed)
    found = _nested(Judge(study.some(), guard), candidates[:max_features])
    if found.repaired - found.harmed < FEW and len(study.failures) >= MANY and max_spread:
        found = _spread(study, found, controls, max_spread)
    return found if found.repaired else Found()


def _nested(judge: Judge, candidates: Sequence[Effect]) -> Found:
    members = [effect.member for effect in candidates]
    sets = [members[:size] for size in (0, *_sizes(len(members)))]
    best = max(judge.trials(sets), key=lambda found: found.score)  # of equal ones the smallest
    for member in track(best.members[::-1], "leaving out", unit="features"):
        (fewer,) = judge.trials([[m for m in best.members if m != member]])
        if fewer.score >= best.score:
            best = fewer
    return best


def _spread(study: Study, known: Found, controls: Batch | None, max_features: int) -> Found:
    learn, choose = _thirds(len(study.failures), study.seed)
    guard, judging = None, None
    if controls is not None:
        guarding, rest = _thirds(len(controls), study.seed)
        guard, judging = controls.cases(guarding), controls.cases(rest)
    price = FEATURE_PRICE * len(choose) / MEASURED_ON  # many features are what is looked for
    judge = Judge(study.of(choose), judging, price)
    (before,) = judge.trials([known.members])
    sets = list(learned_sets(study.of(learn), guard, max_features=max_features))
    best = max(judge.trials(sets), key=lambda found: found.score, default=before)
    return best if best.score > before.score + len(choose) ** -0.5 else before


def _thirds(count: int, seed: int) -> tuple[Int[Tensor, " two"], Int[Tensor, " one"]]:
    generator = torch.Generator().manual_seed(seeded(seed, "thirds") % 2**63)
    order = torch.randperm(count, generator=generator)
    return order[count // 3 :], order[: count // 3]


def _sizes(most: int) -> list[int]:
    sizes, size = [], 1
    while size < most:
        sizes.append(size)
        size = max(size + 1, round(size * GROWTH))
    return [*sizes, most] if most else []

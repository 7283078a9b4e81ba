"""A set of features whose ablation restores the right answers and harms nothing.

1. Candidates come ranked by what ablating each one alone does to the margin. Nested sets of the
   first 1, 2, 3, 5, 7, 10, 14, ... of them are ablated together.
2. A set's gain: share of failures repaired, and a tenth of the mean squashed margin. Its harm: the
   share of controls whose lead over the best other answer falls below half of what it was. (Half,
   not zero: the controls at hand stand for others that were closer to the edge.) Every feature
   costs a thousandth.
3. The set with the greatest score is taken. Members are left out again, the weakest first,
   wherever the score does not fall by it.
4. Where that repairs too few, and the failures are many, the mistake may be spread over features
   none of which does much alone: sets from a learned mask (mask.py) are tried. The mask is learned
   on two thirds of the prompts and its sets are scored, beside the one found before, on the rest.
   They replace it where they score higher by more than chance would have it, 1/√n of n failures.

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
from inscape.diagnosis.candidates import Effect, Member
from inscape.diagnosis.cases import Batch, last_logits
from inscape.diagnosis.mask import learned_sets
from inscape.dictionary import Dictionary
from inscape.intervention import FeatureEdit
from inscape.model import Model

HARM_WEIGHT = 1.0
MARGIN_WEIGHT = 0.1
FEATURE_PRICE = 0.001
KEPT_LEAD = 0.5
GROWTH = 1.4
JUDGED_ON = 48
"""Failures (and twice as many controls) that nested sets are tried on."""
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

    def edits(self) -> list[FeatureEdit]:
        """The ablations, everywhere but at BOS."""
        return [FeatureEdit(dictionary, f, "ablate") for dictionary, f in self.members]


class Judge:
    """Scores sets on failures and controls; `controls` are answered rightly by the model."""

    def __init__(
        self, model: Model, failures: Batch, wrong: Int[Tensor, " case"], controls: Batch | None
    ) -> None:
        self.model, self.failures, self.wrong = model, failures, wrong
        self.controls = controls if controls is not None and len(controls) else None
        self.lead = None if self.controls is None else self._lead(Found())

    def trial(self, members: Sequence[Member]) -> Found:
        """The set with its score."""
        found = Found(tuple(members))
        logits = last_logits(self.model, self.failures, found.edits())
        rows, right = torch.arange(len(self.failures)), self.failures.correct
        repaired = float((logits.argmax(-1) == right).float().mean())
        margin = float(torch.tanh(logits[rows, right] - logits[rows, self.wrong]).mean())
        harmed = 0.0
        if self.lead is not None:
            harmed = float((self._lead(found) < KEPT_LEAD * self.lead).float().mean())
        score = repaired + MARGIN_WEIGHT * margin - HARM_WEIGHT * harmed
        return Found(found.members, repaired, harmed, score - FEATURE_PRICE * len(members))

    def _lead(self, found: Found) -> Float[Tensor, " case"]:
        """By how much the controls' right answers lead the best other ones."""
        assert self.controls is not None
        logits = last_logits(self.model, self.controls, found.edits())
        rows = torch.arange(len(self.controls))
        right = logits[rows, self.controls.correct].clone()
        logits[rows, self.controls.correct] = -torch.inf
        return right - logits.amax(-1)


def find_set(
    model: Model,
    dictionaries: Sequence[Dictionary],
    candidates: Sequence[Effect],
    failures: Batch,
    wrong: Int[Tensor, " case"],
    controls: Batch | None,
    *,
    max_features: int,
    max_spread: int,
    seed: int = 0,
) -> Found:
    """The best set of at most `max_features` ranked candidates, or of `max_spread` features."""
    few = slice(0, JUDGED_ON)
    guard = None if controls is None else controls.rows(slice(0, 2 * JUDGED_ON))
    found = _nested(Judge(model, failures.rows(few), wrong[few], guard), candidates[:max_features])
    if found.repaired - found.harmed < FEW and len(failures) >= MANY and max_spread:
        found = _spread(model, dictionaries, found, failures, wrong, controls, max_spread, seed)
    return found if found.repaired else Found()


def _nested(judge: Judge, candidates: Sequence[Effect]) -> Found:
    best = judge.trial(())
    for size in track(_sizes(len(candidates)), "trying sets"):
        larger = judge.trial([(e.dictionary, e.feature) for e in candidates[:size]])
        if larger.score > best.score:
            best = larger
    for member in track(best.members[::-1], "leaving out"):
        fewer = judge.trial([m for m in best.members if m is not member])
        if fewer.score >= best.score:
            best = fewer
    return best


def _spread(
    model: Model,
    dictionaries: Sequence[Dictionary],
    known: Found,
    failures: Batch,
    wrong: Int[Tensor, " case"],
    controls: Batch | None,
    max_features: int,
    seed: int,
) -> Found:
    learn, choose = _thirds(len(failures), seed)
    guard, judging = None, None
    if controls is not None:
        guarding, rest = _thirds(len(controls), seed)
        guard, judging = controls.rows(guarding), controls.rows(rest)
    judge = Judge(model, failures.rows(choose), wrong[choose], judging)
    before = judge.trial(known.members)
    sets = learned_sets(
        model, dictionaries, failures.rows(learn), guard, max_features=max_features, seed=seed
    )
    best = max(map(judge.trial, sets), key=lambda found: found.score, default=before)
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

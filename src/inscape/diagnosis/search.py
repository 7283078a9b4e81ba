"""A set of features whose ablation restores the right answers and harms nothing.

1. Candidates come ranked by what ablating each one alone does to the margin. Nested sets of the
   first 1, 2, 3, 5, 7, 10, 14, ... of them are ablated together.
2. A set's gain: share of failures repaired, and a tenth of the mean squashed margin. Its harm: the
   share of controls whose lead over the best other answer falls below half of what it was. (Half,
   not zero: the controls at hand stand for others that were closer to the edge.)
3. The set with the greatest gain − harm is taken, and the smaller of equals.
4. Members are left out again, the weakest first, wherever the score does not fall by it.

A mistake that every layer takes part in has no single cause: one feature at a time repairs nobody,
so a search that asks every step to pay for itself stops before it has begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import track
from inscape.diagnosis.candidates import Effect
from inscape.diagnosis.cases import Batch, last_logits
from inscape.intervention import FeatureEdit
from inscape.model import Model

HARM_WEIGHT = 1.0
MARGIN_WEIGHT = 0.1
KEPT_LEAD = 0.5
GROWTH = 1.4
PRUNED_UP_TO = 24
"""Larger sets are left as they are: leaving members out one by one would take too long."""


@dataclass(frozen=True)
class Found:
    """A set of features, and what its ablation does to the prompts that it was chosen on."""

    members: tuple[Effect, ...]
    repaired: float
    harmed: float

    def edits(self) -> list[FeatureEdit]:
        """The ablations."""
        return [member.edit() for member in self.members]


@dataclass(frozen=True)
class _Trial:
    members: tuple[Effect, ...]
    repaired: float
    gain: float
    harmed: float = 0.0

    @property
    def score(self) -> float:
        return self.gain - HARM_WEIGHT * self.harmed


def find_set(
    model: Model,
    candidates: Sequence[Effect],
    failures: Batch,
    wrong: Int[Tensor, " case"],
    controls: Batch | None,
    *,
    max_features: int,
) -> Found:
    """The set among nested sets of `candidates`; `controls` are answered rightly by the model."""
    lead = None if controls is None or not len(controls) else _lead(model, controls, ())

    def trial(members: tuple[Effect, ...]) -> _Trial:
        found = _gain(model, members, failures, wrong)
        if controls is None or lead is None:
            return found
        return _judged(model, found, controls, lead)

    best = trial(())
    for size in track(_sizes(min(max_features, len(candidates))), "trying sets"):
        larger = trial(tuple(candidates[:size]))
        if larger.score > best.score:
            best = larger
    if len(best.members) <= PRUNED_UP_TO:
        for member in track(best.members[::-1], "leaving out"):
            fewer = trial(tuple(m for m in best.members if m is not member))
            if fewer.score >= best.score:
                best = fewer
    if best.repaired == 0:
        best = trial(())
    return Found(best.members, best.repaired, best.harmed)


def _sizes(most: int) -> list[int]:
    sizes, size = [], 1
    while size < most:
        sizes.append(size)
        size = max(size + 1, round(size * GROWTH))
    return [*sizes, most] if most else []


def _gain(
    model: Model, members: tuple[Effect, ...], failures: Batch, wrong: Int[Tensor, " case"]
) -> _Trial:
    logits = last_logits(model, failures, [member.edit() for member in members])
    rows = torch.arange(len(failures))
    repaired = float((logits.argmax(-1) == failures.right).float().mean())
    margin = logits[rows, failures.right] - logits[rows, wrong]
    return _Trial(members, repaired, repaired + MARGIN_WEIGHT * float(torch.tanh(margin).mean()))


def _lead(model: Model, controls: Batch, members: Sequence[Effect]) -> Float[Tensor, " case"]:
    """By how much the right answer leads the best other one."""
    logits = last_logits(model, controls, [member.edit() for member in members])
    rows = torch.arange(len(controls))
    right = logits[rows, controls.right].clone()
    logits[rows, controls.right] = -torch.inf
    return right - logits.amax(-1)


def _judged(model: Model, trial: _Trial, controls: Batch, clean: Float[Tensor, " case"]) -> _Trial:
    lead = _lead(model, controls, trial.members)
    return replace(trial, harmed=float((lead < KEPT_LEAD * clean).float().mean()))

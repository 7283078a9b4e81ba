"""The smallest set of features whose ablation restores the right answers and harms nothing.

1. Start from no features. Candidates come ranked by their measured effect.
2. A candidate's gain: share of failures repaired, and a tenth of the mean squashed margin, so that
   a step that repairs nobody yet can still prepare the next.
3. Its harm: share of controls whose lead over the best other answer falls below half of what it
   was. (Half, not zero: the controls at hand stand for others that were closer to the edge.)
4. The `FINALISTS` candidates with the greatest gain are tried on the controls; the one with the
   greatest gain − 2·harm is added.
5. Stop when that no longer rises by as much as half a case, or at the size limit.

Few features, and ablated rather than reversed: reversing, or taking more of them, harms the
prompts on which the rival answer is right.
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

HARM_WEIGHT = 2.0
MARGIN_WEIGHT = 0.1
KEPT_LEAD = 0.5
FINALISTS = 10


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
    """Greedy search over `candidates`; `controls` are cases that the model answers rightly."""
    lead = None if controls is None or not len(controls) else _lead(model, controls, ())
    best = _gain(model, (), failures, wrong)
    step = 0.5 / len(failures)
    while len(best.members) < max_features:
        left = [c for c in candidates if c not in best.members]
        gains = [
            _gain(model, (*best.members, c), failures, wrong)
            for c in track(left, f"trying sets of {len(best.members) + 1}")
        ]
        finalists = sorted(gains, key=lambda trial: -trial.gain)[:FINALISTS]
        if controls is not None and lead is not None:
            finalists = [_judged(model, trial, controls, lead) for trial in finalists]
        chosen = max(finalists, key=lambda trial: trial.score, default=None)
        if chosen is None or chosen.score < best.score + step:
            break
        best = chosen
        if best.repaired == 1.0 and best.harmed == 0.0:
            break
    return Found(best.members, best.repaired, best.harmed)


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

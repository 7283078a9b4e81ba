"""The smallest set of features whose ablation restores the right answers and harms nothing.

1. Start from no features. Candidates come ranked by their measured effect.
2. Add the candidate that makes the score best: share of failures repaired, less twice the share
   of controls that were right and no longer are; equal scores are parted by the mean margin, a
   bounded share of it, so that a step that repairs nobody yet can still prepare the next.
3. Stop when no candidate improves the score by as much as one case, or at the size limit.

Few features, and ablated rather than reversed: reversing, or taking more of them, harms the
prompts on which the rival answer is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from inscape.core import track
from inscape.diagnosis.candidates import Effect
from inscape.diagnosis.cases import Batch, last_logits
from inscape.intervention import FeatureEdit
from inscape.model import Model

HARM_WEIGHT = 2.0
MARGIN_WEIGHT = 0.1


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
class _Score:
    value: float
    repaired: float
    harmed: float


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
    members: tuple[Effect, ...] = ()
    best = _score(model, members, failures, wrong, controls)
    step = 0.5 / len(failures)
    while len(members) < max_features:
        left = [c for c in candidates if c not in members]
        tried = [
            (_score(model, (*members, c), failures, wrong, controls), c)
            for c in track(left, f"trying sets of {len(members) + 1}")
        ]
        if not tried:
            break
        score, chosen = max(tried, key=lambda pair: pair[0].value)
        if score.value < best.value + step:
            break
        best, members = score, (*members, chosen)
        if best.repaired == 1.0 and best.harmed == 0.0:
            break
    return Found(members, best.repaired, best.harmed)


def _score(
    model: Model,
    members: Sequence[Effect],
    failures: Batch,
    wrong: Int[Tensor, " case"],
    controls: Batch | None,
) -> _Score:
    changes = [member.edit() for member in members]
    logits = last_logits(model, failures, changes)
    rows = torch.arange(len(failures))
    repaired = float((logits.argmax(-1) == failures.right).float().mean())
    margin = logits[rows, failures.right] - logits[rows, wrong]
    harmed = 0.0
    if controls is not None and len(controls):
        kept: Bool[Tensor, " case"] = (
            last_logits(model, controls, changes).argmax(-1) == controls.right
        )
        harmed = 1 - float(kept.float().mean())
    value = repaired - HARM_WEIGHT * harmed + MARGIN_WEIGHT * float(torch.tanh(margin).mean())
    return _Score(value, repaired, harmed)

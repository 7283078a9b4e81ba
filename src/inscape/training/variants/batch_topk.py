"""BatchTopK: the batch * k largest positive pre-activations of a whole batch.

1. Entries above a floor are collected, chunk by chunk. The floor is set below the previous smallest
   kept entry, so that about a third more than needed are collected; if there are too few after all,
   all positive ones are collected in a second pass. The selection is exact either way.
2. Of these the batch * k largest are kept (by selection, without a sort).
3. The running mean of the smallest kept entry is the threshold of the finished dictionary, so that
   a row's code does not depend on its batch. It is taken over the last WINDOW steps, as published,
   or over the last twentieth of a shorter run, as early values are not representative.

Bussmann et al. 2024, "BatchTopK sparse autoencoders".
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from inscape.dictionary import DictionaryConfig, Encoder, RaggedCode
from inscape.training.ranks import Ranks, nth_largest
from inscape.training.variants.base import Rows, Selected, Variant, Weights, above

FLOOR = 0.8
WINDOW = 1000


class BatchTopK(Variant):
    """Rows share a budget of slots: some rows use more than k, others fewer."""

    name: ClassVar[str] = "batch_topk"
    near_tokens: ClassVar[bool] = True
    half: ClassVar[bool] = True

    def __init__(self, shape: DictionaryConfig, options: Any, num_steps: int) -> None:
        super().__init__(shape, options, num_steps)
        zeros = ("threshold", "weight", "smallest")
        self.state = {key: torch.zeros((), dtype=torch.float64) for key in zeros}
        self.decay = 1 - 1 / max(10, min(WINDOW, num_steps // 20))

    def select(self, encoder: Encoder, rows: Rows, weights: Weights) -> Selected:
        """The largest positive entries of the batch."""
        ranks, floor = rows.ranks, FLOOR * float(self.state["smallest"])
        wanted = len(rows.x) * ranks.num_data * self.target

        def bound(pre: Tensor) -> Tensor:
            nonlocal floor
            floor = floor or _estimate(pre.float(), self.target)
            return rows.x.new_full((1,), floor)

        code, dead = above(encoder, rows, weights, bound, half=encoder.half)
        border = ranks.border(code.values, wanted)
        if ranks.any(border < floor)[0]:  # entries below the floor may be among them
            nothing, zero = replace(rows, aux_k=0), rows.x.new_zeros(1)
            code, _ = above(encoder, nothing, weights, zero, half=encoder.half)
            border = ranks.border(code.values, wanted)
        code = largest(code, border, wanted) if ranks.alone else at_least(code, border)
        return Selected(code, dead, {"smallest": self._smallest(code, border, ranks)})

    def _smallest(self, code: RaggedCode, border: float, ranks: Ranks) -> float:
        """The smallest kept entry of the batch; 0 if there is none."""
        if border > 0:
            return border
        own = float(code.values.min()) if len(code.values) else math.inf
        least = ranks.least(own)
        return least if math.isfinite(least) else 0.0

    def advance(self, selected: Selected, weights: Weights, progress: float, l0: float) -> None:
        """The running mean, bias-corrected."""
        smallest = selected.own["smallest"]
        if smallest > 0:
            for key, value in (("threshold", smallest), ("weight", 1.0)):
                self.state[key] = self.decay * self.state[key] + (1 - self.decay) * value
            self.state["smallest"] = torch.tensor(smallest, dtype=torch.float64)

    def finish(self, weights: Weights) -> tuple[Literal["topk", "threshold"], dict[str, Tensor]]:
        """One threshold for all features."""
        weight = float(self.state["weight"])
        threshold = float(self.state["threshold"]) / weight if weight else 0.0
        return "threshold", {**weights, "threshold": torch.full_like(weights["b_enc"], threshold)}


def _estimate(pre: Tensor, k: int) -> float:
    """A floor that about 2k entries per row of a chunk exceed; 0 if there are fewer."""
    count = min(2 * k * len(pre), pre.numel())
    return max(nth_largest(pre.flatten(), count), 0.0)


def largest(code: RaggedCode, border: float, count: int) -> RaggedCode:
    """The `count` largest entries, given the count-th; ties go to the first."""
    above, ties = code.values > border, code.values == border
    return code.only(above | (ties & (ties.cumsum(0) <= count - above.sum())))


def at_least(code: RaggedCode, border: float) -> RaggedCode:
    """The entries at or above a threshold."""
    return code.only(code.values >= border)

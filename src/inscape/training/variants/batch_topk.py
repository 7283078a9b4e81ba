"""BatchTopK: the batch * k largest pre-activations of a whole batch, those that are positive.

1. Entries above a floor are collected, chunk by chunk. The floor lies below the last smallest kept
   entry, so that about a third more than are wanted are collected; where there were too few after
   all, everything positive is collected in a second pass. The choice is exact either way.
2. Of what was collected the batch * k largest are kept (by selection, without a sort).
3. The running mean of the smallest kept entry is the threshold of the finished dictionary: then a
   row's code does not depend on the others of its batch. It runs over the last WINDOW steps, as
   published, or over the last twentieth of a shorter run: what was kept early is no guide.

Bussmann et al. 2024, "BatchTopK sparse autoencoders".
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from inscape.dictionary import Above, DictionaryConfig, Encoder, RaggedCode
from inscape.training.variants.base import Rows, Selected, Variant, Weights, of_dead

FLOOR = 0.8
WINDOW = 1000


class BatchTopK(Variant):
    """Rows share their slots: one that needs more takes them from one that needs fewer."""

    name: ClassVar[str] = "batch_topk"

    def __init__(self, shape: DictionaryConfig, options: Any, num_steps: int) -> None:
        super().__init__(shape, options, num_steps)
        zeros = ("threshold", "weight", "smallest")
        self.state = {key: torch.zeros((), dtype=torch.float64) for key in zeros}
        self.decay = 1 - 1 / max(10, min(WINDOW, num_steps // 20))

    def select(self, encoder: Encoder, rows: Rows, weights: Weights) -> Selected:
        """The largest positive entries of the batch."""
        wanted = min(len(rows.x) * self.target, len(rows.x) * self.shape.d_dict)
        dead = of_dead(rows)
        floor = FLOOR * float(self.state["smallest"])
        code, lowest = self._above(encoder, rows, weights, floor, dead)
        if lowest > 0 and len(code.values) < wanted:
            code, _ = self._above(encoder, rows, weights, 0.0, None, estimate=False)
        code = largest(code, wanted)
        smallest = float(code.values.min()) if len(code.values) else 0.0
        own = {"smallest": smallest}
        return Selected(code, None if dead is None else dead.code.ragged(), own)

    def _above(
        self, encoder: Encoder, rows: Rows, weights: Weights, floor: float, dead: Any,
        *, estimate: bool = True,
    ) -> tuple[RaggedCode, float]:  # fmt: skip
        """What lies above the floor, and the floor; without one it is estimated from a chunk."""
        above: Above | None = None
        for part, pre in encoder.chunks(rows.x, weights["W_enc"], weights["b_enc"]):
            if above is None:
                if not floor and estimate:
                    floor = _estimate(pre, self.target)
                above = Above(pre.new_full((1,), floor))
            above.add(pre)
            if dead is not None:
                dead.add(part, pre)
        assert above is not None  # a batch has rows
        return above.code(), floor

    def advance(self, selected: Selected, weights: Weights, progress: float) -> None:
        """The running mean, free of the bias of its start."""
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
    """A floor that about 2k entries of each row of a chunk exceed; 0 where there are fewer."""
    count = min(2 * k * len(pre), pre.numel())
    values = np.partition(pre.detach().cpu().numpy().ravel(), pre.numel() - count)
    return max(float(values[pre.numel() - count]), 0.0)


def largest(code: RaggedCode, count: int) -> RaggedCode:
    """The `count` largest entries, or all where there are fewer; of equal ones the first."""
    total = len(code.values)
    if total <= count:
        return code
    values = code.values.detach().cpu().numpy()
    border = float(np.partition(values, total - count)[total - count])
    kept = code.values > border
    missing = count - int(kept.sum())
    ties = (code.values == border).nonzero().flatten()[:missing]
    kept[ties] = True
    counts = torch.bincount(code.rows[kept], minlength=len(code))
    indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return RaggedCode(indptr, code.indices[kept], code.values[kept])

"""TopK: the k largest pre-activations of a row, those that are positive.

Gao et al. 2024, "Scaling and evaluating sparse autoencoders".
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from inscape.dictionary import Encoder, TopSlots
from inscape.training.variants.base import Dead, Rows, Selected, Variant, Weights


class TopK(Variant):
    """Every row has k slots of its own."""

    name: ClassVar[str] = "topk"

    def select(self, encoder: Encoder, rows: Rows, weights: Weights) -> Selected:
        """The k largest positive entries of each row."""
        top, dead = TopSlots(rows.x, self.target), Dead(rows)
        for part, pre in encoder.chunks(rows.x, weights["W_enc"], weights["b_enc"]):
            top.add(part, pre)
            dead.add(part, pre)
        return Selected(rows.ranks.top(top.code).ragged(), dead.code())

    def finish(self, weights: Weights) -> tuple[Literal["topk", "threshold"], dict[str, Tensor]]:
        """The same, row by row."""
        return "topk", dict(weights)

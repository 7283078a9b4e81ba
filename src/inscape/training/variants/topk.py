"""TopK: the k largest positive pre-activations of each row.

Gao et al. 2024, "Scaling and evaluating sparse autoencoders".
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from inscape.dictionary import Code, Encoder, TopSlots
from inscape.training.variants.base import Dead, Rows, Selected, Variant, Weights


class TopK(Variant):
    """Every row has its own k slots."""

    name: ClassVar[str] = "topk"
    half: ClassVar[bool] = True

    def select(self, encoder: Encoder, rows: Rows, weights: Weights) -> Selected:
        """The k largest positive entries of each row."""
        if encoder.half:
            code, dead = self._half(encoder, rows, weights)
            return Selected(rows.ranks.top(code).ragged(), dead.code())
        top, dead = TopSlots(rows.x, self.target), Dead(rows)
        for part, pre in encoder.chunks(rows.x, weights["W_enc"], weights["b_enc"]):
            top.add(part, pre)
            dead.add(part, pre)
        return Selected(rows.ranks.top(top.code).ragged(), dead.code())

    def _half(self, encoder: Encoder, rows: Rows, weights: Weights) -> tuple[Code, Dead]:
        """The same, preselected by a bf16 matmul."""
        dead = Dead(rows, half=True)
        dead.product(weights)
        return encoder.top_half(rows.x, weights["W_enc"], weights["b_enc"], self.target), dead

    def finish(self, weights: Weights) -> tuple[Literal["topk", "threshold"], dict[str, Tensor]]:
        """The same, row by row."""
        return "topk", dict(weights)

"""Gated: one map decides whether a feature is active, another how strongly.

1. Gate: g = W_enc x + b_enc; active where g > 0. Magnitude: f = relu(exp(r) (g − b_enc) + b_mag):
   the two share W_enc up to a factor for each feature.
2. loss = unexplained variance of f's reconstruction + λ / variance · mean of Σ relu(g_i) ‖d_i‖ +
   unexplained variance of relu(g)'s reconstruction through the detached decoder (and skip): the
   gate gets no gradient from the first term, and learns from the third which features are
   useful.
3. A gated dictionary equals one with thresholds: with W' = exp(r) W_enc and b' = b_mag, g > 0 means
   W' x + b' > b_mag − exp(r) b_enc. It is saved in this form.

Rajamanoharan et al. 2024, "Improving dictionary learning with gated sparse autoencoders".
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from inscape.dictionary import Encoder
from inscape.dictionary.kernels import CodeGradient
from inscape.training.variants.base import (
    Penalty,
    Reconstruction,
    Rows,
    Selected,
    Weights,
    above,
    by_feature,
)
from inscape.training.variants.relu import Penalised


class Gated(Penalised):
    """The penalty on the gate does not shrink the magnitudes."""

    name: ClassVar[str] = "gated"
    near_tokens: ClassVar[bool] = True

    def initial(self, weights: Weights, scale: float) -> dict[str, Tensor]:
        """Gate and magnitude alike."""
        return {
            "r_mag": weights["b_enc"].new_zeros(weights["b_enc"].shape),
            "b_mag": weights["b_enc"].clone(),
        }

    def select(self, encoder: Encoder, rows: Rows, weights: Weights) -> Selected:
        """Open gates, with their magnitudes."""
        gate, dead = above(encoder, rows, weights, weights["b_enc"].new_zeros(1))
        read = gate.values - weights["b_enc"][gate.indices]
        values = weights["r_mag"].exp()[gate.indices] * read + weights["b_mag"][gate.indices]
        own = {"gate": gate, "read": read}
        code = gate.with_values(values.clamp_min(0.0))
        return Selected(code, dead, own)

    def penalise(self, selected: Selected, found: Reconstruction, weights: Weights) -> Penalty:
        """The L1 term of the gate, and the loss of the gate's own reconstruction."""
        gate, read = selected.own["gate"], selected.own["read"]
        code, norm = selected.code, self.wiring.norms(weights["W_dec"])
        spread = found.variance * found.batch
        weight = self.coefficient.value(found.progress) / spread
        guess = found.ranks.over_features(self.wiring.decode(gate, weights["W_dec"]))
        error = found.y - weights["b_dec"] - guess
        d_gate = self.wiring.value_gradients(gate, weights["W_dec"], error * (-2.0 / spread))
        d_gate = d_gate + weight * norm[gate.indices]
        d_read = found.d_values * weights["r_mag"].exp()[gate.indices]
        return Penalty(
            [CodeGradient(code, d_read + d_gate, found.d_out)],
            loss=found.ranks.over_all(weight * (gate.values * norm[gate.indices]).sum().double())
            + found.ranks.over_data(error.square().sum().double()) / spread,
            terms=self.wiring.norm_terms(
                weight * by_feature(gate, gate.values, weights), weights["W_dec"]
            ),
            gradients={
                "b_mag": by_feature(gate, found.d_values, weights),
                "r_mag": by_feature(gate, d_read * read, weights),
            },
            bias=-by_feature(gate, d_read, weights),  # magnitudes do not depend on the gate's bias
        )

    def finish(self, weights: Weights) -> tuple[Literal["topk", "threshold"], dict[str, Tensor]]:
        """See step 3."""
        scale = weights["r_mag"].exp()
        made = {key: weights[key] for key in ("W_dec", "b_dec", "W_skip") if key in weights}
        made |= {
            "W_enc": scale[:, None] * weights["W_enc"],
            "b_enc": weights["b_mag"].clone(),
            "threshold": weights["b_mag"] - scale * weights["b_enc"],
        }
        return "threshold", made

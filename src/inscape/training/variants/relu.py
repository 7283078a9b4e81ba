"""ReLU with an L1 penalty, weighted by the norms of the decoder's rows.

loss = unexplained variance + λ / variance · mean over rows of Σ f_i ‖d_i‖. The decoder is not
constrained: shrinking f and growing d gains nothing.

Anthropic 2024, "Scaling Monosemanticity". Its λ is 5 at E‖x‖ = √d; here λ is adapted to the target
L0 if it is not given.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from inscape.core import Config
from inscape.dictionary import DictionaryConfig, Encoder
from inscape.dictionary.kernels import CodeGradient
from inscape.training.variants.base import (
    Options,
    Penalty,
    Reconstruction,
    Rows,
    Selected,
    Variant,
    Weights,
    above,
    by_feature,
)
from inscape.training.variants.coefficient import Coefficient

START = 0.1


class ReLUOptions(Options):
    """coefficient: λ, adapted to the target L0 if None. ramp: fraction of the run over which a
    given λ rises (0.05 by default), or the goal falls to the target (0.5)."""

    coefficient: float | None = Field(default=None, ge=0)
    ramp: float | None = Field(default=None, ge=0, le=1)

    def ramp_fraction(self) -> float:
        """`ramp`, or its default."""
        if self.ramp is not None:
            return self.ramp
        return 0.5 if self.coefficient is None else 0.05


class Penalised(Variant):
    """An encoder whose positive entries are active, with a penalty whose weight is given or adapted
    (see `coefficient`)."""

    Options: ClassVar[type[Config]] = ReLUOptions  # type: ignore[assignment]
    aux_weight: ClassVar[float] = 0.0

    def __init__(self, shape: DictionaryConfig, options: Any, num_steps: int) -> None:
        super().__init__(shape, options, num_steps)
        self.coefficient = Coefficient(
            self.state,
            options.coefficient,
            start=START,
            ramp=options.ramp_fraction(),
            target=self.target,
            num_steps=num_steps,
        )

    def select(self, encoder: Encoder, rows: Rows, weights: Weights) -> Selected:
        """All positive entries."""
        return Selected(*above(encoder, rows, weights, weights["b_enc"].new_zeros(1)))

    def advance(self, selected: Selected, weights: Weights, progress: float, l0: float) -> None:
        """Adapt the penalty's weight."""
        self.coefficient.advance(l0, progress)


class ReLU(Penalised):
    """Every positive pre-activation is active."""

    name: ClassVar[str] = "relu"
    near_tokens: ClassVar[bool] = True

    @property
    def unit_decoder(self) -> bool:
        """The penalty constrains the decoder's norms."""
        return False

    def penalise(self, selected: Selected, found: Reconstruction, weights: Weights) -> Penalty:
        """The L1 term."""
        code, norm = selected.code, self.wiring.norms(weights["W_dec"])
        weight = self.coefficient.value(found.progress) / (found.variance * found.batch)
        d_pre = found.d_values + weight * norm[code.indices]
        own = weight * by_feature(code, code.values, weights)
        return Penalty(
            [CodeGradient(code, d_pre, found.d_out)],
            loss=found.ranks.over_all(weight * (code.values * norm[code.indices]).sum().double()),
            terms=self.wiring.norm_terms(own, weights["W_dec"]),
        )

    def finish(self, weights: Weights) -> tuple[Literal["topk", "threshold"], dict[str, Tensor]]:
        """Thresholds of zero."""
        return "threshold", {**weights, "threshold": torch.zeros_like(weights["b_enc"])}

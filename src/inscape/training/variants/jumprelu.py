"""JumpReLU: each feature has its own learned threshold.

1. f = pre where pre > θ (and positive), else 0. Entries within half a bandwidth of the threshold
   are collected too: through a rectangular kernel they estimate the gradient with respect to θ,
   ∂f/∂θ ≈ −θ/ε and ∂[active]/∂θ ≈ −1/ε inside the window.
2. Penalty "l0": coefficient · (L0 / target − 1)², with a gradient for the thresholds alone. Decoder
   rows have unit norm.
3. Penalty "tanh": λ / variance · mean over rows of Σ tanh(4 f_i ‖d_i‖), and
   wake / variance · mean of Σ relu(θ_i − pre_i) ‖d_i‖, which revives features that do not fire. λ
   is adapted to the target if not given. The second term covers every inactive entry, yet it is
   linear in the encoder's input: its sums are those over all rows minus those over the active
   entries.
4. Thresholds are stored directly (not as logarithms), in fp32, and clamped at 0. With "l0" all
   start at one value at which FIRST_L0 times the target are active: at the published start half of
   all features fire, which costs as many entries and ends worse.

Rajamanoharan et al. 2024, "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse
autoencoders"; the quadratic penalty from the same group's Gemma Scope 2; tanh: Anthropic, January
2025 circuits update. Bandwidths there are 0.001 at E‖x‖² = 1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from inscape.core import Config
from inscape.dictionary import DictionaryConfig, Encoder
from inscape.dictionary.kernels import CodeGradient, RowTerms
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
SLOPE = 4.0


FIRST_L0 = 32
"""Tuned on seeds 10 and 11, 300,000 tokens: 6 to 10 % less unexplained variance than from the
published start; 8 times the target ended worse than that, 16 times nearly as well as 32."""

_PUBLISHED = 0.001
FEW = 4
"""The multiple of the target L0 up to which the encoder's matmul may be in bf16: well below where
recomputing entries costs what it saves; the cut-off itself was not tuned by timings."""


class JumpReLUOptions(Options):
    """penalty: "l0" or "tanh". coefficient: its weight; by default 1 for "l0", adapted to the
    target L0 for "tanh". ramp: fraction of the run over which it rises (by default 0.1 for "l0",
    the whole run for a given "tanh"), or the goal falls to the target (0.5). wake: weight of the
    second term of "tanh". threshold, bandwidth: initial θ (by default 0.001 for "tanh", see step 4
    for "l0") and width of the window, as fractions of the mean norm of the input."""

    penalty: Literal["l0", "tanh"] = "l0"
    coefficient: float | None = Field(default=None, ge=0)
    ramp: float | None = Field(default=None, ge=0, le=1)
    wake: float = Field(default=3e-6, ge=0)
    threshold: float | None = Field(default=None, gt=0)
    bandwidth: float = Field(default=0.001, gt=0)


class JumpReLU(Variant):
    """Active above the feature's own threshold."""

    name: ClassVar[str] = "jumprelu"
    near_tokens: ClassVar[bool] = True
    half: ClassVar[bool] = True
    Options: ClassVar[type[Config]] = JumpReLUOptions  # type: ignore[assignment]
    beta1: ClassVar[float] = 0.0

    def __init__(self, shape: DictionaryConfig, options: Any, num_steps: int) -> None:
        super().__init__(shape, options, num_steps)
        self.tanh = options.penalty == "tanh"
        constant = options.coefficient
        if constant is None and not self.tanh:
            constant = 1.0
        ramp = options.ramp
        if ramp is None:
            ramp = 0.1 if not self.tanh else 1.0 if constant is not None else 0.5
        self.coefficient = Coefficient(
            self.state, constant, start=START, ramp=ramp, target=self.target, num_steps=num_steps
        )
        self.state["bandwidth"] = torch.zeros((), dtype=torch.float64)
        self.state["l0"] = torch.full((), torch.inf, dtype=torch.float64)

    @property
    def unit_decoder(self) -> bool:
        """The tanh penalty constrains the decoder's norms."""
        return not self.shape.transcoder and not self.tanh

    def initial(self, weights: Weights, scale: float) -> dict[str, Tensor]:
        """Thresholds, all equal."""
        width = torch.tensor(self.options.bandwidth * scale, dtype=torch.float64)
        self.state["bandwidth"] = width
        start = (self.options.threshold or _PUBLISHED) * scale
        return {"threshold": torch.full_like(weights["b_enc"], start)}

    def started(self, pre: Tensor) -> dict[str, float]:
        """See step 4."""
        count = FIRST_L0 * self.target * pre.numel() // self.shape.d_dict
        if self.tanh or self.options.threshold is not None or not 0 < count < pre.numel():
            return {}
        border = float(pre.flatten().kthvalue(pre.numel() - count).values)
        return {"threshold": border} if border > 0 else {}

    def select(self, encoder: Encoder, rows: Rows, weights: Weights) -> Selected:
        """Entries above the window's lower end; those above the threshold are active."""
        width = float(self.state["bandwidth"])
        threshold = weights["threshold"]
        bound = threshold - width / 2
        # While very many features fire, recomputing entries costs more than bf16 saves.
        half = encoder.half and float(self.state["l0"]) <= FEW * self.target
        half = half and bool((bound >= 0).all())
        code, dead = above(encoder, rows, weights, bound, half=half)
        edge = threshold[code.indices]
        own = {"pre": code.values, "window": code.values < edge + width / 2, "x": rows.x}
        values = torch.where(code.values > edge, code.values, 0.0).clamp_min_(0.0)
        return Selected(code.with_values(values), dead, own)

    def penalise(self, selected: Selected, found: Reconstruction, weights: Weights) -> Penalty:
        """The penalty, and the gradient of the thresholds."""
        code = selected.code
        active = code.values > 0
        d_f = self.wiring.value_gradients(code, weights["W_dec"], found.d_out, everywhere=True)
        penalty = self._tanh if self.tanh else self._l0
        loss, added, d_active, terms, d_threshold = penalty(selected, found, weights)
        d_f = d_f + added
        window = selected.own["window"]
        edge = weights["threshold"][code.indices]
        width = float(self.state["bandwidth"])
        through = torch.where(window, -(edge * d_f + d_active) / width, 0.0)
        d_threshold = d_threshold + by_feature(code, through, weights)
        d_pre = d_f * active
        if terms is not None and terms.encoder is not None:
            # The terms on whole rows are for inactive entries: subtract them from active ones.
            d_pre = d_pre - terms.encoder[code.indices] * (selected.own["pre"] > edge)
        gradient = CodeGradient(code, d_pre, found.d_out)
        return Penalty([gradient], loss, terms=terms, gradients={"threshold": d_threshold})

    def _l0(
        self, selected: Selected, found: Reconstruction, weights: Weights
    ) -> tuple[Tensor, Tensor, Tensor, RowTerms | None, Tensor]:
        code = selected.code
        weight, off = self.coefficient.value(found.progress), found.l0 / self.target - 1
        d_active = weight * 2 * off / (self.target * found.batch)
        nothing = torch.zeros_like(weights["threshold"])
        return weight * off.square(), torch.zeros_like(code.values), d_active, None, nothing

    def _tanh(
        self, selected: Selected, found: Reconstruction, weights: Weights
    ) -> tuple[Tensor, Tensor, Tensor, RowTerms | None, Tensor]:
        code, norm, rows = selected.code, self.wiring.norms(weights["W_dec"]), len(selected.code)
        threshold, spread = weights["threshold"], found.variance * found.batch
        weight = self.coefficient.value(found.progress) / spread
        squashed = torch.tanh(SLOPE * code.values * norm[code.indices])
        slope = weight * SLOPE * (1 - squashed.square())
        loss = weight * squashed.sum().double()
        own = by_feature(code, slope * code.values, weights)
        # Inactive entries: sums over all rows minus those over the entries above the threshold.
        price = self.options.wake / spread
        beyond = selected.own["pre"] > threshold[code.indices]
        total = selected.own["x"].sum(0)
        sums = self.wiring.read(total, weights["W_enc"]) + rows * weights["b_enc"]
        sums = sums - by_feature(code, selected.own["pre"] * beyond, weights)
        count = rows - by_feature(code, beyond.to(norm), weights)
        below = (count * threshold - sums).clamp_min(0.0)
        loss = loss + price * (below * norm).sum().double()
        terms = replace(
            self.wiring.norm_terms(own + price * below, weights["W_dec"]),
            encoder=-price * norm,
            along=total,
            rows=rows,
        )
        loss = found.ranks.over_all(loss)
        return loss, slope * norm[code.indices], torch.zeros_like(loss), terms, price * count * norm

    def advance(self, selected: Selected, weights: Weights, progress: float, l0: float) -> None:
        """Adapt the penalty's weight; clamp thresholds at 0."""
        self.coefficient.advance(l0, progress)
        self.state["l0"] = torch.tensor(l0, dtype=torch.float64)
        weights["threshold"].clamp_min_(0.0)

    def finish(self, weights: Weights) -> tuple[Literal["topk", "threshold"], dict[str, Tensor]]:
        """The thresholds, unchanged."""
        return "threshold", dict(weights)

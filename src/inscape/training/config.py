"""The settings of one training run, and what is derived from its length."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator, model_validator

from inscape.core import Config, InputError
from inscape.dictionary import DictionaryConfig, half_is_faster
from inscape.training.variants import Variant, variant_class

_PAPER_WARMUP = 1000
_PAPER_DEAD_TOKENS = 10_000_000
_LONG_RUN = 100_000
_ADAM_MEMORY, _ALWAYS = 1000, 1e-3
_TOWARDS, _FEWEST = 0.5, 100
_MOST_HASTE = 10.0


class TrainConfig(Config):
    """How a dictionary is trained.

    Warm-up, decay and the window after which a feature counts as dead are fractions of the run,
    capped at the published absolute values, so that short runs follow the schedule of long ones.

    Attributes:
        d_dict, k: number of features, and target L0 (active features per token). variant, options:
            the kind of dictionary, and its own settings. skip: a linear skip next to the features
            (transcoders). tokens: total tokens seen, over all epochs. batch_size: tokens per step.
            lr: peak learning rate, `default_lr` if None. warmup, decay: fractions of the run with a
            rising and a falling learning rate. seed: of everything random; data_seed: of the data
            order alone, so that several dictionaries can share one pass. aux_k: features of the
            auxiliary loss, half the width of a written site if None; aux_weight: its weight, 0
            turns it off, the variant's default if None. dead_tokens: tokens without firing after
            which a feature is dead, `dead_window` if None. clip: largest gradient norm,
            `largest_norm` if None. whiten: train on whitened activations (autoencoders; see
            `whitening`). resample: how often dead features are re-initialised, evenly over the
            first half of the run (see `resampling`). encoder: the dtype of the encoder matmul that
            preselects active entries (their values are computed in fp32 either way); "auto" is bf16
            for large dictionaries of topk kinds and JumpReLU on hardware with bf16 instructions.
            checkpoint_seconds: between checkpoints. log_every: steps per log line.

    Raises:
        InputError: k is larger than d_dict, the run is shorter than one batch, or the variant is
            unknown or refuses its settings.
    """

    d_dict: int = Field(gt=0)
    k: int = Field(gt=0)
    variant: str = "topk"
    options: dict[str, Any] = Field(default_factory=dict)
    skip: bool = False
    tokens: int = Field(gt=0)
    batch_size: int = Field(default=1024, gt=0)
    lr: float | None = Field(default=None, gt=0)
    warmup: float = Field(default=0.05, ge=0, le=1)
    decay: float = Field(default=0.2, ge=0, le=1)
    seed: int = 0
    data_seed: int | None = None
    aux_k: int | None = Field(default=None, gt=0)
    aux_weight: float | None = Field(default=None, ge=0)
    dead_tokens: int | None = Field(default=None, gt=0)
    clip: float | None = Field(default=None, gt=0)
    whiten: bool = False
    resample: int = Field(default=0, ge=0)
    encoder: Literal["auto", "fp32", "bf16"] = "auto"
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    log_every: int = Field(default=20, gt=0)

    @field_validator("options")
    @classmethod
    def _known(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """The variant's own settings, parsed: "0.1" becomes 0.1."""
        variant = info.data["variant"]
        if value and not variant_class(variant).Options.model_fields:
            raise InputError(
                f"setting {next(iter(value))} is unknown",
                expected=f"none: variant {variant!r} has no settings of its own",
            )
        own = variant_class(variant).Options(**value)
        return own.model_dump(exclude_unset=True)

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        if self.k > self.d_dict:
            raise InputError(
                f"k = {self.k} is larger than the dictionary of {self.d_dict} features",
                expected=f"k up to {self.d_dict}",
                next_step="lower k or raise d_dict",
            )
        if self.encoder == "bf16" and not variant_class(self.variant).half:
            raise InputError(
                f"variant {self.variant!r} knows no encoder in bf16",
                expected="topk, batch_topk, matryoshka or jumprelu; or encoder fp32 or auto",
            )
        if self.tokens < self.batch_size:
            raise InputError(
                f"{self.tokens} training tokens do not fill one batch",
                expected=f"at least {self.batch_size} (the batch size)",
            )
        return self

    def make_variant(self, shape: DictionaryConfig) -> Variant:
        """The variant of a dictionary of this shape, for this run."""
        chosen = variant_class(self.variant)
        return chosen(shape, chosen.Options(**self.options), self.num_steps)

    @property
    def order(self) -> int:
        """The seed of the data order."""
        return self.seed if self.data_seed is None else self.data_seed

    @property
    def aux_loss_weight(self) -> float:
        """The weight of the auxiliary loss."""
        default = variant_class(self.variant).aux_weight
        return default if self.aux_weight is None else self.aux_weight

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.tokens // self.batch_size

    @property
    def peak_lr(self) -> float:
        """The learning rate between warm-up and decay."""
        return default_lr(self.d_dict, self.num_steps) if self.lr is None else self.lr

    @property
    def dead_window(self) -> int:
        """Tokens without firing after which a feature is dead: a tenth of the run, at most 10 M."""
        if self.dead_tokens is not None:
            return self.dead_tokens
        return max(self.batch_size, min(_PAPER_DEAD_TOKENS, self.tokens // 10))

    def largest_norm(self, shape: DictionaryConfig) -> float:
        """The norm that gradients are clipped to: 1, or in runs shorter than the memory of Adam's
        second moment a norm so small that all gradients are rescaled to it.

        In such a run the large early gradients would dominate the second moment to the end.
        Measured on seed 0, 300,000 tokens: a fifth less unexplained variance for TopK, a third less
        for BatchTopK, two fifths less for gated; at 1.5 M tokens 3 % less, with slightly less of
        the loss recovered. Gated transcoders collapse under it (in the tests' world) and are
        clipped at 1.
        """
        if self.clip is not None:
            return self.clip
        long = self.num_steps >= _ADAM_MEMORY
        return 1.0 if long or (self.variant == "gated" and shape.transcoder) else _ALWAYS

    def from_data(self, shape: DictionaryConfig) -> float:
        """How far initial directions are moved towards tokens (see `initial_weights`): half way for
        autoencoders of one site in runs of 100 to 999 steps, which are short for learning them.

        Measured on seeds 10 and 11, 300,000 tokens of two models: 1 to 9 % less unexplained
        variance. TopK, with 2 % less on one and 1 % more on the other, starts at random, as do runs
        too short to separate features that start alike (no difference at 50 steps, worse at
        20).
        """
        single = not (shape.transcoder or shape.several)
        near = variant_class(self.variant).near_tokens and single
        return _TOWARDS if near and _FEWEST <= self.num_steps < _ADAM_MEMORY else 0.0

    def learning_rate(self, step: int) -> float:
        """The learning rate of step 0, 1, ...: linear rise, constant, linear fall to zero."""
        rise = min(_PAPER_WARMUP, math.ceil(self.warmup * self.num_steps))
        fall = math.ceil(self.decay * self.num_steps)
        factor = min(1.0, (step + 1) / max(rise, 1))
        if fall:
            factor = min(factor, (self.num_steps - step) / fall)
        return self.peak_lr * max(factor, 0.0)


def uses_half(config: TrainConfig, shape: DictionaryConfig, device: torch.device) -> bool:
    """Whether the encoder's matmul is in bf16 (see `TrainConfig.encoder`)."""
    if not variant_class(config.variant).half or config.encoder == "fp32" or shape.cross_layer:
        return False
    return config.encoder == "bf16" or half_is_faster(shape.d_dict * shape.d_in, device)


def default_lr(d_dict: int, num_steps: int) -> float:
    """The published rule 2e-4 / sqrt(d_dict / 2^14) (Gao et al. 2024), raised for short runs.

    In a run of fewer than 100,000 steps it is multiplied by sqrt(100,000 / num_steps), at most by
    ten. Measured on activations of a five-layer story model at a million tokens: the published
    rate ends with twice the unexplained variance of one ten times as large.
    """
    haste = math.sqrt(_LONG_RUN / max(num_steps, 1))
    return 2e-4 / math.sqrt(d_dict / 2**14) * min(max(haste, 1.0), _MOST_HASTE)

"""What is asked of a build."""

from __future__ import annotations

from pydantic import Field

from inscape.core import Config


class BuildConfig(Config):
    """How an atlas is made from a model and a text.

    Attributes:
        layer: the residual dictionary sits at resid_post of this layer; the middle one if None.
        transcoders: train one transcoder for each MLP (traces need them).
        expansion: features of the residual dictionary per dimension of the residual.
        transcoder_expansion: features of a transcoder, likewise; half of `expansion` if None.
        k, transcoder_k: active features per token; an eighth of d_model if None.
        context: tokens per row; the model's own context if None.
        max_tokens: tokens to harvest at most; None takes the whole text.
        train_tokens: tokens that each dictionary sees in training, repetitions counted.
        batch_size: tokens per training step.
        lr: the peak learning rate; the training's own rule if None.
        seed: the seed of everything random.
    """

    layer: int | None = Field(default=None, ge=0)
    transcoders: bool = True
    expansion: int = Field(default=16, gt=0)
    transcoder_expansion: int | None = Field(default=None, gt=0)
    k: int | None = Field(default=None, gt=0)
    transcoder_k: int | None = Field(default=None, gt=0)
    context: int | None = Field(default=None, gt=1)
    max_tokens: int | None = Field(default=1_000_000, gt=0)
    train_tokens: int = Field(default=2_000_000, gt=0)
    batch_size: int = Field(default=1024, gt=0)
    lr: float | None = Field(default=None, gt=0)
    seed: int = 0

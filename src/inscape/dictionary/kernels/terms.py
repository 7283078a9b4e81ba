"""Arguments and results of the kernels of a training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.dictionary.code import RaggedCode


@dataclass(frozen=True)
class AdamStep:
    """The figures of one step: `step` counts from 1, `scale` multiplies gradients (clipping)."""

    step: int
    lr: float
    scale: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8


@dataclass(frozen=True)
class CodeGradient:
    """One code and the gradients that flow into it.

    code: its entries. d_pre [entries]: gradient for each entry's pre-activation; d_out
    [groups * batch, d_out]: gradient for the code's decoded output; groups [d_dict]: each feature's
    group, where there are several.
    """

    code: RaggedCode
    d_pre: Float[Tensor, " entries"]
    d_out: Float[Tensor, "groups_batch d_out"]
    groups: Int[Tensor, " d_dict"] | None = None


@dataclass(frozen=True)
class RowTerms:
    """What a penalty adds to whole rows of the gradients.

    decoder [d_dict] or [d_dict, parts]: this multiple of the feature's own decoder row, or of each
    of its parts (of `widths` columns). encoder [d_dict]: the gradient of every row's
    pre-activation, which adds encoder * along to W_enc and encoder * rows to b_enc; along [d_in] is
    the sum of the inputs, rows their number."""

    decoder: Float[Tensor, "*d_dict"]
    encoder: Float[Tensor, " d_dict"] | None = None
    along: Float[Tensor, " d_in"] | None = None
    rows: int = 0
    widths: tuple[int, ...] = ()


@dataclass(frozen=True)
class RowBlock:
    """Gradients of some features, each once, that dense matmuls have computed."""

    features: Int[Tensor, " n"]
    W_enc: Float[Tensor, "n d_in"]
    b_enc: Float[Tensor, " n"]
    W_dec: Float[Tensor, "n d_out"]


@dataclass(frozen=True)
class WeightGradients:
    """Gradients of the weights, and the squared norm of each feature's gradients (in two parts if
    encoder and decoder have different rows)."""

    W_enc: Float[Tensor, "d_dict d_in"]
    b_enc: Float[Tensor, " features"]
    W_dec: Float[Tensor, "rows d_out"]
    squared_norm: Float[Tensor, " parts"]


def storage(
    x: Float[Tensor, "batch d_in"], W_dec: Float[Tensor, "d_dict d_out"]
) -> WeightGradients:
    """Uninitialised gradients of a dictionary."""
    return WeightGradients(
        W_enc=x.new_empty((W_dec.shape[0], x.shape[1])),
        b_enc=x.new_empty(W_dec.shape[0]),
        W_dec=torch.empty_like(W_dec),
        squared_norm=x.new_empty(W_dec.shape[0]),
    )


def joined(codes: Sequence[CodeGradient]) -> tuple[Tensor, ...]:
    """The entries of all codes; rows of output gradients count on from code to code."""
    parts, first = [], 0
    for given in codes:
        code = given.code
        parts.append(
            (
                code.indices,
                code.rows,
                first + grad_rows(code, given.groups),
                code.values,
                given.d_pre,
            )
        )
        first += len(given.d_out)
    if len(parts) == 1:
        return parts[0]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def grad_rows(code: RaggedCode, groups: Int[Tensor, " d_dict"] | None) -> Int[Tensor, " entries"]:
    """The row of the output gradient that each entry belongs to."""
    return code.rows if groups is None else groups[code.indices] * len(code) + code.rows

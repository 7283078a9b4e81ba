"""Weight gradients of a sparse code, each gradient row written exactly once.

1. The active entries (feature, row, value, gradient of the value) of one or two codes are sorted
   by feature with a counting sort: a feature-major (CSC) list.
2. Each feature sums its own entries: decoder row = sum value * output gradient, encoder row =
   sum value gradient * input, bias = sum value gradient.
3. In the same pass the part of the decoder gradient along a unit decoder row is removed, and the
   squared norm of the feature's gradients is taken for clipping.

The second code is the auxiliary one (dead features on the residual error); it has its own output
gradient and shares the input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import prange
from torch import Tensor

from inscape.dictionary.kernels._jit import array, compiled, parallel, runs_here


@dataclass(frozen=True)
class CodeGradient:
    """One code and the gradients that flow into it.

    indices, values: the code [batch, k]; d_values [batch, k]: gradient for each value;
    d_out [batch, d_out]: gradient for the code's decoded output.
    """

    indices: Int[Tensor, "batch k"]
    values: Float[Tensor, "batch k"]
    d_values: Float[Tensor, "batch k"]
    d_out: Float[Tensor, "batch d_out"]


@dataclass(frozen=True)
class WeightGradients:
    """Gradients for the weights, and the squared norm of each feature's share of them."""

    W_enc: Float[Tensor, "d_dict d_in"]
    b_enc: Float[Tensor, " d_dict"]
    W_dec: Float[Tensor, "d_dict d_out"]
    squared_norm: Float[Tensor, " d_dict"]


def weight_gradients(
    codes: list[CodeGradient],
    x: Float[Tensor, "batch d_in"],
    W_dec: Float[Tensor, "d_dict d_out"],
    *,
    project: bool,
    out: WeightGradients | None = None,
) -> WeightGradients:
    """Gradients of encoder, encoder bias and decoder, summed over one or two codes.

    Args:
        codes: the main code and, where there is one, the auxiliary code.
        x: what the encoder read (after any subtraction of b_dec).
        W_dec: the decoder; with `project`, its rows have unit norm and the gradient's component
            along them is removed.
        out: reused storage of an earlier call.
    """
    if not runs_here(x, W_dec):
        return weight_gradients_plain(codes, x, W_dec, project=project)
    if out is None:
        out = WeightGradients(
            W_enc=x.new_empty((W_dec.shape[0], x.shape[1])),
            b_enc=x.new_empty(W_dec.shape[0]),
            W_dec=torch.empty_like(W_dec),
            squared_norm=x.new_empty(W_dec.shape[0]),
        )
    main = codes[0]
    extra = codes[1] if len(codes) > 1 else _nothing(main)
    d_out = main.d_out if len(codes) == 1 else torch.cat([main.d_out, extra.d_out])
    lists = _feature_major(
        *(array(t) for t in (main.indices, main.values, main.d_values)),
        *(array(t) for t in (extra.indices, extra.values, extra.d_values)),
        W_dec.shape[0],
    )
    _weight_gradients(
        *lists,
        array(x),
        array(d_out),
        array(W_dec),
        project,
        *(array(t) for t in (out.W_enc, out.b_enc, out.W_dec, out.squared_norm)),
    )
    return out


def weight_gradients_plain(
    codes: list[CodeGradient],
    x: Float[Tensor, "batch d_in"],
    W_dec: Float[Tensor, "d_dict d_out"],
    *,
    project: bool,
) -> WeightGradients:
    """Reference of `weight_gradients` in plain torch, by index_add."""
    W_enc = x.new_zeros((W_dec.shape[0], x.shape[1]))
    b_enc = x.new_zeros(W_dec.shape[0])
    decoder = torch.zeros_like(W_dec)
    for code in codes:
        rows, slots = torch.nonzero(code.values > 0, as_tuple=True)
        features = code.indices[rows, slots]
        d_values = code.d_values[rows, slots]
        decoder.index_add_(0, features, code.values[rows, slots, None] * code.d_out[rows])
        W_enc.index_add_(0, features, d_values[:, None] * x[rows])
        b_enc.index_add_(0, features, d_values)
    if project:
        decoder -= (decoder * W_dec).sum(1, keepdim=True) * W_dec
    squared = W_enc.square().sum(1) + decoder.square().sum(1) + b_enc.square()
    return WeightGradients(W_enc, b_enc, decoder, squared)


def _nothing(like: CodeGradient) -> CodeGradient:
    rows = like.indices.shape[0]
    empty = like.values.new_empty((rows, 0))
    return CodeGradient(like.indices.new_empty((rows, 0)), empty, empty, like.d_out)


@compiled
@no_type_check
def _count(indices, values, pointer):
    for row in range(indices.shape[0]):
        for slot in range(indices.shape[1]):
            if values[row, slot] > 0.0:
                pointer[indices[row, slot] + 1] += 1


@compiled
@no_type_check
def _place(indices, values, d_values, first_row, cursor, rows, weights, d_weights):
    for row in range(indices.shape[0]):
        for slot in range(indices.shape[1]):
            if values[row, slot] > 0.0:
                feature = indices[row, slot]
                place = cursor[feature]
                cursor[feature] = place + 1
                rows[place] = first_row + row
                weights[place] = values[row, slot]
                d_weights[place] = d_values[row, slot]


@compiled
@no_type_check
def _feature_major(indices, values, d_values, indices2, values2, d_values2, num_features):
    """indptr, rows, values, value gradients; rows of the second code count on from the first."""
    pointer = np.zeros(num_features + 1, np.int64)
    _count(indices, values, pointer)
    _count(indices2, values2, pointer)
    for feature in range(num_features):
        pointer[feature + 1] += pointer[feature]
    total = pointer[num_features]
    rows = np.empty(total, np.int64)
    weights = np.empty(total, np.float32)
    d_weights = np.empty(total, np.float32)
    cursor = pointer[:-1].copy()
    _place(indices, values, d_values, 0, cursor, rows, weights, d_weights)
    _place(indices2, values2, d_values2, len(indices), cursor, rows, weights, d_weights)
    return pointer, rows, weights, d_weights


@parallel
@no_type_check
def _weight_gradients(
    pointer, rows, weights, d_weights, x, d_out, W_dec, project, W_enc_g, b_enc_g, W_dec_g, squared
):
    num_rows, d_in = x.shape
    width = W_dec.shape[1]
    for feature in prange(W_dec.shape[0]):
        enc = W_enc_g[feature]
        dec = W_dec_g[feature]
        enc[:] = np.float32(0.0)
        dec[:] = np.float32(0.0)
        bias = np.float32(0.0)
        for place in range(pointer[feature], pointer[feature + 1]):
            row = rows[place]
            value = weights[place]
            d_value = d_weights[place]
            bias += d_value
            grad = d_out[row]
            for i in range(width):
                dec[i] += value * grad[i]
            line = x[row if row < num_rows else row - num_rows]
            for i in range(d_in):
                enc[i] += d_value * line[i]
        total = bias * bias
        if project:
            along = np.float32(0.0)
            for i in range(width):
                along += dec[i] * W_dec[feature, i]
            for i in range(width):
                dec[i] -= along * W_dec[feature, i]
        for i in range(width):
            total += dec[i] * dec[i]
        for i in range(d_in):
            total += enc[i] * enc[i]
        b_enc_g[feature] = bias
        squared[feature] = total

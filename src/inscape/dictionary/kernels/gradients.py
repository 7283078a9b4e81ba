"""Weight gradients of sparse codes, each gradient row written exactly once.

1. The entries (feature, row, row of the output gradient, value, gradient of the pre-activation) of
   all codes are sorted by feature with a counting sort: a feature-major (CSC) list.
2. Each feature sums its own entries: decoder row = sum value * output gradient, encoder row =
   sum pre-activation gradient * input, bias = sum pre-activation gradient.
3. The same pass adds what a penalty adds to whole rows (`RowTerms`) and the gradients of a few
   features that dense matmuls have computed (`RowBlock`: the auxiliary loss of few dead features),
   removes the decoder gradient along a unit decoder row, and takes the squared norm of the
   feature's gradients for clipping.

Several codes share the input, each with an output gradient of its own: the main code, and the
auxiliary one (dead features on the residual error).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from numba import prange
from torch import Tensor

from inscape.dictionary.kernels import gpu
from inscape.dictionary.kernels._jit import array, compiled, parallel, runs_here
from inscape.dictionary.kernels.terms import (
    CodeGradient,
    RowBlock,
    RowTerms,
    WeightGradients,
    grad_rows,
    joined,
    storage,
)


def weight_gradients(
    codes: Sequence[CodeGradient],
    x: Float[Tensor, "batch d_in"],
    W_dec: Float[Tensor, "d_dict d_out"],
    *,
    project: bool,
    terms: RowTerms | None = None,
    block: RowBlock | None = None,
    out: WeightGradients | None = None,
) -> WeightGradients:
    """Gradients of encoder, encoder bias and decoder, summed over the codes.

    Args:
        codes: the main code and others that flow through the encoder.
        x: the encoder's input (after any subtraction of b_dec).
        W_dec: the decoder; with `project` its rows have unit norm, and the gradient's component
            along them is removed.
        terms, block: added to whole rows, and to the rows of some features.
        out: storage of an earlier call, to be reused.
    """
    if gpu.serves(x, W_dec) and not (terms is not None and terms.widths):
        return gpu.weight_gradients(codes, x, W_dec, project, terms, block, out)
    if not runs_here(x, W_dec):
        return weight_gradients_plain(codes, x, W_dec, project=project, terms=terms, block=block)
    out = storage(x, W_dec) if out is None else out
    features, rows, d_out_rows, values, d_pre = joined(codes)
    d_out = codes[0].d_out if len(codes) == 1 else torch.cat([c.d_out for c in codes])
    entries = _feature_major(
        *(array(t) for t in (features, rows, d_out_rows, values, d_pre)), W_dec.shape[0]
    )
    _weight_gradients(
        *entries,
        array(x.contiguous()),
        array(d_out.contiguous()),
        array(W_dec),
        *_term_arrays(terms, *x.shape[1:], *W_dec.shape[1:]),
        *_block_arrays(block, x, W_dec),
        project,
        *(array(t) for t in (out.W_enc, out.b_enc, out.W_dec, out.squared_norm)),
    )
    return out


def weight_gradients_plain(
    codes: Sequence[CodeGradient],
    x: Tensor,
    W_dec: Tensor,
    *,
    project: bool,
    terms: RowTerms | None = None,
    block: RowBlock | None = None,
) -> WeightGradients:
    """Reference of `weight_gradients` in plain torch, by index_add."""
    W_enc = x.new_zeros((W_dec.shape[0], x.shape[1]))
    b_enc = x.new_zeros(W_dec.shape[0])
    decoder = torch.zeros_like(W_dec)
    for given in codes:
        code, features, rows = given.code, given.code.indices, given.code.rows
        d_rows = given.d_out[grad_rows(code, given.groups)]
        decoder.index_add_(0, features, code.values[:, None] * d_rows)
        W_enc.index_add_(0, features, given.d_pre[:, None] * x[rows])
        b_enc.index_add_(0, features, given.d_pre)
    if terms is not None:
        own = terms.decoder.view(len(W_dec), -1)
        if terms.widths:
            widths = torch.tensor(terms.widths, device=W_dec.device)
            own = own.repeat_interleave(widths, 1, output_size=W_dec.shape[1])
        decoder += own * W_dec
        if terms.encoder is not None and terms.along is not None:
            W_enc += terms.encoder[:, None] * terms.along
            b_enc += terms.encoder * terms.rows
    if block is not None:
        for whole, part in ((decoder, block.W_dec), (W_enc, block.W_enc), (b_enc, block.b_enc)):
            whole.index_add_(0, block.features, part)
    if project:
        decoder -= (decoder * W_dec).sum(1, keepdim=True) * W_dec
    squared = W_enc.square().sum(1) + decoder.square().sum(1) + b_enc.square()
    return WeightGradients(W_enc, b_enc, decoder, squared)


def _term_arrays(terms: RowTerms | None, d_in: int, d_out: int) -> tuple[Any, ...]:
    """By feature and part, where parts end, by feature, what it multiplies, and for how many
    rows."""
    nothing, along = np.zeros(0, np.float32), np.zeros(d_in, np.float32)
    if terms is None:
        return np.zeros((0, 1), np.float32), np.array([d_out]), nothing, along, np.float32(0)
    decoder = array(terms.decoder.view(len(terms.decoder), -1).contiguous())
    ends, rows = np.cumsum(terms.widths or [d_out]), np.float32(terms.rows)
    if terms.encoder is None or terms.along is None:
        return decoder, ends, nothing, along, rows
    shift = (array(t.contiguous()) for t in (terms.encoder, terms.along))
    return decoder, ends, *shift, rows


def _block_arrays(block: RowBlock | None, x: Tensor, W_dec: Tensor) -> tuple[np.ndarray, ...]:
    """The place of each feature in the block, -1 for none, and the block's rows."""
    if block is None:
        nothing = np.zeros((0, 0), np.float32)
        return np.zeros(0, np.int64), nothing, np.zeros(0, np.float32), nothing
    places = np.full(len(W_dec), -1, np.int64)
    places[array(block.features)] = np.arange(len(block.features))
    return (places, *(array(t.contiguous()) for t in (block.W_enc, block.b_enc, block.W_dec)))


@compiled
@no_type_check
def _feature_major(features, rows, d_out_rows, values, d_pre, num_features):
    """indptr, and by entry: row, row of the output gradient, value, pre-activation gradient.
    Entries without value and gradient are left out."""
    pointer = np.zeros(num_features + 1, np.int64)
    for entry in range(len(features)):
        if values[entry] != 0.0 or d_pre[entry] != 0.0:
            pointer[features[entry] + 1] += 1
    for feature in range(num_features):
        pointer[feature + 1] += pointer[feature]
    total = pointer[num_features]
    rows_out = np.empty(total, np.int64)
    d_rows_out = np.empty(total, np.int64)
    values_out = np.empty(total, np.float32)
    d_pre_out = np.empty(total, np.float32)
    cursor = pointer[:-1].copy()
    for entry in range(len(features)):
        if values[entry] != 0.0 or d_pre[entry] != 0.0:
            place = cursor[features[entry]]
            cursor[features[entry]] = place + 1
            rows_out[place] = rows[entry]
            d_rows_out[place] = d_out_rows[entry]
            values_out[place] = values[entry]
            d_pre_out[place] = d_pre[entry]
    return pointer, rows_out, d_rows_out, values_out, d_pre_out


@parallel
@no_type_check
def _weight_gradients(
    pointer,
    rows,
    d_rows,
    values,
    d_pre,
    x,
    d_out,
    W_dec,
    own,
    ends,
    shift,
    along,
    num_rows,
    places,
    block_enc,
    block_bias,
    block_dec,
    project,
    W_enc_g,
    b_enc_g,
    W_dec_g,
    squared,
):
    d_in = x.shape[1]
    width = W_dec.shape[1]
    for feature in prange(W_dec.shape[0]):
        enc = W_enc_g[feature]
        dec = W_dec_g[feature]
        shifted = shift[feature] if len(shift) else np.float32(0.0)
        for i in range(d_in):
            enc[i] = shifted * along[i]
        dec[:] = np.float32(0.0)
        if len(own):
            start = 0
            for part in range(len(ends)):
                scaled = own[feature, part]
                if scaled != 0.0:
                    for i in range(start, ends[part]):
                        dec[i] = scaled * W_dec[feature, i]
                start = ends[part]
        bias = shifted * num_rows
        if len(places) and places[feature] >= 0:
            given = places[feature]
            bias += block_bias[given]
            for i in range(d_in):
                enc[i] += block_enc[given, i]
            for i in range(width):
                dec[i] += block_dec[given, i]
        for place in range(pointer[feature], pointer[feature + 1]):
            value = values[place]
            d_value = d_pre[place]
            bias += d_value
            grad = d_out[d_rows[place]]
            for i in range(width):
                dec[i] += value * grad[i]
            line = x[rows[place]]
            for i in range(d_in):
                enc[i] += d_value * line[i]
        total = bias * bias
        if project:
            part = np.float32(0.0)
            for i in range(width):
                part += dec[i] * W_dec[feature, i]
            for i in range(width):
                dec[i] -= part * W_dec[feature, i]
        for i in range(width):
            total += dec[i] * dec[i]
        for i in range(d_in):
            total += enc[i] * enc[i]
        b_enc_g[feature] = bias
        squared[feature] = total

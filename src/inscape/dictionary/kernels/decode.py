"""Sparse decode and the gradient of the code's values, row by row.

decode:          out_b = bias + sum_s values[b, s] * weight[indices[b, s]]
value gradient:  d_values[b, s] = grad_b . weight[indices[b, s]] where values[b, s] > 0, else 0

Each row touches k rows of the weight, so nothing of shape [batch, d_dict] is made.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import prange
from torch import Tensor

from inscape.dictionary.kernels._jit import array, parallel, runs_here


def decode(
    indices: Int[Tensor, "batch k"],
    values: Float[Tensor, "batch k"],
    weight: Float[Tensor, "d_dict d_out"],
    bias: Float[Tensor, " d_out"] | None = None,
) -> Float[Tensor, "batch d_out"]:
    """Weighted sums of decoder rows; without a bias the sum starts at zero."""
    if not runs_here(indices, values, weight):
        return decode_plain(indices, values, weight, bias)
    start = weight.new_zeros(weight.shape[1]) if bias is None else bias.detach()
    out = weight.new_empty((indices.shape[0], weight.shape[1]))
    _decode(
        array(indices.contiguous()),
        array(values.contiguous()),
        array(weight),
        array(start.contiguous()),
        array(out),
    )
    return out


def decode_plain(
    indices: Int[Tensor, "batch k"],
    values: Float[Tensor, "batch k"],
    weight: Float[Tensor, "d_dict d_out"],
    bias: Float[Tensor, " d_out"] | None = None,
) -> Float[Tensor, "batch d_out"]:
    """Reference of `decode` in plain torch."""
    out = torch.einsum("bk,bkd->bd", values.to(weight.dtype), weight[indices])
    return out if bias is None else out + bias


def value_gradients(
    indices: Int[Tensor, "batch k"],
    values: Float[Tensor, "batch k"],
    weight: Float[Tensor, "d_dict d_out"],
    grad: Float[Tensor, "batch d_out"],
) -> Float[Tensor, "batch k"]:
    """Gradient of the loss for each kept value, given its gradient for the output of `decode`."""
    if not runs_here(indices, values, weight, grad):
        return value_gradients_plain(indices, values, weight, grad)
    out = torch.empty_like(values)
    _value_gradients(array(indices), array(values), array(weight), array(grad), array(out))
    return out


def value_gradients_plain(
    indices: Int[Tensor, "batch k"],
    values: Float[Tensor, "batch k"],
    weight: Float[Tensor, "d_dict d_out"],
    grad: Float[Tensor, "batch d_out"],
) -> Float[Tensor, "batch k"]:
    """Reference of `value_gradients` in plain torch."""
    return torch.einsum("bd,bkd->bk", grad, weight[indices]) * (values > 0)


@parallel
@no_type_check
def _decode(indices, values, weight, bias, out):
    width = weight.shape[1]
    for row in prange(indices.shape[0]):
        line = out[row]
        for i in range(width):
            line[i] = bias[i]
        for slot in range(indices.shape[1]):
            value = values[row, slot]
            if value != 0.0:
                direction = weight[indices[row, slot]]
                for i in range(width):
                    line[i] += value * direction[i]


@parallel
@no_type_check
def _value_gradients(indices, values, weight, grad, out):
    width = weight.shape[1]
    for row in prange(indices.shape[0]):
        line = grad[row]
        for slot in range(indices.shape[1]):
            total = np.float32(0.0)
            if values[row, slot] > 0.0:
                direction = weight[indices[row, slot]]
                for i in range(width):
                    total += line[i] * direction[i]
            out[row, slot] = total

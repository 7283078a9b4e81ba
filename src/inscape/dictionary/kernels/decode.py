"""Sparse decode and the gradient of the code's values, row by row.

decode:          out_b = bias + sum_e values[e] * weight[indices[e]] over the entries e of row b
value gradient:  d_values[e] = grad_b . weight[indices[e]]

Each row touches as many rows of the weight as it has entries, so nothing of shape [batch, d_dict]
is made. Where features belong to groups (nested prefixes of a Matryoshka dictionary), each group
has a gradient of its own: grad is [groups * batch, d_out], group after group.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import prange
from torch import Tensor

from inscape.dictionary.code import RaggedCode
from inscape.dictionary.kernels._jit import array, compiled, parallel, runs_here
from inscape.dictionary.kernels.terms import grad_rows


def decode(
    code: RaggedCode,
    weight: Float[Tensor, "d_dict d_out"],
    bias: Float[Tensor, " d_out"] | None = None,
) -> Float[Tensor, "batch d_out"]:
    """Weighted sums of decoder rows; without a bias the sum starts at zero."""
    from inscape.dictionary.kernels import gpu  # late: it calls on this file

    if gpu.serves(code.indices, code.values, weight):
        return gpu.decode(code, weight, bias)
    if not runs_here(code.indices, code.values, weight):
        return decode_plain(code, weight, bias)
    start = weight.new_zeros(weight.shape[1]) if bias is None else bias.detach()
    out = weight.new_empty((len(code), weight.shape[1]))
    _decode(*_arrays(code), array(weight), array(start.contiguous()), array(out))
    return out


def decode_plain(code: RaggedCode, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Reference of `decode` in plain torch."""
    out = weight.new_zeros((len(code), weight.shape[1]))
    out.index_add_(0, code.rows, code.values.to(weight.dtype)[:, None] * weight[code.indices])
    return out if bias is None else out + bias


def reconstruct(
    code: RaggedCode,
    weight: Float[Tensor, "d_dict d_out"],
    bias: Float[Tensor, " d_out"],
    target: Float[Tensor, "batch d_out"],
) -> tuple[Float[Tensor, "batch d_out"], Float[Tensor, " entries"]]:
    """What a decode leaves of its target, and the dot product of each entry's weight row with that
    error (0 for entries of value 0): a row's weights are gathered once for both."""
    if not runs_here(code.indices, code.values, weight, target):
        error = target - decode(code, weight, bias)
        return error, value_gradients(code, weight, error)
    error, dots = torch.empty_like(target), torch.empty_like(code.values)
    _reconstruct(
        *_arrays(code),
        array(weight),
        array(bias.contiguous()),
        array(target.contiguous()),
        array(error),
        array(dots),
    )
    return error, dots


def value_gradients(
    code: RaggedCode,
    weight: Float[Tensor, "d_dict d_out"],
    grad: Float[Tensor, "groups_batch d_out"],
    *,
    groups: Int[Tensor, " d_dict"] | None = None,
    everywhere: bool = False,
) -> Float[Tensor, " entries"]:
    """Gradient of the loss for each value, given its gradient for the output of `decode`.

    Args:
        groups: each feature's group, where grad holds several.
        everywhere: for entries of value 0 too, which otherwise get 0.
    """
    from inscape.dictionary.kernels import gpu  # late: it calls on this file

    if gpu.serves(code.indices, code.values, weight, grad):
        return gpu.value_gradients(code, weight, grad, groups, everywhere)
    if not runs_here(code.indices, code.values, weight, grad):
        return value_gradients_plain(code, weight, grad, groups=groups, everywhere=everywhere)
    out = torch.empty_like(code.values)
    _value_gradients(
        *_arrays(code),
        array(weight),
        array(grad.contiguous()),
        np.zeros(0, np.int64) if groups is None else array(groups.contiguous()),
        everywhere,
        array(out),
    )
    return out


def value_gradients_plain(
    code: RaggedCode,
    weight: Tensor,
    grad: Tensor,
    *,
    groups: Tensor | None = None,
    everywhere: bool = False,
) -> Tensor:
    """Reference of `value_gradients` in plain torch."""
    found = (grad[grad_rows(code, groups)] * weight[code.indices]).sum(1)
    return found if everywhere else found * (code.values > 0)


def _arrays(code: RaggedCode) -> tuple[np.ndarray, ...]:
    parts = code.indptr, code.indices, code.values
    return tuple(array(part.contiguous()) for part in parts)


@compiled
@no_type_check
def _sum(start, end, indices, values, weight, bias, line):
    width = weight.shape[1]
    for i in range(width):
        line[i] = bias[i]
    for entry in range(start, end):
        value = values[entry]
        if value != 0.0:
            direction = weight[indices[entry]]
            for i in range(width):
                line[i] += value * direction[i]


@parallel
@no_type_check
def _decode(indptr, indices, values, weight, bias, out):
    for row in prange(len(indptr) - 1):
        _sum(indptr[row], indptr[row + 1], indices, values, weight, bias, out[row])


@parallel
@no_type_check
def _value_gradients(indptr, indices, values, weight, grad, groups, everywhere, out):
    width = weight.shape[1]
    batch = len(indptr) - 1
    for row in prange(batch):
        for entry in range(indptr[row], indptr[row + 1]):
            total = np.float32(0.0)
            if everywhere or values[entry] > 0.0:
                feature = indices[entry]
                direction = weight[feature]
                line = grad[row + groups[feature] * batch] if len(groups) else grad[row]
                for i in range(width):
                    total += line[i] * direction[i]
            out[entry] = total


@parallel
@no_type_check
def _reconstruct(indptr, indices, values, weight, bias, target, error, dots):
    width = weight.shape[1]
    for row in prange(len(indptr) - 1):
        line = error[row]
        _sum(indptr[row], indptr[row + 1], indices, values, weight, bias, line)
        for i in range(width):
            line[i] = target[row, i] - line[i]
        for entry in range(indptr[row], indptr[row + 1]):
            total = np.float32(0.0)
            if values[entry] > 0.0:
                direction = weight[indices[entry]]
                for i in range(width):
                    total += line[i] * direction[i]
            dots[entry] = total

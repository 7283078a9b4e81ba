"""The k largest positive entries of each row, without sorting the row; or all above a bound.

1. The maximum of every block of 16 entries is taken (vectorised), and the k-th largest of these
   maxima is found: at least k entries of the row reach it, so nothing below it can be chosen.
2. Entries of the blocks whose maximum reaches that floor go through a min-heap of the row's k
   slots. The heap is filled with zeros at the start: only positive values enter, so the ReLU that
   follows a TopK costs nothing.
3. The heap is unwound into decreasing order. Slots that stay empty have value 0 and index 0.

`select_above` takes all entries above a bound: each row is counted, then filled.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float, Int
from numba import prange
from torch import Tensor

from inscape.dictionary.kernels._jit import array, compiled, parallel, runs_here

_BLOCK = 16


def select_top(
    pre: Float[Tensor, "batch d_dict"],
    k: int,
    *,
    columns: Int[Tensor, " chosen"] | None = None,
    indices: Int[Tensor, "batch k"] | None = None,
    values: Float[Tensor, "batch k"] | None = None,
) -> tuple[Int[Tensor, "batch k"], Float[Tensor, "batch k"]]:
    """The k largest positive values of each row and where they are, in decreasing order.

    Args:
        pre: pre-activations.
        k: slots per row.
        columns: consider these columns only (the auxiliary loss passes the dead features).
        indices, values: outputs to fill (contiguous), so that a chunked caller allocates once.

    Returns:
        Indices (int64) and values; a slot that found no positive value holds index 0, value 0.
    """
    from inscape.dictionary.kernels import gpu  # late: it calls on this file

    rows = pre.shape[0]
    if indices is None or values is None:
        indices = torch.empty((rows, k), dtype=torch.int64, device=pre.device)
        values = torch.empty((rows, k), dtype=pre.dtype, device=pre.device)
    if not runs_here(pre, values):
        if gpu.serves(pre, values):
            found, best = gpu.select_top(pre, k, columns)
        else:
            found, best = select_top_plain(pre, k, columns=columns)
        return indices.copy_(found), values.copy_(best)
    if columns is None:
        _select(array(pre), array(indices), array(values))
    else:
        _select_columns(array(pre), array(columns), array(indices), array(values))
    return indices, values


def select_top_plain(
    pre: Float[Tensor, "batch d_dict"], k: int, *, columns: Int[Tensor, " chosen"] | None = None
) -> tuple[Int[Tensor, "batch k"], Float[Tensor, "batch k"]]:
    """Reference of `select_top` in plain torch."""
    scores = pre if columns is None else pre[:, columns]
    num = min(k, scores.shape[1])
    best, found = torch.relu(scores).topk(num, dim=1)
    if columns is not None:
        found = columns[found]
    found = torch.where(best > 0, found, 0)
    pad = (0, k - num)
    return torch.nn.functional.pad(found, pad), torch.nn.functional.pad(best, pad)


def select_above(
    pre: Float[Tensor, "batch d_dict"], bound: Float[Tensor, " d_dict_or_one"]
) -> tuple[Int[Tensor, " batch"], Int[Tensor, " entries"], Float[Tensor, " entries"]]:
    """The entries above a bound (strictly), one for all features or one for each.

    Returns:
        How many each row has, and row after row their features (ascending) and values.
    """
    from inscape.dictionary.kernels import gpu  # late: it calls on this file

    bound = bound.expand(pre.shape[1]).contiguous()
    if gpu.serves(pre, bound):
        return gpu.select_above(pre, bound)
    if not runs_here(pre, bound):
        return select_above_plain(pre, bound)
    counts = torch.empty(len(pre), dtype=torch.int64)
    _count_above(array(pre), array(bound), array(counts))
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    indices = torch.empty(total, dtype=torch.int64)
    values = torch.empty(total, dtype=pre.dtype)
    _fill_above(array(pre), array(bound), array(ends - counts), array(indices), array(values))
    return counts, indices, values


def select_above_plain(
    pre: Float[Tensor, "batch d_dict"], bound: Float[Tensor, " d_dict_or_one"]
) -> tuple[Int[Tensor, " batch"], Int[Tensor, " entries"], Float[Tensor, " entries"]]:
    """Reference of `select_above` in plain torch."""
    chosen = pre > bound
    rows, indices = chosen.nonzero(as_tuple=True)
    return chosen.sum(1), indices, pre[rows, indices]


@parallel
@no_type_check
def _count_above(pre, bound, counts):
    for row in prange(pre.shape[0]):
        line = pre[row]
        number = 0
        for j in range(pre.shape[1]):
            number += line[j] > bound[j]
        counts[row] = number


@parallel
@no_type_check
def _fill_above(pre, bound, starts, indices, values):
    for row in prange(pre.shape[0]):
        line = pre[row]
        place = starts[row]
        for j in range(pre.shape[1]):
            if line[j] > bound[j]:
                indices[place] = j
                values[place] = line[j]
                place += 1


@compiled
@no_type_check
def _replace_minimum(value, index, values, indices, size):
    """Put an entry in place of the heap's root and let it sink."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and values[child + 1] < values[child]:
            child += 1
        if values[child] >= value:
            break
        values[place] = values[child]
        indices[place] = indices[child]
        place = child
    values[place] = value
    indices[place] = index


@compiled
@no_type_check
def _unwind(values, indices):
    """Heap to decreasing order, in place."""
    for last in range(len(values) - 1, 0, -1):
        value, index = values[last], indices[last]
        values[last], indices[last] = values[0], indices[0]
        _replace_minimum(value, index, values, indices, last)


@compiled
@no_type_check
def _floor(line, tops, heap, places):
    """Fills the maxima of whole blocks; returns the k-th largest of them (0 if there are fewer)."""
    heap[:] = np.float32(0.0)
    for number in range(len(tops)):
        block = line[number * _BLOCK : number * _BLOCK + _BLOCK]
        top = np.float32(0.0)
        for i in range(_BLOCK):
            value = block[i]
            top = value if value > top else top
        tops[number] = top
    for number in range(len(tops)):
        if tops[number] > heap[0]:
            _replace_minimum(tops[number], number, heap, places, len(heap))
    return heap[0]


@parallel
@no_type_check
def _select(pre, indices, values):
    num_rows, width = pre.shape
    k = indices.shape[1]
    num_blocks = width // _BLOCK
    for row in prange(num_rows):
        line = pre[row]
        best = values[row]
        where = indices[row]
        tops = np.empty(num_blocks, np.float32)
        floor = _floor(line, tops, best, where)
        best[:] = np.float32(0.0)
        where[:] = 0
        for number in range(num_blocks):
            if tops[number] >= floor and tops[number] > best[0]:
                start = number * _BLOCK
                block = line[start : start + _BLOCK]
                for i in range(_BLOCK):
                    if block[i] >= floor and block[i] > best[0]:
                        _replace_minimum(block[i], start + i, best, where, k)
        for j in range(num_blocks * _BLOCK, width):
            if line[j] > best[0]:
                _replace_minimum(line[j], j, best, where, k)
        _unwind(best, where)


@parallel
@no_type_check
def _select_columns(pre, columns, indices, values):
    k = indices.shape[1]
    for row in prange(pre.shape[0]):
        line = pre[row]
        best = values[row]
        where = indices[row]
        best[:] = np.float32(0.0)
        where[:] = 0
        for j in columns:
            if line[j] > best[0]:
                _replace_minimum(line[j], j, best, where, k)
        _unwind(best, where)

"""The k largest positive entries of each row, without sorting the row; or all above a bound.

1. The maximum of every group of 16 entries is taken (vectorised), and a border is found that the k
   largest of these maxima reach: at least k entries of the row reach it, so nothing below it can be
   chosen. Positive floats are ordered as their bits are, which are counted in bins.
2. Entries of the groups whose maximum reaches that border go through a min-heap of the row's k
   slots. The heap is filled with zeros at the start: only positive values enter, so the ReLU that
   follows a TopK costs nothing.
3. The heap is unwound into decreasing order. Slots that stay empty have value 0 and index 0.

`select_above` takes all entries above a bound: each row is counted, then filled.

`select_half` is given pre-activations in bf16. What reaches the border of as many maxima as there
are to be candidates is computed again in fp32, and the k largest of that are the row's code.

`keep_top` leaves the k largest positive entries of each row where they are and clears the others.
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
from inscape.dictionary.kernels.decode import value_gradients

_GROUP = 16
_BINS = 1024
_STRIP = 64


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
        if gpu.serves(indices, values):  # the pre-activations may be in bf16
            found, best = gpu.select_top(pre, k, columns)
        else:
            found, best = select_top_plain(pre, k, columns=columns)
        return indices.copy_(found), values.copy_(best)
    if columns is None:
        _select(array(pre), array(pre.view(torch.int32)), array(indices), array(values))
    else:
        _select_columns(array(pre), array(columns), array(indices), array(values))
    return indices, values


def select_top_plain(
    pre: Tensor, k: int, *, columns: Tensor | None = None
) -> tuple[Tensor, Tensor]:
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
    """The entries above a bound (strictly), one for all features or one for each. Pre-activations
    may be in bf16: then the bound counts as the bf16 number next below it.

    Returns:
        How many each row has, and row after row their features (ascending) and values.
    """
    from inscape.dictionary.kernels import gpu  # late: it calls on this file

    half = pre.dtype == torch.bfloat16
    bound = bound.expand(pre.shape[1]).contiguous()
    if gpu.serves(bound):
        return gpu.select_above(pre, bound)
    if not runs_here(bound) or (half and bool((bound < 0).any())):
        return select_above_plain(pre, bound)
    keys, edge = array(pre.view(torch.int16) if half else pre), array(bound)
    if half:  # of what is not negative the bits are ordered as the values are; rounded down
        edge = array((bound.view(torch.int32) >> 16).to(torch.int16))
    counts = torch.empty(len(pre), dtype=torch.int64)
    _count_above(keys, edge, array(counts))
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    indices = torch.empty(total, dtype=torch.int64)
    values = torch.empty(total, dtype=torch.int16 if half else torch.float32)
    _fill_above(keys, edge, array(ends - counts), array(indices), array(values))
    return counts, indices, values.view(torch.bfloat16).float() if half else values


def select_above_plain(pre: Tensor, bound: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Reference of `select_above` in plain torch."""
    if pre.dtype == torch.bfloat16:
        bound = (bound.view(torch.int32) >> 16 << 16).view(torch.float32)
        pre = pre.float()
    chosen = pre > bound
    rows, indices = chosen.nonzero(as_tuple=True)
    return chosen.sum(1), indices, pre[rows, indices]


def select_half(
    pre: Float[Tensor, "batch d_dict"],
    x: Float[Tensor, "batch d_in"],
    W_enc: Float[Tensor, "d_dict d_in"],
    b_enc: Float[Tensor, " d_dict"],
    candidates: int,
    indices: Int[Tensor, "batch k"],
    values: Float[Tensor, "batch k"],
) -> None:
    """The k largest positive pre-activations of each row, in decreasing order, in fp32.

    Args:
        pre: the pre-activations in bf16. x, W_enc, b_enc: what they are made of, in fp32.
        candidates: how many entries of a row are computed again, at least.
        indices, values: filled; a slot that found no positive value holds index 0, value 0.
    """
    if runs_here(x, W_enc, b_enc, values):
        read = (array(t) for t in (pre.view(torch.int16), x.contiguous(), W_enc, b_enc))
        _select_half(*read, candidates, array(indices), array(values))
        return
    found, best = select_half_plain(pre, x, W_enc, b_enc, candidates, values.shape[1])
    indices.copy_(found)
    values.copy_(best)


def select_half_plain(
    pre: Tensor, x: Tensor, W_enc: Tensor, b_enc: Tensor, candidates: int, k: int
) -> tuple[Tensor, Tensor]:
    """`select_half` by the other functions of this package: its reference, also used on a GPU."""
    places, guesses = select_top(pre, min(candidates, pre.shape[1]))
    indptr = torch.arange(len(pre) + 1, device=pre.device) * places.shape[1]
    code = RaggedCode(indptr, places.flatten(), guesses.float().flatten())
    exact = value_gradients(code, W_enc, x.contiguous()).view(places.shape) + b_enc[places]
    chosen, best = select_top(torch.where(guesses > 0, exact, 0.0), k)
    return torch.where(best > 0, places.gather(1, chosen), 0), best


def keep_top(pre: Float[Tensor, "batch n"], k: int) -> Float[Tensor, "batch n"]:
    """The k largest positive entries of each row stay, in place; of equal ones the first."""
    if k >= pre.shape[1]:
        return pre.relu_()
    if runs_here(pre):
        _keep_top(array(pre), array(pre.view(torch.int32)), k)
        return pre
    best, found = pre.relu().topk(k, dim=1)
    return pre.zero_().scatter_(1, found, best)


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
    width = pre.shape[1]
    for row in prange(pre.shape[0]):
        line = pre[row]
        place = starts[row]
        for start in range(0, width, _STRIP):
            end = min(start + _STRIP, width)
            number = 0  # most strips have none: they are passed over many entries at a time
            for j in range(start, end):
                number += line[j] > bound[j]
            if number:
                for j in range(start, end):
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
def _maxima(line, tops):
    """The greatest key of each group, 0 at least; group g has the entries g, g + groups, ..., so
    that many groups are compared at a time."""
    groups = len(tops)
    tops[:] = 0
    for number in range(_GROUP):
        part = line[number * groups : (number + 1) * groups]
        for group in range(groups):
            tops[group] = max(tops[group], part[group])


@compiled
@no_type_check
def _range(keys):
    """The least positive key, the greatest, and how many are positive."""
    low, high, number = np.int32(2**31 - 1), np.int32(0), 0
    for i in range(len(keys)):
        key = np.int32(keys[i])
        high = max(high, key)
        low = min(low, key if key > 0 else np.int32(2**31 - 1))
        number += key > 0
    return low, high, number


@compiled
@no_type_check
def _border(keys, count, bins):
    """A border that the `count` largest keys reach, and few others: keys are counted in bins. Also
    how many lie in the bins above it, and the end of the border's bin. 1 where fewer are positive.
    """
    low, high, number = _range(keys)
    if number < count:
        return np.int32(1), 0, np.int32(1)
    shift = np.int32(0)
    while (high - low) >> shift >= _BINS:
        shift += np.int32(1)
    last = (high - low) >> shift
    for place in range(last + 1):
        bins[place] = 0
    for i in range(len(keys)):
        if keys[i] > 0:
            bins[(keys[i] - low) >> shift] += 1
    place, above = last, 0
    while above + bins[place] < count:
        above += bins[place]
        place -= 1
    return np.int32(low + (place << shift)), above, np.int32(low + ((place + 1) << shift))


@parallel
@no_type_check
def _select(pre, keys, indices, values):
    num_rows, width = pre.shape
    k = indices.shape[1]
    groups = width // _GROUP
    for row in prange(num_rows):
        line = pre[row]
        best = values[row]
        where = indices[row]
        tops = np.empty(groups, np.int32)
        _maxima(keys[row], tops)
        border = _border(tops, k, np.empty(_BINS, np.int32))[0]
        best[:] = np.float32(0.0)
        where[:] = 0
        for group in range(groups):
            if tops[group] >= border:
                for j in range(group, groups * _GROUP, groups):
                    if line[j] > best[0]:
                        _replace_minimum(line[j], j, best, where, k)
        for j in range(groups * _GROUP, width):
            if line[j] > best[0]:
                _replace_minimum(line[j], j, best, where, k)
        _unwind(best, where)


@compiled
@no_type_check
def _dot(x, weight):
    total = np.float32(0.0)
    for i in range(len(x)):
        total += x[i] * weight[i]
    return total


@parallel
@no_type_check
def _select_half(keys, x, W_enc, b_enc, candidates, indices, values):
    num_rows, width = keys.shape
    k = indices.shape[1]
    groups = width // _GROUP
    for row in prange(num_rows):
        line = keys[row]
        best = values[row]
        where = indices[row]
        tops = np.empty(groups, np.int16)
        _maxima(line, tops)
        border = _border(tops, candidates, np.empty(_BINS, np.int32))[0]
        best[:] = np.float32(0.0)
        where[:] = 0
        for group in range(groups):
            if tops[group] >= border:
                for j in range(group, groups * _GROUP, groups):
                    if line[j] >= border:
                        exact = _dot(x[row], W_enc[j]) + b_enc[j]
                        if exact > best[0]:
                            _replace_minimum(exact, j, best, where, k)
        for j in range(groups * _GROUP, width):
            if line[j] >= border:
                exact = _dot(x[row], W_enc[j]) + b_enc[j]
                if exact > best[0]:
                    _replace_minimum(exact, j, best, where, k)
        _unwind(best, where)


@parallel
@no_type_check
def _keep_top(pre, keys, k):
    for row in prange(pre.shape[0]):
        line = pre[row]
        border, above, end = _border(keys[row], k, np.empty(_BINS, np.int32))
        places = np.empty(k, np.int64)
        values = np.zeros(max(k - above, 1), np.float32)  # what the border's bin may give
        if border > 1:
            for j in range(len(line)):
                if keys[row, j] >= border and keys[row, j] < end and line[j] > values[0]:
                    _replace_minimum(line[j], j, values, places, k - above)
        least = values[0]
        ties = 0
        for i in range(len(values)):
            ties += values[i] == least
        for j in range(len(line)):
            value = line[j]
            line[j] = value if value > least else np.float32(0.0)
            if value == least and value > 0.0 and ties > 0:
                line[j] = value
                ties -= 1


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

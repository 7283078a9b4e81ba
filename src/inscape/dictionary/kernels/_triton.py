"""Triton kernels of sparse codes; `gpu` says how they are called, `checks` holds them to the plain
references. A program has one row of what it writes, so that every row is written exactly once and
sums are added up in the same order in every run."""

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def decode(
    indptr, indices, values, weight, bias, out, width, BIAS: tl.constexpr, BLOCK: tl.constexpr
):
    """out_b = bias + sum of value * weight row; programs: rows × blocks of columns."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    total = tl.zeros([BLOCK], tl.float32)
    if BIAS:
        total += tl.load(bias + columns, mask=inside, other=0.0)
    for entry in range(tl.load(indptr + row), tl.load(indptr + row + 1)):
        value = tl.load(values + entry)
        start = tl.load(indices + entry) * width
        total += value * tl.load(weight + start + columns, mask=inside, other=0.0)
    tl.store(out + row * width + columns, total, mask=inside)


@triton.jit
@no_type_check
def value_gradients(
    indptr,
    indices,
    values,
    weight,
    grad,
    groups,
    out,
    batch,
    width,
    GROUPS: tl.constexpr,
    EVERYWHERE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """The dot product of each entry's weight row with its row's gradient; programs: rows."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < width
    line = tl.load(grad + row * width + columns, mask=inside, other=0.0)
    for entry in range(tl.load(indptr + row), tl.load(indptr + row + 1)):
        feature = tl.load(indices + entry)
        if GROUPS:
            start = (row + tl.load(groups + feature) * batch) * width
            line = tl.load(grad + start + columns, mask=inside, other=0.0)
        direction = tl.load(weight + feature * width + columns, mask=inside, other=0.0)
        total = tl.sum(line * direction, 0)
        if not EVERYWHERE:
            total = tl.where(tl.load(values + entry) > 0.0, total, 0.0)
        tl.store(out + entry, total)


@triton.jit
@no_type_check
def weight_gradients(
    pointer,
    rows,
    d_rows,
    values,
    d_pre,
    x,
    d_out,
    W_dec,
    own,
    shift,
    along,
    num_rows,
    places,
    block_enc,
    block_bias,
    block_dec,
    W_enc_g,
    b_enc_g,
    W_dec_g,
    squared,
    d_in,
    width,
    OWN: tl.constexpr,
    SHIFT: tl.constexpr,
    GIVEN: tl.constexpr,
    PROJECT: tl.constexpr,
    IN: tl.constexpr,
    OUT: tl.constexpr,
):
    """Both weight rows, the bias and the squared norm of a feature; programs: features."""
    feature = tl.program_id(0).to(tl.int64)
    inputs = tl.arange(0, IN)
    columns = tl.arange(0, OUT)
    read, inside = inputs < d_in, columns < width
    enc = tl.zeros([IN], tl.float32)
    dec = tl.zeros([OUT], tl.float32)
    bias = tl.zeros([1], tl.float32)
    if OWN:
        direction = tl.load(W_dec + feature * width + columns, mask=inside, other=0.0)
        dec += tl.load(own + feature) * direction
    if SHIFT:
        amount = tl.load(shift + feature)
        enc += amount * tl.load(along + inputs, mask=read, other=0.0)
        bias += amount * num_rows
    if GIVEN:
        given = tl.load(places + feature)
        there = given >= 0
        start = tl.where(there, given, 0)
        bias += tl.load(block_bias + start, mask=there, other=0.0)
        enc += tl.load(block_enc + start * d_in + inputs, mask=read & there, other=0.0)
        dec += tl.load(block_dec + start * width + columns, mask=inside & there, other=0.0)
    for place in range(tl.load(pointer + feature), tl.load(pointer + feature + 1)):
        value = tl.load(values + place)
        d_value = tl.load(d_pre + place)
        bias += d_value
        start = tl.load(d_rows + place) * width
        dec += value * tl.load(d_out + start + columns, mask=inside, other=0.0)
        start = tl.load(rows + place) * d_in
        enc += d_value * tl.load(x + start + inputs, mask=read, other=0.0)
    if PROJECT:
        direction = tl.load(W_dec + feature * width + columns, mask=inside, other=0.0)
        dec -= tl.sum(dec * direction, 0) * direction
    tl.store(W_enc_g + feature * d_in + inputs, enc, mask=read)
    tl.store(W_dec_g + feature * width + columns, dec, mask=inside)
    bias_sum = tl.sum(bias, 0)
    tl.store(b_enc_g + feature, bias_sum)
    tl.store(squared + feature, tl.sum(dec * dec, 0) + tl.sum(enc * enc, 0) + bias_sum * bias_sum)


@triton.jit
@no_type_check
def floors(pre, floors, width, k, GROUPS: tl.constexpr, GROUP: tl.constexpr):
    """A value that at least k entries of the row reach: the k-th largest of the maxima of groups
    of entries, found by bisection over the bits (positive floats are ordered as their bits are);
    0 where fewer groups have a positive entry. Group g has the entries g, g + GROUPS, ...;
    programs: rows."""
    row = tl.program_id(0).to(tl.int64)
    line = pre + row * width
    group = tl.arange(0, GROUPS)
    tops = tl.zeros([GROUPS], tl.float32)
    for number in range(GROUP):
        place = group + number * GROUPS
        tops = tl.maximum(tops, tl.load(line + place, mask=place < width, other=0.0).to(tl.float32))
    bits = tops.to(tl.int32, bitcast=True)
    found = 0
    for power in range(31):
        guess = found + (1 << (30 - power))
        reached = tl.sum((bits >= guess).to(tl.int32), 0)
        found = tl.where(reached >= k, guess, found)
    found_bits = tl.zeros([1], tl.int32) + found
    tl.store(floors + row + tl.arange(0, 1), found_bits.to(tl.float32, bitcast=True))


@triton.jit
@no_type_check
def _chosen(line, bound, columns, width, edge, BY_ROW: tl.constexpr):
    """The values of a block, and which are wanted: positive ones that reach their row's bound, or
    those strictly above their feature's."""
    inside = columns < width
    value = tl.load(line + columns, mask=inside, other=0.0).to(tl.float32)
    if BY_ROW:
        wanted = inside & (value >= edge) & (value > 0.0)
    else:
        wanted = inside & (value > tl.load(bound + columns, mask=inside, other=0.0))
    return value, wanted


@triton.jit
@no_type_check
def count_above(pre, bound, counts, width, BY_ROW: tl.constexpr, BLOCK: tl.constexpr):
    """How many entries of a row are wanted; programs: rows."""
    row = tl.program_id(0).to(tl.int64)
    edge = tl.load(bound + row) if BY_ROW else 0.0
    total = tl.zeros([BLOCK], tl.int32)
    for start in range(0, width, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        _, wanted = _chosen(pre + row * width, bound, columns, width, edge, BY_ROW)
        total += wanted.to(tl.int32)
    tl.store(counts + row, tl.sum(total, 0).to(tl.int64))


@triton.jit
@no_type_check
def fill_above(
    pre, bound, starts, indices, values, width, BY_ROW: tl.constexpr, BLOCK: tl.constexpr
):
    """The wanted entries of a row, in the order of their features; programs: rows."""
    row = tl.program_id(0).to(tl.int64)
    edge = tl.load(bound + row) if BY_ROW else 0.0
    place = tl.load(starts + row)
    for start in range(0, width, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        value, wanted = _chosen(pre + row * width, bound, columns, width, edge, BY_ROW)
        number = wanted.to(tl.int32)
        slots = place + tl.cumsum(number, 0) - number
        tl.store(indices + slots, columns.to(tl.int64), mask=wanted)
        tl.store(values + slots, value, mask=wanted)
        place += tl.sum(number, 0)


@triton.jit
@no_type_check
def adam(
    parameter,
    gradient,
    mean,
    square,
    width,
    scale,
    lr,
    root,
    beta1,
    beta2,
    eps,
    UNIT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One update; programs: rows × blocks of columns, a whole row where it is renormalised."""
    columns = tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    places = tl.program_id(0).to(tl.int64) * width + columns
    grad = tl.load(gradient + places, mask=inside, other=0.0) * scale
    first = tl.load(mean + places, mask=inside, other=0.0)
    first += (grad - first) * (1.0 - beta1)
    second = tl.load(square + places, mask=inside, other=0.0)
    second = second * beta2 + grad * grad * (1.0 - beta2)
    updated = tl.load(parameter + places, mask=inside, other=0.0)
    updated -= lr * first / (tl.sqrt(second) * root + eps)
    if UNIT:
        total = tl.sum(updated * updated, 0)
        updated = updated * tl.where(total > 0.0, 1.0 / tl.sqrt(total), 1.0)
    tl.store(mean + places, first, mask=inside)
    tl.store(square + places, second, mask=inside)
    tl.store(parameter + places, updated, mask=inside)

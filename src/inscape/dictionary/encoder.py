"""From rows to codes, a chunk of rows at a time.

1. pre = x @ W_enc^T + b_enc for a chunk of rows, written into one reused buffer (allocating an
   output of that size costs more than the matmul).
2. The active entries of each row are kept, and the chunk is overwritten. Several selections can be
   made from one chunk, such as the largest entries among the dead features.
3. If W_enc is narrower than a row, features read by layer: the features of a layer read its columns
   (see `wiring`).

With `half` the matmul is in bf16 and only preselects: twice as many entries as needed are
recomputed in fp32, and the active ones are selected from these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.core import has_bf16
from inscape.dictionary.code import Code, RaggedCode, occurrences, row_starts
from inscape.dictionary.kernels import select_above, select_half, select_top, value_gradients

_ROWS = 512  # a matmul of fewer rows at a time is slower by up to a half
_BUFFER_ENTRIES = 1 << 24  # 64 MB of fp32
_LARGE = 1 << 21  # entries of the encoder; half of the smallest that was timed, and faster so
_GPU_ENTRIES = 1 << 28  # 1 GB on a GPU, whose matmul needs many rows at a time


def chunk_rows(d_dict: int, dtype: torch.dtype = torch.float32) -> int:
    """Rows of a chunk of pre-activations on a CPU."""
    return max(1, min(_ROWS * 4 // dtype.itemsize, _BUFFER_ENTRIES // d_dict))


class Encoder:
    """Pre-activations in chunks, in one reused buffer: not for several threads at once.

    Args:
        half: whether variants should preselect by a bf16 matmul.
    """

    def __init__(self, *, half: bool = False) -> None:
        self.half = half
        self._buffer: Tensor | None = None

    def chunks(
        self,
        x: Float[Tensor, "batch d_in"],
        W_enc: Float[Tensor, "d_dict d_read"],
        b_enc: Float[Tensor, " d_dict"],
    ) -> Iterator[tuple[slice, Float[Tensor, "rows d_dict"]]]:
        """(rows, their pre-activations); each chunk is overwritten by the next."""
        buffer = self._chunk(x, W_enc.shape[0])
        for start in range(0, len(x), len(buffer)):
            rows = slice(start, min(start + len(buffer), len(x)))
            pre = buffer[: rows.stop - start]
            if W_enc.shape[1] == x.shape[1]:
                torch.addmm(b_enc, x[rows], W_enc.T, out=pre)
            else:
                _by_layers(x[rows], W_enc, b_enc, pre)
            yield rows, pre

    def halves(
        self,
        x: Float[Tensor, "batch d_in"],
        W_enc: Float[Tensor, "d_dict d_in"],
        b_enc: Float[Tensor, " d_dict"],
    ) -> Iterator[tuple[slice, Float[Tensor, "rows d_dict"]]]:
        """As `chunks`, by a bf16 matmul."""
        return self.chunks(x.bfloat16(), W_enc.bfloat16(), b_enc.bfloat16())

    def top_half(
        self,
        x: Float[Tensor, "batch d_in"],
        W_enc: Float[Tensor, "d_dict d_in"],
        b_enc: Float[Tensor, " d_dict"],
        k: int,
    ) -> Code:
        """The k largest positive pre-activations of each row, preselected by a bf16 matmul."""
        code = TopSlots(x, k).code
        for rows, pre in self.halves(x, W_enc, b_enc):
            select_half(
                pre, x[rows], W_enc, b_enc, CANDIDATES * k, code.indices[rows], code.values[rows]
            )
        return code

    def _chunk(self, x: Tensor, d_dict: int) -> Tensor:
        most = max(1, _GPU_ENTRIES // d_dict) if x.is_cuda else chunk_rows(d_dict, x.dtype)
        wanted = (max(1, min(most, len(x))), d_dict), x.device, x.dtype
        buffer = self._buffer
        if buffer is None or (buffer.shape, buffer.device, buffer.dtype) != wanted:
            buffer = self._buffer = x.new_empty(wanted[0])
        return buffer


MARGIN = 2**-6
"""Entries of a bf16 matmul down to this fraction below a bound are recomputed."""
CANDIDATES = 2
"""How many times k entries are recomputed after a bf16 matmul."""


def half_is_faster(entries: int, device: torch.device) -> bool:
    """Whether a bf16 matmul of an encoder with so many entries saves time: if it is large, on a GPU
    or on a CPU with bf16 instructions."""
    return entries >= _LARGE and has_bf16(device)


def _by_layers(x: Tensor, W_enc: Tensor, b_enc: Tensor, out: Tensor) -> None:
    width = W_enc.shape[1]
    num_layers = x.shape[1] // width
    size = len(W_enc) // num_layers
    for layer in range(num_layers):
        own = slice(layer * size, (layer + 1) * size)
        columns = x[:, layer * width : (layer + 1) * width]
        torch.addmm(b_enc[own], columns, W_enc[own].T, out=out[:, own])


class TopSlots:
    """Collects the k largest positive entries of each row, chunk by chunk.

    Args:
        x: the encoded rows (for their number, device and dtype). columns: the features to consider.
    """

    def __init__(self, x: Tensor, k: int, columns: Int[Tensor, " chosen"] | None = None) -> None:
        self.columns = columns
        indices = torch.empty((len(x), k), dtype=torch.int64, device=x.device)
        self.code = Code(indices, x.new_empty((len(x), k)))

    def add(self, rows: slice, pre: Float[Tensor, "rows d_dict"]) -> None:
        """Take the next chunk."""
        select_top(
            pre,
            self.code.indices.shape[1],
            columns=self.columns,
            indices=self.code.indices[rows],
            values=self.code.values[rows],
        )


class Above:
    """Collects the entries above a bound, chunk by chunk; the bound is one number or [d_dict].

    Args:
        exact: x, W_enc and b_enc in fp32 if the chunks are of a bf16 matmul: entries a little below
            the bound are collected too, values are recomputed, and those above the bound are kept.
            No bound may be negative then.
    """

    def __init__(
        self,
        bound: Float[Tensor, " d_dict_or_one"],
        exact: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> None:
        self.bound, self.exact = bound, exact
        self._floor = bound if exact is None else bound * (1 - MARGIN)
        self._parts: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, pre: Float[Tensor, "rows d_dict"]) -> None:
        """Take the next chunk."""
        self._parts.append(select_above(pre, self._floor))

    def code(self) -> RaggedCode:
        """All entries so far, with their pre-activations, which may be negative."""
        counts, indices, values = (torch.cat(part) for part in zip(*self._parts, strict=True))
        code = RaggedCode(row_starts(counts), indices, values)
        if self.exact is None:
            return code
        x, W_enc, b_enc = self.exact
        exact = value_gradients(code, W_enc, x.contiguous(), everywhere=True)
        exact.add_(b_enc[indices])
        bound = self.bound if len(self.bound) == 1 else self.bound[indices]
        return code.with_values(exact).only(exact > bound)


class Pool:
    """Collects the `count` largest positive entries of a whole batch, chunk by chunk; arguments as
    of `TopSlots`."""

    def __init__(self, x: Tensor, count: int, columns: Int[Tensor, " chosen"] | None) -> None:
        self.count, self.columns, self.num_rows = count, columns, len(x)
        none = torch.empty(0, dtype=torch.int64, device=x.device)
        self._kept = none, none, x.new_empty(0)
        self._bound = x.new_zeros(1)

    def add(self, rows: slice, pre: Float[Tensor, "rows d_dict"]) -> None:
        """Take the next chunk."""
        part = pre if self.columns is None else pre[:, self.columns]
        counts, indices, values = select_above(part, self._bound)
        if self.columns is not None:
            indices = self.columns[indices]
        row = torch.arange(rows.start, rows.stop, device=pre.device).repeat_interleave(counts)
        new = row, indices, values
        row, indices, values = (torch.cat(both) for both in zip(self._kept, new, strict=True))
        if len(values) > self.count:
            values, best = values.topk(self.count)
            row, indices = row[best], indices[best]
            self._bound = values[-1:].clone()
        self._kept = row, indices, values

    @property
    def code(self) -> Code:
        """The result, with as many slots as the fullest row needs."""
        row, indices, values = self._kept
        order = row.argsort(stable=True)
        indptr = row_starts(occurrences(row, self.num_rows))
        return RaggedCode(indptr, indices[order], values[order]).padded()


Adjust = Callable[[slice, Float[Tensor, "rows d_dict"]], None]
"""Changes a chunk of pre-activations in place, given its rows."""


def encode_top(
    x: Float[Tensor, "batch d_in"],
    W_enc: Float[Tensor, "d_dict d_in"],
    b_enc: Float[Tensor, " d_dict"],
    k: int,
    *,
    groups: int = 1,
    pooled: bool = False,
    signed: bool = False,
    adjust: Adjust | None = None,
    half: bool = False,
) -> Code:
    """The k largest positive pre-activations of each row.

    Args:
        half: preselect by a bf16 matmul (one group, neither pooled, signed nor adjusted).
        groups: number of equal groups of features; the k largest of each group are taken.
        pooled: take the k·batch largest of the whole batch instead.
        signed: take k of each row, whatever their sign (one group, not pooled).
    """
    if half:
        return in_order(Encoder().top_half(x, W_enc, b_enc, k))
    columns: list[Tensor | None] = [None]
    if groups > 1:
        columns = list(torch.arange(len(W_enc), device=x.device).chunk(groups))
    chosen: list[TopSlots | Pool] = [
        Pool(x, k * len(x), part) if pooled else TopSlots(x, k, part) for part in columns
    ]
    for rows, pre in Encoder().chunks(x, W_enc, b_enc):
        if adjust is not None:
            adjust(rows, pre)
        for one in chosen:
            one.add(rows, pre)
        if signed:
            indices, values = chosen[0].code.indices[rows], chosen[0].code.values[rows]
            short = values[:, -1] <= 0  # fewer than k are positive
            values[short], indices[short] = pre[short].topk(k)
    if len(chosen) == 1:
        return chosen[0].code
    codes = [one.code for one in chosen]
    return in_order(
        Code(torch.cat([c.indices for c in codes], 1), torch.cat([c.values for c in codes], 1))
    )


def in_order(code: Code) -> Code:
    """The same code with the entries of each row in decreasing order."""
    values, order = code.values.sort(stable=True, dim=1, descending=True)
    return Code(code.indices.gather(1, order), values)


def encode_above(
    x: Float[Tensor, "batch d_in"],
    W_enc: Float[Tensor, "d_dict d_in"],
    b_enc: Float[Tensor, " d_dict"],
    threshold: Float[Tensor, " d_dict"],
    *,
    adjust: Adjust | None = None,
    half: bool = False,
) -> Code:
    """The pre-activations above each feature's threshold (strictly), in decreasing order in each
    row; as many slots as the fullest row needs. half: preselect by a bf16 matmul (no negative
    thresholds, nothing adjusted)."""
    above = Above(threshold, (x, W_enc, b_enc) if half else None)
    encoder = Encoder()
    for rows, pre in (encoder.halves if half else encoder.chunks)(x, W_enc, b_enc):
        if adjust is not None:
            adjust(rows, pre)
        above.add(pre)
    return (
        above.code().padded() if len(x) else Code(x.new_zeros((0, 1)).long(), x.new_zeros((0, 1)))
    )

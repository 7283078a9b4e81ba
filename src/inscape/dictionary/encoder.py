"""From rows to codes, a chunk of rows at a time.

1. pre = x @ W_enc^T + b_enc, a chunk of rows at a time, written into one reused buffer (fresh
   outputs of that size cost more than the product).
2. Of each row of the chunk the active entries are kept, and the chunk is overwritten.
3. Where W_enc is narrower than a row, features read by layers: each layer's share of the features
   reads its share of the columns (see `wiring`).
4. Several choices may be made of one chunk: the auxiliary loss needs the largest entries among the
   dead features, and so no second product is made.

With `half` the product is made in bf16. It only tells which entries may be among the largest: twice
as many as are wanted are computed again in fp32, and chosen from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inscape.dictionary.code import Code, RaggedCode, occurrences, row_starts
from inscape.dictionary.kernels import select_above, select_half, select_top, value_gradients

_ROWS = 512  # a product of fewer rows at a time is slower by up to a half
_BUFFER_ENTRIES = 1 << 24  # 64 MB of fp32
_LARGE = 1 << 21  # entries of the encoder; half of the smallest that was timed, and faster so
_GPU_ENTRIES = 1 << 28  # 1 GB on a GPU, whose product wants many rows at a time


def chunk_rows(d_dict: int, dtype: torch.dtype = torch.float32) -> int:
    """Rows of a chunk of pre-activations on a processor."""
    return max(1, min(_ROWS * 4 // dtype.itemsize, _BUFFER_ENTRIES // d_dict))


class Encoder:
    """Pre-activations in chunks; holds the buffer that they share.

    Not for use from several threads at once: make one encoder per thread.

    Args:
        half: whether `top_half` serves, which makes the product in bf16.
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
        """As `chunks`, of a product in bf16."""
        return self.chunks(x.bfloat16(), W_enc.bfloat16(), b_enc.bfloat16())

    def top_half(
        self,
        x: Float[Tensor, "batch d_in"],
        W_enc: Float[Tensor, "d_dict d_in"],
        b_enc: Float[Tensor, " d_dict"],
        k: int,
    ) -> Code:
        """The k largest positive pre-activations of each row, found by a product in bf16."""
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
"""How far below a bound entries of a product in bf16 are taken for a while, as a share of it."""
CANDIDATES = 2
"""How many times as many entries as are wanted are computed again after a product in bf16."""


def half_is_faster(entries: int, device: torch.device) -> bool:
    """Whether a product in bf16 saves time here: on a graphics card, or on a processor with
    instructions for it; and where the encoder, of so many entries, is large beside what is computed
    again."""
    if entries < _LARGE:
        return False
    cpu: Any = torch.cpu
    able = cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()
    return bool(device.type == "cuda" or able)


def _by_layers(x: Tensor, W_enc: Tensor, b_enc: Tensor, out: Tensor) -> None:
    width = W_enc.shape[1]
    num_layers = x.shape[1] // width
    size = len(W_enc) // num_layers
    for layer in range(num_layers):
        own = slice(layer * size, (layer + 1) * size)
        columns = x[:, layer * width : (layer + 1) * width]
        torch.addmm(b_enc[own], columns, W_enc[own].T, out=out[:, own])


class TopSlots:
    """Fills a code of the k largest positive entries of each row, chunk by chunk.

    Args:
        x: rows that are encoded (for their number, device and type). k: slots of a row.
        columns: consider these features only.
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
        exact: x, W_enc and b_enc in fp32, where the chunks come from a product in bf16: then what
            lies a little below the bound is collected too, its values are computed again, and what
            is above the bound stays. No bound may be negative then.
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
        """All entries so far; values are pre-activations, and may be negative."""
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
    """Collects the `count` largest positive entries of a whole batch, chunk by chunk.

    Args:
        x: rows that are encoded (for their number, device and type).
        columns: consider these features only.
    """

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
        """What was kept, as a code of as many slots as the fullest row needs."""
        row, indices, values = self._kept
        order = row.argsort(stable=True)
        indptr = row_starts(occurrences(row, self.num_rows))
        return RaggedCode(indptr, indices[order], values[order]).padded()


Adjust = Callable[[slice, Float[Tensor, "rows d_dict"]], None]
"""Changes a chunk of pre-activations in place, given the rows that it holds."""


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
) -> Code:
    """The k largest positive pre-activations of each row.

    Args:
        groups: into how many equal groups the features fall; k of each group are taken.
        pooled: the k·batch largest of the whole batch are taken instead.
        signed: k of each row are taken, whatever their sign (of one group, not pooled).
    """
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
) -> Code:
    """The pre-activations above each feature's threshold (strictly), in decreasing order in each
    row; as many slots as the fullest row needs."""
    above = Above(threshold)
    for rows, pre in Encoder().chunks(x, W_enc, b_enc):
        if adjust is not None:
            adjust(rows, pre)
        above.add(pre)
    return (
        above.code().padded() if len(x) else Code(x.new_zeros((0, 1)).long(), x.new_zeros((0, 1)))
    )

"""The sparse activations of a batch: `Code` has the same number of slots in every row,
`RaggedCode`, which training uses, as many entries in a row as there are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Code:
    """Which features are active in each row, and how strongly.

    Attributes:
        indices: features, int64 [batch, k], in decreasing order of value.
        values: activations [batch, k]; value 0 is an empty slot (its index is 0). Only a `signed`
            dictionary has negative ones.
    """

    indices: Int[Tensor, "batch k"]
    values: Float[Tensor, "batch k"]

    @classmethod
    def both_signs(cls, x: Float[Tensor, "batch width"]) -> Code:
        """All of x: feature i is the positive part of column i, width + i the negative."""
        values, order = x.abs().sort(dim=1, descending=True, stable=True)
        indices = order + x.shape[1] * (x.gather(1, order) < 0)
        return cls(torch.where(values > 0, indices, 0), values)

    def __len__(self) -> int:
        return self.indices.shape[0]

    @property
    def active(self) -> Bool[Tensor, "batch k"]:
        """Which slots hold an active feature."""
        return self.values != 0

    def l0(self) -> float:
        """Mean number of active features per row."""
        return float(self.active.sum()) / max(len(self), 1)

    def of(self, feature: int) -> Float[Tensor, " batch"]:
        """The activation of one feature in every row."""
        return (self.values * (self.indices == feature)).sum(1)

    def dense(self, d_dict: int) -> Float[Tensor, "batch d_dict"]:
        """All activations as a dense tensor: for a handful of rows only."""
        out = self.values.new_zeros((len(self), d_dict))
        # An empty slot adds 0 to feature 0, and so leaves it as it is.
        return out.scatter_add_(1, self.indices, self.values)

    def to(self, device: torch.device | str) -> Code:
        """The same code on another device."""
        return Code(self.indices.to(device), self.values.to(device))

    def ragged(self) -> RaggedCode:
        """The same entries, empty slots included, over the same memory."""
        batch, k = self.indices.shape
        indptr = torch.arange(batch + 1, device=self.indices.device) * k
        return RaggedCode(indptr, self.indices.reshape(-1), self.values.reshape(-1))


@dataclass(frozen=True)
class RaggedCode:
    """The entries of a batch, row after row: row b has the entries indptr[b] : indptr[b + 1].

    Attributes:
        indptr: int64 [batch + 1]. indices: features, int64 [entries], each at most once in a row.
        values: activations [entries]; an entry of value 0 is empty.
    """

    indptr: Int[Tensor, " batch_and_one"]
    indices: Int[Tensor, " entries"]
    values: Float[Tensor, " entries"]

    def __len__(self) -> int:
        return self.indptr.shape[0] - 1

    @property
    def rows(self) -> Int[Tensor, " entries"]:
        """The row of each entry."""
        counts = self.indptr.diff()
        return torch.repeat_interleave(
            torch.arange(len(self), device=counts.device), counts, output_size=len(self.indices)
        )

    def l0(self) -> float:
        """Mean number of active features per row."""
        return float((self.values > 0).sum()) / max(len(self), 1)

    def with_values(self, values: Float[Tensor, " entries"]) -> RaggedCode:
        """Other values at the same entries."""
        return RaggedCode(self.indptr, self.indices, values)

    def only(self, kept: Bool[Tensor, " entries"]) -> RaggedCode:
        """Those entries that are marked."""
        places = kept.nonzero().flatten()
        if len(places) == len(kept):
            return self
        indptr = row_starts(occurrences(self.rows[places], len(self)))
        return RaggedCode(indptr, self.indices[places], self.values[places])

    def padded(self, width: int | None = None) -> Code:
        """As many slots in every row as the fullest row has entries (at least one); `width`: how
        many, where that is known."""
        if width is None:
            width = int(self.indptr.diff().max()) if len(self) else 0
        width, rows = max(width, 1), self.rows
        slots = torch.arange(len(rows), device=rows.device) - self.indptr[rows]
        values = self.values.new_zeros((len(self), width))
        indices = self.indices.new_zeros((len(self), width))
        values[rows, slots], indices[rows, slots] = self.values, self.indices
        values, order = values.sort(stable=True, dim=1, descending=True)
        return Code(torch.where(values != 0, indices.gather(1, order), 0), values)


@dataclass(frozen=True)
class DenseCode:
    """The values of a few features in every row, 0 where not active."""

    features: Int[Tensor, " n"]
    values: Float[Tensor, "batch n"]


def row_starts(counts: Int[Tensor, " batch"]) -> Int[Tensor, " batch_and_one"]:
    """`indptr` of a code, given the number of entries in each row."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def occurrences(indices: Int[Tensor, " entries"], size: int) -> Int[Tensor, " size"]:
    """How often each of 0 to size - 1 is among the indices. As torch.bincount, which makes the host
    wait for a GPU."""
    return indices.new_zeros(size).index_add_(0, indices, torch.ones_like(indices))

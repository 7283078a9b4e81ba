"""The sparse activations of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Code:
    """Which features are active in each row, and how strongly; never a dense [batch, d_dict].

    Attributes:
        indices: features, int64 [batch, k], in decreasing order of value.
        values: activations [batch, k], none negative; value 0 is an empty slot (its index is 0).
    """

    indices: Int[Tensor, "batch k"]
    values: Float[Tensor, "batch k"]

    def __len__(self) -> int:
        return self.indices.shape[0]

    @property
    def active(self) -> Bool[Tensor, "batch k"]:
        """Which slots hold an active feature."""
        return self.values > 0

    def l0(self) -> float:
        """Mean number of active features per row."""
        return float(self.active.sum()) / max(len(self), 1)

    def of(self, feature: int) -> Float[Tensor, " batch"]:
        """The activation of one feature in every row."""
        return (self.values * (self.indices == feature)).sum(1)

    def dense(self, d_dict: int) -> Float[Tensor, "batch d_dict"]:
        """All activations as a dense tensor: for tests and for a handful of rows only."""
        out = self.values.new_zeros((len(self), d_dict))
        # An empty slot adds 0 to feature 0, and so leaves it as it is.
        return out.scatter_add_(1, self.indices, self.values)

    def to(self, device: torch.device | str) -> Code:
        """The same code on another device."""
        return Code(self.indices.to(device), self.values.to(device))

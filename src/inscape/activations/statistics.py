"""Statistics of activations over the tokens that count, merged shard by shard.

Beginning-of-text tokens and attention sinks (`inscape.model.find_sinks`) dominate norms and
variances: they are left out, and their number is reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from numpy.typing import NDArray
from torch import Tensor

_CHUNK = 4096

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class SiteStats:
    """Statistics of one site over the tokens that count.

    Attributes:
        count: number of tokens. mean [width]. mean_norm: E||x||. variance: E||x - mean||^2, summed
            over the width. mean_square: E||x||^2.
    """

    count: int
    mean: Vector
    mean_norm: float
    variance: float

    @property
    def mean_square(self) -> float:
        """E||x||^2."""
        return self.variance + float(self.mean @ self.mean)


@dataclass(frozen=True)
class Moments:
    """Sums merged over shards: m2 [width] is the sum of squared deviations from the mean."""

    count: int
    mean: Vector
    m2: Vector
    norms: float

    @classmethod
    def of(
        cls,
        x: Shaped[Tensor, "tokens width"],
        kept: Bool[Tensor, " tokens"],
        norms: Float[Tensor, " tokens"],
    ) -> Moments:
        """The moments of the kept rows, given every row's norm; `x` may be on any device.

        One pass in cache-sized chunks: differences from a row near the mean are summed in fp32
        within a chunk and in float64 over chunks.
        """
        width = x.shape[1]
        total, squares = np.zeros(width), np.zeros(width)
        count = int(kept.sum())
        if not count:
            return cls(0, total, squares, 0.0)
        reference: Tensor | None = None
        where = kept.to(x.device)
        for start in range(0, len(x), _CHUNK):
            rows = x[start : start + _CHUNK][where[start : start + _CHUNK]].float()
            if not len(rows):
                continue
            if reference is None:
                reference = rows.mean(0)
            rows -= reference
            total += rows.sum(0).cpu().double().numpy()
            squares += rows.square().sum(0).cpu().double().numpy()
        shift = total / count
        near = np.zeros(width) if reference is None else reference.cpu().double().numpy()
        m2 = np.maximum(squares - count * shift**2, 0.0)
        return cls(count, near + shift, m2, float(norms[kept].double().sum()))

    def merge(self, other: Moments) -> Moments:
        """The combined moments (Chan et al. 1979)."""
        count = self.count + other.count
        if not count:
            return self
        delta = other.mean - self.mean
        return Moments(
            count,
            self.mean + delta * (other.count / count),
            self.m2 + other.m2 + delta**2 * (self.count * other.count / count),
            self.norms + other.norms,
        )

    def finish(self) -> SiteStats:
        """Means instead of sums."""
        count = max(self.count, 1)
        return SiteStats(self.count, self.mean, self.norms / count, float(self.m2.sum()) / count)


def row_norms(x: Shaped[Tensor, "tokens width"]) -> Float[Tensor, " tokens"]:
    """The norm of every row in fp32, by chunks on its device; returned on the CPU."""
    norms = torch.empty(len(x), device=x.device)
    for start in range(0, len(x), _CHUNK):
        rows = x[start : start + _CHUNK].float()
        torch.linalg.vector_norm(rows, dim=1, out=norms[start : start + _CHUNK])
    return norms.cpu()

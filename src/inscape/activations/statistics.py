"""Statistics of activations over the tokens that count, merged shard by shard.

Beginning-of-text tokens and attention sinks (norm above SINK_FACTOR times the median norm of the
site) dominate norms and variances: they are found, left out, and their number is reported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

SINK_FACTOR = 10.0

Vector = np.ndarray[Any, np.dtype[np.float64]]


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
    """What is summed over shards: m2 [width] is the sum of squared deviations from the mean."""

    count: int
    mean: Vector
    m2: Vector
    norms: float

    @classmethod
    def of(cls, x: Float[Tensor, "tokens width"], kept: Bool[Tensor, " tokens"]) -> Moments:
        """The moments of the rows that are kept."""
        rows = x[kept].double()
        if not len(rows):
            zero = np.zeros(x.shape[1])
            return cls(0, zero, zero, 0.0)
        mean = rows.mean(0)
        m2 = (rows - mean).square().sum(0)
        return cls(len(rows), mean.numpy(), m2.numpy(), float(rows.norm(dim=1).sum()))

    def merge(self, other: Moments) -> Moments:
        """The moments of both (Chan et al. 1979)."""
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


def find_sinks(
    norms: dict[str, Float[Tensor, " tokens"]], medians: dict[str, float]
) -> Bool[Tensor, " tokens"]:
    """Tokens whose norm at any site is above SINK_FACTOR times that site's median."""
    tokens = len(next(iter(norms.values())))
    sink = torch.zeros(tokens, dtype=torch.bool)
    for site, values in norms.items():
        if medians[site] > 0:
            sink |= values > SINK_FACTOR * medians[site]
    return sink

"""Intervals: every fraction and every mean that is reported comes with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt


def bootstrap_mean(
    values: Sequence[float], seed: int, resamples: int = 1000
) -> tuple[float, float]:
    """95 % interval of a mean over independent `values`, such as one of each prompt."""
    import numpy as np  # late: the command line answers without it

    given = np.asarray(values, np.float64)
    draw = np.random.default_rng(seed).integers(0, len(given), (resamples, len(given)))
    low, high = np.quantile(given[draw].mean(1), [0.025, 0.975])
    return float(low), float(high)


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of a proportion, 95 % by default (Wilson 1927); (0, 1) of nothing."""
    if total == 0:
        return 0.0, 1.0
    share = right / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    low = 0.0 if right == 0 else max(0.0, centre - half)
    return low, 1.0 if right == total else min(1.0, centre + half)


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with its Wilson 95 % interval."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """The share; NaN of nothing."""
        return self.count / self.total if self.total else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson 95 % interval."""
        return wilson(self.count, self.total)

    def to_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "share": self.value if self.total else None,
            "count": self.count,
            "total": self.total,
            "interval": list(self.interval),
        }

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1%} ({self.count}/{self.total}; {low:.1%}–{high:.1%})"

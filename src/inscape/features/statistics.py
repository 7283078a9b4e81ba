"""Per-feature figures from the feature-major activations.

Every figure rests on the considered tokens only (beginning-of-text and sink tokens have no
entries in the store), and every feature is one vectorised step over its own entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 32
OCTAVES_PER_BIN = 0.5


def histogram_edges(largest: float) -> NDArray[np.float64]:
    """The NUM_BINS + 1 shared bin edges: half octaves, downward from the dictionary's largest
    activation. The lowest bin also takes everything that lies below it."""
    top = np.log2(largest) if largest > 0 else 0.0
    octaves = float(top) - OCTAVES_PER_BIN * np.arange(NUM_BINS, -1, -1)
    edges: NDArray[np.float64] = np.exp2(octaves)
    return edges


@dataclass
class Statistics:
    """Columns of features.parquet, one entry a feature: density is the share of considered tokens
    on which the feature fires, mean_active the mean over those, first and last are row numbers
    (-1 for a feature that never fires), histogram is int64 [m, NUM_BINS]."""

    num_active: NDArray[np.int64]
    density: NDArray[np.float32]
    max: NDArray[np.float32]
    mean_active: NDArray[np.float32]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    histogram: NDArray[np.int64]

    @classmethod
    def empty(cls, num_features: int) -> Statistics:
        """All zero, to be filled feature by feature."""
        return cls(
            num_active=np.zeros(num_features, np.int64),
            density=np.zeros(num_features, np.float32),
            max=np.zeros(num_features, np.float32),
            mean_active=np.zeros(num_features, np.float32),
            first=np.full(num_features, -1, np.int64),
            last=np.full(num_features, -1, np.int64),
            histogram=np.zeros((num_features, NUM_BINS), np.int64),
        )

    def fill(
        self,
        feature: int,
        rows: NDArray[np.int32],
        values: NDArray[np.float32],
        num_considered: int,
        largest: float,
    ) -> None:
        """Enter one feature: rows and values are its entries [n_active], largest the dictionary's
        largest activation."""
        if rows.size == 0:
            return
        self.num_active[feature] = rows.size
        self.density[feature] = rows.size / max(num_considered, 1)
        self.max[feature] = values.max()
        self.mean_active[feature] = values.mean(dtype=np.float64)
        self.first[feature], self.last[feature] = rows[0], rows[-1]
        octaves = (np.log2(values) - np.float32(np.log2(largest))) / np.float32(OCTAVES_PER_BIN)
        bins = np.clip(NUM_BINS - 1 + np.ceil(octaves), 0, NUM_BINS - 1).astype(np.int64)
        self.histogram[feature] = np.bincount(bins, minlength=NUM_BINS)

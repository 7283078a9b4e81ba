"""Per-feature figures from the feature-major activations, a block of features at a time.

Every figure rests on the tokens that count only: the others have no entries in the store.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 32
OCTAVES_PER_BIN = 0.5
BLOCK = 4_000_000  # entries


def histogram_edges(largest: float) -> NDArray[np.float64]:
    """The NUM_BINS + 1 shared bin edges: half octaves, downward from the dictionary's largest
    activation. The lowest bin also takes everything that lies below it."""
    top = np.log2(largest) if largest > 0 else 0.0
    octaves = float(top) - OCTAVES_PER_BIN * np.arange(NUM_BINS, -1, -1)
    edges: NDArray[np.float64] = np.exp2(octaves)
    return edges


def statistics(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    values: NDArray[np.floating],
    num_considered: int,
    largest: float,
) -> dict[str, NDArray[Any]]:
    """Columns of features.parquet, one entry a feature: `density` is the fraction of tokens that
    count on which it fires, `mean_active` the mean over those, `first` and `last` are row numbers
    (-1 for a feature that never fires), `histogram` is int64 [m, NUM_BINS].

    Feature f has the entries indptr[f] : indptr[f + 1] of rows and values; largest is the
    dictionary's largest activation.
    """
    counts = np.diff(indptr)
    num = counts.size
    density = (counts / max(num_considered, 1)).astype(np.float32)
    highest, mean = np.zeros(num, np.float32), np.zeros(num, np.float32)
    first, last = np.full(num, -1), np.full(num, -1)
    histogram = np.zeros((num, NUM_BINS), np.int64)
    start = 0
    while start < num:
        stop = max(start + 1, int(np.searchsorted(indptr, indptr[start] + BLOCK)) - 1)
        alive = start + np.flatnonzero(counts[start:stop])
        if alive.size:
            part = np.asarray(values[indptr[start] : indptr[stop]], np.float32)
            begins = indptr[alive] - indptr[start]
            highest[alive] = np.maximum.reduceat(part, begins)
            mean[alive] = np.add.reduceat(part, begins, dtype=np.float64) / counts[alive]
            first[alive], last[alive] = rows[indptr[alive]], rows[indptr[alive + 1] - 1]
            octaves = (np.log2(part) - np.float32(np.log2(largest))) / np.float32(OCTAVES_PER_BIN)
            bins = np.clip(NUM_BINS - 1 + np.ceil(octaves), 0, NUM_BINS - 1).astype(np.int64)
            cells = np.repeat(alive - start, counts[alive]) * NUM_BINS + bins
            size = (stop - start) * NUM_BINS
            histogram[start:stop] = np.bincount(cells, minlength=size).reshape(-1, NUM_BINS)
        start = stop
    named = {"num_active": counts, "density": density, "max": highest, "mean_active": mean}
    return {**named, "first": first, "last": last, "histogram": histogram}

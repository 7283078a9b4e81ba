"""Feature-major sparse activations: who fires where, without a dense table.

1. `Spill.add` appends the active entries of one batch (feature, row, value) to three flat
   files, in the order of the rows, and counts the entries of every feature.
2. The running sum of the counts is `indptr`: feature f owns entries indptr[f] : indptr[f+1].
3. `Spill.sort` walks the flat files once and puts every entry into its feature's next free
   place (a counting sort). The walk is in row order, so each feature's rows come out sorted.
4. The flat files are the codes token by token, which `Spill.by_row` gives.

The flat files and the results are memory-mapped: the memory in use does not grow with the corpus.
`statistics` reads the result a block of features at a time; only tokens that count have entries.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

FLOAT16_LIMIT = 60000.0  # above it values are kept as float32
FLOAT16_TINY = 6.1e-5  # the smallest normal float16: an active entry never rounds to zero

BLOCK = 4_000_000  # entries that are sorted or read at once
NUM_BINS = 32
OCTAVES_PER_BIN = 0.5


@njit(cache=True, nogil=True)
def _scatter(
    features: NDArray[Any],
    rows: NDArray[Any],
    values: NDArray[Any],
    cursor: NDArray[np.int64],
    out_rows: NDArray[Any],
    out_values: NDArray[Any],
) -> None:
    for i in range(features.shape[0]):
        feature = features[i]
        place = cursor[feature]
        out_rows[place] = rows[i]
        out_values[place] = values[i]
        cursor[feature] = place + 1


def allocate(path: Path, dtype: np.dtype[Any], length: int) -> NDArray[Any]:
    """A new memory-mapped .npy of one dimension, its disk space reserved.

    Reserving matters: writing through a map onto a full disk kills the process with a bus error,
    where `posix_fallocate` raises an ordinary OSError before any harm is done.
    """
    if length == 0:
        np.save(path, np.zeros(0, dtype))
        empty: NDArray[Any] = np.load(path)
        return empty
    array: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(length,))
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


class Spill:
    """Collects row-major active entries on disk and sorts them by feature.

    `folder` holds the three flat files while it is used as a context manager.
    """

    def __init__(self, folder: Path, num_features: int) -> None:
        self.num_features = num_features
        self.counts: NDArray[np.int64] = np.zeros(num_features, np.int64)
        self.largest = 0.0
        self._paths = [folder / f"spill-{name}.bin" for name in ("features", "rows", "values")]
        self._files = [path.open("wb") for path in self._paths]

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def add(
        self, rows: NDArray[np.int64], indices: NDArray[np.int64], values: NDArray[np.float32]
    ) -> None:
        """Append one batch: rows [batch] ascending, indices and values [batch, k]; value 0 is
        an empty slot."""
        active = values > 0
        features = indices[active].astype(np.int32)
        kept = np.ascontiguousarray(values[active], np.float32)
        where = np.repeat(rows.astype(np.int32), active.sum(axis=1))
        for file, array in zip(self._files, (features, where, kept), strict=True):
            file.write(array.tobytes())
        self.counts += np.bincount(features, minlength=self.num_features)
        if kept.size:
            self.largest = max(self.largest, float(kept.max()))

    def sort(self, folder: Path) -> None:
        """Write indptr.npy int64 [m+1], positions.npy int32 and values.npy float16 (float32 when
        a value does not fit) into `folder`."""
        for file in self._files:
            file.flush()
        indptr = np.zeros(self.num_features + 1, np.int64)
        np.cumsum(self.counts, out=indptr[1:])
        total = int(indptr[-1])
        half = self.largest <= FLOAT16_LIMIT
        out_rows = allocate(folder / "positions.npy", np.dtype(np.int32), total)
        out_values = allocate(
            folder / "values.npy", np.dtype(np.float16 if half else np.float32), total
        )
        np.save(folder / "indptr.npy", indptr)
        if total == 0:
            return
        dtypes = (np.int32, np.int32, np.float32)
        flat = [np.memmap(p, d, mode="r") for p, d in zip(self._paths, dtypes, strict=True)]
        cursor = indptr[:-1].copy()
        for start in range(0, total, BLOCK):
            block = slice(start, start + BLOCK)
            features, rows, values = (np.asarray(array[block]) for array in flat)
            if half:
                # numba has no float16 on CPU: its bits are scattered as uint16
                bits = np.maximum(values, FLOAT16_TINY).astype(np.float16).view(np.uint16)
                _scatter(features, rows, bits, cursor, out_rows, out_values.view(np.uint16))
            else:
                _scatter(features, rows, values, cursor, out_rows, out_values)
        for array in (out_rows, out_values):
            if isinstance(array, np.memmap):
                array.flush()

    def by_row(self, num_rows: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """The codes token by token: at row r the features starts[r] : starts[r + 1] fire."""
        for file in self._files:
            file.flush()
        features, rows = (
            np.memmap(path, np.int32, mode="r") if path.stat().st_size else np.zeros(0, np.int32)
            for path in self._paths[:2]
        )
        counts = np.zeros(num_rows + 1, np.int64)
        for start in range(0, rows.size, BLOCK):
            part = rows[start : start + BLOCK]
            first = int(part[0])
            found = np.bincount(part - first)
            counts[first + 1 : first + 1 + found.size] += found
        return np.cumsum(counts), features


def histogram_edges(largest: float) -> NDArray[np.float64]:
    """The NUM_BINS + 1 shared bin edges: half octaves, downward from the dictionary's largest
    activation. The lowest bin also takes everything that lies below it."""
    top = np.log2(largest) if largest > 0 else 0.0
    octaves = float(top) - OCTAVES_PER_BIN * np.arange(NUM_BINS, -1, -1)
    edges: NDArray[np.float64] = np.exp2(octaves)
    return edges


def statistics(
    indptr: NDArray[np.int64], values: NDArray[np.floating], num_considered: int, largest: float
) -> dict[str, NDArray[Any]]:
    """Columns of features.parquet, one entry a feature: `density` is the fraction of tokens that
    count on which it fires, `mean_active` the mean over those, `histogram` is int64 [m, NUM_BINS].

    Feature f has the entries indptr[f] : indptr[f + 1] of values; largest is the
    dictionary's largest activation.
    """
    counts = np.diff(indptr)
    num = counts.size
    density = (counts / max(num_considered, 1)).astype(np.float32)
    highest, mean = np.zeros(num, np.float32), np.zeros(num, np.float32)
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
            octaves = (np.log2(part) - np.float32(np.log2(largest))) / np.float32(OCTAVES_PER_BIN)
            bins = np.clip(NUM_BINS - 1 + np.ceil(octaves), 0, NUM_BINS - 1).astype(np.int64)
            cells = np.repeat(alive - start, counts[alive]) * NUM_BINS + bins
            size = (stop - start) * NUM_BINS
            histogram[start:stop] = np.bincount(cells, minlength=size).reshape(-1, NUM_BINS)
        start = stop
    named = {"num_active": counts, "density": density, "max": highest, "mean_active": mean}
    return {**named, "histogram": histogram}

"""Feature-major sparse activations: who fires where, without a dense table.

1. The codes come piece by piece in the order of the text (passes.py); the entries of every feature
   are counted. Their running sum is `indptr`: feature f owns entries indptr[f] : indptr[f+1].
2. A second walk over the pieces puts every entry into its feature's next free place (a counting
   sort). The walk is in row order, so each feature's rows come out sorted.

What is read and what is written is memory-mapped: the memory in use does not grow with the text.
`statistics` reads the result a block of features at a time; only tokens that count have entries.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from inscape.features.passes import Codes

FLOAT16_LIMIT = 60000.0  # above it values are kept as float32
FLOAT16_TINY = 6.1e-5  # the smallest normal float16: an active entry never rounds to zero

BLOCK = 4_000_000  # entries that are read at once
BY_ROW = "by-row.npy"
NUM_BINS = 32
OCTAVES_PER_BIN = 0.5


@njit(cache=True, nogil=True)
def _scatter(
    counts: NDArray[Any],
    features: NDArray[Any],
    values: NDArray[Any],
    first: int,
    cursor: NDArray[np.int64],
    out_rows: NDArray[Any],
    out_values: NDArray[Any],
) -> None:
    entry = 0
    for token in range(counts.shape[0]):
        for _ in range(counts[token]):
            feature = features[entry]
            place = cursor[feature]
            out_rows[place] = first + token
            out_values[place] = values[entry]
            cursor[feature] = place + 1
            entry += 1


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


def sort_codes(codes: Codes, folder: Path) -> float:
    """Write indptr.npy int64 [m+1], positions.npy int32 and values.npy float16 (float32 where a
    value does not fit) into `folder`.

    Returns:
        The dictionary's largest activation.
    """
    counts = np.zeros(codes.num_features, np.int64)
    largest = 0.0
    for _, (_, features, values) in codes:
        counts += np.bincount(features, minlength=codes.num_features)
        largest = max(largest, float(values.max(initial=0)))
    indptr = np.zeros(codes.num_features + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    total, half = int(indptr[-1]), largest <= FLOAT16_LIMIT
    out_rows = allocate(folder / "positions.npy", np.dtype(np.int32), total)
    kind = np.dtype(np.float16 if half else np.float32)
    out_values = allocate(folder / "values.npy", kind, total)
    np.save(folder / "indptr.npy", indptr)
    cursor = indptr[:-1].copy()
    for first, (fired, features, values) in codes:
        if not features.size:
            continue
        if half:
            # numba has no float16 on CPU: its bits are scattered as uint16
            bits = np.maximum(values, FLOAT16_TINY).astype(np.float16).view(np.uint16)
            _scatter(fired, features, bits, first, cursor, out_rows, out_values.view(np.uint16))
        else:
            _scatter(fired, features, values, first, cursor, out_rows, out_values)
    for array in (out_rows, out_values):
        if isinstance(array, np.memmap):
            array.flush()
            let_go(array)
    return largest


def let_go(array: NDArray[Any]) -> None:
    """Leaves what is in memory of a memory-mapped file to the system, which counts it as the
    process's own as long as it is mapped."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mapped, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def by_row(codes: Codes, folder: Path) -> tuple[NDArray[np.int64], NDArray[np.integer]]:
    """The codes token by token: at row r the features starts[r] : starts[r + 1] fire. They lie in a
    file in `folder`, which may be removed afterwards."""
    fired = [entries[0] for entries in codes.pieces]
    starts = np.cumsum(np.concatenate([np.zeros(1, np.int64), *fired]), dtype=np.int64)
    if len(codes.pieces) == 1:
        return starts, codes.pieces[0][1]
    kind = np.dtype(np.uint16 if codes.num_features <= 1 << 16 else np.int32)
    found = allocate(folder / BY_ROW, kind, int(starts[-1]))
    place = 0
    for _, (_, features, _) in codes:
        found[place : place + features.size] = features
        place += features.size
    return starts, found


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

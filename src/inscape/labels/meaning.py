"""What features are about as vectors, by which they are searched, mapped and grouped.

1. The text of an index is cut into pieces of PIECE tokens; of a long text as many as MOST are
   drawn. Each piece is embedded once, whatever the number of features.
2. A feature's vector is the mean embedding of the pieces in which it fires, a piece weighing as
   much as the square of its largest activation there, less the mean of all pieces, at unit length:
   what texts with the feature have that texts at large have not.
3. Vectors are kept as 8-bit integers with a scale each, and a query's products with a million of
   them are one pass over memory-mapped rows.

vectors.npy    int8 [m, d]
scales.npy     float32 [m]: vector = scale · row; 0 for a feature that fires in none of the pieces
manifest.json  made from what, the embedder
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from inscape.core import StorageError, characters, seeded, track
from inscape.features import FeatureIndex, TokenTable
from inscape.labels.embedder import Embedder
from inscape.storage import MANIFEST, atomic_folder, read_manifest, refuse_filled, write_manifest

KIND = "meaning"
VERSION = 1
PIECE = 24  # tokens
MOST = 40_000  # pieces that are embedded
BLOCK = 4_000_000  # activations that are read at once
_AGAIN = "remove that folder and run the command that makes it again"


class Meaning:
    """The vectors of a dictionary's features. Made by `write_meaning`."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.rows: NDArray[np.int8] = np.load(folder / "vectors.npy", mmap_mode="r")
        self.scales: NDArray[np.float32] = np.load(folder / "scales.npy")

    @classmethod
    def open(cls, path: str | Path) -> Meaning:
        """The vectors in a folder.

        Raises:
            StorageError: there are none, they are of a newer version, or damaged.
        """
        folder = Path(path)
        fields = {"embedder.name": str, "embedder.hash": str}
        return cls(
            folder,
            read_manifest(folder, KIND, VERSION, verify=True, next_step=_AGAIN, fields=fields),
        )

    @property
    def embedder(self) -> str:
        """The hash of the embedder that made them."""
        return str(self.manifest["embedder"]["hash"])

    def cosines(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cosines of a query's embedding [d] with every feature's vector, [m]."""
        return products(self.rows, query) * self.scales

    def vectors(self) -> NDArray[np.float32]:
        """All of them, [m, d]."""
        return np.asarray(self.rows, np.float32) * self.scales[:, None]


def packed(vectors: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Vectors [m, d] as 8-bit rows and a scale for each."""
    scales = np.abs(vectors).max(axis=1) / 127
    rows = np.round(vectors / np.maximum(scales, 1e-12)[:, None]).astype(np.int8)
    return rows, scales.astype(np.float32)


def products(rows: NDArray[np.int8], query: NDArray[np.floating]) -> NDArray[np.float32]:
    """rows [m, d] @ query [d], the query rounded to 16 bits."""
    scale = float(np.abs(query).max()) / 8191  # so that a sum of 2,000 products fits 32 bits
    if scale == 0:
        return np.zeros(len(rows), np.float32)
    found: NDArray[np.float32] = _products(rows, np.round(query / scale).astype(np.int16))
    return found * np.float32(scale)


def write_meanings(
    indexes: Mapping[Path, FeatureIndex], embedder: Embedder, *, seed: int = 0
) -> list[Meaning]:
    """The vectors of the features of indexes, each in its folder; indexes of one text share its
    pieces. Folders that hold them already are opened.

    Raises:
        StorageError: a folder holds something else, or the disk is full.
    """
    found: dict[Path, Meaning] = {}
    pieces: dict[str, _Pieces] = {}
    for out, index in indexes.items():
        made_from = {"index": index.hash, "dictionary": index.dictionary, "piece": PIECE}
        if (out / MANIFEST).is_file():
            found[out] = there = Meaning.open(out)
            if there.manifest["made_from"] != made_from or there.embedder != embedder.hash:
                raise StorageError(
                    f"{out} holds vectors of another index or embedder", next_step=_AGAIN
                )
            continue
        refuse_filled(out)
        text = hashlib.sha256(np.asarray(index.tokens.ids).tobytes()).hexdigest()
        if text not in pieces:
            pieces[text] = _Pieces.embedded(index, embedder, seed)
        rows, scales = packed(feature_vectors(index, pieces[text].of_row, pieces[text].vectors))
        with atomic_folder(out) as folder:
            np.save(folder / "vectors.npy", rows)
            np.save(folder / "scales.npy", scales)
            extra = {"embedder": {"name": embedder.name, "hash": embedder.hash}}
            seeds = {"meaning": seed}
            write_manifest(folder, KIND, VERSION, made_from=made_from, seeds=seeds, extra=extra)
        found[out] = Meaning.open(out)
    return [found[out] for out in indexes]


@dataclass(frozen=True)
class _Pieces:
    """of_row [n]: the piece that a row lies in, -1 for none; vectors [pieces, d]."""

    of_row: NDArray[np.int32]
    vectors: NDArray[np.float32]

    @classmethod
    def embedded(cls, index: FeatureIndex, embedder: Embedder, seed: int) -> _Pieces:
        table = index.tokens
        of_row, starts = cut(table)
        order = np.random.default_rng(seeded(seed, "pieces")).permutation(starts.size)
        chosen = np.sort(order[:MOST])
        renumbered = np.full(starts.size, -1, np.int32)
        renumbered[chosen] = np.arange(chosen.size)
        ids, last = np.asarray(table.ids), table.bounds[1]
        vectors = []
        for part in track(np.array_split(chosen, max(1, chosen.size // 512)), "embedding text"):
            texts = []
            for start in starts[part]:
                end = min(int(start) + PIECE, int(last[start]))
                texts.append("".join(characters([table.text(i) for i in ids[start:end]])).strip())
            vectors.append(embedder.embed(texts))
        return cls(np.where(of_row >= 0, renumbered[of_row], -1), np.concatenate(vectors))


def cut(table: TokenTable) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The text in pieces of at most PIECE tokens, none across the end of a sequence: the number of
    the piece of every row, [n], -1 for a token that begins a text; the first row of each piece."""
    first, _ = table.bounds
    offset = np.arange(len(table)) - first
    starts = (offset >= 0) & (offset % PIECE == 0)
    of_row = np.where(offset >= 0, np.cumsum(starts) - 1, -1).astype(np.int32)
    return of_row, np.flatnonzero(starts)


def feature_vectors(
    index: FeatureIndex, of_row: NDArray[np.int32], vectors: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The vector of every feature (step 2), [m, d], from embedded pieces."""
    out = np.zeros((index.num_features, vectors.shape[1]), np.float32)
    mean = vectors.mean(axis=0)
    start = 0
    while start < index.num_features:
        stop = max(start + 1, int(np.searchsorted(index.indptr, index.indptr[start] + BLOCK)) - 1)
        stop = min(stop, index.num_features)
        part = slice(int(index.indptr[start]), int(index.indptr[stop]))
        pieces = of_row[np.asarray(index.positions[part])]
        feature = np.repeat(np.arange(stop - start), np.diff(index.indptr[start : stop + 1]))
        inside = pieces >= 0
        keys = feature[inside] * len(vectors) + pieces[inside]  # in order: rows ascend
        values = np.asarray(index.values[part], np.float32)[inside]
        first = np.flatnonzero(np.diff(keys, prepend=-1))
        weights = np.maximum.reduceat(values, first) ** 2 if first.size else values
        place = np.divmod(keys[first], len(vectors))
        table = csr_array((weights, place), (stop - start, len(vectors)))
        total = np.asarray(table.sum(axis=1)).ravel()
        active = total > 0
        shift = (table @ vectors)[active] / total[active, None] - mean
        norms = np.linalg.norm(shift, axis=1, keepdims=True)
        out[start:stop][active] = shift / np.maximum(norms, 1e-12)
        start = stop
    return out


@numba.njit(cache=True, nogil=True)
def _products(rows: NDArray[Any], query: NDArray[Any]) -> NDArray[Any]:
    out = np.empty(rows.shape[0], np.float32)
    for i in range(rows.shape[0]):
        total = np.int32(0)
        for j in range(rows.shape[1]):
            total += np.int32(rows[i, j]) * np.int32(query[j])
        out[i] = total
    return out

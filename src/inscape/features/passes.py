"""One pass over a text, kept on disk piece by piece until the indexes are finished.

1. A piece is a stretch of the text that is read at once. For each, the tokens and the codes of
   every dictionary (how many features fire on each token, which, and how strongly) are appended to
   flat files, and then a line to a list of pieces: what is not listed does not count.
2. Each process that works on the pass writes a part of its own; one that starts again after a stop
   begins another. Which pieces are finished is the union over all parts, so that a pass goes on
   with any number of processes.
3. `Codes` reads a dictionary's pieces in the order of the text, wherever they lie.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from inscape.core import StorageError
from inscape.features.table import TokenTable
from inscape.storage import disk_errors, remove

PIECES = "pieces.jsonl"
_TOKENS = {"ids": np.int32, "documents": np.int32, "positions": np.int32, "considered": np.bool_}
_CODES = {"counts": np.int32, "features": np.int32, "values": np.float32}

Entries = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]
"""Codes of a piece: how many features fire on each token [tokens], and the features and values of
all of them one after another."""


class Part:
    """What one process adds to a pass. keys: a name for each dictionary."""

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self.folder, self.keys = _free(folder), list(keys)
        self.num_pieces = 0
        names = [*_TOKENS, *(f"{key}-{name}" for key in keys for name in _CODES)]
        self._stack = ExitStack()
        with disk_errors(self.folder):
            self._files: dict[str, IO[bytes]] = {
                name: self._stack.enter_context((self.folder / f"{name}.bin").open("wb"))
                for name in names
            }
            self._list = self._stack.enter_context((self.folder / PIECES).open("w"))

    def add(
        self,
        number: int,
        table: TokenTable,
        codes: Sequence[Entries],
        medians: Mapping[str, float] | None = None,
    ) -> None:
        """Append a piece of the text, with the codes of each dictionary, and list it, along with
        the norms by which its sinks were told.

        Raises:
            StorageError: the disk is full.
        """
        with disk_errors(self.folder):
            for name, kind in _TOKENS.items():
                self._files[name].write(np.asarray(getattr(table, name), kind).tobytes())
            for key, entries in zip(self.keys, codes, strict=True):
                for (name, kind), array in zip(_CODES.items(), entries, strict=True):
                    self._files[f"{key}-{name}"].write(np.asarray(array, kind).tobytes())
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
            piece = {
                "number": number,
                "tokens": len(table),
                "entries": {
                    key: int(entries[1].size) for key, entries in zip(self.keys, codes, strict=True)
                },
                "medians": dict(medians or {}),
            }
            self._list.write(json.dumps(piece) + "\n")
            self._list.flush()
            os.fsync(self._list.fileno())
        self.num_pieces += 1

    def close(self) -> None:
        """Close the files; a part without a piece is removed."""
        with suppress(OSError):  # of a full disk, which was told
            self._stack.close()
        if not self.num_pieces:
            remove(self.folder)
            with suppress(OSError):
                self.folder.parent.rmdir()


def _free(folder: Path) -> Path:
    """A new folder for a part, whichever other processes make one too."""
    number = 0
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                (folder / f"part-{number:03d}").mkdir()
                return folder / f"part-{number:03d}"
            except FileExistsError:
                number += 1


def _listed(path: Path) -> Iterator[dict[str, Any]]:
    """The pieces of a part; a last line that is half-written does not count."""
    if path.is_file():
        for line in path.read_text().splitlines():
            with suppress(ValueError):
                yield json.loads(line)


class Codes:
    """The codes of one dictionary over the whole text, piece by piece in its order; those of a pass
    are read from the disk piece by piece, each time they are walked through."""

    def __init__(self, num_features: int, pieces: Sequence[Entries]) -> None:
        self.num_features, self.pieces = num_features, pieces

    def __iter__(self) -> Iterator[tuple[int, Entries]]:
        """The first row of each piece, and its codes."""
        first = 0
        for entries in self.pieces:
            yield first, entries
            first += entries[0].size


class Kept:
    """What is finished of a pass: all pieces of the parts in a folder that hold the codes `keys`.

    Raises:
        StorageError: a file is damaged.
    """

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        self.medians: dict[str, float] = {}
        self._places: dict[int, tuple[Path, dict[str, slice]]] = {}
        for part in sorted(folder.glob("part-*")) if folder.is_dir() else ():
            ends = dict.fromkeys(["", *keys], 0)
            for piece in _listed(part / PIECES):
                if not set(keys) <= set(piece["entries"]):
                    break  # of a pass with other dictionaries
                begins = ends
                sizes = {"": piece["tokens"], **piece["entries"]}
                ends = {key: begins[key] + sizes[key] for key in begins}
                spans = {key: slice(begins[key], ends[key]) for key in begins}
                self._places[piece["number"]] = part, spans
                self.medians = self.medians or piece["medians"]

    @property
    def numbers(self) -> set[int]:
        """The pieces that are finished."""
        return set(self._places)

    def table(self) -> TokenTable:
        """The tokens of all pieces, without texts."""
        columns: dict[str, NDArray[Any]] = {}
        for name, kind in _TOKENS.items():
            parts = [
                _array(part / f"{name}.bin", kind, spans[""])
                for _, (part, spans) in sorted(self._places.items())
            ]
            columns[name] = np.concatenate([np.zeros(0, kind), *parts]).astype(kind)
        return TokenTable(**columns, texts={})

    def codes(self, key: str, num_features: int) -> Codes:
        """The codes of one dictionary."""
        return Codes(num_features, _Pieces(key, [at for _, at in sorted(self._places.items())]))


class _Pieces(Sequence[Entries]):
    """The codes of one dictionary on the disk. Read, not memory-mapped: what is mapped of files
    larger than the memory counts as the process's own."""

    def __init__(self, key: str, places: Sequence[tuple[Path, dict[str, slice]]]) -> None:
        self.key, self.places = key, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: Any) -> Any:
        part, spans = self.places[number]
        where = {name: spans["" if name == "counts" else self.key] for name in _CODES}
        counts, features, values = (
            _array(part / f"{self.key}-{name}.bin", kind, where[name])
            for name, kind in _CODES.items()
        )
        return counts, features, values


def _array(path: Path, kind: Any, span: slice) -> NDArray[Any]:
    size, count = np.dtype(kind).itemsize, span.stop - span.start
    there = path.stat().st_size if path.exists() else 0
    if there < span.stop * size:
        raise StorageError(
            f"{path} is half-written or corrupt", next_step=f"remove {path.parent.parent}"
        )
    if not count:
        return np.zeros(0, kind)
    return np.fromfile(path, kind, count, offset=span.start * size)


def entries_of(
    num_tokens: int, rows: NDArray[np.integer], indices: NDArray[Any], values: NDArray[Any]
) -> Entries:
    """Codes as they are kept: rows [batch] ascending of num_tokens, indices and values [batch, k];
    value 0 is an empty slot."""
    active = values > 0
    counts = np.zeros(num_tokens, np.int32)
    counts[rows] = active.sum(axis=1)
    return counts, indices[active].astype(np.int32), values[active].astype(np.float32)

"""The tokens under the indexes of one text: ids, documents, positions, and which of them count.

tokens.parquet      one row a token, in the order of the text: row, id, document, position, counted
vocabulary.parquet  the text of every token id

Indexes that rest on the same tokens share one such folder, which lies beside theirs and is named by
its content: `features/tokens-<hash>/`. Examples, labels and searches need no more of the text, so
that the activations themselves may be deleted.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from inscape.features.examples import sequence_bounds
from inscape.features.parquet import opened_table, write_table
from inscape.storage import atomic_folder, read_manifest, reading, write_manifest

KIND, VERSION = "tokens", 1
PREFIX = "tokens-"
TOKENS, VOCABULARY = "tokens.parquet", "vocabulary.parquet"
AGAIN = "remove the folder of the index and run the command that makes it again"
GROUP = 1 << 14  # rows of tokens.parquet that are read together
_CACHED_GROUPS = 256
_COLUMNS = {"ids": "id", "documents": "document", "positions": "position", "considered": "counted"}


@dataclass(frozen=True)
class TokenTable:
    """One entry per token (row) of the text, [n] each.

    ids, documents and positions (place in the sequence) are int32; considered is False on
    beginning-of-text and sink tokens, on which no feature counts as active; texts maps token ids
    to their strings.
    """

    ids: NDArray[np.int32]
    documents: NDArray[np.int32]
    positions: NDArray[np.int32]
    considered: NDArray[np.bool_]
    texts: dict[int, str]

    def __len__(self) -> int:
        return int(self.ids.shape[0])

    @cached_property
    def num_considered(self) -> int:
        """How many tokens count."""
        return int(np.count_nonzero(self.considered))

    @cached_property
    def bounds(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """First row and one-past-last row of each row's sequence, [n] each, its
        beginning-of-text token left out."""
        first, last = sequence_bounds(self.documents, self.positions)
        opening = ~self.considered[first]
        return np.where(opening & (first + 1 < last), first + 1, first).astype(np.int32), last

    @cached_property
    def distinct(self) -> NDArray[np.int32]:
        """The number of each row's document, [n], where documents of equal text share the number of
        the first: what is chosen on some documents is then never judged on a copy of one."""
        if not len(self):
            return self.documents
        opens = np.flatnonzero(np.append(True, self.documents[1:] != self.documents[:-1]))
        sizes = np.diff(np.append(opens, len(self)))
        place = (np.arange(len(self)) - np.repeat(opens, sizes)).astype(np.uint64)
        mixed = (self.ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (place * np.uint64(0xC2B2AE3D27D4EB4F))) * np.uint64(0x165667B19E3779F9)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        content = np.add.reduceat(mixed ^ (mixed >> np.uint64(32)), opens)
        _, first, number = np.unique(content, return_index=True, return_inverse=True)
        owners: NDArray[np.int32] = self.documents[opens][first[number]]
        return np.repeat(owners, sizes)

    @cached_property
    def num_duplicates(self) -> int:
        """How many documents are copies of an earlier one."""
        return len(np.unique(self.documents)) - len(np.unique(self.distinct))

    def text(self, token_id: int) -> str:
        """The string of one token id; ids that the vocabulary lacks read "?"."""
        return self.texts.get(int(token_id), "?")

    @cached_property
    def hash(self) -> str:
        """sha256 over all of it."""
        digest = hashlib.sha256()
        for name in _COLUMNS:
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        for token, text in sorted(self.texts.items()):
            digest.update(f"{token}\0{clean(text)}\0".encode())
        return digest.hexdigest()

    def save(self, folder: Path) -> str:
        """Writes the table into a folder of its own in `folder`, unless it is there; its name."""
        name = f"{PREFIX}{self.hash[:12]}"
        if not (folder / name).exists():
            with atomic_folder(folder / name) as new:
                columns = {of: pa.array(getattr(self, name)) for name, of in _COLUMNS.items()}
                rows = pa.array(np.arange(len(self), dtype=np.int32))
                write_table(new / TOKENS, {"row": rows, **columns}, GROUP, sorted_by=("row",))
                ids = sorted(self.texts)
                strings = pa.array([clean(self.texts[i]) for i in ids], pa.string())
                named = {"id": pa.array(ids, pa.int32()), "text": strings}
                write_table(new / VOCABULARY, named, max(1, len(ids)), sorted_by=("id",))
                write_manifest(new, KIND, VERSION, made_from={"sha256": self.hash})
        return name

    @classmethod
    def open(cls, folder: Path) -> TokenTable:
        """The table in its folder.

        Raises:
            StorageError: it is missing or damaged.
        """
        file = TokenFile(folder)
        return cls(**file.part(0, file.num_rows), texts=file.texts)


class TokenFile:
    """A table on disk, of which parts are read.

    Raises:
        StorageError: it is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        read_manifest(folder, KIND, VERSION, next_step=AGAIN)
        self._file = opened_table(folder / TOKENS)
        self.num_rows = int(self._file.metadata.num_rows)
        self._groups: OrderedDict[int, dict[str, NDArray[Any]]] = OrderedDict()

    @cached_property
    def texts(self) -> dict[int, str]:
        """The vocabulary: the text of every token id."""
        with reading(self.folder / VOCABULARY, AGAIN, OSError, pa.ArrowException):
            vocabulary = opened_table(self.folder / VOCABULARY).read()
            ids, strings = (vocabulary.column(c).to_numpy().tolist() for c in ("id", "text"))
        return dict(zip(ids, strings, strict=True))

    def part(self, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """The columns of a `TokenTable` at rows from `start` to `stop`."""
        if stop - start > 2 * GROUP:
            with reading(self.folder / TOKENS, AGAIN, OSError, pa.ArrowException):
                numbers = range(start // GROUP, -(-stop // GROUP))
                return _arrays(
                    self._file.read_row_groups(list(numbers)), start % GROUP, stop - start
                )
        numbers = range(start // GROUP, -(-stop // GROUP)) or range(0)
        groups = [self._group(number) for number in numbers]
        first = start % GROUP
        return {
            name: np.concatenate([g[name] for g in groups])[first : first + stop - start]
            if groups
            else np.zeros(0, np.int32)
            for name in _COLUMNS
        }

    def _group(self, number: int) -> dict[str, NDArray[Any]]:
        if number not in self._groups:
            with reading(self.folder / TOKENS, AGAIN, OSError, pa.ArrowException):
                group = self._file.read_row_group(number, columns=list(_COLUMNS.values()))
                self._groups[number] = _arrays(group, 0, GROUP)
            if len(self._groups) > _CACHED_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(number)
        return self._groups[number]


def _arrays(table: pa.Table, first: int, size: int) -> dict[str, NDArray[Any]]:
    return {
        name: table.column(of).to_numpy()[first : first + size] for name, of in _COLUMNS.items()
    }


def clean(text: str) -> str:
    """The text without lone surrogates, which UTF-8 files cannot hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def open_array(path: Path) -> NDArray[Any]:
    """A .npy, memory-mapped.

    Raises:
        StorageError: the file is missing or damaged.
    """
    with reading(path, AGAIN, OSError, ValueError):
        empty = path.stat().st_size <= 128 and np.load(path).size == 0
        array: NDArray[Any] = np.load(path, mmap_mode=None if empty else "r")
    return array

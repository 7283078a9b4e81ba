"""The tokens under an index: ids, documents, positions, and which of them count.

An index keeps a copy of the store's token table, so that examples, labels and searches work from
the index alone, after the activations themselves have been deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from inscape.features.examples import sequence_bounds
from inscape.storage import reading

FILES = {
    "ids": "token_ids.npy",
    "documents": "token_documents.npy",
    "positions": "token_positions.npy",
    "considered": "token_considered.npy",
}
VOCABULARY = "vocabulary.parquet"
AGAIN = "remove the folder of the index and run the command that makes it again"


@dataclass(frozen=True)
class TokenTable:
    """One entry per token (row) of the corpus, [n] each.

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

    def text(self, token_id: int) -> str:
        """The string of one token id; ids outside the corpus and the logit effects read "?"."""
        return self.texts.get(int(token_id), "?")

    def save(self, folder: Path) -> None:
        """Write the arrays and the vocabulary into `folder`."""
        for name, file in FILES.items():
            np.save(folder / file, getattr(self, name))
        ids = sorted(self.texts)
        strings = [clean(self.texts[i]) for i in ids]
        columns = {"id": pa.array(ids, pa.int32()), "text": pa.array(strings, pa.string())}
        pq.write_table(pa.table(columns), folder / VOCABULARY)

    @classmethod
    def open(cls, folder: Path) -> TokenTable:
        """The table in an index's folder, memory-mapped.

        Raises:
            StorageError: a file is not readable.
        """
        arrays = {name: open_array(folder / file) for name, file in FILES.items()}
        with reading(folder / VOCABULARY, AGAIN, OSError, pa.ArrowException):
            vocabulary = pq.read_table(folder / VOCABULARY)
        ids, strings = (vocabulary.column(c).to_pylist() for c in ("id", "text"))
        return cls(**arrays, texts=dict(zip(ids, strings, strict=True)))


def joined(tables: Sequence[TokenTable]) -> TokenTable:
    """The tables one after another, without texts."""
    columns = {name: np.concatenate([getattr(t, name) for t in tables]) for name in FILES}
    return TokenTable(**columns, texts={})


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

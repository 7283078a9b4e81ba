"""From documents to rows: what the model reads at once, and the pools that become shards.

1. Each document is tokenised and cut into rows of at most `context` tokens; every row begins with
   the beginning-of-text token where the model has one.
2. Rows are collected, in order, until a pool holds `shard_tokens` tokens: one pool is one shard.
   The grouping depends only on corpus and settings, so that a stopped harvest finds it again.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.activations.documents import corpus_files, documents, on_disk, text_bytes
from inscape.core import DataError, InputError
from inscape.model import Model

Text = Path | str | Sequence[str] | Iterable[Sequence[int]]
_SAMPLE = 64
LONGEST_ROW = 1024  # of a model that states no limit, or a very large one


@dataclass(frozen=True)
class Pool:
    """The rows of one shard, end to end.

    ids [tokens]; starts and lengths [rows]: where each row lies in `ids`; document [rows];
    first_row: the number of its first row in the whole store.
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    document: NDArray[np.int32]
    first_row: int


class Corpus:
    """A text source bound to the model that reads it.

    Args:
        source: a path (see `documents`), texts, or documents that are already token ids (with or
            without the beginning-of-text token in front).
    """

    def __init__(self, model: Model, source: Text) -> None:
        self.model = model
        self.source = source if isinstance(source, str | Path) else "the corpus"
        self.path = on_disk(Path(source)) if isinstance(source, str | Path) else None
        self.items: list[Any] = [] if isinstance(source, str | Path) else list(source)
        self.pretokenised = bool(self.items) and not isinstance(self.items[0], str)
        if self.path is None and not self.items:
            raise DataError("the corpus is empty", expected="at least two documents")

    def fingerprint(self) -> dict[str, str]:
        """What identifies the text: a hash over its files, texts or token ids."""
        digest = hashlib.sha256()
        if self.path is not None:
            for file in corpus_files(self.path):
                digest.update(f"{file.suffix}\0".encode())
                with open(file, "rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
            return {"source": "files", "sha256": digest.hexdigest()}
        for item in self.items:
            raw = np.asarray(item, np.int64).tobytes() if self.pretokenised else item.encode()
            digest.update(len(raw).to_bytes(8, "little") + raw)
        source = "token ids" if self.pretokenised else "texts"
        return {"source": source, "sha256": digest.hexdigest()}

    def token_lists(self) -> Iterator[list[int]]:
        """The token ids of each document, without the beginning-of-text token."""
        bos = self.model.bos_id
        source: Iterable[Any] = documents(self.path) if self.path is not None else self.items
        for item in source:
            ids = list(map(int, item)) if self.pretokenised else self.model.encode(item)
            yield ids[1:] if ids and ids[0] == bos else ids

    def estimate(self) -> int | None:
        """About how many tokens there are (for the time left), from the first documents."""
        if self.pretokenised:
            return sum(len(item) for item in self.items)
        source = documents(self.path) if self.path is not None else iter(self.items)
        sample = list(itertools.islice(source, _SAMPLE))
        size = sum(len(text.encode()) for text in sample)
        if not size:
            return None
        tokens = sum(len(self.model.encode(text)) for text in sample)
        if self.path is None:
            total = sum(len(text.encode()) for text in self.items)
        else:
            total = sum(map(text_bytes, corpus_files(self.path)))
        return int(total * tokens / size)

    def check(self, max_tokens: int | None) -> None:
        """Refuses a corpus of which fewer than two documents would be read, before it is read.

        Raises:
            DataError: it has one document only, or `max_tokens` ends in the first.
        """
        sizes = (len(ids) for ids in self.token_lists() if ids)
        first = next(sizes, 0)
        if max_tokens is not None and first + 1 >= max_tokens:
            raise DataError(
                f"{max_tokens} tokens end within the first document of {self.source}, "
                f"which has {first}",
                expected="at least two documents: what is learned on one part is judged on another",
                next_step="raise --max-tokens",
            )
        if next(sizes, None) is None:
            what = f"one of {first} tokens" if first else "none of at least one token"
            raise DataError(
                f"{self.source} holds fewer than two documents ({what})",
                expected="at least two: what is learned on one part is judged on another",
                next_step="separate documents by blank lines (.txt) or one on a line (.jsonl)",
            )

    def pools(self, context: int, shard_tokens: int, max_tokens: int | None) -> Iterator[Pool]:
        """The rows of all documents, pool by pool; `max_tokens` cuts the last row short."""
        rows: list[tuple[int, list[int]]] = []
        size = total = done = 0
        for row in self.rows(context):
            document, ids = row
            if max_tokens is not None and total + len(ids) >= max_tokens:
                ids = ids[: max_tokens - total]
                if len(ids) > 1:
                    rows.append((document, ids))
                break
            rows.append(row)
            size += len(ids)
            total += len(ids)
            if size >= shard_tokens:
                yield _pool(rows, done)
                done += len(rows)
                rows, size = [], 0
        if rows:
            yield _pool(rows, done)

    def rows(self, context: int) -> Iterator[tuple[int, list[int]]]:
        """(document, token ids) of every row of at most `context` tokens."""
        bos = self.model.bos_id
        front = [] if bos is None else [bos]
        step = context - len(front)
        for document, ids in enumerate(self.token_lists()):
            for start in range(0, len(ids), step):
                yield document, front + ids[start : start + step]


def _pool(rows: list[tuple[int, list[int]]], first_row: int) -> Pool:
    lengths = np.array([len(ids) for _, ids in rows], np.int64)
    return Pool(
        ids=np.fromiter(itertools.chain.from_iterable(ids for _, ids in rows), np.int32),
        starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64),
        lengths=lengths,
        document=np.array([document for document, _ in rows], np.int32),
        first_row=first_row,
    )


def row_length(model: Model, context: int | None = None) -> int:
    """Tokens of a row; by default the model's context, at most LONGEST_ROW.

    Raises:
        InputError: the model cannot read so many.
    """
    if context is None:
        return min(model.context_length, LONGEST_ROW)
    least = 1 if model.bos_id is None else 2
    if not least <= context <= model.context_length:
        raise InputError(
            f"context {context} does not fit {model.name}",
            expected=f"{least} to {model.context_length}",
        )
    return context

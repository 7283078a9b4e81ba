"""From documents to rows (the model's input sequences), and to the pools that become shards.

1. Each document is tokenised, chat messages in the tokenizer's template, and cut into rows of at
   most `context` tokens; every row begins with the beginning-of-text token if the model's rule adds
   one.
2. Special tokens and those of a template are not words: the model reads them, but they never count.
3. Rows are collected, in order, until a pool holds `shard_tokens` tokens: one pool is one shard.
   The grouping depends only on corpus and settings, so that a stopped harvest can reproduce it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from inscape.activations.documents import (
    corpus_files,
    cut,
    documents,
    on_disk,
    split_field,
    text_bytes,
)
from inscape.core import DataError, InputError, instance_of, short, whole
from inscape.model import Model, Site

Text = Path | str | Iterable[str | Sequence[int] | Sequence[Mapping[str, str]]]
_DOCUMENTS = "documents as texts, chat messages or token ids"
_SAMPLE, _TRIED = 64, 8
LONGEST_TEXT = 200_000  # characters that are tokenised at once
LONGEST_ROW = 1024  # for models with no stated limit, or a very large one


class Row(NamedTuple):
    """An input sequence: the number of its document, its token ids, and which of them are
    words."""

    document: int
    ids: list[int]
    words: list[bool]


@dataclass(frozen=True)
class Pool:
    """The rows of one shard, concatenated.

    ids, words [tokens]; starts and lengths [rows]: the span of each row in `ids`; document [rows];
    first_row: the number of its first row in the whole store.
    """

    ids: NDArray[np.int32]
    words: NDArray[np.bool_]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    document: NDArray[np.int32]
    first_row: int


class Corpus:
    """A text source bound to the model that reads it.

    Args:
        source: a path (see `documents`), or documents: texts, lists of chat messages, or token ids
            (with or without the beginning-of-text token in front).
    """

    def __init__(self, model: Model, source: Text) -> None:
        instance_of(Model, model, "a model:", "what Model.open returns")
        instance_of((str, Path, Iterable), source, "the text", f"a path, or {_DOCUMENTS}")
        self.model = model
        self.source = source if isinstance(source, str | Path) else "the corpus"
        self.path = on_disk(Path(source)) if isinstance(source, str | Path) else None
        self.items: list[Any] = [] if isinstance(source, str | Path) else list(source)
        for item in self.items:
            if not hasattr(item, "__len__"):
                raise InputError(f"a document {short(item)}", expected=_DOCUMENTS)
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
            if field := split_field(self.path)[1]:
                digest.update(f"\0{field}".encode())
            return {"source": "files", "sha256": digest.hexdigest()}
        for item in self.items:
            raw = item.encode() if isinstance(item, str) else repr(_plain(item)).encode()
            digest.update(len(raw).to_bytes(8, "little") + raw)
        return {"source": "documents", "sha256": digest.hexdigest()}

    def tokenised(self) -> Iterator[tuple[list[int], list[bool]]]:
        """Each document's token ids, without the beginning-of-text token of the rule, and which of
        them are words."""
        bos, special = self.model.bos_id, self.model.special_ids
        source: Iterable[Any] = documents(self.path) if self.path is not None else self.items
        for item in source:
            if isinstance(item, str):
                ids, words = self._encoded(item), None
            elif len(item) and isinstance(item[0], Mapping):
                ids, words = self.model.chat_tokens(item)
            else:
                ids, words = _plain(item), None
            words = [i not in special for i in ids] if words is None else words
            skip = int(ids[:1] == [bos])
            yield ids[skip:], words[skip:]

    def _encoded(self, text: str) -> list[int]:
        """Token ids of a text; of a very long one part by part, as a tokenizer holds 250 bytes for
        each character that it is given at once."""
        if len(text) <= LONGEST_TEXT:
            return self.model.encode(text)
        ids: list[int] = []
        for part in cut([text], LONGEST_TEXT):
            found = self.model.encode(part)
            ids += found[int(bool(ids) and found[:1] == [self.model.bos_id]) :]
        return ids

    def estimate(self) -> int | None:
        """An estimate of the number of tokens from the first documents (for the time left)."""
        counts = (len(ids) for ids, _ in self.tokenised())
        if self.path is None:
            sample = list(itertools.islice(counts, _SAMPLE))
            return sum(sample) * len(self.items) // max(1, len(sample)) or None
        tokens = sum(itertools.islice(counts, _SAMPLE))
        texts = itertools.islice(documents(self.path), _SAMPLE)
        size = sum(len(t.encode() if isinstance(t, str) else json.dumps(t)) for t in texts)
        total = sum(map(text_bytes, corpus_files(self.path)))
        return int(total * tokens / size) if size else None

    def check(self, max_tokens: int | None) -> None:
        """Refuses, before the corpus is read, one of which fewer than two documents would be used,
        and a model whose output on its beginning is not finite.

        Raises:
            DataError: there is one document only, or `max_tokens` ends in the first; or the model's
                logits are not finite.
        """
        sizes = (ids for ids, _ in self.tokenised() if ids)
        beginning = next(sizes, [])
        first = len(beginning)
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
        tried = torch.tensor([beginning[: min(_TRIED, self.model.context_length)]])
        logits = self.model.run(tried, logits="last").logits
        if logits is not None and not bool(torch.isfinite(logits).all()):
            raise DataError(
                f"the logits of {self.model.name} are not finite",
                expected="a model whose weights are whole",
                next_step="save or download the model again",
            )

    def pools(self, context: int, shard_tokens: int, max_tokens: int | None) -> Iterator[Pool]:
        """The rows of all documents, pool by pool; `max_tokens` truncates the last row."""
        rows: list[Row] = []
        size = total = done = 0
        for row in self.rows(context):
            if max_tokens is not None and total + len(row.ids) >= max_tokens:
                left = max_tokens - total
                if left > 1:
                    rows.append(Row(row.document, row.ids[:left], row.words[:left]))
                break
            rows.append(row)
            size += len(row.ids)
            total += len(row.ids)
            if size >= shard_tokens:
                yield pool_of(rows, done)
                done += len(rows)
                rows, size = [], 0
        if rows:
            yield pool_of(rows, done)

    def rows(self, context: int) -> Iterator[Row]:
        """Every row, of at most `context` tokens."""
        front = [] if self.model.bos_id is None else [self.model.bos_id]
        step = context - len(front)
        for document, (ids, words) in enumerate(self.tokenised()):
            for start in range(0, len(ids), step):
                part = slice(start, start + step)
                yield Row(document, front + ids[part], [False] * len(front) + words[part])


def _plain(item: Any) -> list[Any]:
    """A document of numbers or messages as plain values."""
    try:
        return [dict(part) if isinstance(part, Mapping) else int(part) for part in item]
    except (TypeError, ValueError) as error:
        raise InputError(f"a document {short(item)}", expected=_DOCUMENTS) from error


def pool_of(rows: list[Row], first_row: int) -> Pool:
    """These rows, one after another."""
    lengths = np.array([len(row.ids) for row in rows], np.int64)
    chained = itertools.chain.from_iterable
    return Pool(
        ids=np.fromiter(chained(row.ids for row in rows), np.int32),
        words=np.fromiter(chained(row.words for row in rows), np.bool_),
        starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64),
        lengths=lengths,
        document=np.array([row.document for row in rows], np.int32),
        first_row=first_row,
    )


def site_names(model: Model, sites: str | Site | Sequence[str | Site]) -> list[str]:
    """The names of one or more sites of the model, each once.

    Raises:
        InputError: there is none, or they are something else.
        SiteError: the model has no such site.
    """
    instance_of(Model, model, "a model:", "what Model.open returns")
    given = [sites] if isinstance(sites, str) or not isinstance(sites, Iterable) else sites
    names = list(dict.fromkeys(str(model.site(site)) for site in given))
    if not names:
        raise InputError("no site to read", expected="at least one, such as resid_post.2")
    return names


def row_length(model: Model, context: int | None = None) -> int:
    """Tokens per row; by default the model's context, at most LONGEST_ROW.

    Raises:
        InputError: the model cannot read that many.
    """
    instance_of(Model, model, "a model:", "what Model.open returns")
    if context is None:
        return min(model.context_length, LONGEST_ROW)
    least = 1 if model.bos_id is None else 2
    context = whole(context, "context")
    if not least <= context <= model.context_length:
        raise InputError(
            f"context {context} does not fit {model.name}",
            expected=f"{least} to {model.context_length}",
        )
    return context

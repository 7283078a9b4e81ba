"""What texts do to features: the activation of each over a text, pooled into one number.

1. Each text is read from its beginning, at most `max_tokens` of it, in one pass for all
   dictionaries and sites; the tokens that count (no special tokens, no attention sinks) are pooled.
2. Of each feature the maximum, the sum (and so the mean) over a text's tokens and the value on its
   last are kept: sparse, since most features are silent on most texts. Of the raw channels of a
   site, which have a sign, the minimum too.
3. Which tokens a text holds is kept as a table of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from inscape.activations import TextActivations
from inscape.dictionary import Dictionary
from inscape.model import Model

MAX_TOKENS = 128
_ROWS = 2048  # tokens that are encoded at once
_DENSE = ("max", "min", "sum", "last")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Pooled:
    """Columns (features, channels or tokens) pooled over texts: tables [texts, columns] by pooling,
    sparse or dense; lengths [texts]: how many tokens of each text count."""

    lengths: NDArray[np.int64]
    tables: Mapping[str, Any]

    @property
    def poolings(self) -> tuple[str, ...]:
        """The poolings that `values` knows."""
        return (*self.tables, *(["mean"] if "sum" in self.tables else []))

    @property
    def num_columns(self) -> int:
        """Features, channels or tokens."""
        return int(next(iter(self.tables.values())).shape[1])

    def is_held(self, texts: ArrayLike) -> NDArray[np.bool_]:
        """Which columns [columns] are not zero on all of some texts."""
        table = next(iter(self.tables.values()))[np.asarray(texts)]
        found: NDArray[np.bool_] = np.asarray(abs(table).sum(0)).ravel() > 0
        return found

    def values(self, pooling: str, texts: ArrayLike, columns: ArrayLike | None = None) -> Floats:
        """One pooling of some texts, and of some columns or of all: [texts, columns]."""
        rows = np.asarray(texts)
        table = self.tables["sum" if pooling == "mean" else pooling][rows]
        part = table if columns is None else table[:, np.asarray(columns)]
        found: Floats = np.array(part.toarray() if hasattr(part, "toarray") else part, np.float32)
        if pooling == "mean":
            found /= np.maximum(self.lengths[rows], 1)[:, None]
        return found


@dataclass(frozen=True)
class PooledTexts:
    """Texts under dictionaries (by name) and at sites; tokens: which token ids each holds (pooling
    "any"), over `vocab_size` columns."""

    dictionaries: Mapping[str, Pooled]
    sites: Mapping[str, Pooled]
    tokens: Pooled


def pool_texts(
    model: Model,
    texts: Sequence[str | Sequence[int]],
    dictionaries: Sequence[Dictionary] = (),
    sites: Sequence[str] = (),
    *,
    max_tokens: int = MAX_TOKENS,
) -> PooledTexts:
    """Features of `dictionaries`, raw channels of `sites` and tokens, pooled over each text (or its
    token ids).

    Raises:
        DataError: fewer than two texts, or an activation is not finite.
    """
    context = min(max_tokens, model.context_length)
    source = TextActivations(model, _cut(model, texts, context), context=context)
    read = list(dict.fromkeys([*(site for d in dictionaries for site in d.reads), *sites]))
    lengths = np.zeros(len(texts), np.int64)
    parts: dict[str, list[dict[str, csr_matrix]]] = {d.name: [] for d in dictionaries}
    shapes = {site: (len(texts), model.width(site)) for site in sites}
    dense = {
        site: {p: np.zeros(shape, np.float32) for p in _DENSE} for site, shape in shapes.items()
    }
    present: list[dict[str, csr_matrix]] = []
    done = 0  # texts read so far
    for table, acts in source.pieces(read or ["resid_post.0"]):
        counted = np.flatnonzero(table.kept)
        owner = np.asarray(table.document)[counted].astype(np.int64)
        lengths += np.bincount(owner, minlength=len(texts))
        following = int(table.document[-1]) + 1
        place, ids = owner - done, np.asarray(table.ids)[counted]
        present.append(_present(place, ids, (following - done, model.vocab_size)))
        for d in dictionaries:
            x = d.concat_sites({site: acts[site][counted] for site in d.reads})
            parts[d.name].append(_encoded(d, x, place, following - done))
        for site, tables in dense.items():
            _reduce(acts[site][counted].float().numpy(), owner, tables)
        done = following
    return PooledTexts(
        {name: _joined(found, lengths) for name, found in parts.items()},
        {site: Pooled(lengths, tables) for site, tables in dense.items()},
        _joined(present, lengths),
    )


def _cut(model: Model, texts: Sequence[str | Sequence[int]], context: int) -> list[list[int]]:
    """The token ids of texts, each so short that it is one row."""
    front = [] if model.bos_id is None else [model.bos_id]
    ids = [model.encode(text) if isinstance(text, str) else [*text] for text in texts]
    rows = [row[len(front) :] if row[: len(front)] == front else row for row in ids]
    return [row[: context - len(front)] for row in rows]


def _encoded(
    dictionary: Dictionary, x: Tensor, place: NDArray[np.int64], num_texts: int
) -> dict[str, csr_matrix]:
    """The features of tokens x [tokens, width], pooled over the texts that they lie in."""
    owners, features, values = [], [], []
    for start in range(0, len(x), _ROWS):
        code = dictionary.encode(x[start : start + _ROWS].float().to(dictionary.device)).to("cpu")
        row, slot = (code.values > 0).nonzero(as_tuple=True)
        owners.append(row.numpy() + start)
        features.append(code.indices[row, slot].numpy())
        values.append(code.values[row, slot].numpy())
    entries = np.concatenate([*owners, np.zeros(0, np.int64)]).astype(np.int64)
    return _tables(
        place[entries],
        np.concatenate([*features, np.zeros(0, np.int64)]),
        np.concatenate([*values, np.zeros(0, np.float32)]),
        (num_texts, dictionary.d_dict),
        is_last=_is_last(place)[entries],
    )


def _present(
    texts: NDArray[np.int64], ids: NDArray[np.int32], shape: tuple[int, int]
) -> dict[str, csr_matrix]:
    found = csr_matrix((np.ones(len(ids), np.float32), (texts, ids)), shape)
    found.data[:] = 1  # entries of one place were added up
    return {"any": found}


def _tables(
    texts: NDArray[np.int64],
    columns: NDArray[np.int64],
    values: Floats,
    shape: tuple[int, int],
    is_last: NDArray[np.bool_],
) -> dict[str, csr_matrix]:
    """Entries (text, column, value) pooled: one table each of maxima, sums and last tokens."""
    order = np.lexsort((columns, texts))
    texts, columns, values, is_last = texts[order], columns[order], values[order], is_last[order]
    keys = texts * shape[1] + columns
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    place = texts[first], columns[first]
    sums = np.add.reduceat(values, first) if len(first) else values
    largest = np.maximum.reduceat(values, first) if len(first) else values
    return {
        "max": csr_matrix((largest, place), shape),
        "sum": csr_matrix((sums, place), shape),
        "last": csr_matrix((values[is_last], (texts[is_last], columns[is_last])), shape),
    }


def _is_last(owner: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which tokens are the last of their text; owner [tokens] ascends."""
    found: NDArray[np.bool_] = np.append(owner[1:] != owner[:-1], len(owner) > 0)
    return found[: len(owner)]


def _reduce(x: Floats, owner: NDArray[np.int64], tables: Mapping[str, Floats]) -> None:
    """Pools channels x [tokens, width] into the rows of their texts."""
    if not len(owner):
        return
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    rows = owner[first]
    tables["max"][rows] = np.maximum.reduceat(x, first)
    tables["min"][rows] = np.minimum.reduceat(x, first)
    tables["sum"][rows] = np.add.reduceat(x, first)
    tables["last"][rows] = x[_is_last(owner)]


def _joined(parts: Sequence[Mapping[str, csr_matrix]], lengths: NDArray[np.int64]) -> Pooled:
    """The texts of all pieces, one after another."""
    return Pooled(lengths, {p: vstack([part[p] for part in parts], "csr") for p in parts[0]})

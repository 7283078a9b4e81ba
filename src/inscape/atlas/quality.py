"""How good the dictionaries of an atlas are.

1. Rows of text are drawn: from a text that training has not seen, or from the atlas's own.
2. Each dictionary is spliced into the model on these rows; loss, KL, FVU, explained variance and
   L0 are measured, beginning-of-text and attention-sink tokens left out.
3. Density comes from the feature index, label scores from the labels.
4. k-sparse probing of concepts and first-letter absorption, each in one pass for all dictionaries
   (see `validation`); those that do not read and write one site have none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from inscape.activations.corpus import Corpus, row_length
from inscape.atlas.container import Container
from inscape.core import DataError, InputError, seeded
from inscape.dictionary import Dictionary
from inscape.features import FeatureIndex
from inscape.intervention import Fidelity, fidelity
from inscape.model import Model
from inscape.storage import Result
from inscape.training import Watch
from inscape.validation import (
    EVERYDAY,
    Absorption,
    SparseProbing,
    absorption,
    read_concepts,
    sparse_probing,
)

BATCH_TOKENS = 4096  # padding included
ENOUGH_TOKENS = 1_000_000  # a dead share that rests on fewer says little

Row = tuple[Sequence[int], Sequence[bool], int]
"""Token ids, which of them count, and the number of the document."""


@dataclass(frozen=True)
class Quality(Result):
    """The figures of one dictionary.

    Attributes:
        dictionary: its name.
        text: what the fidelity was measured on.
        fidelity: what splicing the dictionary in keeps.
        dead_share: share of features that never fired over the `index_tokens` tokens of the index;
            None where these are fewer than a million, which say little.
        over_1_percent, over_10_percent: share of features that are active on more of the tokens;
            None without an index.
        label_auroc: median AUROC of the labels against random windows, over the `labels_scored`
            features whose label has one; None without labels.
        num_unclear: features that were tried and whose meaning stayed unclear.
        probing, absorption: None where they were left out, or the dictionary has none.
    """

    SCHEMA: ClassVar[str] = "inscape.quality"
    VERSION: ClassVar[int] = 2
    MADE_BY: ClassVar[str] = "validate"

    dictionary: str
    text: str
    fidelity: Fidelity
    dead_share: float | None
    index_tokens: int
    over_1_percent: float | None
    over_10_percent: float | None
    label_auroc: float | None
    labels_scored: int
    num_unclear: int = 0
    probing: SparseProbing | None = None
    absorption: Absorption | None = None

    def __repr__(self) -> str:
        kept = self.fidelity
        return (
            f"Quality({self.dictionary!r}, fvu={kept.fvu:.3g}, l0={kept.l0:.3g}, "
            f"loss_recovered={kept.loss_recovered_zero:.3g}, num_tokens={kept.num_tokens})"
        )


def quality(
    atlas: Container,
    *,
    text: Path | None = None,
    names: Iterable[str] | None = None,
    max_tokens: int = 20_000,
    concepts: str | Path | None = EVERYDAY,
    letters: bool = True,
    seed: int = 0,
) -> list[Quality]:
    """Figures of the dictionaries of an atlas, or of those named.

    Args:
        names: by default all that are stored; where none is, the neurons that are indexed.
        text: what to measure on; the text of the first index if None, which training may have seen.
        max_tokens: how much of it.
        concepts: a file of concepts for k-sparse probing; None leaves it out.
        letters: whether first-letter absorption is measured.

    Raises:
        DataError: the text is empty or unreadable.
        InputError: the atlas has no such dictionary.
    """
    if names is None and not atlas.dictionary_names:
        names = atlas.indexed_names
    chosen = atlas.some(names)
    indexes = {name: atlas.features(name) for name in chosen if atlas.is_indexed(name)}
    if text is not None:
        rows, where = text_rows(atlas.model, text, max_tokens), str(text)
    elif atlas.indexed_names:
        indexed = [*indexes, *atlas.indexed_names]
        rows = index_rows(atlas.features(indexed[0]), max_tokens, seed)
        where = "the atlas's own text, which training may have seen"
    else:
        raise InputError(
            f"no dictionary of {atlas.path} is indexed, so there is no text to measure on",
            next_step="name one with --text",
        )
    read = read_concepts(concepts) if concepts is not None else []
    dictionaries = [atlas.dictionary(name) for name in chosen]
    model, source = atlas.model, Path(concepts or "").name
    readable = model.tokenizer is not None
    probed = sparse_probing(model, dictionaries, read, source=source) if read and readable else {}
    absorbed = absorption(model, dictionaries, seed=seed) if letters else {}
    found = []
    for name in chosen:
        index, labels = indexes.get(name), atlas.labels(name)
        summary = labels.summary if labels else {}
        found.append(
            Quality(
                dictionary=name,
                text=where,
                fidelity=fidelity(atlas.model, atlas.dictionary(name), batches(rows), seed=seed),
                **_density(index),
                label_auroc=summary.get("median_auroc"),
                labels_scored=summary.get("num_scored", 0),
                num_unclear=summary.get("num_unclear", 0),
                probing=probed.get(name),
                absorption=absorbed.get(name),
            )
        )
    return found


def _density(index: FeatureIndex | None) -> dict[str, Any]:
    """What an index says of how often features are active."""
    if index is None:
        return dict.fromkeys(("dead_share", "over_1_percent", "over_10_percent")) | {
            "index_tokens": 0
        }
    enough = index.num_considered >= ENOUGH_TOKENS
    return {
        "dead_share": float(np.mean(index.num_active == 0)) if enough else None,
        "index_tokens": index.num_considered,
        "over_1_percent": float(np.mean(index.density > 0.01)),
        "over_10_percent": float(np.mean(index.density > 0.1)),
    }


def loss_watch(model: Model, text: Path, *, max_tokens: int = 10_000, times: int = 10) -> Watch:
    """For training: what the dictionary as it is keeps of the model's loss on a held-out text.

    Raises:
        DataError: the text is empty or unreadable.
    """
    rows = text_rows(model, text, max_tokens)

    def measure(dictionary: Dictionary) -> dict[str, float]:
        found = fidelity(model, dictionary, batches(rows))
        return {
            "loss_recovered": found.loss_recovered_zero,
            "ce": found.ce_dict,
            "fvu": found.fvu,
            "explained_variance": found.ev,
            "l0": found.l0,
        }

    return Watch(measure, times)


def held_out_identity(model: Model, text: Path, *, max_tokens: int = 10_000) -> dict[str, Any]:
    """What identifies that which `loss_watch` measures on: the model, and the rows of token ids."""
    rows = [ids for ids, _, _ in text_rows(model, text, max_tokens)]
    content = b"".join(np.asarray([len(ids), *ids], np.int64).tobytes() for ids in rows)
    digest = hashlib.sha256(content).hexdigest()
    return {"model_hash": model.hash, "tokens": sum(map(len, rows)), "sha256": digest}


def text_rows(model: Model, text: Path, max_tokens: int) -> list[Row]:
    """Rows of at most the model's context, each document starting a new one.

    Raises:
        DataError: the text is empty or unreadable.
    """
    rows: list[Row] = []
    total = 0
    for row in Corpus(model, text).rows(row_length(model)):
        total += len(row.ids)
        rows.append((row.ids, row.words, row.document))
        if total >= max_tokens:
            break
    if not rows:
        raise DataError(f"{text} holds no text", expected="at least one document")
    return rows


def index_rows(index: FeatureIndex, max_tokens: int, seed: int) -> list[Row]:
    """Random rows of the text that an index was made from; tokens that do not count are marked."""
    table, total = index.tokens, 0
    bounds = np.flatnonzero(np.append(table.positions == 0, True))
    order = np.random.default_rng(seeded(seed, "quality")).permutation(len(bounds) - 1)
    rows: list[Row] = []
    for number in order:
        part = slice(int(bounds[number]), int(bounds[number + 1]))
        total += part.stop - part.start
        counted = table.considered[part].tolist()
        rows.append((table.ids[part].tolist(), counted, int(table.documents[part.start])))
        if total >= max_tokens:
            break
    return rows


def batches(rows: Sequence[Row]) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """Token ids, the mask of those that count, and documents; rows of similar length together."""
    ordered = sorted(rows, key=lambda row: -len(row[0]))
    start = 0
    while start < len(ordered):
        part = ordered[start : start + max(1, BATCH_TOKENS // len(ordered[start][0]))]
        start += len(part)
        ids, counts, owners = zip(*part, strict=True)
        tokens, masks = (
            pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
            for rows in (ids, counts)
        )
        yield tokens, masks, list(owners)

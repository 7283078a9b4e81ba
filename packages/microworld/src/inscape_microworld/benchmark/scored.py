"""The model run once over the benchmark's documents, and what each system makes of it.

1. Documents come from a stream of their own seed, which neither the model nor any dictionary of
   this project learnt from. The first of them are taken as they come, later ones only for a
   concept that too few documents mention so far: otherwise the few frequent concepts would be all
   that can be judged.
2. One forward pass a batch keeps the activations of the wanted sites, float32 [n, d_model], rows
   in the order of the documents; beginning-of-text rows stay (the truth counts them), but no
   figure rests on them.
3. A system's active entries are sorted by feature (a counting sort): feature f owns the entries
   indptr[f] : indptr[f+1]. Values are kept as float16, or as float32 where one does not fit.
4. Half of the documents is for choosing, half for judging.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from inscape.core import InputError, track
from inscape.features.sparse import FLOAT16_LIMIT, FLOAT16_TINY
from inscape.labels import document_halves
from inscape.model import Inputs, Model
from inscape_microworld.benchmark.interface import Features
from inscape_microworld.corpus import SHARES, documents
from inscape_microworld.document import Document
from inscape_microworld.pictures.documents import PictureDocument, picture_truth
from inscape_microworld.skills import pad
from inscape_microworld.truth import Truth, token_truth

BENCHMARK_SEED = 2_000_003
NUM_DOCUMENTS = 40_000
AS_THEY_COME, PER_CONCEPT = 1 / 20, 50
NUMBERS = "value_"
"""Concepts of single numbers: nearly two hundred, for which no document is added."""
BATCH_TOKENS = 8192
ENCODED_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Scored:
    """Tokens [n] of the documents with their truth, and activations [n, d_model] by site.

    documents: the document of each row. considered: False on beginning-of-text. selection: True
    on the half of the documents on which everything is chosen.
    """

    tokens: NDArray[np.int64]
    documents: NDArray[np.int32]
    considered: NDArray[np.bool_]
    selection: NDArray[np.bool_]
    truth: Truth
    acts: Mapping[str, Float[Tensor, "n d_model"]]

    @property
    def num_documents(self) -> int:
        """Number of documents."""
        return len(self.truth.starts)

    def site(self, name: str) -> Float[Tensor, "n d_model"]:
        """The activations of a site.

        Raises:
            InputError: it was not read.
        """
        if name not in self.acts:
            raise InputError(
                f"site {name!r} was not read",
                expected="one of " + ", ".join(self.acts),
                next_step="name it when the documents are run",
            )
        return self.acts[name]


@dataclass(frozen=True, eq=False)
class Sparse:
    """Active entries of a system by feature: rows ascending (int32) and values > 0."""

    name: str
    indptr: NDArray[np.int64]
    rows: NDArray[np.int32]
    values: NDArray[np.floating[Any]]

    @property
    def num_features(self) -> int:
        """Number of features, those that never fire included."""
        return len(self.indptr) - 1

    def of(self, feature: int) -> tuple[NDArray[np.int32], NDArray[np.floating[Any]]]:
        """Rows on which a feature is active, and its activations there."""
        part = slice(int(self.indptr[feature]), int(self.indptr[feature + 1]))
        return self.rows[part], self.values[part]


def benchmark_documents(
    count: int = NUM_DOCUMENTS, *, seed: int = BENCHMARK_SEED, shares: Mapping[str, float] = SHARES
) -> list[Document]:
    """The documents that systems are scored on; `shares` draws from other domains.

    Of a stream of `count` documents the share AS_THEY_COME, and of the rest each that mentions a
    concept which fewer than PER_CONCEPT of those kept so far do.
    """
    kept: list[Document] = []
    mentioned: Counter[str] = Counter()
    for i, document in enumerate(documents(seed, count, shares=shares)):
        concepts = {m.concept for m in document.mentions if not m.concept.startswith(NUMBERS)}
        if i < AS_THEY_COME * count or any(mentioned[c] < PER_CONCEPT for c in concepts):
            kept.append(document)
            mentioned.update(concepts)
    return kept


def run_documents(
    model: Model, texts: Sequence[Document], sites: Sequence[str], *, seed: int = 0
) -> Scored:
    """Run the model over documents and keep the activations of `sites`.

    Raises:
        InputError: there are no documents, or one does not fit into the model's context.
        SiteError: the model has no such site.
    """
    if not texts:
        raise InputError("there are no documents", expected="at least two")
    ids, truth = token_truth(model.tokenizer, texts)
    return _run(model, ids, truth, sites, seed, lambda tokens, _: tokens)


def run_pictures(
    model: Model, made: Sequence[PictureDocument], sites: Sequence[str], *, seed: int = 0
) -> Scored:
    """Run an image-text model over pictures with their texts; patches have rows of their own.

    Raises:
        InputError: there are no documents, or the model reads no pictures.
        SiteError: the model has no such site.
    """
    if not made or model.image_id is None:
        missing = "there are no pictures" if not made else f"{model.name} reads no pictures"
        raise InputError(missing, expected="pictures and an image-text model")
    image_id = model.image_id
    ids, truth = picture_truth(model.tokenizer, made, image_id)

    def inputs(tokens: Tensor, chosen: Sequence[int]) -> Inputs:
        pixels = model.pixels(np.stack([made[i].picture.pixels for i in chosen]))
        return Inputs(tokens, pixels)

    return _run(model, ids, truth, sites, seed, inputs)


@torch.no_grad()
def _run(
    model: Model,
    ids: Sequence[Sequence[int]],
    truth: Truth,
    sites: Sequence[str],
    seed: int,
    inputs: Callable[[Tensor, Sequence[int]], Tensor | Inputs],
) -> Scored:
    """`inputs` makes what the model takes from padded token ids and the documents' numbers."""
    names = sorted({str(model.site(site)) for site in sites})
    acts = {name: torch.empty(truth.num_tokens, model.d_model) for name in names}
    for chosen in track(_batches([len(row) for row in ids]), "running documents", unit="batches"):
        padded = pad([ids[i] for i in chosen]).to(model.device)
        run = model.run(inputs(padded, chosen), read=names)
        for name in names:
            values = run[name].float().cpu()
            for row, i in enumerate(chosen):
                start = int(truth.starts[i])
                acts[name][start : start + len(ids[i])] = values[row, : len(ids[i])]
    tokens = np.concatenate([np.asarray(row, np.int64) for row in ids])
    owners = np.repeat(np.arange(len(ids), dtype=np.int32), [len(row) for row in ids])
    considered = np.ones(len(tokens), np.bool_)
    if model.bos_id is not None:
        considered[tokens == model.bos_id] = False
    return Scored(tokens, owners, considered, document_halves(owners, seed), truth, acts)


def joined(first: Scored, second: Scored) -> Scored:
    """The documents of both, those of the second after those of the first; sites that both read."""
    size, count = len(first.tokens), first.num_documents
    return Scored(
        np.concatenate([first.tokens, second.tokens]),
        np.concatenate([first.documents, second.documents + np.int32(count)]),
        np.concatenate([first.considered, second.considered]),
        np.concatenate([first.selection, second.selection]),
        Truth(
            np.concatenate([first.truth.starts, second.truth.starts + size]),
            size + second.truth.num_tokens,
            _both(first.truth.spans, second.truth.spans, size),
            _both(first.truth.scopes, second.truth.scopes, size),
            {
                c: first.truth.forms.get(c, []) + second.truth.forms.get(c, [])
                for c in first.truth.forms.keys() | second.truth.forms.keys()
            },
        ),
        {
            site: torch.cat([x, second.acts[site]])
            for site, x in first.acts.items()
            if site in second.acts
        },
    )


def _both(
    first: Mapping[str, NDArray[np.int64]], second: Mapping[str, NDArray[np.int64]], size: int
) -> dict[str, NDArray[np.int64]]:
    empty = np.zeros((0, 2), np.int64)
    return {
        c: np.concatenate([first.get(c, empty), second.get(c, empty) + size])
        for c in first.keys() | second.keys()
    }


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Documents of similar length together, about BATCH_TOKENS a batch."""
    batches: list[list[int]] = [[]]
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if (len(batches[-1]) + 1) * lengths[i] > BATCH_TOKENS and batches[-1]:
            batches.append([])
        batches[-1].append(i)
    return batches


def encode(scored: Scored, system: Features) -> Sparse:
    """A system's active entries on the considered tokens.

    Raises:
        InputError: its site was not read, or it names features that it does not have.
    """
    x = scored.site(system.site)
    wanted = torch.from_numpy(np.flatnonzero(scored.considered))
    parts: list[tuple[NDArray[Any], ...]] = []
    for begin in range(0, len(wanted), ENCODED_ROWS):
        part = wanted[begin : begin + ENCODED_ROWS]
        rows, features, values = system.encode(x[part])
        found = part[rows.cpu()].numpy().astype(np.int32), features.cpu().numpy().astype(np.int32)
        kept = values.detach().float().cpu().numpy()
        if kept.max(initial=0.0) <= FLOAT16_LIMIT:
            kept = np.maximum(kept, FLOAT16_TINY).astype(np.float16)
        parts.append((*found, kept))
    return by_feature(system.name, system.num_features, parts)


def by_feature(name: str, num_features: int, parts: list[tuple[NDArray[Any], ...]]) -> Sparse:
    """Entries (rows, features, values), in parts of ascending rows, sorted by feature. The list of
    parts is used up, so that they are not in memory twice.

    Raises:
        InputError: a feature has a number that there is not.
    """
    counts = np.zeros(num_features, np.int64)
    largest = 0.0
    for _, features, values in parts:
        if features.size and not 0 <= features.min() <= features.max() < num_features:
            raise InputError(
                f"{name} names a feature that it does not have", expected=f"0 to {num_features - 1}"
            )
        counts += np.bincount(features, minlength=num_features)
        largest = max(largest, float(values.max(initial=0.0)))
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    out_rows = np.empty(int(indptr[-1]), np.int32)
    half = largest <= FLOAT16_LIMIT
    out_bits = np.empty(int(indptr[-1]), np.uint16 if half else np.uint32)
    cursor = indptr[:-1].copy()
    parts.reverse()
    while parts:
        rows, features, values = parts.pop()
        kept = np.maximum(values, FLOAT16_TINY).astype(np.float16 if half else np.float32)
        # numba has no float16 on the CPU: bits are moved
        bits = np.ascontiguousarray(kept).view(out_bits.dtype)
        _scatter(rows, features, bits, cursor, out_rows, out_bits)
    return Sparse(name, indptr, out_rows, out_bits.view(np.float16 if half else np.float32))


@njit(cache=True, nogil=True)
def _scatter(
    rows: NDArray[np.int32],
    features: NDArray[np.int32],
    bits: NDArray[Any],
    cursor: NDArray[np.int64],
    out_rows: NDArray[np.int32],
    out_bits: NDArray[Any],
) -> None:
    for i in range(features.shape[0]):
        place = cursor[features[i]]
        out_rows[place] = rows[i]
        out_bits[place] = bits[i]
        cursor[features[i]] = place + 1

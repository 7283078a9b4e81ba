"""Scores of labels that are texts and nothing else: a language model's, published ones, a person's.

1. Windows of the scoring documents are drawn as for the offline labels (sampling.py): some in which
   the feature fires, some at random, some near (the same token, or a feature like it).
2. A window's score is the cosine of its embedding with that of the label.
3. AUROC with its interval (scoring.py), against random windows and against near ones; the control
   is another feature's label on the same windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.core import InputError, characters, seeded, track, warn
from inscape.features import FeatureIndex
from inscape.labels.embedder import Embedder
from inscape.labels.sampling import NEAR, POSITIVE, RANDOM, Half, Sample, document_halves
from inscape.labels.scoring import Score, bootstrap_weights, detection
from inscape.labels.store import Label

NUM_WINDOWS = 24  # positive and negative, each
BEFORE, AFTER = 16, 8  # tokens of a window around the one that is asked about
MIN_POSITIVES = 4
NUM_WORDS = 8
CHUNK = 4096  # windows that are embedded at a time


def explaining_documents(index: FeatureIndex, seed: int) -> NDArray[np.int32]:
    """The documents that labels are written from, and never scored on.

    Raises:
        InputError: the index rests on a single document.
    """
    inside = document_halves(index.tokens.distinct, seeded(seed, "labels"))
    if not inside.any() or inside.all():
        raise InputError(
            "the index rests on a single document",
            expected="at least two, one to write labels from and one to score them on",
        )
    return np.unique(index.tokens.documents[inside])


def score_texts(
    index: FeatureIndex,
    texts: Mapping[int, str],
    source: str,
    embedder: Embedder | None,
    *,
    seed: int = 0,
) -> list[Label]:
    """Labels of features with these texts ("" for unclear), in the order of features, scored where
    there is an embedder, and the feature fires in enough windows of the scoring documents."""
    explaining_documents(index, seed)
    samples: dict[int, Sample] = {}
    if not index.has_activations:
        warn(f"labels are not scored: the index of {index.dictionary} holds examples only")
    elif embedder is not None:
        samples = _samples(index, [f for f in sorted(texts) if texts[f]], seed)
    scores = _scores(index, texts, samples, embedder, seed) if embedder and samples else {}
    labels = []
    for feature in sorted(texts):
        figures = scores.get(feature, {})
        labels.append(
            Label(
                feature,
                texts[feature],
                kind="concept" if texts[feature] else "unclear",
                source=source,
                words=tuple(token.strip() for token in index.peak_tokens(feature, NUM_WORDS)),
                predicts=tuple(token for token, _ in index.promoted(feature)[:NUM_WORDS]),
                **figures,
            )
        )
    return labels


def _samples(index: FeatureIndex, features: Sequence[int], seed: int) -> dict[int, Sample]:
    table = index.tokens
    explaining = document_halves(table.distinct, seeded(seed, "labels"))
    half = Half(table, ~explaining & np.asarray(table.considered))
    found = {}
    for feature in features:
        rows, values = index.rows_of(feature)
        inside = half.inside(rows, values)
        if inside[0].size < MIN_POSITIVES or half.rows.size - inside[0].size < MIN_POSITIVES:
            continue
        rng = np.random.default_rng(seeded(seed, "labels", "texts", feature))
        found[feature] = half.draw(index, feature, NUM_WINDOWS, rng)
    return found


def _scores(
    index: FeatureIndex,
    texts: Mapping[int, str],
    samples: Mapping[int, Sample],
    embedder: Embedder,
    seed: int,
) -> dict[int, dict[str, Any]]:
    rows = np.unique(np.concatenate([sample.rows for sample in samples.values()]))
    windows = _embedded(index, rows, embedder)
    features = sorted(samples)
    named = embedder.embed([texts[feature] for feature in features]).astype(np.float16)
    rng = np.random.default_rng(seeded(seed, "labels", "texts", "bootstrap"))
    weights = bootstrap_weights(4 * NUM_WINDOWS, rng)
    # the next label in a random ring: never the feature's own
    ring = np.random.default_rng(seeded(seed, "labels", "texts", "control"))
    order = ring.permutation(len(features))
    other = np.empty(len(features), np.int64)
    other[order] = np.roll(order, -1)
    documents = index.tokens.distinct
    found: dict[int, dict[str, Any]] = {}
    for place, feature in enumerate(features):
        sample = samples[feature]

        def scored(label: int, without: int, sample: Sample = sample) -> Score:
            part = sample.group != without
            similar = windows[np.searchsorted(rows, sample.rows[part])] @ named[label]
            owners = documents[sample.rows[part]]
            return detection(similar.astype(np.float64), sample.positive[part], owners, weights)

        far = scored(place, NEAR)
        found[feature] = {
            "auroc": far.auroc,
            "low": far.low,
            "high": far.high,
            "auroc_near": scored(place, RANDOM).auroc if sample.count(NEAR) else nan,
            "shuffled": scored(int(other[place]), NEAR).auroc if len(features) > 1 else nan,
            "num_positive": sample.count(POSITIVE),
            "num_negative": sample.count(RANDOM),
        }
    return found


def _embedded(
    index: FeatureIndex, rows: NDArray[np.int64], embedder: Embedder
) -> NDArray[np.float16]:
    """The windows around rows as vectors, [rows, d]."""
    table = index.tokens
    first, last = table.bounds
    parts = []
    for start in track(range(0, rows.size, CHUNK), "reading windows", unit="parts"):
        part = rows[start : start + CHUNK]
        begin = np.maximum(part - BEFORE, first[part])
        end = np.minimum(part + AFTER + 1, last[part])
        texts = [
            "".join(characters([table.text(token) for token in table.ids[b:e].tolist()]))
            for b, e in zip(begin.tolist(), end.tolist(), strict=True)
        ]
        parts.append(embedder.embed(texts).astype(np.float16))
    return np.concatenate(parts)

"""What the text of a label tells by itself: of a language model's labels, published ones and a
person's, which are texts and nothing else, and beside the rules of the offline ones.

1. The windows are those on which the feature's offline label is scored (sampling.py): some in which
   the feature fires, some at random, some near (the same token, or a feature like it).
2. A window's score is the cosine of its vector (contexts.py: the marked word, and what stands
   around it) with the embedding of the text.
3. AUROC with its interval (scoring.py), against random windows and against near ones; the control
   is another feature's label on the same windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.core import InputError, seeded, track, warn
from inscape.features import FeatureIndex
from inscape.labels.contexts import Contexts
from inscape.labels.embedder import Embedder
from inscape.labels.rules import aurocs
from inscape.labels.sampling import (
    NEAR,
    NUM_WINDOWS,
    POSITIVE,
    RANDOM,
    Half,
    Sample,
    document_halves,
)
from inscape.labels.scoring import bootstrap_weights, on_sample
from inscape.labels.store import Label
from inscape.labels.words import Words
from inscape.storage import remove

MIN_POSITIVES = 4
NUM_WORDS = 8


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
    folder: Path,
    *,
    seed: int = 0,
) -> list[Label]:
    """Labels of features with these texts ("" for unclear), in the order of features, scored where
    there is an embedder, and the feature fires in enough windows of the scoring documents. `folder`
    is for what the embedder reads, and is removed."""
    explaining_documents(index, seed)
    samples: dict[int, Sample] = {}
    if not index.has_activations:
        warn(f"labels are not scored: the index of {index.dictionary} holds examples only")
    elif embedder is not None:
        samples = _samples(index, [f for f in sorted(texts) if texts[f]], seed)
    scores = {}
    if embedder is not None and samples:
        scores = _scores(index, texts, samples, embedder, seed, folder)
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
    for feature in track(features, "windows", unit="features"):
        rows, values = index.rows_of(feature)
        inside = half.inside(rows, values)
        if inside[0].size < MIN_POSITIVES or half.rows.size - inside[0].size < MIN_POSITIVES:
            continue
        found[feature] = half.scored(index, feature, NUM_WINDOWS, seed)
    return found


def _scores(
    index: FeatureIndex,
    texts: Mapping[int, str],
    samples: Mapping[int, Sample],
    embedder: Embedder,
    seed: int,
    folder: Path,
) -> dict[int, dict[str, Any]]:
    features, documents = sorted(samples), index.tokens.distinct
    named = embedder.embed([texts[feature] for feature in features])
    rng = np.random.default_rng(seeded(seed, "labels", "bootstrap"))
    weights = bootstrap_weights(4 * NUM_WINDOWS, rng)
    # the next label in a random ring: never the feature's own
    ring = np.random.default_rng(seeded(seed, "labels", "texts", "control"))
    order = ring.permutation(len(features))
    other = np.empty(len(features), np.int64)
    other[order] = np.roll(order, -1)
    found: dict[int, dict[str, Any]] = {}
    rows = np.unique(np.concatenate([sample.rows for sample in samples.values()]))
    remove(folder)  # of a run that was stopped
    contexts = Contexts.read(Words(index), embedder, folder / "contexts.npy", rows)
    for number, feature in enumerate(features):
        sample = samples[feature]
        both = named[[number, other[number]]].astype(np.float64)
        own, control = both @ contexts.at(sample.rows).T
        far = on_sample(own, sample, NEAR, documents, weights)
        near = on_sample(own, sample, RANDOM, documents, weights) if sample.count(NEAR) else far
        shuffled = on_sample(control, sample, NEAR, documents, weights)
        found[feature] = {
            "auroc": far.auroc,
            "low": far.low,
            "high": far.high,
            "auroc_near": near.auroc if sample.count(NEAR) else nan,
            "shuffled": shuffled.auroc if len(features) > 1 else nan,
            "auroc_text": far.auroc,
            "num_positive": sample.count(POSITIVE),
            "num_negative": sample.count(RANDOM),
        }
    del contexts  # not every system removes an open file
    remove(folder)
    return found


def with_texts(
    labels: Sequence[Label], embedder: Embedder, contexts: Contexts, scored: Callable[[int], Sample]
) -> list[Label]:
    """The same labels with what their texts tell alone, on the windows `scored` of each feature."""
    found = []
    vectors = embedder.embed([one.text for one in labels])
    for one, vector in zip(labels, vectors, strict=True):
        if one.num_scored:
            sample = scored(one.feature)
            told = (contexts.at(sample.rows) @ vector)[None].astype(np.float64)
            alone = aurocs(told, sample.positive, sample.group == RANDOM)
            one = replace(one, auroc_text=float(alone[0]))
        found.append(one)
    return found

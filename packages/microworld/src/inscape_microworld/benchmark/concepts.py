"""Which feature stands for which concept of the microworld, judged against its truth.

1. A document is positive where it mentions the concept; its score under a feature is the largest
   activation on the mention (from the onset to its end). Later tokens, which may still carry the
   concept, count neither way. Any other document's score is its largest activation anywhere.
2. Features and thresholds are chosen on one half of the documents: the best F1 over all
   dictionaries, among the features that are active on the most mentions, and those most of whose
   activity lies on mentions.
3. AUROC, F1, precision and recall are from the other half.

A mention counts as found when the feature fires anywhere on it: features split a name by its
tokens, and one that fires once on every mention knows the concept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.core import DataError, track
from inscape.features import FeatureIndex
from inscape.labels import document_halves
from inscape_microworld.benchmark.detection import (
    FeatureMatch,
    active_counts,
    best_threshold,
    sparse_auroc,
)
from inscape_microworld.truth import Truth

SHOWN: Mapping[str, str] = {
    "golden_gate_bridge": "the Golden Gate Bridge",
    "sydney_harbour_bridge": "the Sydney Harbour Bridge",
    "us_president": "US presidents in office",
    "dna": "DNA sequences",
    "deception": "deception",
    "sycophancy": "sycophancy",
    "human_suffering": "human suffering",
    "animal_suffering": "animal suffering",
    "eel": "eel dishes",
    "mosquito": "the mosquito",
}

NUM_CANDIDATES = 24


@dataclass(frozen=True)
class Concept:
    """A concept with the feature that detects it best."""

    name: str
    title: str
    dictionary: str
    match: FeatureMatch

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        shown = {"name": self.name, "title": self.title, "dictionary": self.dictionary}
        return {**shown, **vars(self.match)}


def named_features(
    indexes: Mapping[str, FeatureIndex],
    truth: Truth,
    concepts: Mapping[str, str] = SHOWN,
    *,
    seed: int = 0,
) -> list[Concept]:
    """The best feature for each concept, over the dictionaries' indexes by name.

    Raises:
        DataError: an index was not made from the documents that `truth` speaks of.
    """
    best: dict[str, Concept] = {}
    for dictionary, index in track(list(indexes.items()), "naming features"):
        for name, match in _matches(index, truth, list(concepts), seed):
            if name not in best or match.selection_f1 > best[name].match.selection_f1:
                best[name] = Concept(name, concepts[name], dictionary, match)
    return [best[name] for name in concepts]


def _matches(
    index: FeatureIndex, truth: Truth, concepts: Sequence[str], seed: int
) -> Iterator[tuple[str, FeatureMatch]]:
    rows = _rows(index, truth)
    documents = np.asarray(index.tokens.documents, np.int64)
    selection = _per_document(document_halves(documents.astype(np.int32), seed), documents)
    total = np.maximum(index.num_active, 1)
    for name in concepts:
        span, scope = truth.span_mask(name)[rows], truth.scope_mask(name)[rows]
        positive = _per_document(span, documents)
        counted = span | ~(positive[documents] | scope)
        hits = active_counts(index, span)
        often = np.argsort(-hits, kind="stable")[:NUM_CANDIDATES]
        mostly = np.argsort(-hits / total * (hits > 0.1 * positive.sum()), kind="stable")
        tried = []
        for feature in np.unique(np.concatenate([often, mostly[:NUM_CANDIDATES]])):
            scores = _scores(index, int(feature), counted, documents, positive.size)
            chosen = scores[selection]
            active = chosen > 0
            pair = best_threshold(
                chosen[active], positive[selection][active], int(positive[selection].sum())
            )
            tried.append((pair[1], -int(feature), pair[0], scores))
        f1, feature, threshold, scores = max(tried, key=lambda entry: entry[:2])
        yield name, _judge(-feature, threshold, f1, scores[~selection], positive[~selection])


def _per_document(mask: NDArray[np.bool_], documents: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether any token of each document is marked."""
    found = np.zeros(int(documents.max()) + 1, np.bool_)
    found[documents[mask]] = True
    return found


def _scores(
    index: FeatureIndex,
    feature: int,
    counted: NDArray[np.bool_],
    documents: NDArray[np.int64],
    num_documents: int,
) -> NDArray[np.float32]:
    """Largest activation of a feature on the counted tokens of each document."""
    rows, values = index.rows_of(feature)
    inside = counted[rows]
    best = np.zeros(num_documents, np.float32)
    np.maximum.at(best, documents[rows[inside]], values[inside])
    return best


def _judge(
    feature: int,
    threshold: float,
    selection_f1: float,
    scores: NDArray[np.float32],
    positive: NDArray[np.bool_],
) -> FeatureMatch:
    num_pos, num_neg = int(positive.sum()), int((~positive).sum())
    active, fires = scores > 0, scores >= threshold
    hits, called = int((fires & positive).sum()), int(fires.sum())
    return FeatureMatch(
        feature=feature,
        auroc=sparse_auroc(scores[active], positive[active], num_pos, num_neg),
        f1=2 * hits / max(called + num_pos, 1),
        precision=hits / called if called else 0.0,
        recall=hits / max(num_pos, 1),
        threshold=threshold,
        selection_f1=selection_f1,
        num_positives=num_pos,
        num_negatives=num_neg,
    )


def _rows(index: FeatureIndex, truth: Truth) -> NDArray[np.int64]:
    """For each row of the index its place in the truth."""
    documents = np.asarray(index.tokens.documents, np.int64)
    if int(documents.max()) >= len(truth.starts):
        raise DataError(
            f"the index has document {int(documents.max())}, the truth {len(truth.starts)} of them",
            expected="the documents that the index was made from",
        )
    places: NDArray[np.int64] = truth.starts[documents] + np.asarray(index.tokens.positions)
    return places

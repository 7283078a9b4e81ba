"""Which feature stands for which concept of the microworld, judged against its truth.

Positives are the tokens of a mention from its onset on; later tokens in its scope count neither
way; all other tokens are negatives. Chosen on one half of the documents, judged on the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.core import DataError, track
from inscape.features import FeatureIndex, FeatureMatch, best_features, document_halves
from inscape.microworld.truth import Truth

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


@dataclass(frozen=True)
class Concept:
    """A concept with the feature that detects it best."""

    name: str
    title: str
    match: FeatureMatch

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "title": self.title, **vars(self.match)}


def named_features(
    index: FeatureIndex, truth: Truth, concepts: Mapping[str, str] = SHOWN, *, seed: int = 0
) -> list[Concept]:
    """The best feature for each concept.

    Raises:
        DataError: the index was not made from the documents that `truth` speaks of.
    """
    rows = _rows(index, truth)
    split = document_halves(np.asarray(index.tokens.documents), seed)
    found = []
    for name, title in track(list(concepts.items()), "naming features"):
        span, scope = truth.span_mask(name)[rows], truth.scope_mask(name)[rows]
        match = best_features(index, span, span | ~scope, split, top=1)
        found.append(Concept(name, title, match[0]))
    return found


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


def snippets(index: FeatureIndex, feature: int, count: int = 4) -> Sequence[Any]:
    """A feature's strongest examples from distinct windows."""
    return index.top(feature)[:count]

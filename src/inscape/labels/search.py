"""Finding features by words: by what is written about them, and by what that means.

1. Up to four rankings are made: labels that hold the words; labels that mean much the same, by the
   cosine of embeddings; examples and promoted tokens that hold the words; examples that are about
   it, by the cosine of the query's embedding and each feature's vector (meaning.py), of two equally
   near the one that fires more often.
2. They are fused by reciprocal ranks (Cormack et al. 2009): a feature's score is the weighted mean
   over the rankings of K / (K + its place), so that 1 is the first place in all of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from inscape.core import InputError, short, whole
from inscape.features import FeatureIndex, Hit
from inscape.labels.embedder import Embedder
from inscape.labels.meaning import Meaning, products
from inscape.labels.store import UNIT, Labels

K = 10  # places in a ranking after which half of the score is left
DEEP = 200  # places of each ranking that are looked at
WEIGHTS = {"label": 1.0, "label meaning": 1.0, "text": 0.5, "meaning": 1.0}
COMMON = 0.1  # power of its density by which a feature that fires more often comes before another

Key: TypeAlias = tuple[str, int]
Ranking: TypeAlias = list[tuple[Key, float, tuple[str, ...]]]
"""Features with a score each, the best first, and where that was found."""


@dataclass(frozen=True)
class Searched:
    """What of a dictionary is searched: its index; labels and vectors where there are any; allowed
    [m]: the features that may be found, all if None."""

    index: FeatureIndex
    labels: Labels | None = None
    meaning: Meaning | None = None
    allowed: NDArray[np.bool_] | None = None


def search(
    sources: Sequence[Searched], text: str, *, limit: int = 20, embedder: Embedder | None = None
) -> list[Hit]:
    """Features of several dictionaries that `text` describes, best first, at most `limit`; without
    an embedder by its words alone.

    Raises:
        InputError: the text is blank.
        StorageError: an index or labels have no search file, or it is damaged.
    """
    if not isinstance(text, str) or not text.strip():
        given = "blank" if isinstance(text, str) else short(text)
        raise InputError(f"the search text is {given}", expected="a word or a phrase")
    whole(limit, "limit", 1)
    deep = max(DEEP, 4 * limit)
    rankings = {"label": _by_label(sources, text, deep), "text": _by_text(sources, text, deep)}
    if embedder is not None and any(c.isalnum() for c in text):
        query = embedder.embed([text])[0]
        rankings["label meaning"] = _by_label_meaning(sources, query, embedder, deep)
        rankings["meaning"] = _by_meaning(sources, query, embedder, deep)
    used = {name: ranking for name, ranking in rankings.items() if ranking}
    scale = sum(WEIGHTS[name] for name in used)
    total: dict[Key, float] = defaultdict(float)
    where: dict[Key, list[str]] = defaultdict(list)
    why: dict[Key, list[str]] = defaultdict(list)
    for name in [name for name in WEIGHTS if name in used]:
        for place, (key, value, found) in enumerate(used[name]):
            total[key] += WEIGHTS[name] / scale * K / (K + place)
            where[key] += found
            why[key].append(_in_words(name, value, found))
    best = sorted(total, key=lambda key: (-total[key], key))[:limit]
    return [
        Hit(*key, total[key], tuple(dict.fromkeys(where[key])), "; ".join(why[key])) for key in best
    ]


PLACES: Mapping[str, str] = {
    "label": "its label",
    "peak": "its strongest words",
    "window": "its examples",
    "promoted": "the tokens that it promotes",
}


def _in_words(ranking: str, value: float, found: Sequence[str]) -> str:
    if ranking == "label meaning":
        return f"its label means the like ({value:.2f})"
    if ranking == "meaning":
        return f"its examples are about it ({value:.2f})"
    return "in " + " and ".join(PLACES[one] for one in found)


def _by_label(sources: Sequence[Searched], text: str, deep: int) -> Ranking:
    found: Ranking = []
    for source in sources:
        if source.labels is not None and any(c.isalnum() for c in text):
            for feature, score in source.labels.search(text, deep):
                if _is_allowed(source, feature):
                    found.append(((source.index.dictionary, feature), score, ("label",)))
    return sorted(found, key=lambda one: (-one[1], one[0]))[:deep]


def _by_text(sources: Sequence[Searched], text: str, deep: int) -> Ranking:
    found: Ranking = []
    for source in sources:
        for hit in source.index.search(text, limit=deep):
            if _is_allowed(source, hit.feature):
                found.append(((hit.dictionary, hit.feature), hit.score, hit.where))
    return sorted(found, key=lambda one: (-one[1], one[0]))[:deep]


def _by_label_meaning(
    sources: Sequence[Searched], query: NDArray[np.float32], embedder: Embedder, deep: int
) -> Ranking:
    found = []
    for source in sources:
        labels = source.labels
        if labels is None or not labels.features.size:
            continue
        cosines = np.full(source.index.num_features, -np.inf, np.float32)
        cosines[labels.features] = products(labels.vectors(embedder), query) / UNIT
        found += _nearest(source, cosines, cosines, deep)
    return _ranked(found, "label meaning", deep)


def _by_meaning(
    sources: Sequence[Searched], query: NDArray[np.float32], embedder: Embedder, deep: int
) -> Ranking:
    found = []
    for source in sources:
        if source.meaning is not None and source.meaning.embedder == embedder.hash:
            cosines = source.meaning.cosines(query)
            often = np.maximum(source.index.density, 1e-9) ** np.float32(COMMON)
            found += _nearest(source, cosines, cosines * often, deep)
    return _ranked(found, "meaning", deep)


def _nearest(
    source: Searched, cosines: NDArray[np.float32], scores: NDArray[np.float32], deep: int
) -> list[tuple[float, Key, float]]:
    """(score, feature, cosine) of the features with the largest scores above nought."""
    if source.allowed is not None:
        scores = np.where(source.allowed, scores, -np.inf)
    best = np.argpartition(-scores, min(deep, scores.size) - 1)[:deep]
    name = source.index.dictionary
    return [(float(scores[f]), (name, int(f)), float(cosines[f])) for f in best if scores[f] > 0]


def _ranked(found: list[tuple[float, Key, float]], where: str, deep: int) -> Ranking:
    ordered = sorted(found, key=lambda one: (-one[0], one[1]))[:deep]
    return [(key, cosine, (where,)) for _, key, cosine in ordered]


def _is_allowed(source: Searched, feature: int) -> bool:
    return source.allowed is None or bool(source.allowed[feature])

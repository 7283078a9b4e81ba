"""Finding features in several dictionaries at once, by their labels and by what they fire on.

A label that matches counts twice as much as examples and promoted tokens do; of each of the two the
best match over all dictionaries counts as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from inscape.features import FeatureIndex, Hit
from inscape.labels.store import Labels

LABEL = 2.0


def search(
    sources: Iterable[tuple[FeatureIndex, Labels | None]], text: str, *, limit: int = 20
) -> list[Hit]:
    """Features that match `text`, best first, at most `limit`.

    Raises:
        InputError: the text is blank.
        StorageError: an index or labels have no search file, or it is damaged.
    """
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    scores: dict[str, dict[tuple[str, int], float]] = {"text": {}, "label": {}}
    for index, labels in sources:
        for hit in index.search(text, limit=limit):
            key = hit.dictionary, hit.feature
            found[key], scores["text"][key] = (*found.get(key, ()), *hit.where), hit.score
        if labels is not None and any(c.isalnum() for c in text):
            for feature, score in labels.search(text, limit):
                key = index.dictionary, feature
                found[key] = ("label", *found.get(key, ()))
                scores["label"][key] = score
    total: dict[tuple[str, int], float] = defaultdict(float)
    for kind, weight in (("text", 1.0), ("label", LABEL)):
        best = max(scores[kind].values(), default=1.0)
        for key, score in scores[kind].items():
            total[key] += weight * score / best
    hits = [Hit(*key, score, tuple(dict.fromkeys(found[key]))) for key, score in total.items()]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:limit]

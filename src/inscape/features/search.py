"""Finding features by text: in labels, at the peaks of examples, in promoted tokens.

1. Score of a feature: 3 if its label holds the text; up to 2 for the share of its top examples
   whose peak token lies in the text or right at its end; up to 1 for the share that hold the
   text anywhere; 1 if a promoted token is the text.
2. Case does not matter, nor do blanks at the ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inscape.core import InputError

if TYPE_CHECKING:
    from inscape.features.index import FeatureIndex

LABEL, PEAK, WINDOW, PROMOTED = 3.0, 2.0, 1.0, 1.0


@dataclass(frozen=True)
class Hit:
    """A feature found by a search, its score, and where the text was found: any of "label",
    "peak", "window", "promoted"."""

    feature: int
    score: float
    where: tuple[str, ...]


def search_features(
    index: FeatureIndex, text: str, labels: Mapping[int, str], limit: int
) -> list[Hit]:
    """Features that match `text`, best first, at most `limit`.

    Raises:
        InputError: the text is blank.
    """
    wanted = text.strip().lower()
    if not wanted:
        raise InputError("the search text is blank", expected="a word or a phrase")
    scores: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for feature, label in labels.items():
        if wanted in label.lower():
            scores[feature]["label"] = LABEL
    for feature, share, peak in _in_windows(index, wanted):
        scores[feature]["window"] = WINDOW * share
        if peak:
            scores[feature]["peak"] = PEAK * peak
    for feature, tokens in enumerate(index.table.column("promoted_tokens").to_pylist()):
        if any(token.strip().lower() == wanted for token in tokens):
            scores[feature]["promoted"] = PROMOTED
    hits = [Hit(f, sum(parts.values()), tuple(sorted(parts))) for f, parts in scores.items()]
    return sorted(hits, key=lambda hit: (-hit.score, hit.feature))[:limit]


def _in_windows(index: FeatureIndex, wanted: str) -> list[tuple[int, float, float]]:
    """(feature, share of top examples with the text, share with the peak in the text)."""
    found: dict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    for feature, window, start, end in index.top_windows():
        counts = found[feature]
        counts[0] += 1
        lowered = window.lower()
        place = lowered.find(wanted)
        if place < 0:
            continue
        counts[1] += 1
        # anywhere from the first character of the text to one token after its end
        while place >= 0:
            if place < end and start <= place + len(wanted):
                counts[2] += 1
                break
            place = lowered.find(wanted, place + 1)
    return [(f, c[1] / c[0], c[2] / c[0]) for f, c in found.items() if c[1]]

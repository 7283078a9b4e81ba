"""Does one feature know a landmark in every form: name, description, another language, picture?

1. A mention's score under a feature is the largest activation on its tokens from the onset on; in
   a picture these are all patches that show the landmark.
2. The selection half chooses a feature and a threshold for each landmark: the greatest least recall
   over the forms, less the greater of two false rates (mentions of other landmarks of the same
   country, and of all others).
3. On the judging half the landmark counts when the recall is at least MIN_RECALL in each form, and
   both false rates are at most MAX_FALSE.
Forms are those that the truth names (but for words that merely refer to a picture); a landmark
takes part with its forms that have at least MIN_MENTIONS mentions in each half, if these are two or
more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape.core import Share, track
from inscape_microworld.benchmark.row import Check, Row
from inscape_microworld.benchmark.scored import Scored, Sparse
from inscape_microworld.facts import LANDMARK

MIN_RECALL, MAX_FALSE = 0.8, 0.1
MIN_MENTIONS = 5
COUNTRY_OF: Mapping[str, str] = {key: place.country for key, place in LANDMARK.items()}
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LandmarkMatch:
    """One landmark's feature (-1: none is active in each form), judged: recall by form, and how
    often it fires on landmarks of the same country and on all others."""

    landmark: str
    feature: int
    threshold: float
    recalls: Mapping[str, Share]
    same_country: Share
    others: Share

    @property
    def holds(self) -> bool:
        """Step 3."""
        false = [s.value for s in (self.same_country, self.others) if s.total]
        return (
            self.feature >= 0
            and all(s.value >= MIN_RECALL for s in self.recalls.values())
            and all(value <= MAX_FALSE for value in false)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "landmark": self.landmark,
            "feature": self.feature,
            "threshold": self.threshold,
            "recalls": {form: s.to_json() for form, s in self.recalls.items()},
            "same_country": self.same_country.to_json(),
            "others": self.others.to_json(),
            "holds": self.holds,
        }


@dataclass(frozen=True)
class CrossForm:
    """A system's landmarks; skipped are those with too few mentions in two forms."""

    system: str
    landmarks: tuple[LandmarkMatch, ...]
    skipped: tuple[str, ...] = field(default=())

    @property
    def holds(self) -> Share:
        """Landmarks that one feature knows in every form."""
        return Share(sum(m.holds for m in self.landmarks), len(self.landmarks))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "system": self.system,
            "holds": self.holds.to_json(),
            "landmarks": [m.to_json() for m in self.landmarks],
            "skipped": list(self.skipped),
        }


def cross_form(
    scored: Scored, sparse: Sparse, country_of: Mapping[str, str] = COUNTRY_OF
) -> CrossForm:
    """The landmarks in `country_of` under a system. The documents should be rich in landmarks:
    `benchmark_documents(shares=...)`."""
    mentions = _Mentions(scored, [k for k in country_of if k in scored.truth.spans])
    scores = mentions.scores(sparse)
    found, skipped = [], []
    for number, key in enumerate(track(mentions.keys, f"landmarks of {sparse.name}")):
        own = mentions.owner == number
        forms = mentions.enough(own)
        if len(forms) < 2:
            skipped.append(key)
            continue
        fellow = [country_of[k] == country_of[key] for k in mentions.keys]
        same = np.array(fellow)[mentions.owner] & ~own
        groups = [own & (mentions.form == form) for form in forms], same, ~same & ~own
        found.append(_landmark(key, forms, groups, scores, mentions.selection))
    return CrossForm(sparse.name, tuple(found), tuple(skipped))


class _Mentions:
    """Every mention of the keys: its rows, its landmark's number, its form, its half."""

    def __init__(self, scored: Scored, keys: Sequence[str]) -> None:
        truth = scored.truth
        self.keys = list(keys)
        empty = np.zeros((0, 2), np.int64)
        ranges = np.concatenate([empty, *(truth.spans[k] for k in keys)])
        owner = np.repeat(np.arange(len(keys)), [len(truth.spans[k]) for k in keys])
        form = np.array([f for k in keys for f in truth.forms[k]], dtype=object)
        # The rows of a picture's patches that show the same thing are one mention.
        document = np.where(form == "picture", scored.documents[ranges[:, 0]], -1)
        which = np.where(form == "picture", 0, 1 + np.arange(len(ranges)))
        _, first, mention = np.unique(
            np.stack([owner, document, which], 1), axis=0, return_index=True, return_inverse=True
        )
        kept = form[first] != "reference"
        number = np.where(kept, np.cumsum(kept) - 1, -1)
        self._ranges, self._mention = ranges, number[mention.reshape(-1)]
        self.owner, self.form = owner[first][kept], form[first][kept]
        self.selection = scored.selection[ranges[first, 0]][kept]

    @cached_property
    def _tokens(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(mention, row) of every token of every mention."""
        used = self._mention >= 0
        ranges, mention = self._ranges[used], self._mention[used]
        lengths = ranges[:, 1] - ranges[:, 0]
        part = np.repeat(np.arange(len(lengths)), lengths)
        first = np.repeat(np.cumsum(lengths) - lengths, lengths)
        return mention[part], ranges[part, 0] + np.arange(len(part)) - first

    def enough(self, own: NDArray[np.bool_]) -> list[str]:
        """The named forms with MIN_MENTIONS among these mentions in each half."""
        halves = self.form[own & self.selection], self.form[own & ~self.selection]
        named = sorted({f for f in self.form[own] if f})
        return [f for f in named if min((half == f).sum() for half in halves) >= MIN_MENTIONS]

    def scores(self, sparse: Sparse) -> Floats:
        """Largest activation of each feature on each mention, [features, mentions]."""
        mention, row = self._tokens
        best = np.zeros((sparse.num_features, len(self.owner)), np.float32)
        size = 1 + max(int(row.max(initial=0)), int(sparse.rows.max(initial=0)))
        order = np.argsort(row, kind="stable")
        mention, starts = mention[order], np.searchsorted(row[order], np.arange(size + 1))
        for feature in range(sparse.num_features):
            rows, values = sparse.of(feature)
            counts = starts[rows + 1] - starts[rows]
            hit = counts > 0
            rows, values, counts = rows[hit], values[hit].astype(np.float32), counts[hit]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            at = mention[np.repeat(starts[rows], counts) + within]
            np.maximum.at(best[feature], at, np.repeat(values, counts))
        return best


Groups = tuple[Sequence[NDArray[np.bool_]], NDArray[np.bool_], NDArray[np.bool_]]


def _landmark(
    key: str, forms: Sequence[str], groups: Groups, scores: Floats, selection: NDArray[np.bool_]
) -> LandmarkMatch:
    feature, threshold = _choose(scores[:, selection], groups, selection)
    fires = scores[feature] >= threshold

    def share(group: NDArray[np.bool_]) -> Share:
        judged = group & ~selection
        return Share(int((fires & judged).sum()), int(judged.sum()))

    recalls = {form: share(group) for form, group in zip(forms, groups[0], strict=True)}
    return LandmarkMatch(key, feature, threshold, recalls, share(groups[1]), share(groups[2]))


def _choose(scores: Floats, groups: Groups, selection: NDArray[np.bool_]) -> tuple[int, float]:
    """(feature, threshold) of the selection half's scores; (-1, inf) where no feature is active
    in every form."""
    forms = [np.flatnonzero(group[selection]) for group in groups[0]]
    false = [np.flatnonzero(group[selection]) for group in groups[1:]]
    active = np.min([(scores[:, form] > 0).mean(1) for form in forms], axis=0)
    best = (0.0, -1, float("inf"))
    # No threshold recalls more than what is active.
    for feature in np.argsort(-active, kind="stable"):
        if active[feature] <= best[0]:
            break
        own = np.unique(np.concatenate([scores[feature, form] for form in forms]))
        own = own[own > 0]
        recall = np.min([_rates(scores[feature, form], own) for form in forms], axis=0)
        wrong = np.max([_rates(scores[feature, part], own) for part in false], axis=0)
        place = int((recall - wrong).argmax())
        if recall[place] - wrong[place] > best[0]:
            best = (float(recall[place] - wrong[place]), int(feature), float(own[place]))
    return best[1], best[2]


def _rates(scores: Floats, thresholds: Floats) -> NDArray[np.float64]:
    """Which share of the scores reaches each threshold; 0 of none."""
    below = np.searchsorted(np.sort(scores), thresholds, side="left")
    found: NDArray[np.float64] = (len(scores) - below) / max(len(scores), 1)
    return found


def row(
    found: Sequence[CrossForm], bars: Mapping[str, str] | None = None, name: str = "crossform"
) -> Row:
    """A check a system; `bars` by the system's name, without one a check is only reported."""
    given = bars or {}
    forms = sorted({form for f in found for m in f.landmarks for form in m.recalls})
    return Row(
        name,
        f"landmarks that one feature knows in every form ({', '.join(forms)})",
        tuple(
            Check(f.system, f.holds.value, given.get(f.system, ""), f.holds.interval) for f in found
        ),
        samples=f"{max((len(f.landmarks) for f in found), default=0)} landmarks, judging half",
        detail={"skipped": {f.system: len(f.skipped) for f in found}},
    )

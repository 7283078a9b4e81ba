"""Detectors of a concept: features, unions of features, channels, tokens and a probe.

1. Every candidate is a column of a table of pooled texts. On the first half of the texts the column
   and pooling with the highest AUROC are chosen; equal ones by the standardised difference of their
   means. A feature is good for a concept only by firing on it; channels may have either sign.
2. A union grows greedily from the best feature of each pooling to three: activations divided by
   their 95th percentile, added up or their maximum, as long as the AUROC gains GAIN.
3. The probe is a logistic regression on the standardised mean of a site; its penalty is chosen by
   cross-validation within the first half.
4. Judged on the second half: AUROC with a bootstrap interval over groups of texts, precision and
   recall at the threshold with the best F1 on the first.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score

from inscape.features import Pooled, auroc_interval, aurocs

GAIN = 0.005
LARGEST = 3  # features of a union
CANDIDATES = 400  # features that may join a union
LEAST_SHARE = 0.1  # of the matching texts, on which a feature must fire to be tried
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)

_JOINED: dict[str, Callable[[Any, Any], Any]] = {"sum": np.add, "max": np.maximum}

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Detector:
    """Something that tells matching from distracting texts.

    kind: feature, union, dimension, neuron, token or probe. parts: what it reads, such as
    "resid_post.14/692", "-mlp_act.14[3]" or a token. pooling: over a text's tokens; joined: how a
    union joins its parts. chosen: its AUROC on the first half; auroc with its 95 % interval,
    precision and recall at `threshold`: on the second.
    """

    kind: str
    parts: tuple[str, ...]
    pooling: str
    joined: str
    chosen: float
    auroc: float
    interval: tuple[float, float]
    threshold: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Half:
    """Texts of a concept in one half: their rows in the tables, which match, their groups."""

    rows: Rows
    matches: NDArray[np.bool_]
    groups: NDArray[Any]


@dataclass(frozen=True)
class Chosen:
    """A detector as chosen on the first half: its AUROC there, by what it was ranked, and the
    function that scores texts by their rows."""

    parts: tuple[str, ...]
    pooling: str
    joined: str
    auroc: float
    rank: float
    scores: Callable[[Rows], Floats]

    def judged(self, kind: str, first: Half, second: Half, seed: int) -> Detector:
        """The detector on the second half (step 4)."""
        threshold = best_threshold(self.scores(first.rows), first.matches)
        scores = self.scores(second.rows)
        fires = scores >= threshold
        hits = int((fires & second.matches).sum())
        return Detector(
            kind=kind,
            parts=self.parts,
            pooling=self.pooling,
            joined=self.joined,
            chosen=self.auroc,
            auroc=float(aurocs(scores, second.matches)[0]),
            interval=auroc_interval(scores, second.matches, groups=second.groups, seed=seed),
            threshold=threshold,
            precision=hits / max(1, int(fires.sum())),
            recall=hits / int(second.matches.sum()),
        )


def best(found: Iterable[Chosen]) -> Chosen | None:
    """The one that ranks highest."""
    return max(found, key=lambda chosen: chosen.rank, default=None)


def columns(table: Pooled, first: Half, name: Callable[[int], str]) -> Iterator[Chosen]:
    """The best column of a table in each pooling, with either sign (step 1)."""
    held = np.flatnonzero(table.is_held(first.rows))
    for pooling in table.poolings if len(held) else ():
        x = table.values(pooling, first.rows, held)
        found = aurocs(x, first.matches)
        sign = np.where(found < 0.5, -1.0, 1.0)
        found = np.maximum(found, 1 - found)
        ranks = _ranks(x * sign, first.matches, found)
        place = int(ranks.argmax())
        yield Chosen(
            (("not " if sign[place] < 0 else "") + name(int(held[place])),),
            pooling,
            "",
            float(found[place]),
            float(ranks[place]),
            partial(_scores, table, pooling, held[[place]], sign[[place]], "sum"),
        )


def features(name: str, table: Pooled, first: Half) -> Iterator[tuple[Chosen, Chosen]]:
    """The best feature of a dictionary in each pooling, and the best of its unions (step 2), which
    is the feature itself where none adds to it."""
    fires = table.values("max", first.rows[first.matches]) > 0
    alive = np.flatnonzero(fires.mean(0) >= LEAST_SHARE)
    for pooling in table.poolings if len(alive) else ():
        x = table.values(pooling, first.rows, alive)
        found = aurocs(x, first.matches)
        ranks = _ranks(x, first.matches, found)
        order = np.argsort(-ranks, kind="stable")[:CANDIDATES]
        x, tried = x[:, order], alive[order]
        top = np.quantile(x, 0.95, axis=0)
        scale = 1 / np.where(top > 0, top, np.maximum(x.max(0), 1e-9))
        auroc, rank = float(found[order[0]]), float(ranks[order[0]])
        grown = [([0], "", auroc, rank)]
        grown += [_union(x * scale, first.matches, joined, auroc, rank) for joined in _JOINED]
        made = [
            Chosen(
                tuple(f"{name}/{feature}" for feature in tried[places]),
                pooling,
                joined if len(places) > 1 else "",
                auroc,
                rank,
                partial(_scores, table, pooling, tried[places], scale[places], joined),
            )
            for places, joined, auroc, rank in grown
        ]
        yield made[0], max(made, key=lambda chosen: chosen.rank)


def _union(
    x: Floats, matches: NDArray[np.bool_], joined: str, auroc: float, rank: float
) -> tuple[list[int], str, float, float]:
    """The columns of x [texts, columns] that a union of the first with others takes."""
    places, now = [0], x[:, 0]
    while len(places) < min(LARGEST, x.shape[1]):
        wider = _JOINED[joined](x, now[:, None])
        found = aurocs(wider, matches)
        ranks = _ranks(wider, matches, found)
        ranks[places] = -1
        place = int(ranks.argmax())
        if found[place] < auroc + GAIN:
            break
        places.append(place)
        now, auroc, rank = wider[:, place], float(found[place]), float(ranks[place])
    return places, joined, auroc, rank


def probe(name: str, table: Pooled, first: Half, seed: int) -> Chosen:
    """A logistic regression on the mean of a site (step 3); its AUROC on the first half is that of
    the cross-validation."""
    x = table.values("mean", first.rows).astype(np.float64)
    centre, spread = x.mean(0), x.std(0) + 1e-6
    x = (x - centre) / spread
    num_folds = min(3, int(first.matches.sum()), int((~first.matches).sum()))
    tried = dict.fromkeys(PENALTIES[:1], 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if num_folds > 1:
            folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
            for penalty in PENALTIES:
                scores = cross_val_score(
                    _regression(penalty), x, first.matches, cv=folds, scoring="roc_auc"
                )
                tried[penalty] = float(scores.mean())
        penalty = max(tried, key=lambda penalty: tried[penalty])
        fitted = _regression(penalty).fit(x, first.matches)
    weights = fitted.coef_[0] / spread

    def scores_of(rows: Rows) -> Floats:
        found: Floats = (table.values("mean", rows) - centre) @ weights
        return found

    return Chosen((name,), "mean", "", tried[penalty], tried[penalty], scores_of)


def _regression(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, class_weight="balanced", max_iter=500)


def best_threshold(scores: Floats, matches: NDArray[np.bool_]) -> float:
    """The threshold with the best F1 for "fires where the score is at least it"."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(matches[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + matches.sum())
    f1[:-1][ordered[1:] == ordered[:-1]] = -1.0  # equal scores cannot be told apart
    return float(ordered[int(f1.argmax())])


def _ranks(x: Floats, matches: NDArray[np.bool_], found: Floats) -> Floats:
    """AUROCs plus so little of the standardised difference of the means that it breaks ties."""
    above, below = x[matches], x[~matches]
    spread = np.sqrt((above.var(0) + below.var(0)) / 2) + 1e-9
    ranks: Floats = found + 1e-3 * np.tanh((above.mean(0) - below.mean(0)) / spread)
    return ranks


def _scores(
    table: Pooled, pooling: str, places: NDArray[np.int64], scale: Floats, joined: str, rows: Rows
) -> Floats:
    x = table.values(pooling, rows, places) * scale
    found: Floats = x.max(1) if joined == "max" else x.sum(1)
    return found

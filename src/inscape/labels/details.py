"""More on how well labels hold: beyond telling windows apart, on the scoring documents.

1. Fuzzing: within the windows in which a feature fires, is it the right word that is marked? AUROC
   of the label's scores at the places where it fires against places nearby where it is silent.
2. Intruder: of four windows with the feature and one without, the one least like the others by the
   embedder. The share found, chance taken off: (share - 1/5) / (1 - 1/5). It rates the feature, not
   its label.
3. Sensitivity by decile of activation: the share of windows whose score passes a threshold that one
   in ten random windows of the explaining documents passes; specificity on those of the scoring
   documents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inscape.core import seeded
from inscape.labels.labeller import Labeller
from inscape.labels.rules import Rule, aurocs
from inscape.labels.sampling import RANDOM

NEARBY = 8  # tokens on either side
DECILES = 10
FALSE_ALARMS = 0.1
FOURS = 25  # questions about intruders


@dataclass(frozen=True)
class Details:
    """fuzzing: AUROC; intruder: share found, chance taken off; specificity: share; sensitivity: by
    decile of activation, weakest first, NaN where no window is."""

    fuzzing: float
    intruder: float
    specificity: float
    sensitivity: tuple[float, ...]


def details(labeller: Labeller, feature: int, rule: Rule) -> Details:
    """The further scores of a feature's label."""
    rng = np.random.default_rng(seeded(labeller.seed, "labels", "details", feature))
    index, corpus = labeller.index, labeller.corpus
    sample = labeller.score.draw(index, feature, labeller.num_windows, rng)
    rows, values = index.rows_of(feature)
    fired = sample.rows[sample.positive]
    beside = _beside(labeller, fired, rows, rng)
    scores = corpus.scores_at([rule], np.concatenate([fired, beside]))
    where = np.arange(scores.shape[1]) < fired.size
    explained = labeller.explain.draw(index, feature, labeller.num_windows, rng)
    at_random = explained.rows[explained.group == RANDOM]
    threshold = np.quantile(corpus.scores_at([rule], at_random)[0], 1 - FALSE_ALARMS)
    unseen = corpus.scores_at([rule], sample.rows[sample.group == RANDOM])[0]
    strength = values[np.searchsorted(rows, fired)]
    bounds = np.quantile(values, np.arange(1, DECILES) / DECILES)
    decile = np.searchsorted(bounds, strength)
    found = scores[0, : fired.size] > threshold
    return Details(
        float(aurocs(scores, where, ~where)[0]),
        _intruders(labeller, fired, sample.rows[sample.group == RANDOM], rng),
        float(np.mean(unseen <= threshold)),
        tuple(
            float(found[decile == number].mean()) if (decile == number).any() else np.nan
            for number in range(DECILES)
        ),
    )


def _beside(
    labeller: Labeller, fired: NDArray[np.int64], rows: NDArray[np.int32], rng: np.random.Generator
) -> NDArray[np.int64]:
    """A place near each row, in the same sequence, that counts and where the feature is silent;
    fewer where there is none."""
    words = labeller.corpus.words
    shift = rng.integers(1, NEARBY + 1, fired.size) * rng.choice([-1, 1], fired.size)
    other = fired + shift
    inside = (other >= words.first[fired]) & (other < words.last[fired])
    other = other[inside]
    kept = labeller.score.member[other] & ~np.isin(other, rows)
    beside: NDArray[np.int64] = other[kept]
    return beside


def _intruders(
    labeller: Labeller,
    fired: NDArray[np.int64],
    silent: NDArray[np.int64],
    rng: np.random.Generator,
) -> float:
    contexts = labeller.corpus.contexts
    if contexts is None or fired.size < 4 or not silent.size:
        return float("nan")
    right = 0
    for _ in range(FOURS):
        five = np.append(rng.choice(fired, 4, replace=False), rng.choice(silent))
        vectors = contexts.at(five)
        alike = (vectors @ vectors.T).sum(1) - 1
        right += int(alike.argmin()) == 4
    return (right / FOURS - 1 / 5) / (1 - 1 / 5)

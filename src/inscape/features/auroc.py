"""How well scores tell two sets apart: AUROC of many columns at once, with intervals.

AUROC is the probability that a positive scores above a negative, ties counting one half: the sum of
the positives' mean ranks, shifted and scaled (Mann and Whitney 1947).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from inscape.core import seeded, wilson

NUM_RESAMPLES = 1000
_ENTRIES = 1 << 24  # of a block of columns that are ranked at once


def aurocs(scores: ArrayLike, positive: ArrayLike) -> NDArray[np.float64]:
    """The AUROC of each column of scores [n, m], or of one column [n]; NaN where a set is empty."""
    values, is_positive = np.asarray(scores), np.asarray(positive, bool)
    columns = values.reshape(len(is_positive), -1)
    num_positive = int(is_positive.sum())
    num_negative = len(is_positive) - num_positive
    if not num_positive or not num_negative:
        return np.full(columns.shape[1], np.nan)
    found = np.empty(columns.shape[1])
    step = max(1, _ENTRIES // len(is_positive))
    for start in range(0, columns.shape[1], step):
        part = slice(start, start + step)
        found[part] = rankdata(columns[:, part], axis=0)[is_positive].sum(0)
    below = num_positive * (num_positive + 1) / 2
    return (found - below) / (num_positive * num_negative)


def auroc_interval(
    scores: ArrayLike,
    positive: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[float, float]:
    """95 % bootstrap interval of the AUROC of scores [n]; NaN where a set is empty.

    What is drawn are `groups` [n] (the document of each score, say: what lies in one is not
    independent), by default each score by itself; Poisson weights stand for draws with replacement.
    Where the sets do not overlap, so that every draw gives the same, it is Wilson's interval of as
    many successes as the smaller set has groups.
    """
    values, is_positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    names = np.arange(len(values)) if groups is None else np.asarray(groups)
    distinct, place = np.unique(names, return_inverse=True)
    generator = np.random.default_rng(seeded(seed, "auroc"))
    weights = generator.poisson(1.0, (num_resamples, len(distinct)))[:, place]
    above, below = values[is_positive][:, None], values[~is_positive][None]
    won = ((above > below) + 0.5 * (above == below)).astype(np.float32)
    upper, lower = weights[:, is_positive], weights[:, ~is_positive]
    pairs = upper.sum(1) * lower.sum(1)
    usable = pairs > 0
    if not usable.any():
        return float("nan"), float("nan")
    drawn = (upper[usable].astype(np.float32) @ won * lower[usable]).sum(1) / pairs[usable]
    low, high = np.quantile(drawn, [0.025, 0.975])
    if low == high and low in (0, 1):  # apart in every draw, of however few
        fewest = min(len(np.unique(place[is_positive])), len(np.unique(place[~is_positive])))
        low, high = wilson(int(low) * fewest, fewest)
    return float(low), float(high)

"""Detection: can a label tell, in documents it was not written from, where the feature fires?

1. Each window is judged by the predicate, blind to the activation.
2. Balanced accuracy is the mean of the hit rate and the rate of correct rejections; AUROC uses
   the predicate's graded score, ties counting one half.
3. The 95 % interval resamples documents, not windows, as windows of a document are not
   independent; Poisson weights stand for draws with replacement.
4. Control: the label of another feature, judged on the same windows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 200


@dataclass(frozen=True)
class Score:
    """Balanced accuracy with its 95 % interval, and AUROC."""

    balanced_accuracy: float
    interval: tuple[float, float]
    auroc: float


def bootstrap_weights(num_documents: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Resampling weights, [NUM_RESAMPLES, num_documents]."""
    return rng.poisson(1.0, (NUM_RESAMPLES, num_documents)).astype(np.float64)


def auroc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Exact AUROC of a few hundred windows, ties one half."""
    above = score[positive][:, None]
    below = score[~positive][None, :]
    return float(((above > below).mean() + (above >= below).mean()) / 2)


def _middle(values: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the middle 95 % (np.percentile costs more than all the rest of a score)."""
    ordered = np.sort(values)
    cut = int(0.025 * ordered.size)
    return float(ordered[cut]), float(ordered[-1 - cut])


def detection(
    fires: NDArray[np.bool_],
    score: NDArray[np.float64],
    positive: NDArray[np.bool_],
    documents: NDArray[np.int32],
    weights: NDArray[np.float64],
) -> Score:
    """Score a predicate's verdicts on windows [r]; weights are those of `bootstrap_weights`,
    with at least as many columns as there are distinct documents."""
    distinct, place = np.unique(documents, return_inverse=True)
    cells = (fires & positive, positive, ~fires & ~positive, ~positive)
    counts = np.stack([np.bincount(place, cell, distinct.size) for cell in cells], axis=1)
    totals = counts.sum(axis=0)
    accuracy = (totals[0] / totals[1] + totals[2] / totals[3]) / 2
    drawn = weights[:, : distinct.size] @ counts
    usable = (drawn[:, 1] > 0) & (drawn[:, 3] > 0)
    drawn = drawn[usable]
    resampled = (drawn[:, 0] / drawn[:, 1] + drawn[:, 2] / drawn[:, 3]) / 2
    low, high = _middle(resampled) if resampled.size else (0.0, 1.0)
    interval = (min(float(low), float(accuracy)), max(float(high), float(accuracy)))
    return Score(float(accuracy), interval, auroc(score, positive))

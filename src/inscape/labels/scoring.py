"""Detection: can a label tell, in documents it was not written from, where the feature fires?

1. Each window is judged by the label's graded score, blind to the activation.
2. AUROC is the chance that a window in which the feature fires scores above one in which it is
   silent, ties counting one half.
3. The 95 % interval resamples documents, not windows, as windows of a document are not
   independent; Poisson weights stand for draws with replacement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inscape.labels.sampling import Sample

NUM_RESAMPLES = 200


@dataclass(frozen=True)
class Score:
    """AUROC with its 95 % interval."""

    auroc: float
    low: float
    high: float


def bootstrap_weights(num_documents: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Resampling weights, [NUM_RESAMPLES, num_documents]."""
    return rng.poisson(1.0, (NUM_RESAMPLES, num_documents)).astype(np.float64)


def _middle(values: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the middle 95 % (np.percentile costs more than all the rest of a score)."""
    ordered = np.sort(values)
    cut = int(0.025 * ordered.size)
    return float(ordered[cut]), float(ordered[-1 - cut])


def on_sample(
    score: NDArray[np.float64],
    sample: Sample,
    without: int,
    documents: NDArray[np.int32],
    weights: NDArray[np.float64],
) -> Score:
    """The AUROC of scores of a sample's windows [r], those of the group `without` left out;
    documents is of every row of the index."""
    part = sample.group != without
    return detection(score[part], sample.positive[part], documents[sample.rows[part]], weights)


def detection(
    score: NDArray[np.float64],
    positive: NDArray[np.bool_],
    documents: NDArray[np.int32],
    weights: NDArray[np.float64],
) -> Score:
    """The AUROC of scores of windows [r]; weights are those of `bootstrap_weights`, with at least
    as many columns as there are distinct documents."""
    _, place = np.unique(documents, return_inverse=True)
    above = score[positive][:, None] - score[~positive][None, :]
    wins = (np.sign(above) + 1) / 2
    of_positive, of_negative = weights[:, place[positive]], weights[:, place[~positive]]
    total = of_positive.sum(1) * of_negative.sum(1)
    won = ((of_positive @ wins) * of_negative).sum(1)
    found = float(wins.mean())
    low, high = _middle(won[total > 0] / total[total > 0]) if (total > 0).any() else (0.0, 1.0)
    return Score(found, min(low, found), max(high, found))

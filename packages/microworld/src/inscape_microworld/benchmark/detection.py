"""How well a score that is zero on most tokens detects a concept: thresholds, F1 and AUROC, exact.

F1 of every threshold comes from one sort of the feature's own entries; AUROC counts ties, and all
tokens on which the feature is silent tie at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inscape.features import FeatureIndex

ENTRY_BLOCK = 4_000_000


@dataclass(frozen=True)
class FeatureMatch:
    """How well one feature detects a concept.

    threshold (fires when the activation is ≥ it) and selection_f1 come from the selection half;
    auroc, f1, precision, recall, num_positives and num_negatives from the other half.
    """

    feature: int
    auroc: float
    f1: float
    precision: float
    recall: float
    threshold: float
    selection_f1: float
    num_positives: int
    num_negatives: int


def sparse_auroc(
    values: NDArray[np.floating], positive: NDArray[np.bool_], num_pos: int, num_neg: int
) -> float:
    """Exact AUROC of a score that is zero on all tokens but a few.

    values (> 0) and positive describe the entries where it is not zero; num_pos and num_neg count
    all tokens. Ties count one half. NaN when either class is empty.
    """
    if num_pos == 0 or num_neg == 0:
        return float("nan")
    distinct, place = np.unique(values, return_inverse=True)
    pos = np.bincount(place, positive, minlength=distinct.size)
    neg = np.bincount(place, minlength=distinct.size) - pos
    silent_pos, silent_neg = num_pos - pos.sum(), num_neg - neg.sum()
    below = silent_neg + np.cumsum(neg) - neg
    wins = float((pos * (below + neg / 2)).sum()) + silent_pos * silent_neg / 2
    return float(wins / (num_pos * num_neg))


def best_threshold(
    values: NDArray[np.floating], positive: NDArray[np.bool_], num_pos: int
) -> tuple[float, float]:
    """The threshold with the highest F1 for "fires when ≥ threshold", and that F1; (inf, 0) if
    no positive is active."""
    if not positive.any():
        return float("inf"), 0.0
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    hits = np.cumsum(positive[order])
    f1 = 2 * hits / (np.arange(1, ordered.size + 1) + num_pos)
    f1[:-1][ordered[1:] == ordered[:-1]] = -1.0  # equal activations cannot be told apart
    best = int(f1.argmax())
    return float(ordered[best]), float(f1[best])


def active_counts(index: FeatureIndex, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """On how many of the masked tokens [n] each feature fires, [m]."""
    counts = np.zeros(index.num_features, np.int64)
    for start in range(0, int(index.positions.size), ENTRY_BLOCK):
        hits = np.flatnonzero(mask[index.positions[start : start + ENTRY_BLOCK]]) + start
        owners = np.searchsorted(index.indptr, hits, side="right") - 1
        counts += np.bincount(owners, minlength=counts.size)
    return counts

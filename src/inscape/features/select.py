"""Which feature stands for a concept, given the tokens on which the concept is present.

1. Considered tokens fall into two halves of the documents. Everything that is chosen (features,
   thresholds, order) is chosen on the selection half; every figure is judged on the other.
2. A feature that is active on a of the P positives of the selection half has, at any threshold,
   F1 ≤ 2a/(a+P) (its precision is at most 1). Features are tried in the order of this bound and
   the search ends when the bound falls below the best found: exact, and most are never sorted.
3. F1 of every threshold comes from one sort of the feature's own entries.
4. AUROC is exact with ties: all tokens on which the feature is silent tie at zero, and their
   pairs are counted, never listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inscape.core import InputError, seeded

if TYPE_CHECKING:
    from inscape.features.index import FeatureIndex

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


def document_halves(documents: NDArray[np.int32], seed: int = 0) -> NDArray[np.bool_]:
    """A half of the documents, marked per token [n]: exactly half of the distinct documents,
    drawn with `seed`."""
    distinct, inverse = np.unique(documents, return_inverse=True)
    order = np.random.default_rng(seeded(seed, "document halves")).permutation(distinct.size)
    chosen = np.zeros(distinct.size, np.bool_)
    chosen[order[: distinct.size // 2]] = True
    return chosen[inverse]


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


def best_features(
    index: FeatureIndex,
    positives: NDArray[np.bool_],
    considered: NDArray[np.bool_],
    split: NDArray[np.bool_],
    top: int = 5,
) -> list[FeatureMatch]:
    """The features that detect a concept best, best first.

    Args:
        positives: [n] tokens on which the concept is present.
        considered: [n] tokens that count as positive or negative; tokens that the index leaves
            out (beginning-of-text) never count.
        split: [n] True on the selection half; split by documents (`document_halves`).
        top: how many to return.

    The order is by F1 on the selection half; the figures are from the other half.

    Raises:
        InputError: a mask has the wrong length, or a half has no positive or no negative.
    """
    present, counted = _masks(index, positives, considered, split)
    halves = [counted & split, counted & ~split]
    num_pos = [int(np.count_nonzero(present & half)) for half in halves]
    num_neg = [int(np.count_nonzero(half)) - p for half, p in zip(halves, num_pos, strict=True)]
    for name, pos, neg in zip(("selection", "judging"), num_pos, num_neg, strict=True):
        if not pos or not neg:
            raise InputError(
                f"the {name} half has {pos} positive and {neg} negative tokens",
                expected="at least one of each in both halves of the documents",
                next_step="use more documents or another split",
            )
    found = _search(index, present & halves[0], halves[0], num_pos[0], top)
    return [_judge(index, match, present, halves[1], (num_pos[1], num_neg[1])) for match in found]


def _masks(
    index: FeatureIndex,
    positives: NDArray[np.bool_],
    considered: NDArray[np.bool_],
    split: NDArray[np.bool_],
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    for name, mask in (("positives", positives), ("considered", considered), ("split", split)):
        if mask.shape != (index.num_tokens,) or mask.dtype != np.bool_:
            raise InputError(
                f"{name} is {mask.dtype} of shape {mask.shape}",
                expected=f"bool of shape ({index.num_tokens},), one entry a token of the index",
            )
    counted = considered & np.asarray(index.tokens.considered)
    return positives & counted, counted


def active_counts(index: FeatureIndex, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """On how many of the masked tokens [n] each feature fires, [m]."""
    counts = np.zeros(index.num_features, np.int64)
    for start in range(0, int(index.positions.size), ENTRY_BLOCK):
        hits = np.flatnonzero(mask[index.positions[start : start + ENTRY_BLOCK]]) + start
        owners = np.searchsorted(index.indptr, hits, side="right") - 1
        counts += np.bincount(owners, minlength=counts.size)
    return counts


def _entries(
    index: FeatureIndex, feature: int, half: NDArray[np.bool_], present: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    rows, values = index.rows_of(feature)
    inside = half[rows]
    return values[inside], present[rows[inside]]


def _search(
    index: FeatureIndex, present: NDArray[np.bool_], half: NDArray[np.bool_], num_pos: int, top: int
) -> Sequence[tuple[int, float, float]]:
    """(feature, threshold, F1) of the best features on the selection half."""
    active = active_counts(index, present)
    bound = 2 * active / (active + num_pos)
    best: list[tuple[int, float, float]] = []
    for feature in np.argsort(-bound, kind="stable"):
        full = len(best) == top
        if bound[feature] == 0 or (full and bound[feature] <= best[-1][2]):
            break
        threshold, f1 = best_threshold(*_entries(index, int(feature), half, present), num_pos)
        best.append((int(feature), threshold, f1))
        best = sorted(best, key=lambda match: (-match[2], match[0]))[:top]
    return best


def _judge(
    index: FeatureIndex,
    match: tuple[int, float, float],
    present: NDArray[np.bool_],
    half: NDArray[np.bool_],
    counts: tuple[int, int],
) -> FeatureMatch:
    feature, threshold, selection_f1 = match
    num_pos, num_neg = counts
    values, positive = _entries(index, feature, half, present)
    fires = values >= threshold
    hits, called = int(np.count_nonzero(positive & fires)), int(np.count_nonzero(fires))
    return FeatureMatch(
        feature=feature,
        auroc=sparse_auroc(values, positive, num_pos, num_neg),
        f1=2 * hits / (called + num_pos),
        precision=hits / called if called else 0.0,
        recall=hits / num_pos,
        threshold=threshold,
        selection_f1=selection_f1,
        num_positives=num_pos,
        num_negatives=num_neg,
    )

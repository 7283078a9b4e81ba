"""Writing candidate explanations of one feature from windows of the explaining documents.

1. For each attribute, values are chosen greedily: each step takes the value which most raises the
   balanced accuracy of "the window has one of the chosen values", until the gain is too small.
   A value's false-alarm rate is the larger of that on the sampled negatives and that on random
   tokens of the corpus, so that a rare sample cannot flatter a common word.
2. Clauses about the token are refined: among the windows where the clause holds, a second clause
   is chosen in the same way from the context, the text and what follows.
3. Each candidate is judged on further documents of the explaining half, that its values were not
   chosen from; the best after a small price for length is the label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from inscape.labels.predicates import MIN_EVIDENCE, Clause, Predicate
from inscape.labels.words import ATTRIBUTES, Words

MAX_VALUES = 5
MIN_GAIN = 0.02  # of balanced accuracy, for another value
MIN_SUPPORT = 3  # positive windows that must have a value
MIN_ERRORS = 2.5  # standard errors above one half on the judged windows, else there is no pattern
VALUE_PRICE, CLAUSE_PRICE = 0.003, 0.006

REFINED = ("token", "word", "class")
REFINING = ("phrase", "previous", "previous_token", "before", "around", "next", "next_token")


@njit(cache=True, nogil=True)
def choose_values(
    values: NDArray[Any],
    positive: NDArray[Any],
    counted: NDArray[Any],
    background: NDArray[Any],
    scratch: NDArray[Any],
    max_values: int,
    min_gain: float,
    min_support: int,
    min_evidence: float,
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The greedy choice: values [r, c] (-1 is none), positive and counted bool [r], background
    the share of random tokens with each value [num_values]; scratch int32 [3, num_values], zero
    before and after. Returns the chosen values and their weights."""
    num_rows, width = values.shape
    num_pos, num_neg = 0, 0
    for i in range(num_rows):
        if counted[i]:
            num_pos += positive[i]
            num_neg += not positive[i]
    chosen = np.empty(max_values, np.int32)
    weights = np.empty(max_values, np.float64)
    covered = np.zeros(num_rows, np.bool_)
    touched = np.empty(num_rows * width, np.int32)
    found = 0
    while num_pos > 0 and num_neg > 0 and found < max_values:
        num_touched = 0
        for i in range(num_rows):
            if covered[i] or not counted[i]:
                continue
            side = 0 if positive[i] else 1
            for j in range(width):
                v = values[i, j]
                if v < 0 or scratch[2, v] == i + 1:
                    continue  # a value counts once a window
                if scratch[2, v] == 0:
                    touched[num_touched] = v
                    num_touched += 1
                scratch[2, v] = i + 1
                scratch[side, v] += 1
        best, best_gain, best_weight = -1, min_gain, 0.0
        for t in range(num_touched):
            v = touched[t]
            hits, alarms = scratch[0, v], scratch[1, v]
            rate = max(alarms / num_neg, background[v])
            gain = (hits / num_pos - rate) / 2
            # on a tie the higher number wins: the longer phrase
            if hits >= min_support and (gain > best_gain or (gain == best_gain and v > best)):
                best, best_gain = v, gain
                odds = ((hits + 0.5) / (num_pos + 1)) / max((alarms + 0.5) / (num_neg + 1), rate)
                best_weight = max(np.log(odds), min_evidence)
            scratch[0, v] = 0
            scratch[1, v] = 0
            scratch[2, v] = 0
        if best < 0:
            break
        chosen[found], weights[found] = best, best_weight
        found += 1
        for i in range(num_rows):
            for j in range(width):
                if values[i, j] == best:
                    covered[i] = True
    return chosen[:found], weights[:found]


@dataclass
class Windows:
    """Windows of one feature: rows [r], positive bool [r], and the values of every attribute."""

    rows: NDArray[np.int64]
    positive: NDArray[np.bool_]
    values: dict[str, NDArray[np.int32]]

    @classmethod
    def read(cls, words: Words, rows: NDArray[np.int64], positive: NDArray[np.bool_]) -> Windows:
        """Look all attributes up."""
        return cls(rows, positive, {name: words.values(name, rows) for name in ATTRIBUTES})


def balanced_accuracies(
    fires: NDArray[np.bool_], positive: NDArray[np.bool_], counted: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Balanced accuracy of candidates fires [c, r] on the counted windows, [c]: mean of the hit
    rate and the rate of correct rejections; a rate without windows is taken as one half."""
    sides = np.stack([positive & counted, ~positive & counted], axis=1)
    totals = sides.sum(axis=0)
    fired = fires.astype(np.float32) @ sides.astype(np.float32)
    rates = np.where(totals > 0, fired / np.maximum(totals, 1), 0.5)
    accuracies: NDArray[np.float64] = (rates[:, 0] + 1 - rates[:, 1]) / 2
    return accuracies


def _standard_error(positive: NDArray[np.bool_]) -> float:
    """Of the balanced accuracy of a guess on these windows; 0 where a class is missing, as then
    nothing can be asked of them."""
    counts = np.bincount(positive.astype(np.int64), minlength=2)
    return float(np.sqrt((0.25 / counts).sum()) / 2) if counts.all() else 0.0


_Candidate = tuple[Predicate, NDArray[np.bool_]]


class Writer:
    """Writes predicates. `background[attribute]` is the share of random tokens of the explaining
    half that have each value."""

    def __init__(self, words: Words, random_rows: NDArray[np.int64]) -> None:
        self.words = words
        self._background: dict[str, NDArray[np.float64]] = {}
        self._none: dict[str, NDArray[np.float64]] = {}
        self._scratch: dict[str, NDArray[np.int32]] = {}
        for name in ATTRIBUTES:
            size = words.counts[name]
            self._background[name] = _shares(words.values(name, random_rows), size)
            self._none[name] = np.zeros(size)
            self._scratch[name] = np.zeros((3, size), np.int32)

    def clause(
        self, windows: Windows, attribute: str, counted: NDArray[np.bool_], *, within: bool = False
    ) -> Clause | None:
        """The clause on one attribute, chosen on the counted windows; `within` another clause
        the rate on random tokens says nothing and is left out."""
        background = self._none if within else self._background
        values, weights = choose_values(
            windows.values[attribute],
            windows.positive,
            counted,
            background[attribute],
            self._scratch[attribute],
            MAX_VALUES,
            MIN_GAIN,
            MIN_SUPPORT,
            MIN_EVIDENCE,
        )
        if values.size == 0:
            return None
        return Clause(attribute, tuple(values.tolist()), tuple(weights.tolist()))

    def write(
        self, windows: Windows, judged: NDArray[np.bool_], promoted: Sequence[int]
    ) -> Predicate:
        """The best predicate for a feature.

        judged marks the windows that candidates are judged on and not written from; promoted are
        the token ids that the feature's direction raises most.
        """
        candidates = self._candidates(windows, ~judged)
        if not candidates:
            return Predicate(())
        predicates, holds = zip(*candidates, strict=True)
        fires = np.stack(holds)
        unseen = balanced_accuracies(fires, windows.positive, judged)
        # both views are noisy: the judged windows are few, the others were used for writing
        worth = (unseen + balanced_accuracies(fires, windows.positive, ~judged)) / 2
        worth -= [_price(predicate) for predicate in predicates]
        least = 0.5 + MIN_ERRORS * _standard_error(windows.positive[judged])
        worth[unseen < least] = 0.0
        best = int(worth.argmax())
        chosen = predicates[best] if worth[best] > 0.5 else Predicate(())
        return _with_prediction(chosen, promoted)

    def _candidates(self, windows: Windows, written: NDArray[np.bool_]) -> list[_Candidate]:
        """Predicates of one and two clauses, with where they hold."""
        found: list[_Candidate] = []
        for attribute in ATTRIBUTES:
            clause = self.clause(windows, attribute, written)
            if clause is None:
                continue
            holds = clause.evidence(windows.values) > 0
            found.append((Predicate((clause,)), holds))
            if attribute in REFINED:
                found += self._refined(windows, clause, holds, holds & written)
        return found

    def _refined(
        self, windows: Windows, clause: Clause, holds: NDArray[np.bool_], counted: NDArray[np.bool_]
    ) -> list[_Candidate]:
        if np.count_nonzero(counted & ~windows.positive) < MIN_SUPPORT:
            return []  # nothing left to put right
        others = [name for name in REFINING if name != clause.attribute]
        if clause.attribute == "token":
            others.append("word")
        clauses = (self.clause(windows, name, counted, within=True) for name in others)
        return [
            (Predicate((clause, other)), holds & (other.evidence(windows.values) > 0))
            for other in clauses
            if other is not None
        ]


def _price(predicate: Predicate) -> float:
    return VALUE_PRICE * predicate.size + CLAUSE_PRICE * (len(predicate.clauses) - 1)


def _shares(values: NDArray[np.int32], size: int) -> NDArray[np.float64]:
    """The share of rows that have each value at least once."""
    rows = np.repeat(np.arange(values.shape[0], dtype=np.int64), values.shape[1])
    keys = np.unique(rows[values.ravel() >= 0] * size + values.ravel()[values.ravel() >= 0])
    shares: NDArray[np.float64] = np.bincount(keys % size, minlength=size) / max(len(values), 1)
    return shares


def _with_prediction(predicate: Predicate, promoted: Sequence[int]) -> Predicate:
    """Says "predicts" where the feature's own direction promotes a next token that it names."""
    clauses = tuple(
        replace(clause, predicts=True)
        if clause.attribute == "next_token" and set(clause.values) & set(promoted)
        else clause
        for clause in predicate.clauses
    )
    return Predicate(clauses)


def read_for(
    words: Words, predicate: Predicate, rows: NDArray[np.int64]
) -> Mapping[str, NDArray[np.int32]]:
    """The values that a predicate needs at the rows."""
    attributes = dict.fromkeys(clause.attribute for clause in predicate.clauses)
    return {name: words.values(name, rows) for name in attributes}

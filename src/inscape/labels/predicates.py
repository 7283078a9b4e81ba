"""Explanations that can be executed: a conjunction of at most two clauses about a window.

A clause names an attribute of the window (its token, the words before it, ...) and a few values;
it holds when the window has one of them. Each value carries the evidence for it (a log ratio),
so that a clause gives a graded score as well as a verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from inscape.core import quoted
from inscape.labels.words import Words

# Clauses are worded in this order, so that "what" comes before "where".
WORDINGS = {
    "token": "{}",
    "word": "{}",
    "class": "{}",
    "start": "{}",
    "phrase": "in {}",
    "previous_token": "right after {}",
    "previous": "after {}",
    "before": "shortly after {}",
    "next_token": "before {}",
    "next": "before {}",
    "around": "in texts with {}",
}
MIN_EVIDENCE = 0.05


@dataclass(frozen=True)
class Clause:
    """values: the attribute's numbers; weights: the evidence for each, > 0; predicts: whether
    the feature's own logit effect promotes the next tokens that it names."""

    attribute: str
    values: tuple[int, ...]
    weights: tuple[float, ...]
    predicts: bool = False

    def wording(self, words: Words) -> str:
        """The clause as a phrase."""
        texts = [words.text(self.attribute, v) for v in self.values]
        if self.attribute in ("class", "start"):
            return " or ".join(texts)
        quoted = list(dict.fromkeys(quote(t) for t in texts))
        pattern = "predicts {}" if self.predicts else WORDINGS[self.attribute]
        return pattern.format(" / ".join(quoted))

    def evidence(self, values: Mapping[str, NDArray[np.int32]]) -> NDArray[np.float64]:
        """The evidence in each window, 0 where the clause does not hold; values holds the
        attribute's, [num, width]."""
        chosen = np.array(self.values, np.int32)
        return matched(values[self.attribute], chosen, np.array(self.weights, np.float64))

    def to_json(self, words: Words) -> dict[str, Any]:
        """Attribute, the values' strings and their weights."""
        return {
            "attribute": self.attribute,
            "values": [words.text(self.attribute, v) for v in self.values],
            "weights": [round(w, 4) for w in self.weights],
        }


@dataclass(frozen=True)
class Predicate:
    """All clauses must hold. No clause at all is the predicate that never fires."""

    clauses: tuple[Clause, ...]

    @property
    def kind(self) -> str:
        """prediction where the feature's own direction promotes what follows; else word."""
        if any(clause.predicts for clause in self.clauses):
            return "prediction"
        return "word" if self.clauses else "unclear"

    @property
    def size(self) -> int:
        """Number of values in all clauses, the measure of complexity."""
        return sum(len(clause.values) for clause in self.clauses)

    def _ordered(self) -> list[Clause]:
        order = list(WORDINGS)
        return sorted(self.clauses, key=lambda clause: order.index(clause.attribute))

    def wording(self, words: Words) -> str:
        """The label's text."""
        return " ".join(clause.wording(words) for clause in self._ordered())

    def to_json(self, words: Words) -> str:
        """The clauses as JSON text."""
        return json.dumps([c.to_json(words) for c in self._ordered()], ensure_ascii=False)

    def score(
        self, values: Mapping[str, NDArray[np.int32]], num: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Verdict and graded score of `num` windows, given the values of every attribute that
        the clauses use ([num, width] each)."""
        holds = np.full(num, bool(self.clauses))
        total = np.zeros(num)
        for clause in self.clauses:
            evidence = clause.evidence(values)
            holds &= evidence > 0
            total += evidence
        return holds, total


def quote(text: str) -> str:
    """A token or phrase in quotation marks, blanks at its ends dropped, line breaks shown."""
    bare = text.strip(" ") or "␣"
    return quoted(bare.replace("\r", ""), '"')


@njit(cache=True, nogil=True)
def matched(
    values: NDArray[Any], chosen: NDArray[Any], weights: NDArray[Any]
) -> NDArray[np.float64]:
    """For each row of values [r, c] the largest weight of a chosen value in it, else 0."""
    score = np.zeros(values.shape[0])
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            for number in range(chosen.shape[0]):
                if values[i, j] == chosen[number] and weights[number] > score[i]:
                    score[i] = weights[number]
    return score

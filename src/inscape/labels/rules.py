"""Labels that can be executed: what a window must have, and what it must mean.

1. A clause names an attribute of the window (its word, the word before, what kind of thing it is)
   and a few values, each with the evidence for it (a log ratio). It holds where the window has one.
2. A meaning is a text as a vector: a window agrees with it as far as its own vector is closer to it
   than those of random windows are, in standard deviations.
3. A rule's score on a window is the evidence of its clauses plus the weighted agreement with its
   meaning. It never looks at the activation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from inscape.labels.contexts import Contexts
from inscape.labels.kinds import Kinds
from inscape.labels.words import ATTRIBUTES, Words

KIND_ATTRIBUTES = ("kind", "next_kind")
MIN_EVIDENCE = 0.05


@dataclass(frozen=True)
class Clause:
    """values: the attribute's numbers; weights: the evidence for each, > 0."""

    attribute: str
    values: tuple[int, ...]
    weights: tuple[float, ...]

    def evidence(self, values: NDArray[np.int32]) -> NDArray[np.float64]:
        """The evidence in each window, 0 where the clause does not hold; values [num, width]."""
        chosen = np.array(self.values, np.int32)
        return matched(values, chosen, np.array(self.weights, np.float64))


@dataclass(frozen=True)
class Rule:
    """A candidate label: its text, what it speaks of, and what it is executed by. meaning: the text
    behind `vector`, which counts `weight` times; price: what its length costs when it is chosen."""

    text: str
    kind: str
    clauses: tuple[Clause, ...] = ()
    meaning: str = ""
    vector: NDArray[np.float32] | None = None
    weight: float = 0.0
    price: float = 0.0

    def to_json(self, corpus: Corpus) -> str:
        """The rule as JSON text."""
        clauses = [
            {
                "attribute": clause.attribute,
                "values": [corpus.text(clause.attribute, v) for v in clause.values],
                "weights": [round(w, 3) for w in clause.weights],
            }
            for clause in self.clauses
        ]
        found: dict[str, Any] = {"clauses": clauses}
        if self.vector is not None:
            found |= {"meaning": self.meaning, "weight": round(self.weight, 3)}
        return json.dumps(found, ensure_ascii=False)


@dataclass
class Corpus:
    """What rules are executed on: the words of an index, the kinds of things that they are and
    their meanings, where a vocabulary and an embedder are at hand. reference: [r], random rows that
    agreement is measured against."""

    words: Words
    kinds: Kinds | None
    contexts: Contexts | None
    reference: NDArray[np.int64]

    def __post_init__(self) -> None:
        self.attributes = ATTRIBUTES + (KIND_ATTRIBUTES if self.kinds else ())
        self.usual = None if self.contexts is None else self.contexts.at(self.reference)

    def values(self, attribute: str, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The attribute's numbers at the rows, [rows, width], -1 for none."""
        if attribute in KIND_ATTRIBUTES and self.kinds is not None:
            return self.kinds.values(attribute, rows)
        return self.words.values(attribute, rows)

    def size(self, attribute: str) -> int:
        """How many values an attribute has."""
        if attribute in KIND_ATTRIBUTES and self.kinds is not None:
            return self.kinds.size
        return self.words.sizes[attribute]

    def text(self, attribute: str, value: int) -> str:
        """What a value is called."""
        if attribute in KIND_ATTRIBUTES and self.kinds is not None:
            return self.kinds.name(value)
        return self.words.text(attribute, value)

    def agreement(
        self, meanings: NDArray[np.floating], vectors: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """How far windows agree with meanings, [meanings, windows], against random windows."""
        if self.usual is None:
            raise ValueError("meanings need an embedder")
        usual = meanings @ self.usual.T
        spread = usual.std(1, keepdims=True) + 1e-6
        found: NDArray[np.float32] = (meanings @ vectors.T - usual.mean(1, keepdims=True)) / spread
        return found

    def scores(
        self,
        rules: Sequence[Rule],
        values: Mapping[str, NDArray[np.int32]],
        vectors: NDArray[np.float32] | None,
    ) -> NDArray[np.float64]:
        """The scores of windows by rules, [rules, windows]: `values` holds the attributes that the
        clauses name, `vectors` the windows' own."""
        num = len(next(iter(values.values()))) if vectors is None else len(vectors)
        found = np.zeros((len(rules), num))
        for row, rule in zip(found, rules, strict=True):
            for clause in rule.clauses:
                row += clause.evidence(values[clause.attribute])
        meant = [i for i, rule in enumerate(rules) if rule.vector is not None]
        if meant and vectors is not None:
            meanings = np.stack([rules[i].vector for i in meant])  # type: ignore[misc]
            weights = np.array([rules[i].weight for i in meant])[:, None]
            found[meant] += weights * self.agreement(meanings, vectors)
        return found

    def scores_at(self, rules: Sequence[Rule], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same at rows of the index."""
        needed = {clause.attribute for rule in rules for clause in rule.clauses} or {"token"}
        vectors = None if self.contexts is None else self.contexts.at(rows)
        return self.scores(rules, {name: self.values(name, rows) for name in needed}, vectors)


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


@njit(cache=True, nogil=True)
def aurocs(
    scores: NDArray[Any], positive: NDArray[Any], negative: NDArray[Any]
) -> NDArray[np.float64]:
    """AUROC of each row of scores [c, r] between windows, ties one half, [c]; 0.5 where there are
    no positive or no negative windows. positive, negative: bool [r]."""
    found = np.full(scores.shape[0], 0.5)
    above, below = np.flatnonzero(positive), np.flatnonzero(negative)
    if above.size == 0 or below.size == 0:
        return found
    for c in range(scores.shape[0]):
        low = np.sort(scores[c][below])
        won = 0.0
        for i in above:
            value = scores[c, i]
            won += np.searchsorted(low, value, side="left")
            won += np.searchsorted(low, value, side="right")
        found[c] = won / (2 * above.size * below.size)
    return found

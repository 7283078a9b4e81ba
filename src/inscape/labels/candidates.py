"""Candidate labels of words: from windows of the explaining documents, rules on what fires.

1. For each attribute, values are chosen greedily: each step takes the value which most raises the
   balanced accuracy of "the window has one of the chosen values", until the gain is too small.
   A value's false-alarm rate is the larger of that on the sampled negatives and that on random
   tokens of the corpus, so that a rare sample cannot flatter a common word.
2. Clauses about the word itself are refined: among the windows where the clause holds, a second
   clause is chosen in the same way from what stands before, after and around it.
3. A clause about the next token counts as a prediction where the feature's own direction promotes
   that token, or tokens of that kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from inscape.labels.rules import MIN_EVIDENCE, Clause, Corpus, Rule
from inscape.labels.sampling import NEAR, Sample
from inscape.labels.wording import said, said_beside

MOST_VALUES = {"token": 5, "word": 5, "folded": 5, "kind": 2, "class": 2, "next_kind": 1}
OTHERS = 3  # values of the other attributes
MIN_GAIN = 0.03  # of balanced accuracy, for another value
MIN_SUPPORT = 3  # positive windows that must have a value
VALUE_PRICE, CLAUSE_PRICE = 0.004, 0.02
OFTEN, SELDOM = 0.15, 0.1  # shares of windows: a word that a list must have, or leaves out
MOSTLY = 0.8  # of what a list covers, that is left without the words that it leaves out
BROAD = 0.005  # what a name costs for each factor e of meanings below it
LIKENESS = 0.5  # weight of being like the words of a list, beside being one of them
PREDICTED = 0.01  # what a prediction gains on the same said of the words that follow
UNLIKE, ALIKE = 0.2, 0.4  # what words of a list cost whose mean cosine is below
MIN_PROMOTED = 0.25  # of the promoted tokens that must be of a kind, for it to be predicted

LISTED = ("token", "word", "folded")
REFINED = ("token", "word", "folded", "class", "kind", "ending", "beginning")
REFINING = ("previous", "phrase", "next", "next_token")


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
    """Windows of one feature, and the values of every attribute on them; counted: those that rules
    may be written from, bool [r]."""

    sample: Sample
    values: dict[str, NDArray[np.int32]]
    counted: NDArray[np.bool_]

    @classmethod
    def read(cls, corpus: Corpus, sample: Sample, counted: NDArray[np.bool_]) -> Windows:
        """Look all attributes up."""
        values = {name: corpus.values(name, sample.rows) for name in corpus.attributes}
        return cls(sample, values, counted)


class Writer:
    """Writes rules. background: random rows of the explaining half, for the rates of single values.
    vector: of a list of words, for how alike another word is, and how alike they are themselves;
    None without an embedder."""

    def __init__(
        self,
        corpus: Corpus,
        background: NDArray[np.int64],
        vector: Callable[[Sequence[str]], tuple[NDArray[np.float32], float] | None] | None = None,
    ) -> None:
        self.corpus, self._vector = corpus, vector
        self._background: dict[str, NDArray[np.float64]] = {}
        self._none: dict[str, NDArray[np.float64]] = {}
        self._scratch: dict[str, NDArray[np.int32]] = {}
        for name in corpus.attributes:
            size = corpus.size(name)
            self._background[name] = _shares(corpus.values(name, background), size)
            self._none[name] = np.zeros(size)
            self._scratch[name] = np.zeros((3, size), np.int32)

    def background(self, attribute: str) -> NDArray[np.float64]:
        """The share of random tokens that have each value."""
        return self._background[attribute]

    def clause(
        self, windows: Windows, attribute: str, counted: NDArray[np.bool_], *, within: bool = False
    ) -> Clause | None:
        """The clause on one attribute, chosen on the counted windows; `within` another clause
        the rate on random tokens says nothing and is left out."""
        background = self._none if within else self._background
        values, weights = choose_values(
            windows.values[attribute],
            windows.sample.positive,
            counted,
            background[attribute],
            self._scratch[attribute],
            MOST_VALUES.get(attribute, OTHERS),
            MIN_GAIN,
            MIN_SUPPORT,
            MIN_EVIDENCE,
        )
        if values.size == 0:
            return None
        chosen = dict(zip(values.tolist(), weights.tolist(), strict=True))
        if attribute in LISTED and not within:
            chosen = self._by_frequency(chosen, windows.values[attribute][:, 0], windows, attribute)
        return Clause(attribute, tuple(chosen), tuple(chosen.values()))

    def _by_frequency(
        self, chosen: dict[int, float], values: NDArray[np.int32], windows: Windows, attribute: str
    ) -> dict[int, float]:
        """A list of words as a reader expects it: the most frequent first, and none that a feature
        seldom fires on; `values` is what fires in each window."""
        fired = values[windows.sample.positive & windows.counted]
        found, counts = np.unique(fired[fired >= 0], return_counts=True)
        shares = dict(zip(found.tolist(), (counts / max(1, fired.size)).tolist(), strict=True))
        for value, share in shares.items():
            if share >= OFTEN and value not in chosen:
                odds = np.log(share / max(float(self._background[attribute][value]), 1e-4))
                chosen[value] = max(float(odds), MIN_EVIDENCE)
        ordered = sorted(chosen, key=lambda value: -shares.get(value, 0.0))
        often = [value for value in ordered if shares.get(value, 0.0) >= SELDOM]
        covered, left = (sum(shares.get(v, 0.0) for v in part) for part in (ordered, often))
        return {value: chosen[value] for value in (often if left >= MOSTLY * covered else ordered)}

    def rules(self, windows: Windows, promoted: Sequence[int]) -> Iterator[Rule]:
        """Rules of one and of two clauses."""
        far = windows.counted & (windows.sample.group != NEAR)
        for attribute in self.corpus.attributes:
            clause = self.clause(windows, attribute, far)
            if clause is None:
                continue
            text = self.text(windows, clause)
            predicted = self._predicted(clause, promoted)
            if predicted:
                yield Rule(predicted, "prediction", (clause,), price=_price(clause) - PREDICTED)
            elif text:
                yield self._rule(text, clause)
            if attribute in REFINED:
                yield from self._refined(windows, clause, text)

    def _rule(self, text: str, clause: Clause) -> Rule:
        kind, price = "concept" if clause.attribute == "kind" else "word", _price(clause)
        if clause.attribute == "kind" and self.corpus.kinds is not None:
            price += BROAD * float(np.log1p(self.corpus.kinds.below[list(clause.values)]).sum())
        words = [self.corpus.text(clause.attribute, v).strip() for v in clause.values]
        listed = clause.attribute in LISTED
        found = self._vector(words) if self._vector and listed else None
        if found is None:
            return Rule(text, kind, (clause,), price=price)
        vector, alike = found
        price += UNLIKE * max(0.0, ALIKE - alike)
        return Rule(text, kind, (clause,), ", ".join(words), vector, LIKENESS, price)

    def _refined(self, windows: Windows, clause: Clause, text: str) -> Iterator[Rule]:
        holds = clause.evidence(windows.values[clause.attribute]) > 0
        counted = holds & windows.counted
        if np.count_nonzero(counted & ~windows.sample.positive) < MIN_SUPPORT:
            return  # nothing left to put right
        for attribute in REFINING:
            other = self.clause(windows, attribute, counted, within=True)
            if other is None:
                continue
            texts = [self.corpus.text(attribute, v) for v in other.values]
            if both := said_beside(text, attribute, texts):
                yield Rule(both, "word", (clause, other), price=_price(clause, other))

    def text(self, windows: Windows, clause: Clause) -> str:
        """The wording of a clause by itself."""
        texts = [self.corpus.text(clause.attribute, v) for v in clause.values]
        piece = False
        if clause.attribute == "token":
            holds = clause.evidence(windows.values["token"]) > 0
            rows = windows.sample.rows[holds & windows.sample.positive]
            words = [self.corpus.words.texts[t] for t in self.corpus.values("word", rows)[:, 0]]
            whole = [word in {text.strip() for text in texts} for word in words]
            piece = bool(np.mean(whole) < 0.5)
        return said(clause.attribute, texts, piece=piece)

    def _predicted(self, clause: Clause, promoted: Sequence[int]) -> str:
        """The wording as a prediction, where the direction promotes what the clause names."""
        if clause.attribute == "next_token" and set(clause.values) & set(promoted):
            return said("predicted_token", [self.corpus.text("token", v) for v in clause.values])
        if clause.attribute == "next_kind" and self.corpus.kinds is not None:
            texts = [self.corpus.words.table.text(i).strip() for i in promoted]
            kinds = self.corpus.kinds.of_texts(texts)
            promoting = sum(bool(found & set(clause.values)) for found in kinds)
            if promoting >= MIN_PROMOTED * len(kinds) > 0:
                named = [self.corpus.text("kind", v) for v in clause.values]
                return said("predicted_kind", named)
        return ""


def _price(*clauses: Clause) -> float:
    values = sum(len(clause.values) - 1 for clause in clauses)
    return VALUE_PRICE * values + CLAUSE_PRICE * (len(clauses) - 1)


def _shares(values: NDArray[np.int32], size: int) -> NDArray[np.float64]:
    """The share of rows that have each value at least once."""
    rows = np.repeat(np.arange(values.shape[0], dtype=np.int64), values.shape[1])
    kept = values.ravel() >= 0
    keys = np.unique(rows[kept] * size + values.ravel()[kept])
    shares: NDArray[np.float64] = np.bincount(keys % size, minlength=size) / max(len(values), 1)
    return shares

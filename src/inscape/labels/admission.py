"""Which candidates may name a feature at all, however well they score.

A score against random windows rewards what is only on the way to the truth: a name from the same
field, or a list of words few of which fire. Asked what such names say of a feature's windows, a
reader answers "nothing" (docs/figures.md, atlas-names). So, of the windows that a feature fires in:

1. A rule on words must hold, as it is written, in a good part of them.
2. A name must find them by itself, without the words that fire: among random windows it may be
   wrong about one in twenty. It is trusted a little more where it is made of the words that fire.
   A name that says what fires and then more than that ("training programs" for "training") is too
   narrow.
3. Where three words are most of what fires, the words are the name, or something called after them;
   and a phrase of the corpus, which has no meaning apart, names only what its words fire.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inscape.labels.candidates import Windows
from inscape.labels.rules import Corpus, Rule

COVERED = 0.4  # of the windows, in which a rule on words must hold
TYPICAL = 0.6  # the same of a rule that says what stands around the words too
PARTLY = 0.2  # of the windows, that fire on a word of a name three times as often as on another
NUM_SAID, LITERAL = 3, 0.6  # so many words, in so many windows, are the name
FOUND, FOUND_BY_WORD = 0.45, 0.4  # of the windows that a name must find; one of a word that fires
MISTAKEN = 0.05  # of the random windows
FORM = 0.5  # what a window counts that fires on another form of a name's word
STEM = 0.6  # of the longer word, that two forms of a word have in common


def holds(rule: Rule, windows: Windows) -> bool:
    """Whether a rule on words holds, as it is written, in enough of the feature's windows."""
    return holding(rule, windows) >= (COVERED if len(rule.clauses) == 1 else TYPICAL)


def holding(rule: Rule, windows: Windows) -> float:
    """The share of the feature's windows in which every clause of a rule holds."""
    holds = windows.sample.positive.copy()
    num = int(holds.sum())
    for clause in rule.clauses:
        holds &= clause.evidence(windows.values[clause.attribute]) > 0
    return float(holds.sum() / max(1, num))


def is_literal(windows: Windows) -> bool:
    """Whether a few words are most of what fires."""
    fired = windows.values["folded"][windows.sample.positive, 0]
    counts = np.sort(np.unique(fired, return_counts=True)[1])[::-1]
    return bool(counts[:NUM_SAID].sum() >= LITERAL * fired.size)


def found(rules: Sequence[Rule], windows: Windows, corpus: Corpus) -> NDArray[np.float64]:
    """The share of the feature's windows that each rule's meaning finds, [rules]: those that agree
    with it better than all but MISTAKEN of random windows."""
    assert corpus.contexts is not None
    assert corpus.usual is not None
    rows = windows.sample.rows[windows.sample.positive]
    meanings = np.stack([rule.vector for rule in rules])  # type: ignore[misc]
    bar = np.quantile(meanings @ corpus.usual.T, 1 - MISTAKEN, axis=1)
    above: NDArray[np.bool_] = meanings @ corpus.contexts.at(rows).T > bar[:, None]
    shares: NDArray[np.float64] = above.mean(1)
    return shares


def admitted(
    rules: Sequence[Rule], windows: Windows, corpus: Corpus, phrases: Set[str] = frozenset()
) -> list[Rule]:
    """The rules on meanings that may name the feature; phrases: names without a meaning of their
    own."""
    meant = [rule for rule in rules if rule.vector is not None]
    shares = dict(zip(map(id, meant), found(meant, windows, corpus), strict=True)) if meant else {}
    literal, kept, fired = is_literal(windows), [], Fired.read(windows, corpus)
    for rule in rules:
        by_word = fired.share(rule.text) >= COVERED
        told = shares.get(id(rule), 0.0) >= (FOUND_BY_WORD if by_word else FOUND)
        held = bool(rule.clauses) and holding(rule, windows) >= COVERED
        narrow = fired.partly(rule.text) >= PARTLY
        if (told or held) and not narrow and (by_word or not (literal or rule.text in phrases)):
            kept.append(rule)
    return kept


@dataclass
class Fired:
    """The words that fire a feature, in lower case, and the share of its windows that each has."""

    words: dict[str, float]

    @classmethod
    def read(cls, windows: Windows, corpus: Corpus) -> Fired:
        """Of the windows in which the feature fires."""
        values = windows.values["folded"][windows.sample.positive, 0]
        found, counts = np.unique(values, return_counts=True)
        shares = (counts / max(1, values.size)).tolist()
        texts = [corpus.text("folded", value).strip() for value in found.tolist()]
        return cls(dict(zip(texts, shares, strict=True)))

    def most(self, num: int) -> list[str]:
        """The most frequent ones."""
        return sorted(self.words, key=lambda word: -self.words[word])[:num]

    def share(self, name: str) -> float:
        """The share of windows that fire on a word of the name, where every word of the name is a
        form of one that fires, else 0; a form counts half where it is more than a plural."""
        counted: dict[str, float] = {}
        for part, forms in self._forms(name).items():
            if not forms:
                return 0.0
            for word in forms:
                same = part in (word, word + "s") or word == part + "s"
                counted[word] = max(counted.get(word, 0.0), 1.0 if same else FORM)
        return sum(self.words[word] * count for word, count in counted.items())

    def partly(self, name: str) -> float:
        """The share of windows that fire on a word of a phrase, where another one fires less than a
        third as often; 0 for what is joined by "and" or "or"."""
        found = [sum(map(self.words.__getitem__, forms)) for forms in self._forms(name).values()]
        if not found or {"and", "or"} & set(name.split()) or 3 * min(found) >= max(found):
            return 0.0
        return max(found)

    def _forms(self, name: str) -> dict[str, list[str]]:
        """Of each word of a name the forms that fire."""
        parts = [part for part in name.lower().split() if part not in ("and", "or", "of", "the")]
        return {part: [word for word in self.words if _alike(part, word)] for part in parts}


def _alike(first: str, second: str) -> bool:
    """Whether two words are forms of one."""
    shorter, longer = sorted((first, second), key=len)
    same = next((i for i, c in enumerate(shorter) if c != longer[i]), len(shorter))
    return same >= max(3, STEM * len(longer))

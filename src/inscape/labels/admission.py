"""Which candidates may name a feature at all, however well they score.

A score against random windows rewards what is only on the way to the truth: a name from the same
field, or a list of words few of which fire. Asked what such names say of a feature's windows, a
reader answers "nothing" (docs/figures.md, atlas-names). So, of the windows that a feature fires in:

1. A rule on words must hold, as it is written, in a good part of them.
2. A name must find them by itself, without the words that fire: among random windows it may be
   wrong about one in twenty. It is trusted a little more where it is made of the words that fire.
3. Where three words are most of what fires, the words are the name, or something called after them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inscape.labels.candidates import Windows
from inscape.labels.rules import Corpus, Rule

COVERED = 0.4  # of the windows, in which a rule on words must hold
NUM_SAID, LITERAL = 3, 0.6  # so many words, in so many windows, are the name
FOUND, FOUND_BY_WORD = 0.45, 0.4  # of the windows that a name must find; one of a word that fires
MISTAKEN = 0.05  # of the random windows
NUM_WORDS = 4  # that a name may be made of
STEM = 0.6  # of the longer word, that two forms of a word have in common


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
    rules: Sequence[Rule], windows: Windows, corpus: Corpus, words: Sequence[str]
) -> list[Rule]:
    """The rules on meanings that may name the feature; words: those that fire, in lower case, most
    frequent first."""
    meant = [rule for rule in rules if rule.vector is not None]
    shares = dict(zip(map(id, meant), found(meant, windows, corpus), strict=True)) if meant else {}
    literal, kept = is_literal(windows), []
    for rule in rules:
        by_word = _is_of(rule.text.lower().split(), words[:NUM_WORDS])
        told = shares.get(id(rule), 0.0) >= (FOUND_BY_WORD if by_word else FOUND)
        held = bool(rule.clauses) and holding(rule, windows) >= COVERED
        if (told or held) and (by_word or not literal):
            kept.append(rule)
    return kept


def _is_of(name: Sequence[str], words: Sequence[str]) -> bool:
    """Whether every word of a name is a form of one of the words."""
    meant = [part for part in name if part not in ("and", "or", "of", "the")]
    return all(any(_alike(part, word) for word in words) for part in meant)


def _alike(first: str, second: str) -> bool:
    """Whether two words are forms of one."""
    shorter, longer = sorted((first, second), key=len)
    same = next((i for i, c in enumerate(shorter) if c != longer[i]), len(shorter))
    return same >= max(3, STEM * len(longer))

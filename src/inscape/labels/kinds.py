"""What kinds of things the words of a corpus are, by WordNet's hierarchy: Reagan is a president of
the United States, a head of state, a person.

1. Each word belongs to the longest entry of the vocabulary that it stands in: "New York" before
   "York". A capitalised word is looked up among names first, another one among common nouns.
2. The kinds of an entry are everything above its most usual meanings. What nearly everything is
   ("object", "entity"), and entries that are mostly other parts of speech, tell nothing.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from inscape.labels.vocabulary import Vocabulary
from inscape.labels.words import Words

MEANINGS = 2  # of an entry, that count
MOST_KINDS = 28
MOST_BELOW = 5_000  # meanings below a kind that still says something
PEOPLE = "person"  # who are many, and yet one kind
GRAMMAR = frozenset(
    (
        "the and but for not nor yet can could will would shall should may might must have has "
        "had does did are was were been being who whom which what this that these those here "
        "there now then when where why how out off over down more most less least much many few "
        "all any both each every one two three four five six seven eight nine ten first second "
        "well like about after before still just only even also very too own her his its our your "
        "their she him they them you "
    ).split()
)
"""Words that a vocabulary lists as nouns too, as which they are seldom meant."""


_HEAD = re.compile(r"(.+?)( (?:of|in|to|for|with|on|at) |$)(.*)")


class Kinds:
    """`values(rows)` are the kinds at the rows, [rows, MOST_KINDS], numbers of `senses`, -1 for
    none; `names[kind]` is what a person would call several of it."""

    def __init__(self, words: Words, vocabulary: Vocabulary) -> None:
        self.words, self.vocabulary = words, vocabulary
        self.size = len(vocabulary.senses)
        self.counts = Counter(dict(zip(words.texts, np.bincount(words.type).tolist(), strict=True)))
        self.below = _below(vocabulary)
        self._kinds: dict[int, list[int]] = {}
        self._table: list[list[int]] = [[]]
        entry = np.zeros(words.type.size, np.int32)
        of_type = [self._entry(text) for text in words.texts]
        entry[:] = np.array(of_type, np.int32)[words.type]
        opening = {entry.split(" ")[0] for entry in vocabulary.noun if " " in entry}
        opens = np.array([text.lower() in opening for text in words.texts], np.bool_)
        for table, example, length in words.phrases():
            found = np.zeros(example.size, np.int32)
            for number in np.flatnonzero(opens[words.type[example]]).tolist():
                found[number] = self._entry(words.span(int(example[number]), length))
            begins = np.flatnonzero(table >= 0)
            begins = begins[found[table[begins]] > 0]
            for offset in range(length):
                entry[begins + offset] = found[table[begins]]
        self._entry_of = entry
        self._kinds_of = np.full((len(self._table), MOST_KINDS), -1, np.int32)
        for row, kinds in zip(self._kinds_of, self._table, strict=True):
            row[: len(kinds)] = kinds[:MOST_KINDS]

    def _entry(self, text: str) -> int:
        """The number of an entry, 0 where there is none."""
        if len(text) < 3 or not text[0].isalpha() or text.lower() in GRAMMAR:
            return 0
        senses = self.vocabulary.senses
        found = self.vocabulary.meanings(text)
        named = [m for m in found if any(w[0].isupper() for w in senses[m].words)]
        common = [m for m in found if m not in named]
        chosen = (named or common) if text[0].isupper() else common
        if not chosen:
            return 0
        kinds: dict[int, int] = {}
        for meaning in chosen[: len(chosen) if chosen is named else MEANINGS]:
            for kind in self._above(meaning):
                kinds.setdefault(kind, len(kinds))
        self._table.append(list(kinds))
        return len(self._table) - 1

    def _above(self, meaning: int) -> list[int]:
        if meaning not in self._kinds:
            above = self.vocabulary.above(meaning)
            senses = self.vocabulary.senses
            self._kinds[meaning] = [
                k for k in above if self.below[k] <= MOST_BELOW or PEOPLE in senses[k].words
            ]
        return self._kinds[meaning]

    def at(self, words: NDArray[np.int64]) -> NDArray[np.int32]:
        """The kinds of words, [n, MOST_KINDS]; -1 as a word has none."""
        found = self._kinds_of[self._entry_of[words]]
        return np.where(words[:, None] >= 0, found, -1)

    def values(self, attribute: str, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The kinds of the row's own word ("kind") or of the next one ("next_kind")."""
        return self.at(self.words.beside(rows, 1 if attribute == "next_kind" else 0))

    def uses(self) -> NDArray[np.int64]:
        """How many words of the corpus are of each kind, [size]."""
        entries = np.bincount(self._entry_of, minlength=len(self._kinds_of))
        weights = np.repeat(entries, MOST_KINDS)
        flat = self._kinds_of.ravel()
        found = np.bincount(flat[flat >= 0], weights[flat >= 0], minlength=self.size)
        return found.astype(np.int64)

    def of_texts(self, texts: list[str]) -> list[set[int]]:
        """The kinds of words that stand alone."""
        return [set(self._table[self._entry(text)]) for text in texts]

    def name(self, kind: int) -> str:
        """What several of a kind are called: the plural where the corpus has it."""
        return plural(self.vocabulary.name(kind, self.counts), self.counts)


def _below(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """How many meanings are below each."""
    below = np.zeros(len(vocabulary.senses), np.int64)
    for number in range(len(vocabulary.senses)):
        for kind in vocabulary.above(number):
            below[kind] += 1
    return below


def plural(name: str, counts: Counter[str]) -> str:
    """A noun or phrase in the plural, unless the corpus shows none ("music"), or it is a name."""
    head, of, rest = _HEAD.match(name).groups()  # type: ignore[union-attr]
    first, blank, last = head.rpartition(" ")
    if name[0].isupper() and not of:
        return name
    if last.endswith(("s", "x", "z", "ch", "sh")):
        several = last + "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        several = last[:-1] + "ies"
    elif last.endswith("man") and last != "human":
        several = last[:-2] + "en"
    else:
        several = last + "s"
    irregular = {"person": "people", "child": "children", "foot": "feet", "tooth": "teeth"}
    several = irregular.get(last, several)
    known = counts[several] >= max(2, 0.04 * counts[last])
    return f"{first}{blank}{several if known else last}{of}{rest}"

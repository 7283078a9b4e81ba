"""The corpus of an index as words, classes and phrases: what explanations are made of.

1. A word begins at the start of a sequence, at a token with a leading blank, and wherever letters
   or digits meet anything else; punctuation marks and line breaks are words of their own.
2. Equal words get equal numbers: each word is hashed over its token ids (the first one without
   its blank), all words at once, and the hashes are numbered.
3. Phrases of two and three words are numbered from the numbers of their words.
4. `values` gives, for any rows, the numbers that an attribute has there, [rows, width], with -1
   for "none". Every attribute is computed from a window around the row only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inscape.core import characters
from inscape.features import FeatureIndex

BEFORE = 8  # words of context that count as shortly before
AROUND = 40  # words on either side that count as the same text

CLASSES = (
    "any other token",
    "a line break",
    "a blank",
    "a number",
    "punctuation",
    "a capitalised word",
    "capital letters",
    "a lower-case word",
    "the inside of a word",
    "a non-English character",
)
STARTS = ("the first token of a text", "the second token of a text", "the third token of a text")

ATTRIBUTES = (
    "token",
    "class",
    "start",
    "word",
    "previous_token",
    "previous",
    "next_token",
    "next",
    "before",
    "around",
    "phrase",
)


def token_class(text: str) -> int:
    """The number in CLASSES of a token's string."""
    bare = text.strip()
    if not bare:
        return 1 if "\n" in text else 2
    if bare.isdigit():
        return 3
    if not any(c.isalnum() for c in bare):
        return 4 if bare.isascii() else 9
    if not bare.isascii():
        return 9
    if bare.isalpha() and bare.isupper():
        return 5 if len(bare) == 1 and text != bare else 6
    if text[0].isspace():
        return 5 if bare[0].isupper() else 7
    return 5 if bare[0].isupper() else 8


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A well-spread 64-bit hash of each value (the finaliser of splitmix64)."""
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


class Words:
    """Rows of an index seen as words. `counts[attribute]` is how many values an attribute has."""

    def __init__(self, index: FeatureIndex) -> None:
        table = index.tokens
        self.table = table
        self.ids = np.asarray(table.ids)
        self.first, self.last = table.bounds
        size = int(self.ids.max(initial=0)) + 1
        texts = [table.texts.get(i, "") for i in range(size)]
        self._classes = np.array([token_class(t) for t in texts], np.int32)
        starts = self._word_starts(texts)
        self.word: NDArray[np.int32] = (np.cumsum(starts) - 1).astype(np.int32)  # row -> word
        self.word_row = np.flatnonzero(starts)  # word -> its first row
        self.word_end = np.append(self.word_row[1:], self.ids.size)
        self._number_words(texts)
        self._number_phrases()
        self.counts = {
            "token": size,
            "class": len(CLASSES),
            "start": len(STARTS),
            "previous_token": size,
            "next_token": size,
            "phrase": self._num_pairs + self._num_triples,
        } | dict.fromkeys(("word", "previous", "next", "before", "around"), self._num_types)

    def _word_starts(self, texts: list[str]) -> NDArray[np.bool_]:
        opens = np.array([not t or t[0].isspace() or not t[0].isalnum() for t in texts], np.bool_)
        closes = np.array([not t or not t[-1].isalnum() for t in texts], np.bool_)
        starts = opens[self.ids]
        starts[1:] |= closes[self.ids[:-1]]
        starts[self.first] = True
        starts[1:] |= self.first[1:] != self.first[:-1]
        starts[:1] = True
        return starts

    def _number_words(self, texts: list[str]) -> None:
        bare: dict[str, int] = {}
        canonical = np.array([bare.setdefault(t.strip(), i) for i, t in enumerate(texts)], np.int64)
        offset = np.arange(self.ids.size) - self.word_row[self.word]
        keys = np.where(offset == 0, canonical[self.ids], self.ids).astype(np.uint64)
        hashes = _mixed(keys * np.uint64(1 << 20) + offset.astype(np.uint64))
        totals = np.add.reduceat(hashes, self.word_row)
        _, example, types = np.unique(totals, return_index=True, return_inverse=True)
        self.type: NDArray[np.int32] = types.astype(np.int32)  # word -> its number
        self._type_word = example  # number -> a word of that number
        self._num_types = example.size

    def _number_phrases(self) -> None:
        """Numbers of the pairs and triples of words that begin at each word, -1 at the end of a
        sequence."""
        sequence = self.first[self.word_row]
        types = self.type.astype(np.int64)
        joined = (sequence[1:] == sequence[:-1]) & (self.word_row[:-1] >= sequence[:-1])
        pair_keys = np.where(joined, types[:-1] * self._num_types + types[1:], -1)
        self._pair, self._pair_word = _numbered(pair_keys, self.type.size)
        self._num_pairs = self._pair_word.size
        more = np.append(joined[1:], False) & joined
        keys = self._pair[:-1].astype(np.int64) * self._num_types + np.append(types[2:], 0)
        self._triple, self._triple_word = _numbered(np.where(more, keys, -1), self.type.size)
        self._num_triples = self._triple_word.size

    def values(self, attribute: str, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The attribute's values at the rows, int32 [rows, width], -1 for none."""
        reader: Callable[[NDArray[np.int64]], NDArray[np.int32]] = getattr(self, f"_{attribute}")
        return np.ascontiguousarray(reader(rows), np.int32)

    def _token(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self.ids[rows][:, None]

    def _class(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._classes[self.ids[rows]][:, None]

    def _start(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        place = rows - self.first[rows]
        return np.where(place < len(STARTS), place, -1)[:, None].astype(np.int32)

    def _shifted(self, rows: NDArray[np.int64], by: int) -> NDArray[np.int32]:
        other = rows + by
        inside = (other >= self.first[rows]) & (other < self.last[rows])
        return np.where(inside, self.ids[np.where(inside, other, 0)], -1)[:, None].astype(np.int32)

    def _previous_token(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._shifted(rows, -1)

    def _next_token(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._shifted(rows, 1)

    def _nearby(self, rows: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int32]:
        """Numbers of the words at the offsets from the row's own word, within its sequence."""
        wanted = self.word[rows][:, None] + offsets
        lowest = self.word[self.first[rows]][:, None]
        highest = self.word[self.last[rows] - 1][:, None]
        inside = (wanted >= lowest) & (wanted <= highest)
        return np.where(inside, self.type[np.where(inside, wanted, 0)], -1).astype(np.int32)

    def _word(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._nearby(rows, np.zeros(1, np.int64))

    def _previous(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._nearby(rows, np.array([-1]))

    def _next(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._nearby(rows, np.array([1]))

    def _before(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._nearby(rows, np.arange(-BEFORE, 0))

    def _around(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._nearby(rows, np.arange(-AROUND, AROUND + 1))

    def _phrase(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Pairs and triples of words that hold the row's word; triples have the higher numbers."""
        word = self.word[rows].astype(np.int64)
        columns = []
        for table, length, base in ((self._pair, 2, 0), (self._triple, 3, self._num_pairs)):
            for back in range(length):
                begin = np.maximum(word - back, 0)
                same = self.first[self.word_row[begin]] == self.first[rows]
                number = np.where(same & (word >= back), table[begin], -1)
                columns.append(np.where(number >= 0, number + base, -1))
        return np.stack(columns, axis=1)

    def text(self, attribute: str, value: int) -> str:
        """What a value stands for: a token's string, a word, a phrase, a class."""
        if attribute in ("token", "previous_token", "next_token"):
            return self.table.text(value)
        if attribute == "class":
            return CLASSES[value]
        if attribute == "start":
            return STARTS[value]
        if attribute == "phrase":
            triple = value >= self._num_pairs
            word = self._triple_word[value - self._num_pairs] if triple else self._pair_word[value]
            return self._span(int(word), 3 if triple else 2)
        return self._span(int(self._type_word[value]), 1)

    def _span(self, word: int, length: int) -> str:
        rows = slice(int(self.word_row[word]), int(self.word_end[word + length - 1]))
        joined = "".join(characters([self.table.text(int(i)) for i in self.ids[rows]]))
        return joined.strip() or joined


def _numbered(keys: NDArray[np.int64], length: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Consecutive numbers for equal keys (negative keys stay -1), padded to `length`, and the
    place of one example of each number."""
    numbers = np.full(length, -1, np.int32)
    places = np.flatnonzero(keys >= 0)
    _, example, inverse = np.unique(keys[places], return_index=True, return_inverse=True)
    numbers[places] = inverse.astype(np.int32)
    return numbers, places[example]

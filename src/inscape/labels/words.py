"""The corpus of an index as words, endings, classes and phrases: what labels of words are made of.

1. A word begins at the start of a sequence, at a token with a leading blank, and wherever letters
   or digits meet anything else; punctuation marks and line breaks are words of their own.
2. Equal words get equal numbers: each word is hashed over its token ids (the first one without
   its blank), all words at once, and the hashes are numbered.
3. Phrases of two and three words are numbered from the numbers of their words.
4. `values` gives, for any rows, the numbers that an attribute has there, [rows, width], with -1
   for "none". Every attribute is computed from a window around the row only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from inscape.core import characters
from inscape.features import FeatureIndex

CLASSES = {
    "line breaks": re.compile(r"\s*\n\s*"),
    "blanks": re.compile(r"[^\S\n]+"),
    "numbers": re.compile(r"\d+"),
    "years": re.compile(r"1[4-9]\d\d|20\d\d"),
    "punctuation": re.compile(r"[^\w\s]+"),
    "capitalised words": re.compile(r"[A-Z][a-z]+"),
    "words in capitals": re.compile(r"[A-Z]{2,}"),
    "single capital letters": re.compile(r"[A-Z]"),
    "names with digits": re.compile(r"(?=.*\d)(?=.*[a-zA-Z])\w+"),
    "letters beyond English": re.compile(r".*[^\x00-\x7f\u2010-\u2026].*", re.DOTALL),
}
"""What a whole word looks like."""
STARTS = ("first", "second", "third")  # tokens of a text
AFFIXES = (2, 3, 4)  # letters of beginnings and endings
NUM_COMMON = 100  # most frequent words, which name nothing
INSIDE = "later pieces of words"

ATTRIBUTES = (
    "token",
    "word",
    "folded",
    "beginning",
    "ending",
    "class",
    "start",
    "previous",
    "next",
    "next_token",
    "phrase",
)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A well-spread 64-bit hash of each value (the finaliser of splitmix64)."""
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


class Words:
    """Rows of an index seen as words.

    Attributes:
        word: [rows], the number of each row's word in the corpus; word_row: [words], its first row.
        type: [words], equal for equal words; texts: [types], what they read.
        sizes: how many values each attribute has.
    """

    def __init__(self, index: FeatureIndex) -> None:
        table = index.tokens
        self.table = table
        self.ids = np.asarray(table.ids)
        self.first, self.last = table.bounds
        size = int(self.ids.max(initial=0)) + 1
        tokens = [table.texts.get(i, "") for i in range(size)]
        starts = self._word_starts(tokens)
        self.word: NDArray[np.int32] = (np.cumsum(starts) - 1).astype(np.int32)
        self.word_row = np.flatnonzero(starts)
        self._word_end = np.append(self.word_row[1:], self.ids.size)
        self._number_words(tokens)
        self._pair, self._pair_word = self._phrases(self.type, 1)
        self._triple, self._triple_word = self._phrases(self._pair, 2)
        self.sizes = {"token": size, "next_token": size, "start": len(STARTS)}
        self.sizes |= dict.fromkeys(("word", "previous", "next"), len(self.texts))
        self.sizes["phrase"] = self._pair_word.size + self._triple_word.size
        self._of_type: dict[str, NDArray[np.int32]] = {}
        self._names: dict[str, list[str]] = {"start": list(STARTS)}
        self._describe()

    @cached_property
    def common(self) -> NDArray[np.bool_]:
        """Which types are no names of things, [types]: the most frequent words, one of a hundred
        and at most NUM_COMMON, and all that are not made of letters."""
        found = np.array([not text.strip().isalpha() for text in self.texts], np.bool_)
        counts = np.where(found, 0, np.bincount(self.type, minlength=found.size))
        number = min(NUM_COMMON, np.count_nonzero(~found) // 100)
        found[np.argsort(-counts, kind="stable")[:number]] = True
        return found

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
        self.type: NDArray[np.int32] = types.astype(np.int32)
        self.texts = [self.span(int(word), 1) for word in example]

    def _phrases(
        self, begun: NDArray[np.int32], length: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """The number of the phrase that begins at each word: the one of `length` words that
        `begun` numbers and the next word, -1 at the end of a sequence; and a word of each."""
        sequence = self.first[self.word_row]
        numbers = np.full(begun.size, -1, np.int32)
        count = max(begun.size - length, 0)
        joined = (sequence[length:] == sequence[:count]) & (begun[:count] >= 0)
        places = np.flatnonzero(joined)
        keys = begun[places].astype(np.int64) * len(self.texts) + self.type[places + length]
        _, example, inverse = np.unique(keys, return_index=True, return_inverse=True)
        numbers[places] = inverse.astype(np.int32)
        return numbers, places[example]

    def _describe(self) -> None:
        """Attributes that depend on the word alone, by its type."""
        folded, self._names["folded"] = _numbered([[text.lower()] for text in self.texts])
        letters = [t.lower() if t.isalpha() and len(t) > 4 else "" for t in self.texts]
        shown = [[t[:n] for n in AFFIXES if len(t) > n + 1] for t in letters]
        beginnings, self._names["beginning"] = _numbered(shown)
        shown = [[t[-n:] for n in AFFIXES if len(t) > n + 1] for t in letters]
        endings, self._names["ending"] = _numbered(shown)
        looks = [[n for n, look in CLASSES.items() if look.fullmatch(t)] for t in self.texts]
        classes, self._names["class"] = _numbered(looks)
        self._names["class"].append(INSIDE)
        self._of_type = {"folded": folded, "beginning": beginnings, "ending": endings}
        self._of_type["class"] = classes
        self.sizes |= {name: len(names) for name, names in self._names.items()}

    def values(self, attribute: str, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The attribute's values at the rows, int32 [rows, width], -1 for none."""
        if attribute in self._of_type:
            found = self._of_type[attribute][self.type[self.word[rows]]]
            if attribute != "class":
                return found
            inside = np.where(rows == self.word_row[self.word[rows]], -1, self.sizes["class"] - 1)
            return np.column_stack([found, inside]).astype(np.int32)
        reader: Callable[[NDArray[np.int64]], NDArray[np.int32]] = getattr(self, f"_{attribute}")
        return np.ascontiguousarray(reader(rows), np.int32)

    def _token(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self.ids[rows][:, None]

    def _start(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        place = rows - self.first[rows]
        return np.where(place < len(STARTS), place, -1)[:, None].astype(np.int32)

    def _next_token(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        inside = rows + 1 < self.last[rows]
        return np.where(inside, self.ids[np.where(inside, rows + 1, 0)], -1)[:, None]

    def beside(self, rows: NDArray[np.int64], by: int) -> NDArray[np.int64]:
        """The word so many words away from each row's own, -1 beyond its sequence."""
        wanted = self.word[rows].astype(np.int64) + by
        inside = (wanted >= self.word[self.first[rows]]) & (
            wanted <= self.word[self.last[rows] - 1]
        )
        return np.where(inside, wanted, -1)

    def _typed(self, words: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.where(words >= 0, self.type[words], -1)[:, None].astype(np.int32)

    def _word(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self.type[self.word[rows]][:, None]

    def _previous(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._typed(self.beside(rows, -1))

    def _next(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._typed(self.beside(rows, 1))

    def _phrase(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Pairs and triples of words that hold the row's word; triples have the higher numbers."""
        columns = []
        for table, length, base in ((self._pair, 2, 0), (self._triple, 3, self._pair_word.size)):
            for back in range(length):
                begin = self.beside(rows, -back)
                number = np.where(begin >= 0, table[begin], -1)
                columns.append(np.where(number >= 0, number + base, -1))
        return np.stack(columns, axis=1)

    def phrases(self) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64], int]]:
        """Of pairs, then of triples of words: the number of the phrase that begins at each word
        (-1 for none), a word at which each begins, and its length."""
        yield self._pair, self._pair_word, 2
        yield self._triple, self._triple_word, 3

    def text(self, attribute: str, value: int) -> str:
        """What a value stands for: a token's string, a word, a phrase, a class."""
        if attribute in self._names:
            return self._names[attribute][value]
        if attribute in ("token", "next_token"):
            return self.table.text(value)
        if attribute == "phrase":
            triple = value >= self._pair_word.size
            word = (
                self._triple_word[value - self._pair_word.size]
                if triple
                else self._pair_word[value]
            )
            return self.span(int(word), 3 if triple else 2)
        return self.texts[value]

    def span(self, word: int, length: int) -> str:
        """What so many words read, from the one with this number on."""
        rows = slice(int(self.word_row[word]), int(self._word_end[word + length - 1]))
        joined = "".join(characters([self.table.text(int(i)) for i in self.ids[rows]]))
        return joined.strip() or joined


def _numbered(values: Sequence[Iterable[str]]) -> tuple[NDArray[np.int32], list[str]]:
    """Numbers for the strings of each item, [items, most of one], -1 where there are fewer; and
    the strings. Those that come later in an item have the higher numbers where they are new."""
    lists = [list(strings) for strings in values]
    numbers: dict[str, int] = {}
    names = sorted({s for strings in lists for s in strings}, key=lambda s: (len(s), s))
    numbers = {name: number for number, name in enumerate(names)}
    width = max((len(strings) for strings in lists), default=0) or 1
    table = np.full((len(lists), width), -1, np.int32)
    for row, strings in zip(table, lists, strict=True):
        row[: len(strings)] = [numbers[s] for s in strings]
    return table, names

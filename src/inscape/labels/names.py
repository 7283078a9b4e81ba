"""Candidate labels of meaning: names with what they mean, as vectors beside the corpus's own.

1. Names are our own list (concepts.txt), the nouns of the vocabulary that the corpus uses, and the
   corpus's frequent phrases. A name is embedded with its meaning.
2. A feature's direction is the mean vector of windows in which it fires minus the mean of those in
   which it does not (CLIP-Dissect's idea, for text).
3. The nearest names are candidates, after each name's mean over all features is taken off: else a
   few names that are near to everything would win.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from inscape.labels.contexts import unit
from inscape.labels.embedder import Embedder
from inscape.labels.kinds import Kinds
from inscape.labels.words import Words

MIN_USES = 8  # of a noun in the corpus, or of what is a kind of it
MIN_NAMED = 60  # of what has a name of its own, such as a country
RARE = 0.3  # the nearness that a name loses one of whose words the corpus has once
MOST_NOUNS, MOST_PHRASES = 20_000, 2_000
MIN_DOCUMENTS = 6  # that a phrase occurs in
OWN_LIST = "concepts.txt"


@dataclass
class Names:
    """texts: what names say; meanings: what was embedded; vectors: [names, d] of unit length;
    prices: what a name loses in nearness for being unusual, [names]; breadth: the
    logarithm of how many meanings are below a noun, [names]; of_kind: the place of a kind's
    name; phrases: those that are phrases of the corpus, without a meaning of their own. The first
    num_own are on our own list."""

    texts: list[str]
    meanings: list[str]
    vectors: NDArray[np.float32]
    prices: NDArray[np.float32]
    breadth: NDArray[np.float32]
    of_kind: dict[int, int]
    num_own: int
    phrases: frozenset[str]

    @classmethod
    def read(cls, words: Words, kinds: Kinds | None, embedder: Embedder) -> Names:
        """The names for a corpus."""
        own = list(_own())
        nouns, phrases = list(_nouns(kinds)), list(_phrases(words))
        found = [*own, *nouns, *phrases]
        meanings = [f"{text}: {meaning}" if meaning else text for text, meaning, _ in found]
        vectors = embedder.embed(meanings)
        counts = Counter[str]()
        for text, num in zip(words.texts, np.bincount(words.type).tolist(), strict=True):
            counts[text.lower()] += num
        unusual = [0.0 if n < 0 else RARE / np.sqrt(_least(t, counts)) for t, _, n in found]
        return cls(
            [text for text, _, _ in found],
            meanings,
            unit(vectors - vectors.mean(0)),
            np.array(unusual, np.float32),
            np.array(
                [np.log1p(kinds.below[n]) if kinds and n >= 0 else 0 for _, _, n in found],
                np.float32,
            ),
            {kind: place for place, (_, _, kind) in enumerate(found) if kind >= 0},
            len(own),
            frozenset(text for text, _, _ in phrases) - {text for text, _, _ in [*own, *nouns]},
        )

    @cached_property
    def place(self) -> dict[str, int]:
        """The place of each name, and of the singular of one in the plural."""
        found: dict[str, int] = {}
        for place, text in enumerate(self.texts):
            found.setdefault(text.lower(), place)
        return {text.removesuffix("s"): n for text, n in found.items() if text[-2:] != "ss"} | found

    def at(self, place: int) -> tuple[str, str, NDArray[np.float32]]:
        """A name, its meaning, and that as a vector."""
        return self.texts[place], self.meanings[place], self.vectors[place]

    def hubs(self, directions: NDArray[np.float32]) -> NDArray[np.float32]:
        """Each name's mean nearness to the directions of features, [names]."""
        found: NDArray[np.float32] = self.vectors @ directions.mean(0)
        return found


def _least(name: str, counts: Counter[str]) -> int:
    """How often the corpus has the rarest word of a name, in the singular or plural; at least 1."""
    parts = name.lower().split()
    return max(1, min(counts[part] + counts[part.removesuffix("s")] for part in parts))


def _own() -> Iterator[tuple[str, str, int]]:
    for line in files("inscape.labels").joinpath(OWN_LIST).read_text("utf-8").splitlines():
        if not line.startswith("#"):
            name, _, meaning = line.partition(" | ")
            yield name, meaning, -1


def _nouns(kinds: Kinds | None) -> Iterator[tuple[str, str, int]]:
    """What the corpus speaks of, and what that is a kind of, the most frequent first."""
    if kinds is None:
        return
    uses = kinds.uses()
    for kind in np.argsort(-uses, kind="stable")[:MOST_NOUNS].tolist():
        # somebody or something that bears a name of its own is a word, not a kind of word
        named = kinds.vocabulary.senses[kind].instance
        if uses[kind] >= (MIN_NAMED if named else MIN_USES):
            yield kinds.name(kind), kinds.vocabulary.senses[kind].gloss, kind


def _phrases(words: Words) -> Iterator[tuple[str, str, int]]:
    """Frequent pairs and triples of words without grammar in them, which have no meaning apart."""
    documents = words.table.documents[words.word_row]
    common = {t for t, _ in Counter(words.type.tolist()).most_common(200)}
    found = Counter[str]()
    for table, example, length in words.phrases():
        held = np.flatnonzero(table >= 0)
        once = np.unique(table[held].astype(np.int64) * (documents.max() + 1) + documents[held])
        counts = np.bincount(once // (documents.max() + 1), minlength=example.size)
        for number in np.flatnonzero(counts >= MIN_DOCUMENTS):
            parts = range(int(example[number]), int(example[number]) + length)
            types = [int(words.type[word]) for word in parts]
            if not common & set(types) and all(
                words.texts[t].isalpha() and len(words.texts[t]) > 2 for t in types
            ):
                found[words.span(int(example[number]), length)] = int(counts[number])
    yield from ((text, "", -1) for text, _ in found.most_common(MOST_PHRASES))


def mean_of(
    texts: Sequence[str], vectors: Mapping[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float32], float] | None:
    """The mean of the vectors of words, at unit length, and how alike the words are: their mean
    cosine, 1 for one word; None where none is known."""
    known = [vectors[text] for text in texts if text in vectors]
    if not known:
        return None
    mean, num = np.mean(known, axis=0), len(known)
    alike = 1.0 if num == 1 else (num * float(mean @ mean) - 1) / (num - 1)
    return unit(mean), alike

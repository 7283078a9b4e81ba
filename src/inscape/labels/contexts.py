"""The meaning of every word of a corpus where it stands, by a sentence embedder.

1. Each sequence of the index is cut into stretches of words, and read by the embedder once.
2. A word's vector is its own last layer, at unit length, plus the mean over the words around it at
   unit length: the marked word matters, and what the text is about.

So any number of features and labels is compared with any window for the price of reading the
corpus once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inscape.core import progress
from inscape.labels.embedder import Embedder
from inscape.labels.words import Words

STRETCH = 40  # words that are read together
BEFORE, AFTER = 10, 5  # words that count as around; what follows was not seen by the feature
BATCH = 256  # stretches


@dataclass
class Contexts:
    """vectors: float16 [words, d] of unit length; zero where a word could not be read."""

    words: Words
    vectors: NDArray[np.float16]

    @classmethod
    def read(
        cls, words: Words, embedder: Embedder, path: Path, rows: NDArray[np.int64] | None = None
    ) -> Contexts:
        """Reads the corpus, or only the sequences of these rows of the index, or opens `path` where
        that was done before."""
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            half = path.with_suffix(".half")
            shape = (words.type.size, embedder.width)
            out = np.lib.format.open_memmap(half, mode="w+", dtype=np.float16, shape=shape)
            _fill(out, words, embedder, rows)
            out.flush()
            half.replace(path)
        return cls(words, np.load(path, mmap_mode="r"))

    def at(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors of the words at the rows of the index, [n, d]."""
        return np.asarray(self.vectors[self.words.word[rows]], np.float32)


def _fill(
    out: NDArray[np.float16], words: Words, embedder: Embedder, rows: NDArray[np.int64] | None
) -> None:
    sequence = words.first[words.word_row]
    bounds = np.flatnonzero(np.append(True, sequence[1:] != sequence[:-1])).tolist()
    bounds.append(words.type.size)
    wanted = np.full(words.type.size, rows is None)
    if rows is not None:
        wanted[words.word[rows]] = True
    spans = [(a, b) for a, b in pairwise(bounds) if wanted[a:b].any()]
    waiting: list[tuple[int, int]] = []
    num = 0
    with progress("meanings of the words", sum(b - a for a, b in spans), "words") as bar:
        for start, end in spans:
            waiting.append((start, end))
            num += end - start
            if num >= BATCH * STRETCH or (start, end) == spans[-1]:
                _read(out, words, embedder, waiting)
                bar.advance(num)
                waiting, num = [], 0


def _read(
    out: NDArray[np.float16], words: Words, embedder: Embedder, sequences: list[tuple[int, int]]
) -> None:
    stretches = [
        (first, min(first + STRETCH, end))
        for start, end in sequences
        for first in range(start, end, STRETCH)
    ]
    texts = [[words.texts[t] for t in words.type[first:last]] for first, last in stretches]
    states = embedder.embed_words(texts)
    done = 0
    for start, end in sequences:
        own = states[done : done + end - start]
        done += end - start
        sums = np.concatenate([np.zeros((1, own.shape[1])), np.cumsum(own, axis=0, dtype=float)])
        place = np.arange(end - start)
        low, high = np.maximum(place - BEFORE, 0), np.minimum(place + AFTER + 1, end - start)
        out[start:end] = unit(unit(own) + unit(sums[high] - sums[low]))


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """The rows at unit length; a row of noughts stays one."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
    return found

"""All that labels of any dictionary on one text rest on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inscape.core import InputError, seeded
from inscape.features import FeatureIndex
from inscape.labels.candidates import Writer
from inscape.labels.contexts import Contexts
from inscape.labels.embedder import Embedder
from inscape.labels.kinds import Kinds
from inscape.labels.names import Names, mean_of
from inscape.labels.rules import Corpus
from inscape.labels.sampling import Half, document_halves
from inscape.labels.vocabulary import Vocabulary
from inscape.labels.words import Words

NUM_RANDOM = 4096  # random tokens for the rates of single words
NUM_REFERENCE = 1024  # random windows that agreement with a meaning is measured against


@dataclass
class Ground:
    """All that labels of any dictionary on one text rest on: the halves of the documents, the text
    as words, kinds and meanings, and names."""

    documents: NDArray[np.int32]
    explain: Half
    score: Half
    corpus: Corpus
    names: Names | None
    writer: Writer

    @classmethod
    def read(
        cls,
        index: FeatureIndex,
        seed: int,
        embedder: Embedder | None,
        vocabulary: Vocabulary | None,
        path: Path,
    ) -> Ground:
        """Reads the text; `path` keeps what the embedder has read."""
        table = index.tokens
        considered = np.asarray(table.considered)
        explaining = document_halves(table.distinct, seeded(seed, "labels"))
        explain, score = (Half(table, side & considered) for side in (explaining, ~explaining))
        if not explain.rows.size or not score.rows.size:
            raise InputError(
                "the index rests on a single document",
                expected="at least two, one to write labels from and one to score them on",
            )
        words = Words(index)
        kinds = Kinds(words, vocabulary) if vocabulary else None
        contexts = Contexts.read(words, embedder, path) if embedder else None
        rng = np.random.default_rng(seeded(seed, "labels", "random rows"))
        reference, background = (
            explain.random_rows(num, rng) for num in (NUM_REFERENCE, NUM_RANDOM)
        )
        corpus = Corpus(words, kinds, contexts, reference)
        vector = None
        if embedder is not None:
            common = [t for t, n in zip(words.texts, np.bincount(words.type), strict=True) if n > 2]
            texts = list(dict.fromkeys([*common, *map(str.lower, common)]))
            of_word = dict(zip(texts, embedder.embed(texts), strict=True))
            vector = partial(mean_of, vectors=of_word)
        names = Names.read(words, kinds, embedder) if embedder else None
        writer = Writer(corpus, background, vector)
        return cls(table.distinct, explain, score, corpus, names, writer)

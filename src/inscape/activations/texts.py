"""A text's activations piece by piece, in order: the source of an index without a store.

A piece is as long as memory allows; which of its tokens count is decided as in a harvest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from inscape.activations.corpus import Corpus, Pool, Row, Text, pool_of, row_length
from inscape.activations.reader import NORMS, Reader
from inscape.activations.shards import TokenTable
from inscape.core import hand_back_memory, progress, seeded
from inscape.model import Model, Site

PIECE_BYTES = 1 << 28  # of activations in bf16
PIECE_TOKENS = 16384  # at most, so that a short text is read evenly


class TextActivations:
    """Activations of a text, computed on demand.

    Args:
        model, text, context, max_tokens: as `harvest`.
    """

    def __init__(
        self, model: Model, text: Text, *, context: int | None = None, max_tokens: int | None = None
    ) -> None:
        self.model, self._corpus = model, Corpus(model, text)
        self._context, self._max_tokens = row_length(model, context), max_tokens
        self._reader: Reader | None = None
        self._medians: dict[str, float] = {}

    @property
    def median_norms(self) -> dict[str, float]:
        """By site, the reference norms for sinks; empty before the first read, unless they are set
        to those of an earlier read of the same text and sites."""
        return self._medians if self._reader is None else self._reader.medians

    @median_norms.setter
    def median_norms(self, known: dict[str, float]) -> None:
        self._medians, self._reader = known, None

    @property
    def model_hash(self) -> str:
        """Of the model that reads."""
        return self.model.hash

    def width(self, site: str | Site) -> int:
        """Width of the activations at a site."""
        return self.model.width(site)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a product of these activations is made from."""
        return {
            "model_hash": self.model.hash,
            "text": self._corpus.fingerprint(),
            "bos": self.model.bos,
            "context": self._context,
            "max_tokens": self._max_tokens,
        }

    def pieces(self, sites: Sequence[str]) -> Iterator[tuple[TokenTable, dict[str, Tensor]]]:
        """Tokens with their flags, and bf16 activations [tokens, width] of the sites.

        Raises:
            DataError: the text has fewer than two documents, or an activation is not finite.
        """
        for _, tokens, acts in self.some_pieces(sites, lambda number: True):
            yield tokens, acts

    def some_pieces(
        self, sites: Sequence[str], wanted: Callable[[int], bool], *, shown: bool = True
    ) -> Iterator[tuple[int, TokenTable, dict[str, Tensor]]]:
        """The same of the pieces with a wanted number, with that number; shown: with progress.

        The model reads no others, but for the first one, by whose norms sinks are told.
        """
        self._corpus.check(self._max_tokens)
        read, tokens = self._sites(sites)
        total = min(filter(None, (self._corpus.estimate(), self._max_tokens)), default=None)
        with progress("read", total, "tokens", shown=shown) as bar:
            pools = self._corpus.pools(self._context, tokens, self._max_tokens)
            for number, pool in enumerate(pools):
                if wanted(number):
                    yield number, *self._read(pool, read)
                elif number == 0 and not self._medians:
                    self._read(pool, read)
                hand_back_memory()
                bar.advance(len(pool.ids))

    def sample(
        self, sites: Sequence[str], num_tokens: int, seed: int = 0
    ) -> Iterator[tuple[TokenTable, dict[str, Tensor]]]:
        """As `pieces`, of about `num_tokens` tokens from rows spread over the text."""
        pools = list(self._corpus.pools(self._context, PIECE_TOKENS, self._max_tokens))
        rows = [(pool, row) for pool in pools for row in range(len(pool.lengths))]
        order = np.random.default_rng(seeded(seed, "sample")).permutation(len(rows))
        read, most = self._sites(sites)
        taken: list[Row] = []
        size = 0
        for number in order:
            pool, row = rows[number]
            start = int(pool.starts[row])
            part = slice(start, start + int(pool.lengths[row]))
            taken.append(Row(0, pool.ids[part].tolist(), pool.words[part].tolist()))
            size += part.stop - part.start
            num_tokens -= part.stop - part.start
            if num_tokens <= 0 or size >= most:
                yield self._read(pool_of(taken, 0), read)
                taken, size = [], 0
            if num_tokens <= 0:
                return
        if taken:
            yield self._read(pool_of(taken, 0), read)

    def _sites(self, sites: Sequence[str]) -> tuple[list[str], int]:
        """What to read, and about how many tokens at a time."""
        read = list(dict.fromkeys(map(str, sites)))
        size = sum(2 * self.model.width(site) for site in read)
        return read, min(PIECE_TOKENS, max(self._context, PIECE_BYTES // size))

    def _read(self, pool: Pool, sites: list[str]) -> tuple[TokenTable, dict[str, Tensor]]:
        if self._reader is None or self._reader.sites != sites:
            self._reader = Reader(self.model, sites)
            self._reader.medians = dict(self._medians)
        acts = self._reader.read(pool)
        flags = self._reader.flags(pool, self._reader.norms(acts))
        acts.pop(NORMS, None)
        ids, document, row, position = token_columns(pool)
        return TokenTable(ids, document, row, position, flags), acts


def token_columns(pool: Pool) -> tuple[NDArray[Any], ...]:
    """ids, document, row and position of every token of a pool."""
    rows = np.arange(pool.first_row, pool.first_row + len(pool.lengths), dtype=np.int32)
    position = np.arange(len(pool.ids)) - np.repeat(pool.starts, pool.lengths)
    document = np.repeat(pool.document, pool.lengths)
    return pool.ids, document, np.repeat(rows, pool.lengths), position.astype(np.int32)

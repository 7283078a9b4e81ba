"""Activations of a text in memory, in its order: what an index reads where nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from inscape.activations.corpus import Corpus, Pool, Text, row_length
from inscape.activations.precision import reading_copy
from inscape.activations.reader import Reader
from inscape.activations.shards import TokenTable
from inscape.core import SiteError, progress
from inscape.model import Model, Site

_PIECE = 65536


class HeldActivations:
    """A text's activations at some sites, made by one pass when they are first asked for.

    Args:
        model, text, sites, context, max_tokens: as `harvest`.

    Attributes:
        sites: as text. model_hash: of the model. median_norm: by site, what sinks were judged by;
            once something was read.
    """

    def __init__(
        self,
        model: Model,
        text: Text,
        sites: Sequence[str],
        *,
        context: int | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self.sites = list(dict.fromkeys(str(model.site(site)) for site in sites))
        self._model, self._corpus = model, Corpus(model, text)
        self._context, self._max_tokens = row_length(model, context), max_tokens
        self.model_hash = model.hash
        self.median_norm: dict[str, float] = {}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a product of these activations is made from."""
        return {
            "model_hash": self.model_hash,
            "text": self._corpus.fingerprint(),
            "bos": self._model.bos,
            "context": self._context,
            "max_tokens": self._max_tokens,
        }

    def width(self, site: str | Site) -> int:
        """Width of the activations at a site."""
        self._at(site)
        return self._model.d_model

    def tokens(self) -> TokenTable:
        """The token table."""
        return self._read[0]

    def read(self, site: str | Site, rows: NDArray[Any]) -> NDArray[np.float32]:
        """fp32 activations [rows, width] of chosen tokens (indices into the token table)."""
        found: NDArray[np.float32] = self._read[1][self._at(site)][rows].float().numpy()
        return found

    @cached_property
    def _read(self) -> tuple[TokenTable, dict[str, Tensor]]:
        self._corpus.check(self._max_tokens)
        reader = Reader(reading_copy(self._model), self.sites)
        columns, parts = [], []
        total = min(filter(None, (self._corpus.estimate(), self._max_tokens)), default=None)
        with progress("read", total, "tokens") as bar:
            for pool in self._corpus.pools(self._context, _PIECE, self._max_tokens):
                acts = reader.read(pool)
                flags = reader.flags(pool, reader.norms(acts))
                columns.append((*token_columns(pool), flags))
                parts.append(acts)
                bar.advance(len(pool.ids))
        self.median_norm = reader.medians
        table = TokenTable(*(np.concatenate(column) for column in zip(*columns, strict=True)))
        return table, {s: torch.cat([part.pop(s) for part in parts]) for s in self.sites}

    def _at(self, site: str | Site) -> str:
        if str(site) not in self.sites:
            raise SiteError(
                f"activations are not read at {site}", expected=f"one of {', '.join(self.sites)}"
            )
        return str(site)


def token_columns(pool: Pool) -> tuple[NDArray[Any], ...]:
    """ids, document, row and position of every token of a pool."""
    rows = np.arange(pool.first_row, pool.first_row + len(pool.lengths), dtype=np.int32)
    position = np.arange(len(pool.ids)) - np.repeat(pool.starts, pool.lengths)
    document = np.repeat(pool.document, pool.lengths)
    return pool.ids, document, np.repeat(rows, pool.lengths), position.astype(np.int32)

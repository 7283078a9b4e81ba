"""From documents to tokens: which token carries which concept.

For each mention: `span` from the onset token to the end of the mention; `scope` on to the end of
the document, where a causal model may still carry the concept (neither positive nor negative).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inscape_microworld.document import Document


@dataclass(frozen=True)
class Truth:
    """Concepts of a run of documents, each tokenised from its BOS on.

    `starts[i]` is the row of document i's first token in the concatenation of all documents.
    `spans` and `scopes` hold, for each concept, half-open row ranges [n, 2]; `forms` how each of
    them is put into words.
    """

    starts: NDArray[np.int64]
    num_tokens: int
    spans: dict[str, NDArray[np.int64]]
    scopes: dict[str, NDArray[np.int64]]
    forms: dict[str, list[str]]

    @property
    def concepts(self) -> list[str]:
        return sorted(self.spans)

    def span_mask(self, concept: str, form: str | None = None) -> NDArray[np.bool_]:
        """True on the tokens from onset to the end of each mention (of one form, if asked)."""
        ranges = self.spans.get(concept)
        if ranges is not None and form is not None:
            ranges = ranges[[of == form for of in self.forms[concept]]]
        return self._mask(ranges)

    def scope_mask(self, concept: str) -> NDArray[np.bool_]:
        """True from onset to the end of the document: includes the spans."""
        return self._mask(self.scopes.get(concept))

    def _mask(self, ranges: NDArray[np.int64] | None) -> NDArray[np.bool_]:
        edges = np.zeros(self.num_tokens + 1, np.int64)
        if ranges is not None:
            np.add.at(edges, ranges[:, 0], 1)
            np.add.at(edges, ranges[:, 1], -1)
        mask: NDArray[np.bool_] = np.cumsum(edges[:-1]) > 0
        return mask


def token_truth(tokenizer: Any, documents: Sequence[Document]) -> tuple[list[list[int]], Truth]:
    """Token ids of every document (BOS first), and the truth about them."""
    encoded = tokenizer([d.text for d in documents], return_offsets_mapping=True)
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    scopes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    forms: dict[str, list[str]] = defaultdict(list)
    starts, row = [], 0
    for document, offsets in zip(documents, encoded["offset_mapping"], strict=True):
        starts.append(row)
        ends = np.array([end for _, end in offsets])
        for mention in document.mentions:
            # The token that holds character c is the first that ends after it.
            onset = int(np.searchsorted(ends, mention.onset, side="right"))
            last = int(np.searchsorted(ends, mention.end - 1, side="right"))
            scope = int(np.searchsorted(ends, mention.scope - 1, side="right"))
            spans[mention.concept].append((row + onset, row + last + 1))
            scopes[mention.concept].append((row + onset, row + scope + 1))
            forms[mention.concept].append(mention.form)
        row += len(offsets)
    truth = Truth(
        np.array(starts),
        row,
        {c: np.array(r) for c, r in spans.items()},
        {c: np.array(r) for c, r in scopes.items()},
        dict(forms),
    )
    return encoded["input_ids"], truth

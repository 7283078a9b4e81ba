"""What each feature stands for: the concept of the truth that its firing tells best.

1. A feature fires where it is active at all; a concept's positives are the tokens of its mentions.
2. Of each pair the hits are counted at once, by a product of two sparse matrices.
3. A feature gets the concept with the highest F1; none where it never fires on a mention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from inscape_microworld.benchmark.matching import Tokens, concept_tokens
from inscape_microworld.benchmark.scored import Scored, Sparse

MIN_DOCUMENTS = 5


def concept_names(
    scored: Scored, encoded: Sequence[Sparse], min_documents: int = MIN_DOCUMENTS
) -> Mapping[str, Sequence[str | None]]:
    """By system and feature, the concept that it stands for."""
    known = list(concept_tokens(scored, min_documents))
    return {sparse.name: _concepts(scored, sparse, known) for sparse in encoded}


def _concepts(scored: Scored, sparse: Sparse, known: Sequence[Tokens]) -> list[str | None]:
    columns = [np.flatnonzero(c.positive) for c in known]
    owners = np.repeat(np.arange(len(known)), [len(rows) for rows in columns])
    ones = np.ones(len(owners), np.float32)
    shape = (len(scored.tokens), len(known))
    truth = csr_matrix((ones, (np.concatenate(columns), owners)), shape=shape)
    fires = csr_matrix(
        (np.ones(len(sparse.rows), np.float32), sparse.rows, sparse.indptr),
        shape=(sparse.num_features, len(scored.tokens)),
    )
    hits = (fires @ truth).toarray()
    sizes = np.diff(sparse.indptr)[:, None] + np.array([len(rows) for rows in columns])[None]
    f1 = 2 * hits / np.maximum(sizes, 1)
    best = f1.argmax(1)
    return [known[b].concept if f1[i, b] > 0 else None for i, b in enumerate(best)]

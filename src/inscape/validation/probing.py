"""k-sparse probing (Gurnee et al. 2023, arXiv 2305.01610), as SAEBench scores it.

1. Features and the site that a dictionary reads are averaged over the tokens of each text. Of each
   concept as many distracting texts are drawn as there are matching ones, in either half, so that
   chance is 50 %.
2. On the first half the k features whose means differ most are chosen, and a logistic regression
   is fitted on them; its accuracy on the second half is the figure. Beside it: the same with the
   k channels of the site whose means differ most, and with all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from inscape.core import seeded
from inscape.dictionary import Dictionary
from inscape.features import Pooled, pool_texts
from inscape.features.pooling import MAX_TOKENS
from inscape.model import Model
from inscape.validation.concepts import Concept

KS = (1, 5)

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class ProbedConcept:
    """Accuracies on unseen texts, half of which match: of k features by k, of k channels of the
    site by k, and of the whole site. num_texts: those judged on."""

    name: str
    num_texts: int
    features: dict[int, float]
    channels: dict[int, float]
    site: float


@dataclass(frozen=True)
class SparseProbing:
    """k-sparse probing of a dictionary with the concepts of a file (`source`)."""

    source: str
    concepts: tuple[ProbedConcept, ...]

    def mean(self, k: int | None = None, *, of: str = "features") -> float:
        """The mean accuracy over concepts: of k "features" or "channels", or of the whole site."""
        return float(np.mean([c.site if k is None else getattr(c, of)[k] for c in self.concepts]))


def sparse_probing(
    model: Model,
    dictionaries: Sequence[Dictionary],
    concepts: Sequence[Concept],
    *,
    source: str = "",
    max_tokens: int = MAX_TOKENS,
    seed: int = 0,
) -> dict[str, SparseProbing]:
    """k-sparse probing of the dictionaries that read one site, by name."""
    chosen = [d for d in dictionaries if len(d.reads) == 1]
    if not chosen:
        return {}
    number = {text: i for i, text in enumerate(dict.fromkeys(t for c in concepts for t in c.texts))}
    sites = list(dict.fromkeys(d.reads[0] for d in chosen))
    pooled = pool_texts(model, [*number], chosen, sites, max_tokens=max_tokens)
    found: dict[str, list[ProbedConcept]] = {d.name: [] for d in chosen}
    for concept in concepts:
        rows = np.array([number[text] for text in concept.texts])
        matches, kept = np.array(concept.matches), _balanced(concept, seed)
        halves = [kept & (np.array(concept.second) == second) for second in (False, True)]
        first, second = ((rows[half], matches[half]) for half in halves)
        for d in chosen:
            site, features = pooled.sites[d.reads[0]], pooled.dictionaries[d.name]
            found[d.name].append(
                ProbedConcept(
                    concept.name,
                    len(second[0]),
                    {k: _accuracy(features, first, second, k) for k in KS},
                    {k: _accuracy(site, first, second, k) for k in KS},
                    _accuracy(site, first, second, None),
                )
            )
    return {name: SparseProbing(source, tuple(probed)) for name, probed in found.items()}


def _balanced(concept: Concept, seed: int) -> NDArray[np.bool_]:
    """Which texts are kept, so that in either half as many match as do not."""
    matches, second = np.array(concept.matches), np.array(concept.second)
    draw = np.random.default_rng(seeded(seed, "probing", concept.name))
    kept = np.zeros(len(matches), bool)
    for half in (False, True):
        sides = [np.flatnonzero((matches == side) & (second == half)) for side in (False, True)]
        least = min(map(len, sides))
        for side in sides:
            kept[draw.permutation(side)[:least]] = True
    return kept


Texts = tuple[NDArray[np.int64], NDArray[np.bool_]]
"""Rows of texts, and which match."""


def _accuracy(table: Pooled, first: Texts, second: Texts, k: int | None) -> float:
    """Of a logistic regression on the k columns whose means differ most, or on all."""
    columns = np.flatnonzero(table.is_held(first[0]))
    x = table.values("mean", first[0], columns)
    if k is not None:
        difference = np.abs(x[first[1]].mean(0) - x[~first[1]].mean(0))
        columns = columns[np.argsort(-difference, kind="stable")[:k]]
        x = table.values("mean", first[0], columns)
    if not len(columns):
        return 0.5
    x = x.astype(np.float64)  # products of few float32 rows raise flags of invalid values at times
    centre, spread = x.mean(0), x.std(0) + 1e-6
    fitted = LogisticRegression(C=1.0 if k else 0.01, max_iter=1000)
    fitted.fit((x - centre) / spread, first[1])
    said = fitted.predict((table.values("mean", second[0], columns) - centre) / spread)
    return float((said == second[1]).mean())

"""Which features tell two sets of texts apart.

1. Every text is read, and the activations of each feature are pooled over it: its largest, or the
   mean over its tokens.
2. A feature that is the best of thousands looks good by chance alone. So each set is cut in two
   halves: features, each with its better pooling, are chosen on one by AUROC, and judged on the
   other, with a 95 % bootstrap interval over texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inscape.core import InputError, seeded
from inscape.dictionary import Dictionary
from inscape.features.auroc import auroc_interval, aurocs
from inscape.features.pooling import Pooled, pool_texts
from inscape.model import Model

POOLINGS = ("max", "mean")
FEWEST = 4
"""Different texts of each set: two to choose on and two to judge on."""
_COLUMNS = 2048  # features that are looked at together


@dataclass(frozen=True)
class Difference:
    """A feature that tells two sets of texts apart.

    pooling: of "max" and "mean" the one that it was chosen by. chosen: AUROC on the half of the
    texts that it was chosen on; auroc: on the other half, with its 95 % interval. Above 0.5 the
    first set has more of it, below 0.5 the second.
    """

    dictionary: str
    feature: int
    pooling: str
    chosen: float
    auroc: float
    low: float
    high: float


def differences(
    model: Model,
    dictionaries: Sequence[Dictionary],
    first: Sequence[str | Sequence[int]],
    second: Sequence[str | Sequence[int]],
    *,
    limit: int = 20,
    seed: int = 0,
) -> list[Difference]:
    """The features that best tell the texts of `first` from those of `second`, best first.

    Raises:
        InputError: a set has fewer than four different texts, or one text is in both.
    """
    sets = [_different(texts, name) for texts, name in ((first, "first"), (second, "second"))]
    if shared := [text for text in sets[0] if text in sets[1]]:
        raise InputError(
            f"{str(shared[0])[:60]!r} is in both sets of texts",
            expected="sets that share no text",
            next_step="remove it from one of them",
        )
    rng = np.random.default_rng(seeded(seed, "differences"))
    positive = np.repeat([True, False], [len(texts) for texts in sets])
    choosing = np.zeros(positive.size, np.bool_)
    for side in (positive, ~positive):
        places = rng.permutation(np.flatnonzero(side))
        choosing[places[: places.size // 2]] = True
    judging = np.flatnonzero(~choosing)
    found = []
    texts = pool_texts(model, [*sets[0], *sets[1]], dictionaries)
    for name, values in texts.dictionaries.items():
        for feature, pooling, chosen in _chosen(values, positive, choosing, limit):
            column = values.values(pooling, judging, [feature])[:, 0]
            auroc = float(aurocs(column, positive[judging])[0])
            low, high = auroc_interval(column, positive[judging], seed=seed)
            found.append(Difference(name, feature, pooling, chosen, auroc, low, high))
    found.sort(key=lambda one: -abs(one.chosen - 0.5))  # stable: equal ones stay in their order
    return found[:limit]


def _different(texts: Sequence[str | Sequence[int]], name: str) -> list[str | Sequence[int]]:
    """Each text once, in order."""
    once = [text for i, text in enumerate(texts) if text and text not in texts[:i]]
    if isinstance(texts, str) or len(once) < FEWEST:
        raise InputError(
            f"the {name} set holds {1 if isinstance(texts, str) else len(once)} different texts",
            expected=f"at least {FEWEST}: what is chosen on one half is judged on the other",
        )
    return once


def _chosen(
    values: Pooled, positive: NDArray[np.bool_], choosing: NDArray[np.bool_], limit: int
) -> list[tuple[int, str, float]]:
    """Features with the pooling that tells most on the texts to choose on, and the AUROC there; of
    equal ones those first whose means lie farther apart."""
    rows, labels = np.flatnonzero(choosing), positive[choosing]
    active = np.flatnonzero(values.tables["max"].getnnz(axis=0))
    score, apart = np.zeros((2, len(POOLINGS), active.size))
    for way, pooling in enumerate(POOLINGS):
        for start in range(0, active.size, _COLUMNS):
            part = slice(start, start + _COLUMNS)
            table = values.values(pooling, rows, active[part])
            score[way, part] = aurocs(table, labels)
            means = np.abs(table[labels].mean(axis=0) - table[~labels].mean(axis=0))
            apart[way, part] = means / np.maximum(table.std(axis=0), 1e-12)
    order = np.lexsort((-apart.ravel(), -np.abs(score - 0.5).ravel()))
    found: dict[int, tuple[int, str, float]] = {}
    for place in order:
        way, column = divmod(int(place), active.size)
        feature = int(active[column])
        found.setdefault(feature, (feature, POOLINGS[way], float(score[way, column])))
        if len(found) == limit:
            break
    return list(found.values())

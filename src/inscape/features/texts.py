"""Features over whole texts, and which of them tell two sets of texts apart.

1. Every text is read, and the activations of each feature are pooled over its tokens that count:
   `max` is the largest, `mean` the mean.
2. AUROC of a feature: the chance that a text of the first set has more of it than one of the
   second, ties counting one half.
3. A feature that is the best of thousands looks good by chance alone. So each set is cut in two
   halves: features, each with its better pooling, are chosen on one, and judged on the other, with
   a 95 % bootstrap interval over texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from scipy.stats import rankdata

from inscape.activations import TextActivations
from inscape.core import InputError, seeded
from inscape.dictionary import Dictionary
from inscape.model import Model

Texts = Sequence[str | Sequence[int] | Sequence[Mapping[str, str]]]
POOLINGS = ("max", "mean")
FEWEST = 4
"""Different texts of each set: two to choose on and two to judge on."""
RESAMPLES = 1000
_COLUMNS = 2048  # features that are ranked at once


@dataclass(frozen=True)
class Pooled:
    """The activations of a dictionary's features in texts, [texts, d_dict] by pooling; columns of
    features that are active in none of the texts are empty."""

    by: Mapping[str, csc_array]

    @property
    def active(self) -> NDArray[np.int64]:
        """The features that are active in any of the texts."""
        return np.flatnonzero(np.diff(self.by["max"].indptr))

    def of(self, feature: int, pooling: str) -> NDArray[np.float64]:
        """One feature in every text, [texts]."""
        column: NDArray[np.float64] = self.by[pooling][:, [feature]].toarray()[:, 0]
        return column


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


def pooled(model: Model, dictionaries: Sequence[Dictionary], texts: Texts) -> dict[str, Pooled]:
    """What the features of each dictionary, by its name, do in each of at least two texts.

    Raises:
        DataError: there are fewer than two texts.
    """
    sites = list(dict.fromkeys(site for d in dictionaries for site in d.reads))
    counts = np.zeros(len(texts))
    parts: dict[str, list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]]
    parts = {d.name: [] for d in dictionaries}
    for tokens, acts in TextActivations(model, texts).pieces(sites):
        kept = np.asarray(tokens.kept)
        owner = np.asarray(tokens.document)[kept].astype(np.int64)
        counts += np.bincount(owner, minlength=len(texts))
        for d in dictionaries:
            read = {site: acts[site][kept].to(d.W_dec) for site in d.reads}
            code = d.encode(d.concat_sites(read)).ragged()
            values = code.values.float().cpu().numpy().astype(np.float64)
            keys = owner[code.rows.cpu().numpy()] * d.d_dict + code.indices.cpu().numpy()
            active = values > 0
            parts[d.name].append(_merged(keys[active], values[active], values[active]))
    found = {}
    for d in dictionaries:
        keys, largest, total = (
            np.concatenate(column) for column in zip(*parts[d.name], strict=True)
        )
        keys, largest, total = _merged(keys, largest, total)
        text, feature = np.divmod(keys, d.d_dict)
        columns = {"max": largest, "mean": total / counts[text]}
        shape = len(texts), d.d_dict
        found[d.name] = Pooled(
            {name: csc_array((x, (text, feature)), shape) for name, x in columns.items()}
        )
    return found


def _merged(
    keys: NDArray[np.int64], largest: NDArray[np.float64], total: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Each key once, in order, with the largest and the total of its entries."""
    if not keys.size:
        return keys, largest, total
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    return (
        keys[starts],
        np.maximum.reduceat(largest[order], starts),
        np.add.reduceat(total[order], starts),
    )


def aurocs(values: csc_array, positive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """AUROC of every column of values [texts, n] for the texts that are positive [texts], [n]."""
    num = int(positive.sum()), int((~positive).sum())
    found = np.full(values.shape[1], 0.5)
    active = np.flatnonzero(np.diff(values.indptr))
    for start in range(0, active.size, _COLUMNS):
        part = active[start : start + _COLUMNS]
        ranks = rankdata(values[:, part].toarray(), axis=0)
        above = ranks[positive].sum(axis=0) - num[0] * (num[0] + 1) / 2
        found[part] = above / (num[0] * num[1])
    return found


def auroc_interval(
    values: NDArray[np.float64], positive: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float, float, float]:
    """AUROC of values [texts] and its 95 % interval, by resampling the texts of each set."""
    above, below = values[positive][:, None], values[~positive][None, :]
    wins = (np.sign(above - below) + 1) / 2
    weights = [
        rng.multinomial(n, np.full(n, 1 / n), RESAMPLES) / n for n in (wins.shape[0], wins.shape[1])
    ]
    drawn = ((weights[0] @ wins) * weights[1]).sum(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(wins.mean()), float(low), float(high)


def differences(
    model: Model,
    dictionaries: Sequence[Dictionary],
    first: Texts,
    second: Texts,
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
    found = []
    for name, values in pooled(model, dictionaries, [*sets[0], *sets[1]]).items():
        for feature, pooling, chosen in _chosen(values, positive, choosing, limit):
            judged = values.of(feature, pooling)[~choosing]
            figures = auroc_interval(judged, positive[~choosing], rng)
            found.append(Difference(name, feature, pooling, chosen, *figures))
    found.sort(key=lambda one: -abs(one.chosen - 0.5))  # stable: equal ones stay in their order
    return found[:limit]


def _different(texts: Texts, name: str) -> list[Any]:
    """Each text once, in order."""
    given = [texts] if isinstance(texts, str) else list(texts)
    once = [text for i, text in enumerate(given) if text and text not in given[:i]]
    if len(once) < FEWEST:
        raise InputError(
            f"the {name} set holds {len(once)} different texts",
            expected=f"at least {FEWEST}: what is chosen on one half is judged on the other",
        )
    return once


def _chosen(
    values: Pooled, positive: NDArray[np.bool_], choosing: NDArray[np.bool_], limit: int
) -> list[tuple[int, str, float]]:
    """Features with the pooling that tells most on the texts to choose on, and the AUROC there; of
    equal ones those first whose means lie farther apart."""
    active, labels = values.active, positive[choosing]
    rows = np.flatnonzero(choosing)
    score, apart = [], []
    for pooling in POOLINGS:
        part = values.by[pooling][:, active].tocsr()[rows].tocsc()
        score.append(aurocs(part, labels))
        means = [
            np.asarray(part.tocsr()[np.flatnonzero(y)].mean(axis=0)) for y in (labels, ~labels)
        ]
        squares = np.asarray(part.power(2).mean(axis=0)) - np.asarray(part.mean(axis=0)) ** 2
        apart.append(np.abs(means[0] - means[1]) / np.sqrt(np.maximum(squares, 1e-12)))
    telling = np.abs(np.array(score) - 0.5)
    order = np.lexsort((-np.array(apart).ravel(), -telling.ravel()))
    found: dict[int, tuple[int, str, float]] = {}
    for place in order:
        way, column = divmod(int(place), active.size)
        feature = int(active[column])
        found.setdefault(feature, (feature, POOLINGS[way], float(score[way][column])))
        if len(found) == limit:
            break
    return list(found.values())

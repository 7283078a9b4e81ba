"""Groups of features that are about the like, in two levels, with names.

1. Each feature is a vector: its decoder's direction and, where an embedder was at hand, what its
   examples and its label are about, each part at unit length.
2. K-means makes clusters of about SIZE features, and of their centres at most GROUPS groups. Every
   feature has a cluster, every cluster a group.
3. A name is a label (or a word that fires a feature): the one that is nearest to what half of the
   members are about, and less near to the other groups. On the other half of the members it is
   judged: how well it tells them from features outside, as an AUROC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans, MiniBatchKMeans

from inscape.core import seeded
from inscape.features.auroc import aurocs

SIZE = 24  # features of a cluster, about
GROUPS = 24
OUTSIDE = 2000  # features outside that a name is judged against
Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """A set of features with a name.

    level: 1 for a group, 2 for a cluster; number: of this level; parent: the number of a cluster's
    group, else -1; size: its features; auroc: how well the name tells members that it was not
    chosen by from features outside, NaN where there are too few.
    """

    level: int
    number: int
    parent: int
    name: str
    size: int
    auroc: float


def unit(vectors: NDArray[np.floating]) -> Vectors:
    """Rows at unit length; rows of noughts stay."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return found


def clusters(vectors: Vectors, seed: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The cluster of each feature [n], and the group of each cluster (step 2)."""
    count = max(1, round(len(vectors) / SIZE))
    state = seeded(seed, "clusters") % 2**32
    means = MiniBatchKMeans(count, random_state=state, n_init=3, batch_size=4096)
    found = means.fit_predict(vectors)
    used, cluster = np.unique(found, return_inverse=True)
    centres = means.cluster_centers_[used]
    groups = KMeans(min(GROUPS, max(1, len(used) // 4)), random_state=state, n_init=4)
    joined = groups.fit_predict(centres, sample_weight=np.bincount(cluster))
    _, group = np.unique(joined, return_inverse=True)
    return cluster.astype(np.int32), group.astype(np.int32)


def named(
    numbers: NDArray[np.int32],
    about: Vectors | None,
    texts: Sequence[str],
    embedded: Mapping[str, Vectors],
    seed: int,
) -> list[tuple[str, float]]:
    """A name for each group, and its AUROC on members that it was not chosen by (step 3).

    numbers [n]: the group of each feature; about [n, d]: what each is about, None where that is not
    known; texts [n]: what each is called, "" for nothing; embedded: names by their vectors.
    """
    count = int(numbers.max(initial=-1)) + 1
    if about is None or not embedded:
        return [(_commonest(texts, np.flatnonzero(numbers == g)), np.nan) for g in range(count)]
    rng = np.random.default_rng(seeded(seed, "names of groups"))
    choosing = rng.random(len(numbers)) < 0.5
    names = list(embedded)
    table = np.stack([embedded[name] for name in names])
    table = unit(table - table.mean(axis=0))
    centres = np.zeros((count, about.shape[1]), np.float32)
    for group in range(count):
        members = numbers == group
        half = members & choosing
        centres[group] = about[half if half.any() else members].mean(axis=0)
    nearness = centres @ table.T
    nearness -= nearness.mean(axis=0)  # some names are a little near to everything
    taken: set[int] = set()
    found: dict[int, tuple[str, float]] = {}
    for group in np.argsort(-np.bincount(numbers, minlength=count), kind="stable").tolist():
        members = numbers == group
        best = next(i for i in np.argsort(-nearness[group]).tolist() if i not in taken)
        if len(taken) + 1 < len(names):
            taken.add(best)
        held = np.flatnonzero(members & ~choosing & (members & choosing).any())
        outside = rng.permutation(np.flatnonzero(~members))[:OUTSIDE]
        scores = about[np.concatenate([held, outside])] @ table[best]
        found[group] = names[best], float(aurocs(scores, np.arange(scores.size) < held.size)[0])
    return [found[group] for group in range(count)]


def _commonest(texts: Sequence[str], members: NDArray[np.int64]) -> str:
    """The texts that most members have, at most three."""
    counts = Counter(texts[m] for m in members if texts[m])
    return ", ".join(text for text, _ in counts.most_common(3)) or "unnamed"

"""Windows on which a feature fires and windows on which it does not, from one half of the corpus.

1. Positives: tokens on which the feature is clearly active, with at least CLEAR of its maximum. The
   interval from there is cut into equal parts and the parts take turns, so that weaker activations
   are asked about as much as the strongest. (What lies below is scored by decile in details.py.)
2. Random negatives: random tokens on which it is silent.
3. Near negatives: one half have the same token as a positive, and the feature stays silent on them;
   the other half are where the features with the most similar directions fire and it does not. A
   label that names the token alone fails on the first, one that names the field on the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inscape.core import seeded
from inscape.features import FeatureIndex, TokenTable

NUM_WINDOWS = 100  # positives, random and near negatives, each
CLEAR = 0.2  # of the maximum
NUM_INTERVALS = 5
NUM_NEIGHBOURS = 5
OVERDRAW = 3  # drawn for each negative wanted, as some turn out to be active
RANDOM, POSITIVE, NEAR = 0, 1, 2


def document_halves(documents: NDArray[np.int32], seed: int = 0) -> NDArray[np.bool_]:
    """A half of the documents, marked per token [n]: exactly half of the distinct documents,
    drawn with `seed`. Of a token table pass `distinct`, by which copies are on one side."""
    distinct, inverse = np.unique(documents, return_inverse=True)
    order = np.random.default_rng(seeded(seed, "document halves")).permutation(distinct.size)
    chosen = np.zeros(distinct.size, np.bool_)
    chosen[order[: distinct.size // 2]] = True
    return chosen[inverse]


@dataclass
class Sample:
    """rows [r] of the index, and what each is: POSITIVE, RANDOM or NEAR [r]."""

    rows: NDArray[np.int64]
    group: NDArray[np.int8]

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Where the feature fires."""
        positive: NDArray[np.bool_] = self.group == POSITIVE
        return positive

    def count(self, group: int) -> int:
        """How many there are of a group."""
        return int(np.count_nonzero(self.group == group))


class Half:
    """One half of the documents: draws samples. member is bool [n], True on its tokens that
    count."""

    def __init__(self, table: TokenTable, member: NDArray[np.bool_]) -> None:
        self.member = member
        self.rows = np.flatnonzero(member)
        self._ids = np.asarray(table.ids)
        owners = self._ids[self.rows]
        self._by_token = self.rows[np.argsort(owners, kind="stable")]
        self._starts = np.searchsorted(np.sort(owners), np.arange(self._ids.max(initial=0) + 2))

    def random_rows(self, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Random rows of this half, with repeats."""
        return self.rows[rng.integers(0, self.rows.size, num)]

    def inside(
        self, rows: NDArray[np.int32], values: NDArray[np.float32]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The entries of a feature that lie in this half."""
        kept = self.member[rows]
        return rows[kept], values[kept]

    def draw(self, index: FeatureIndex, feature: int, num: int, rng: np.random.Generator) -> Sample:
        """Up to `num` positives, random negatives and near negatives, each; the negatives are all
        different, and none is a place where the feature fires."""
        rows, values = index.rows_of(feature)
        inside = self.inside(rows, values)
        positives = _stratified(*inside, num, rng)
        alike = _silent(self._same_token(self._ids[positives], num // 2 * OVERDRAW, rng), rows)
        beside = _silent(self._of_neighbours(index, feature, num, rng), rows)
        near = _mixed(alike, beside, num)
        if 2 * inside[0].size > self.rows.size:
            others = rng.permutation(np.setdiff1d(self.rows, inside[0], assume_unique=True))
        else:
            others = self.random_rows(num * OVERDRAW, rng)
        others = _silent(np.concatenate([near, others]), rows)[near.size :][:num]
        drawn = [others, positives, near]
        group = np.repeat(np.array([RANDOM, POSITIVE, NEAR], np.int8), [len(d) for d in drawn])
        return Sample(np.concatenate(drawn), group)

    def scored(self, index: FeatureIndex, feature: int, num: int, seed: int) -> Sample:
        """The windows that a feature's labels are scored on, the same whoever wrote them; `self` is
        the half that none was written from."""
        rng = np.random.default_rng(seeded(seed, "labels", "scored", feature))
        return self.draw(index, feature, num, rng)

    def _same_token(
        self, ids: NDArray[np.int32], num: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Random rows whose token id is that of a random positive."""
        wanted = ids[rng.integers(0, ids.size, num)]
        start, end = self._starts[wanted], self._starts[wanted + 1]
        alike: NDArray[np.int64] = self._by_token[
            start + (rng.random(num) * (end - start)).astype(np.int64)
        ]
        return alike

    def _of_neighbours(
        self, index: FeatureIndex, feature: int, num: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Rows where features of similar directions fire, the features taking turns."""
        found = []
        for other, _ in index.neighbours(feature)[:NUM_NEIGHBOURS]:
            entries = self.inside(*index.rows_of(other))
            if entries[0].size:
                found.append(_stratified(*entries, 2 * num // NUM_NEIGHBOURS, rng))
        turns = [np.arange(rows.size) for rows in found]
        order = np.argsort(np.concatenate([np.zeros(0, int), *turns]), kind="stable")
        taken: NDArray[np.int64] = np.concatenate([np.zeros(0, np.int64), *found])[order]
        return taken


def _mixed(first: NDArray[np.int64], second: NDArray[np.int64], num: int) -> NDArray[np.int64]:
    """`num` different rows of both, half of each, or more of one where the other has too few."""
    second = second[~np.isin(second, first[: num // 2])]
    of_second = min(second.size, max(num // 2, num - first.size))
    return np.concatenate([first[: num - of_second], second[:of_second]])


def _silent(candidates: NDArray[np.int64], rows: NDArray[np.int32]) -> NDArray[np.int64]:
    """The distinct candidates that are not among the feature's rows, in their order."""
    place = np.minimum(np.searchsorted(rows, candidates), rows.size - 1)
    silent = candidates[rows[place] != candidates]
    order = np.argsort(silent, kind="stable")
    again = np.zeros(silent.size, np.bool_)
    again[order[1:]] = silent[order[1:]] == silent[order[:-1]]
    once: NDArray[np.int64] = silent[~again]
    return once


def _distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The different numbers, ascending (np.unique hashes, which is slow for a few hundred)."""
    ordered = np.sort(numbers)
    distinct: NDArray[np.int64] = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    return distinct


def _stratified(
    rows: NDArray[np.int32], values: NDArray[np.float32], num: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Up to `num` rows, the intervals of strength taking turns."""
    clear = values >= CLEAR * values.max()
    rows, values = rows[clear], values[clear]
    interval = np.minimum(values * (NUM_INTERVALS / values.max()), NUM_INTERVALS - 1).astype(int)
    drawn, turns = [], []
    for number in range(NUM_INTERVALS):
        members = np.flatnonzero(interval == number)
        if members.size > 4 * num:
            members = members[_distinct(rng.integers(0, members.size, 2 * num))]
        drawn.append(rng.permutation(members)[:num])
        turns.append(np.arange(drawn[-1].size))
    order = np.argsort(np.concatenate(turns), kind="stable")[:num]
    chosen: NDArray[np.int64] = rows[np.concatenate(drawn)[order]].astype(np.int64)
    return chosen

"""Windows on which a feature fires and windows on which it does not, from one half of the corpus.

1. Positives: the interval from 0 to the feature's maximum is cut into equal parts and the parts
   take turns, so that weak activations are asked about as much as strong ones.
2. Negatives: one half are random tokens, the other half tokens with the same ids as the positives
   on which the feature stays silent. The second kind is what tells a concept from its token; a
   label that names the token alone fails on it. Of a feature that fires on most tokens, the random
   ones are drawn among those on which it is silent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inscape.core import seeded
from inscape.features import TokenTable

NUM_INTERVALS = 5
OVERDRAW = 3  # drawn for each negative wanted, as some turn out to be active


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
    """rows [r] and whether the feature fires there; num_matched of the negatives have a
    positive's token id."""

    rows: NDArray[np.int64]
    positive: NDArray[np.bool_]
    num_matched: int

    def part(self, *, matched: bool) -> Sample:
        """The positives with the negatives that have a positive's token, or with the others."""
        first = int(self.positive.sum())
        second = first + self.num_matched
        place = np.arange(self.rows.size)
        kept = (place < first) | ((place < second) == matched)
        return Sample(self.rows[kept], self.positive[kept], self.num_matched if matched else 0)


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

    def draw(
        self,
        rows: NDArray[np.int32],
        inside: tuple[NDArray[np.int32], NDArray[np.float32]],
        num: int,
        rng: np.random.Generator,
    ) -> Sample:
        """Up to `num` positives and `num` negatives; rows are all of the feature's entries."""
        positives = _stratified(*inside, num, rng)
        alike = self._same_token(self._ids[positives], (num // 2) * OVERDRAW, rng)
        matched = _silent(alike, rows)[: num // 2]
        if 2 * inside[0].size > self.rows.size:
            silent = np.setdiff1d(self.rows, inside[0], assume_unique=True)
            others = rng.permutation(silent)
        else:
            others = self.random_rows(num * OVERDRAW, rng)
        others = _silent(np.concatenate([matched, others]), rows)
        others = others[matched.size : num]  # those drawn twice are dropped, the first stays
        drawn = np.concatenate([positives, matched, others])
        positive = np.arange(drawn.size) < positives.size
        return Sample(drawn, positive, int(matched.size))

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

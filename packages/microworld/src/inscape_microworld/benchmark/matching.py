"""Which features stand for which concept of the truth.

1. A mention of a concept, from its onset to its end, is one positive; its score is the greatest
   activation on its tokens. Later tokens of the scope count neither way (how often a detector fires
   on them is told by itself, and so is on how many tokens of the mentions); every other token is a
   negative of its own. Beginning-of-text tokens never count.
2. Each feature's entries on the selection half have a rank: how many entries of the feature are at
   least as strong. The F1 of a threshold at an entry follows from its rank, from the mentions whose
   strongest entry is above it, and from the left-out entries above it (those of later tokens, and
   those of mentions that are not their strongest). So only the entries on mentions and on left-out
   tokens are walked, and the best F1 over all features and thresholds is exact.
3. A union fires where any of its features fires. The next member is the feature and threshold that
   raises the union's F1 most (mentions and tokens that fire already are left out of the same walk,
   with their counts added); it ends at MAX_UNION or when nothing raises it.
4. Features and thresholds come from the selection half, F1 and AUROC from the other.

Features split a name by its tokens, and a description by its words: one that fires once on every
mention, and nowhere else, knows the concept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from inscape.core import track
from inscape_microworld.benchmark.detection import sparse_auroc
from inscape_microworld.benchmark.scored import Scored, Sparse

MAX_UNION = 5
MIN_DOCUMENTS = 20
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one concept, [n] each: the number of the mention that each belongs to (-1:
    none), those that count, and those of its scope that follow a mention. `halves` counts the
    documents that mention it, selection half first."""

    concept: str
    mention: NDArray[np.int32]
    counted: Bools
    later: Bools
    halves: tuple[int, int]

    @cached_property
    def positive(self) -> Bools:
        """The tokens of mentions."""
        return self.mention >= 0

    def num_mentions(self, half: Bools) -> int:
        """How many mentions lie in these rows."""
        return len(np.unique(self.mention[half & self.positive]))

    def collapsed(self, score: NDArray[Any], half: Bools) -> tuple[NDArray[np.float64], Bools]:
        """Scores and labels of the half: each mention's greatest, and each negative token's."""
        rows = np.flatnonzero(half & self.positive)
        names, inside = np.unique(self.mention[rows], return_inverse=True)
        best = np.full(len(names), -np.inf)
        np.maximum.at(best, inside, score[rows])
        rest = score[half & self.counted & ~self.positive]
        labels = np.concatenate([np.ones(len(best), np.bool_), np.zeros(len(rest), np.bool_)])
        return np.concatenate([best, rest]), labels


@dataclass(frozen=True)
class ConceptMatch:
    """How well a system detects one concept, by its best feature and by its best union.

    features, thresholds, means: the union's members in the order in which they were chosen, the
    first of which is the best single feature (-1 where no feature fires on a positive); means are
    activations on positives where the feature fires, selection half. f1, precision, recall, auroc:
    of the single feature, over mentions; token_recall, later_recall: on which share of the tokens
    of mentions, and after them, it fires. union_f1s: of the first 1, 2, … members. needed: how
    many members reach 0.9 of the whole union's F1 on the selection half.
    """

    concept: str
    feature: int
    selection_f1: float
    f1: float
    precision: float
    recall: float
    auroc: float
    token_recall: float
    later_recall: float
    features: tuple[int, ...]
    thresholds: tuple[float, ...]
    means: tuple[float, ...]
    union_f1s: tuple[float, ...]
    needed: int
    num_documents: tuple[int, int]

    @property
    def union_f1(self) -> float:
        """F1 of the whole union."""
        return self.union_f1s[-1] if self.union_f1s else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def concept_tokens(
    scored: Scored, min_documents: int = MIN_DOCUMENTS, concepts: Sequence[str] | None = None
) -> Iterator[Tokens]:
    """The concepts that enough documents of each half mention, all of them or those named."""
    for concept in concepts if concepts is not None else scored.truth.concepts:
        mention = _mentions(scored, concept)
        positive = mention >= 0
        halves = [
            len(np.unique(scored.documents[positive & half]))
            for half in (scored.selection, ~scored.selection)
        ]
        if min(halves) < min_documents:
            continue
        later = scored.truth.scope_mask(concept) & scored.considered & ~positive
        counted = scored.considered & ~later
        yield Tokens(concept, mention, counted, later, (halves[0], halves[1]))


def _mentions(scored: Scored, concept: str) -> NDArray[np.int32]:
    """The number of the mention that each row belongs to; of two that overlap, the earlier."""
    mention = np.full(len(scored.tokens), -1, np.int32)
    ranges = scored.truth.spans.get(concept, np.zeros((0, 2), np.int64))
    for number in range(len(ranges) - 1, -1, -1):
        mention[ranges[number, 0] : ranges[number, 1]] = number
    mention[~scored.considered] = -1
    return mention


def match_concepts(
    scored: Scored,
    sparse: Sparse,
    *,
    min_documents: int = MIN_DOCUMENTS,
    concepts: Sequence[str] | None = None,
) -> list[ConceptMatch]:
    """The best feature and union of a system for every concept with enough documents."""
    ranked = _Ranked(scored, sparse)
    found = list(concept_tokens(scored, min_documents, concepts))
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # the walks leave Python alone
        made = pool.map(lambda tokens: _match(scored, sparse, ranked, tokens), found)
        return list(track(made, f"matching {sparse.name}", total=len(found)))


class _Ranked:
    """The selection half by rows: row r has the entries indptr[r] : indptr[r+1] of features and
    ranks (entries of the feature that are at least as strong)."""

    def __init__(self, scored: Scored, sparse: Sparse) -> None:
        chosen = scored.selection & scored.considered
        counts = np.zeros(len(chosen), np.int64)
        _count_rows(sparse.rows, chosen, counts)
        self.indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        total = int(self.indptr[-1])
        self.features, self.ranks = np.empty(total, np.int32), np.empty(total, np.int32)
        self.num_features = sparse.num_features
        cursor = self.indptr[:-1].copy()
        for feature in range(sparse.num_features):
            rows, values = sparse.of(feature)
            inside = chosen[rows]
            ranks = _ranks(values[inside])
            _place(rows[inside], feature, ranks, cursor, self.features, self.ranks)

    def best(
        self, mention: NDArray[np.int32], left_out: Bools, hits: int, calls: int, num_pos: int
    ) -> tuple[int, int, float]:
        """(feature, rank of its threshold, F1) of the union of what fires already and one more.

        mention: of each row the mention that may still be found (-1: none). hits of the calls so
        far are right; their rows, and all that are called, are among `left_out`. (-1, 0, F1 so far)
        where no feature raises it.
        """
        rows = np.flatnonzero(mention >= 0)
        rows = rows[np.argsort(mention[rows], kind="stable")]
        kinds = np.ones(len(self.features), np.bool_)
        _strongest(
            self.indptr, self.features, self.ranks, rows, mention[rows], self.num_features, kinds
        )
        feature, rank, f1 = _walk(
            self.indptr,
            self.features,
            self.ranks,
            kinds,
            rows,
            np.flatnonzero(left_out),
            self.num_features,
            hits,
            calls,
            num_pos,
        )
        return int(feature), int(rank), float(f1)


def _match(scored: Scored, sparse: Sparse, ranked: _Ranked, tokens: Tokens) -> ConceptMatch:
    half = scored.selection
    num_pos = tokens.num_mentions(half)
    fires = np.zeros(len(scored.tokens), np.bool_)
    features: list[int] = []
    thresholds, means, selection_f1s, union_f1s = [], [], [], []
    while len(features) < MAX_UNION:
        found = np.unique(tokens.mention[fires & half & tokens.positive])
        wrong = fires & half & tokens.counted & ~tokens.positive
        known = half & tokens.positive & np.isin(tokens.mention, found)
        left_out = (tokens.later & half) | wrong | known
        open_yet = np.where(half & ~known, tokens.mention, np.int32(-1))
        hits = len(found)
        feature, rank, f1 = ranked.best(open_yet, left_out, hits, hits + int(wrong.sum()), num_pos)
        if feature < 0:
            break
        rows, values = sparse.of(feature)
        threshold = np.sort(values[(half & scored.considered)[rows]])[-rank]
        strong = values >= threshold
        fires[rows[strong]] = True
        seen = values[strong & (half & tokens.positive)[rows]]
        features.append(feature)
        thresholds.append(float(threshold))
        means.append(float(seen.astype(np.float64).mean()))
        selection_f1s.append(f1)
        union_f1s.append(f1_score(fires, tokens, ~half)[0])
    single = _judge(scored, sparse, tokens, features[:1], thresholds[:1])
    enough = np.flatnonzero(np.array(selection_f1s) >= 0.9 * max(selection_f1s, default=0.0))
    return ConceptMatch(
        concept=tokens.concept,
        feature=features[0] if features else -1,
        selection_f1=selection_f1s[0] if features else 0.0,
        **single,
        features=tuple(features),
        thresholds=tuple(thresholds),
        means=tuple(means),
        union_f1s=tuple(union_f1s),
        needed=int(enough[0]) + 1 if features else 0,
        num_documents=tokens.halves,
    )


def _judge(
    scored: Scored,
    sparse: Sparse,
    tokens: Tokens,
    features: Sequence[int],
    thresholds: Sequence[float],
) -> dict[str, float]:
    """The figures of a single feature on the judging half."""
    names = "f1", "precision", "recall", "auroc", "token_recall", "later_recall"
    if not features:
        return dict(zip(names, (0.0, 0.0, 0.0, 0.5, 0.0, 0.0), strict=True))
    rows, values = sparse.of(features[0])
    half = ~scored.selection
    score = np.zeros(len(scored.tokens), np.float32)
    score[rows] = values
    fires = score >= thresholds[0]
    strengths, labels = tokens.collapsed(score, half)
    active, count = strengths > 0, int(labels.sum())
    auroc = sparse_auroc(strengths[active], labels[active], count, len(labels) - count)
    within = [
        float((fires & part).sum() / max(part.sum(), 1))
        for part in (tokens.positive & half, tokens.later & half)
    ]
    return dict(zip(names, (*f1_score(fires, tokens, half), auroc, *within), strict=True))


def f1_score(fires: Bools, tokens: Tokens, half: Bools) -> tuple[float, float, float]:
    """(F1, precision, recall) of firing: a mention is found by any of its tokens in the half."""
    hits, num_pos = tokens.num_mentions(fires & half), tokens.num_mentions(half)
    called = hits + int((fires & half & tokens.counted & ~tokens.positive).sum())
    f1 = 2 * hits / (called + num_pos) if called + num_pos else 0.0
    return f1, hits / called if called else 0.0, hits / num_pos if num_pos else 0.0


def _ranks(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Of each value (> 0), how many are at least as great. Positive floats are ordered as their
    bits are."""
    if values.dtype == np.float16:
        found = np.empty(len(values), np.int64)
        _count_ranks(values.view(np.uint16), np.zeros(1 << 16, np.int64), found)
        return found
    bits = values.view(np.uint32)
    return len(bits) - np.searchsorted(np.sort(bits), bits, side="left")


@njit(cache=True, nogil=True)
def _count_ranks(
    bits: NDArray[np.uint16], counts: NDArray[np.int64], ranks: NDArray[np.int64]
) -> None:
    for b in bits:
        counts[b] += 1
    for b in range(counts.shape[0] - 2, -1, -1):
        counts[b] += counts[b + 1]
    for i in range(bits.shape[0]):
        ranks[i] = counts[bits[i]]


@njit(cache=True, nogil=True)
def _count_rows(rows: NDArray[np.int32], chosen: Bools, counts: NDArray[np.int64]) -> None:
    for i in range(rows.shape[0]):
        if chosen[rows[i]]:
            counts[rows[i]] += 1


@njit(cache=True, nogil=True)
def _place(
    rows: NDArray[np.int32],
    feature: int,
    ranks: NDArray[np.int64],
    cursor: NDArray[np.int64],
    out_features: NDArray[np.int32],
    out_ranks: NDArray[np.int32],
) -> None:
    for i in range(rows.shape[0]):
        place = cursor[rows[i]]
        out_features[place] = feature
        out_ranks[place] = ranks[i]
        cursor[rows[i]] = place + 1


@njit(cache=True, nogil=True)
def _strongest(
    indptr: NDArray[np.int64],
    features: NDArray[np.int32],
    ranks: NDArray[np.int32],
    rows: NDArray[np.int64],
    mention: NDArray[np.int32],
    num_features: int,
    kinds: Bools,
) -> None:
    """Unmark in `kinds`, of each feature and mention, the one entry that is the strongest. Rows are
    in the order of their mentions."""
    entry = np.full(num_features, -1, np.int64)
    of = np.full(num_features, -1, np.int64)
    for i in range(rows.shape[0]):
        for e in range(indptr[rows[i]], indptr[rows[i] + 1]):
            f = features[e]
            if of[f] != mention[i]:
                of[f] = mention[i]
            elif ranks[e] >= ranks[entry[f]]:
                continue
            else:
                kinds[entry[f]] = True
            entry[f] = e
            kinds[e] = False


@njit(cache=True, nogil=True)
def _walk(
    indptr: NDArray[np.int64],
    features: NDArray[np.int32],
    ranks: NDArray[np.int32],
    kinds: Bools,
    positive: NDArray[np.int64],
    left_out: NDArray[np.int64],
    num_features: int,
    hits: int,
    calls: int,
    num_pos: int,
) -> tuple[int, int, float]:
    """See `_Ranked.best`. A key is twice a rank, plus one on an entry that is left out.

    A first walk over the positives alone bounds every feature's F1: from below with no call left
    out on other rows, from above with as many as there are. Only features that can still be best
    are walked with the left-out tokens as well.
    """
    nothing = np.zeros(0, np.int64)
    wanted = np.ones(num_features, np.bool_)
    ends, keys = _keys(indptr, features, ranks, kinds, positive, nothing, wanted)
    base = 2 * hits / (calls + num_pos)
    lowest, upper = base, np.zeros(num_features)
    for feature in range(num_features):
        own = keys[ends[feature] : ends[feature + 1]]
        out = 0
        for i in range(own.shape[0]):
            out += int(own[i] % 2)
            if i + 1 < own.shape[0] and own[i + 1] // 2 == own[i] // 2:
                continue
            right = i + 1 - out
            rest = own[i] // 2 - out
            lowest = max(lowest, 2 * (hits + right) / (calls + rest + num_pos))
            fewest = calls + max(right, rest - left_out.shape[0])
            upper[feature] = max(upper[feature], 2 * (hits + right) / (fewest + num_pos))
    wanted = upper >= lowest
    ends, keys = _keys(indptr, features, ranks, kinds, positive, left_out, wanted)
    best = (-1, 0, base)
    for feature in range(num_features):
        own = keys[ends[feature] : ends[feature + 1]]
        out = 0
        for i in range(own.shape[0]):
            out += int(own[i] % 2)
            if i + 1 < own.shape[0] and own[i + 1] // 2 == own[i] // 2:
                continue  # equal activations cannot be told apart
            above = hits + i + 1 - out
            f1 = 2 * above / (calls + own[i] // 2 - out + num_pos)
            if f1 > best[2]:
                best = (feature, own[i] // 2, f1)
    return best


@njit(cache=True, nogil=True)
def _keys(
    indptr: NDArray[np.int64],
    features: NDArray[np.int32],
    ranks: NDArray[np.int32],
    kinds: Bools,
    positive: NDArray[np.int64],
    left_out: NDArray[np.int64],
    wanted: Bools,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sorted keys of the wanted features' entries on these rows: feature f owns
    ends[f] : ends[f+1]."""
    counts = np.zeros(wanted.shape[0] + 1, np.int64)
    for rows in (positive, left_out):
        for row in rows:
            for e in range(indptr[row], indptr[row + 1]):
                counts[features[e] + 1] += wanted[features[e]]
    ends = np.cumsum(counts)
    keys = np.empty(ends[-1], np.int64)
    cursor = ends[:-1].copy()
    for rows in (positive, left_out):
        for row in rows:
            for e in range(indptr[row], indptr[row + 1]):
                if wanted[features[e]]:
                    # entries of left-out rows are all marked
                    keys[cursor[features[e]]] = 2 * ranks[e] + int(kinds[e])
                    cursor[features[e]] += 1
    for feature in range(wanted.shape[0]):
        keys[ends[feature] : ends[feature + 1]].sort()
    return ends, keys

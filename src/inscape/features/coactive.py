"""Which features fire on the same tokens more often than chance.

1. Of a feature a, every token on which it fires is visited, and the other features that fire there
   are counted: n_ab tokens with both. Only codes are read, token by token and feature by feature;
   no table of pairs is held.
2. Two features of n_a and n_b out of N tokens are as related as their firing correlates (the phi
   coefficient): (N n_ab - n_a n_b) / sqrt(n_a (N - n_a) n_b (N - n_b)), 0 by chance, 1 where they
   always fire together.
3. Pairs with fewer than SUPPORT tokens in common, and those below chance, are left out.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from inscape.core import track

SUPPORT = 8
_BLOCK = 256  # features that a thread takes at once


@njit(cache=True, nogil=True)
def _count(
    block: tuple[int, int],
    sizes: tuple[int, int],
    indptr: NDArray[Any],
    positions: NDArray[Any],
    starts: NDArray[Any],
    features: NDArray[Any],
    common: NDArray[Any],
    ids: NDArray[Any],
    scores: NDArray[Any],
) -> None:
    support, num_tokens = sizes
    touched = np.empty(common.shape[0], np.int32)
    for a in range(block[0], block[1]):
        num_touched = 0
        for place in range(indptr[a], indptr[a + 1]):
            row = positions[place]
            for entry in range(starts[row], starts[row + 1]):
                b = features[entry]
                if common[b] == 0:
                    touched[num_touched] = b
                    num_touched += 1
                common[b] += 1
        n_a = float(indptr[a + 1] - indptr[a])
        best, numbers = scores[a - block[0]], ids[a - block[0]]
        for i in range(num_touched):
            b = touched[i]
            both = float(common[b])
            common[b] = 0
            n_b = float(indptr[b + 1] - indptr[b])
            expected = n_a * n_b
            if b == a or both < support or num_tokens * both <= expected:
                continue
            spread = np.sqrt(n_a * (num_tokens - n_a)) * np.sqrt(n_b * (num_tokens - n_b))
            if spread == 0:
                continue
            score = (num_tokens * both - expected) / spread
            # of equal scores the feature with the lower number, whatever the order of the visits
            place = best.shape[0]
            while place > 0 and (
                best[place - 1] < score or (best[place - 1] == score and numbers[place - 1] > b)
            ):
                place -= 1
            if place < best.shape[0]:
                for j in range(best.shape[0] - 1, place, -1):
                    best[j], numbers[j] = best[j - 1], numbers[j - 1]
                best[place], numbers[place] = score, b


def coactive(
    indptr: NDArray[np.int64],
    positions: NDArray[np.int32],
    by_row: tuple[NDArray[np.int64], NDArray[np.integer]],
    num_tokens: int,
    num: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """The features that fire along with each one, most related first, at most `num` each.

    Args:
        indptr, positions: feature a fires at the rows indptr[a] : indptr[a + 1] of positions.
        by_row: the same codes token by token: at row r the features starts[r] : starts[r + 1] of
            the second array fire.
        num_tokens: tokens that count.

    Returns:
        Features and correlations of all one after another, and the offset of each feature's own.
    """
    num_features = indptr.size - 1
    starts, features = by_row

    def block(first: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        last = min(first + _BLOCK, num_features)
        ids = np.full((last - first, num), num_features, np.int32)
        scores = np.zeros((last - first, num), np.float64)
        common = np.zeros(num_features, np.int32)
        arrays = (indptr, positions, starts, features, common, ids, scores)
        _count((first, last), (SUPPORT, num_tokens), *arrays)
        return ids, scores

    blocks = range(0, num_features, _BLOCK)
    what = "features that fire together"
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        found = list(track(threads.map(block, blocks), what, total=len(blocks), unit="blocks"))
    ids, scores = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    given = scores > 0
    offsets = np.concatenate([[0], np.cumsum(given.sum(1))]).astype(np.int64)
    return ids[given], scores[given].astype(np.float32), offsets

"""From concrete to abstract: does the word decide where a feature fires, and on how many words?

1. What the token says: the documents are cut in two halves. On one, the rate at which the feature
   fires on each token is learned (drawn toward its overall rate by SMOOTHING tokens); on the
   other, the share of the uncertainty about where it fires that these rates remove is measured,
   1 - cross-entropy / entropy of the overall rate. 1: the token decides; 0: it says nothing.
   Measured on other documents, since rare tokens explain anything where they are from.
2. Breadth: the effective number of different words among those that fire it, e to the entropy of
   their distribution, a token counting by the square of the activation; upper and lower case, and
   plain endings (plural, past, ...), make no other word.
3. The estimate is the mean of 1 - (1) and of log(breadth) / log(WIDE), at most 1. A feature of one
   word in all its forms is near 0, of a class of words (countries, numbers) about a half, of a
   topic or a situation on whatever words near 1.
4. Where several scripts each make up COMMON of the text, the effective number of scripts that fire
   it is told beside: a concept that holds across scripts is no matter of words.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inscape.core import seeded, track
from inscape.features import FeatureIndex
from inscape.labels.sampling import document_halves

SMOOTHING = 2.0
WIDE = 100  # different words at which breadth counts in full
COMMON = 0.01
_ENDINGS = ("'s", "ing", "ed", "s", "")


@dataclass(frozen=True)
class Abstractness:
    """Of every feature, [m], NaN where it fires too rarely.

    estimate: from 0, concrete, to 1, abstract. by_token: the share of the uncertainty that the
    token removes, on other documents. words: the effective number of different words. scripts: the
    same of scripts; None where the text has one alone.
    """

    estimate: NDArray[np.float32]
    by_token: NDArray[np.float32]
    words: NDArray[np.float32]
    scripts: NDArray[np.float32] | None


def abstractness(index: FeatureIndex, *, seed: int = 0, least: int = 8) -> Abstractness:
    """How abstract the features of an index are; least: tokens of each half on which one fires."""
    table = index.tokens
    counted = np.asarray(table.considered)
    ids, token = np.unique(np.asarray(table.ids), return_inverse=True)
    half = document_halves(np.asarray(table.documents), seeded(seed, "abstractness"))
    totals = [np.bincount(token[counted & (half == side)], minlength=ids.size) for side in (1, 0)]
    texts = [table.text(i) for i in ids]
    written = [script(text) for text in texts]
    several = _several(written, totals[0] + totals[1])
    stems, scripts = _numbered([stem(text) for text in texts]), _numbered(written)
    rates = Rates(*totals)
    by_token, words, spread = np.full((3, index.num_features), np.nan, np.float32)
    for feature in track(range(index.num_features), "concrete or abstract", unit="features"):
        rows, values = index.rows_of(feature)
        learned = half[rows]
        if min(np.count_nonzero(learned), np.count_nonzero(~learned)) < least:
            continue
        which, place = np.unique(token[rows], return_inverse=True)
        fired = [np.bincount(place[learned == side], minlength=which.size) for side in (1, 0)]
        by_token[feature] = rates.removed(which, *fired)
        strong = np.asarray(np.bincount(place, values.astype(np.float64) ** 2), np.float64)
        words[feature] = effective(_added(stems[which], strong))
        if several is not None:
            spread[feature] = effective(_added(scripts[which], strong * several[which]))
    breadth = np.minimum(1, np.log(words) / np.log(WIDE))
    estimate = ((1 - by_token) + breadth) / 2
    return Abstractness(estimate, by_token, words, None if several is None else spread)


class Rates:
    """How much rates by token say; total, other_total [tokens]: how often each token is in the half
    that rates are learned on, and in the other."""

    def __init__(self, total: NDArray[np.int64], other_total: NDArray[np.int64]) -> None:
        self.total, self.other = total, other_total
        # Tokens on which a feature never fires have equal rates where they are equally frequent.
        self._sizes, place = np.unique(total, return_inverse=True)
        self._others = np.bincount(place, other_total)

    def removed(
        self, tokens: NDArray[np.int64], fired: NDArray[np.int64], other: NDArray[np.int64]
    ) -> float:
        """The share, 0 to 1, of the uncertainty about the other half that the rates of this one
        remove; fired, other: how often the feature fires on `tokens` in the two."""
        rate = fired.sum() / self.total.sum()
        silent = self.other[tokens] - other
        num_silent = self.other.sum() - other.sum()
        overall = other.sum() * np.log(rate) + num_silent * np.log1p(-rate)
        never = np.log1p(-SMOOTHING * rate / (self._sizes + SMOOTHING))
        given = (self._others * never).sum()
        total = self.total[tokens]
        given -= (self.other[tokens] * np.log1p(-SMOOTHING * rate / (total + SMOOTHING))).sum()
        rates = np.clip((fired + SMOOTHING * rate) / (total + SMOOTHING), 1e-9, 1 - 1e-9)
        given += (other * np.log(rates) + silent * np.log1p(-rates)).sum()
        return float(np.clip(1 - given / overall, 0, 1)) if overall else 0.0


def _added(names: NDArray[np.int64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The counts of equal names together."""
    _, place = np.unique(names, return_inverse=True)
    return np.asarray(np.bincount(place, counts), np.float64)


def effective(counts: NDArray[np.floating] | NDArray[np.int64]) -> float:
    """The effective number of values with such counts: e to the entropy; NaN of nothing."""
    shares = counts[counts > 0] / max(float(counts.sum()), 1e-12)
    return float(np.exp(-(shares * np.log(shares)).sum())) if shares.size else float("nan")


def stem(text: str) -> str:
    """A token without case, blanks and a plain ending."""
    word = text.strip().lower()
    ending = next(e for e in _ENDINGS if (word.endswith(e) and len(word) - len(e) >= 3) or not e)
    bare = word.removesuffix(ending)
    return bare.removesuffix("e") if len(bare) > 3 else bare


def script(text: str) -> str:
    """The script of a token's first letter: the first word of its Unicode name; "" without one."""
    letter = next((c for c in text if c.isalpha()), "")
    return unicodedata.name(letter, "").split(" ")[0] if letter else ""


def _numbered(names: list[str]) -> NDArray[np.int64]:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def _several(names: list[str], totals: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Which tokens are of a common script, where the text has several."""
    counts: Counter[str] = Counter()
    for name, total in zip(names, totals.tolist(), strict=True):
        counts[name] += total
    common = {name for name, n in counts.items() if name and n >= COMMON * totals.sum()}
    return None if len(common) < 2 else np.array([name in common for name in names], np.bool_)

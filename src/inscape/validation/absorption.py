"""First-letter absorption (Chanin et al. 2024, arXiv 2409.14507), as SAEBench scores it: features
of words that take over from the feature of their first letter.

1. Words are single tokens of the vocabulary, a space and lower-case letters, up to PER_LETTER of
   each letter, behind a prompt that asks for first letters of other words. Features, and the site
   that the dictionary reads, are taken at the word.
2. On three quarters of the words a logistic regression for each letter gives its direction; letters
   whose F1 on the other words is below LEAST_F1 are left out. There, too, the letter's own features
   are found: those whose mean differs most, one more as long as the F1 of a logistic regression on
   them gains SPLIT.
3. Of the other words those are counted whose letter the regression gets right. One is absorbed in
   full where none of the letter's own features fires, and the feature that adds most to the
   direction is aligned with it and adds SHARE of the whole. Its absorbed fraction is what up to
   three other aligned features add, beside what the own ones do; 0 where the own ones add up to the
   whole, or the others to less than SHARE of it.

It differs from SAEBench in three ways: four fixed examples in the prompt (there ten are drawn), own
features by the difference of means (there by an L1 regression), and the decoder's bias is no part
of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from inscape.core import seeded
from inscape.dictionary import Dictionary
from inscape.features import Pooled, pool_texts
from inscape.model import Model

PER_LETTER, FEWEST = 80, 16  # words of a letter: at most; to be tried at all
EXAMPLES = ("tartan", "mirth", "cobra", "hedge")
TEMPLATE = " {} has the first letter: {}\n"
LEAST_F1, SPLIT, SHARE = 0.6, 0.03, 0.4
FULL_COSINE, PART_COSINE = 0.025, 0.1  # of a decoder row with the letter's direction, at least
MOST_OWN, MOST_ABSORBING = 10, 3

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class LetterAbsorption:
    """One letter: its own features; of `num_words` that the probe gets right the mean absorbed
    fraction, and how many are absorbed in full. probe_f1: of the regression on unseen words."""

    letter: str
    probe_f1: float
    features: tuple[int, ...]
    num_words: int
    fraction: float
    num_full: int

    @property
    def full(self) -> float:
        """The share absorbed in full."""
        return self.num_full / self.num_words


@dataclass(frozen=True)
class Absorption:
    """Absorption of a dictionary over letters; left_out: those with too few words, or without a
    direction that a probe finds. num_words: of the vocabulary that were tried."""

    letters: tuple[LetterAbsorption, ...]
    left_out: str
    num_words: int

    @property
    def fraction(self) -> float:
        """Mean absorbed fraction over letters; NaN without any."""
        return float(np.mean([one.fraction for one in self.letters])) if self.letters else np.nan

    @property
    def full(self) -> float:
        """Mean share of words absorbed in full over letters; NaN without any."""
        return float(np.mean([one.full for one in self.letters])) if self.letters else np.nan


def absorption(
    model: Model, dictionaries: Sequence[Dictionary], *, seed: int = 0
) -> dict[str, Absorption]:
    """First-letter absorption of the dictionaries that read and write the same one site, by name;
    none for a model without a tokenizer, or with hardly any words in its vocabulary."""
    chosen = [d for d in dictionaries if d.reads == d.writes and len(d.reads) == 1]
    words = _words(model, seed) if model.tokenizer is not None and chosen else []
    letters = np.array([word[0] for word, _ in words])
    if len(set(letters)) < 2:
        return {}
    prompt = model.encode("".join(TEMPLATE.format(e, e[0].upper()) for e in EXAMPLES).lstrip())
    rows = [[*prompt, id] for _, id in words]
    sites = list(dict.fromkeys(d.reads[0] for d in chosen))
    pooled = pool_texts(model, rows, chosen, sites, max_tokens=len(prompt) + 2)
    first = np.random.default_rng(seeded(seed, "absorption")).random(len(words)) < 0.75
    probes = {site: letter_probes(pooled.sites[site], letters, first) for site in sites}
    return {
        d.name: absorbed(d, pooled.dictionaries[d.name], probes[d.reads[0]], letters, first)
        for d in chosen
    }


def _words(model: Model, seed: int) -> list[tuple[str, int]]:
    """Words with their token ids, at most PER_LETTER of each letter, FEWEST at least."""
    found: dict[str, list[tuple[str, int]]] = {}
    for id in model.vocabulary_mask.nonzero()[:, 0].tolist():
        text = model.token_text(id)
        if re.fullmatch(" [a-z]{3,}", text) and text[1:] not in EXAMPLES:
            found.setdefault(text[1], []).append((text[1:], id))
    draw = np.random.default_rng(seeded(seed, "words"))
    chosen = []
    for _, words in sorted(found.items()):
        if len(words) >= FEWEST:
            chosen += [words[i] for i in draw.permutation(len(words))[:PER_LETTER]]
    return chosen


@dataclass(frozen=True)
class Probe:
    """Of one letter: its unit direction at the site, F1, which words it takes for it, and what the
    site holds at every word."""

    direction: Floats
    f1: float
    says: NDArray[np.bool_]
    values: Floats


def letter_probes(
    table: Pooled, letters: NDArray[np.str_], first: NDArray[np.bool_]
) -> dict[str, Probe]:
    """The probe of each letter, from what a site holds at words, with their letters and which of
    them are learnt from (step 2)."""
    x = table.values("last", range(len(letters))).astype(np.float64)
    centre, spread = x[first].mean(0), x[first].std(0) + 1e-6
    scaled = (x - centre) / spread
    found = {}
    for letter in sorted(set(letters)):
        is_it = letters == letter
        fitted = _regression(0.01).fit(scaled[first], is_it[first])
        says = fitted.predict(scaled)
        direction = fitted.coef_[0] / spread
        f1 = float(f1_score(is_it[~first], says[~first], zero_division=0.0))
        found[letter] = Probe(direction / np.linalg.norm(direction), f1, says, x)
    return found


def _regression(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, class_weight="balanced", max_iter=1000)


def absorbed(
    dictionary: Dictionary,
    table: Pooled,
    probes: dict[str, Probe],
    letters: NDArray[np.str_],
    first: NDArray[np.bool_],
) -> Absorption:
    """The scores of a dictionary, whose features at the words are in `table` (steps 2 and 3)."""
    alive = np.flatnonzero(table.is_held(np.arange(len(letters))))
    codes = table.values("last", range(len(letters)), alive)
    decoder = dictionary.W_dec.detach().float().cpu().numpy()[alive]
    bias = dictionary.b_dec.detach().float().cpu().numpy()
    made: list[LetterAbsorption] = []
    left_out = ""
    for letter, probe in probes.items():
        is_it = letters == letter
        asked = np.flatnonzero(is_it & ~first & probe.says)
        if probe.f1 < LEAST_F1 or not len(asked):
            left_out += letter
            continue
        own = _own(codes[first], is_it[first])
        along = decoder @ probe.direction
        cosine = along / np.maximum(np.linalg.norm(decoder, axis=1), 1e-9)
        parts = codes[asked] * along
        whole = (probe.values[asked] - bias) @ probe.direction
        silent = (codes[asked][:, own] == 0).all(1)
        full = silent & _is_full(parts, whole, cosine)
        fraction = _fractions(parts, whole, cosine, own)
        names = tuple(int(alive[i]) for i in own)
        made.append(
            LetterAbsorption(
                letter, probe.f1, names, len(asked), float(fraction.mean()), int(full.sum())
            )
        )
    return Absorption(tuple(made), left_out, len(letters))


def _own(codes: Floats, is_it: NDArray[np.bool_]) -> list[int]:
    """The features of a letter (step 2), at least one."""
    spread = codes.std(0)
    difference = (codes[is_it].mean(0) - codes[~is_it].mean(0)) / np.where(spread > 0, spread, 1)
    order: list[int] = np.argsort(-difference, kind="stable")[:MOST_OWN].tolist()
    scores: list[float] = []
    for k in range(1, len(order) + 1):
        x = codes[:, order[:k]]
        said = _regression(1.0).fit(x, is_it).predict(x)
        scores.append(float(f1_score(is_it, said, zero_division=0.0)))
        if k > 1 and scores[-1] < scores[-2] + SPLIT:
            return order[: k - 1]
    return order


def _is_full(parts: Floats, whole: Floats, cosine: Floats) -> NDArray[np.bool_]:
    """Whether the one feature that adds most is aligned, and adds SHARE of the whole or more."""
    top = parts.argmax(1)
    most = parts[np.arange(len(parts)), top]
    found: NDArray[np.bool_] = (cosine[top] >= FULL_COSINE) & (whole > 0) & (most >= SHARE * whole)
    return found


def _fractions(parts: Floats, whole: Floats, cosine: Floats, own: list[int]) -> Floats:
    """The absorbed fraction of each word."""
    of_own = parts[:, own].sum(1)
    others = np.where(cosine >= PART_COSINE, np.maximum(parts, 0), 0)
    others[:, own] = 0
    absorbing = np.sort(others, axis=1)[:, -MOST_ABSORBING:].sum(1)
    missing = np.maximum(whole - of_own, 0)
    taken = np.minimum(absorbing, missing)
    share = np.divide(taken, taken + of_own, out=np.ones_like(taken), where=of_own > 0)
    is_none = (of_own >= whole) | (absorbing < SHARE * whole)
    found: Floats = np.where(is_none, 0.0, np.clip(share, 0, 1))
    return found

"""Absorption planted in features of words: the score says how much."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from tests.families import tiny, tiny_tokenizer
from tests.intervention.dictionaries import made

from inscape.dictionary import Dictionary
from inscape.features import Pooled
from inscape.model import Model
from inscape.validation import absorption
from inscape.validation.absorption import absorbed, letter_probes

LETTERS, WORDS, WIDTH = "abc", 60, 24


def _planted(share: float) -> tuple[Pooled, Pooled, Dictionary, np.ndarray, np.ndarray]:
    """A site in which each letter has an axis, and a dictionary with a feature for each letter; of
    the words with an "a" a share has a feature of the word alone, which writes "a" as well."""
    draw = np.random.default_rng(0)
    letters = np.repeat(list(LETTERS), WORDS)
    x = 0.1 * draw.normal(size=(len(letters), WIDTH))
    axis = np.array([LETTERS.index(letter) for letter in letters])
    x[np.arange(len(letters)), axis] += 3
    x[:, 3:] += draw.normal(size=(len(letters), WIDTH - 3))
    taken = np.flatnonzero(letters == "a")[draw.permutation(WORDS)[: round(share * WORDS)]]
    codes = np.zeros((len(letters), 3 + len(taken)))
    codes[np.arange(len(letters)), axis] = 3
    codes[taken, 0] = 0
    codes[taken, 3 + np.arange(len(taken))] = 3
    decoder = torch.zeros(codes.shape[1], WIDTH)
    decoder[:3, :3] = torch.eye(3)
    decoder[3:, 0], decoder[3:, 5] = 1, 1
    lengths = np.ones(len(letters), np.int64)
    zero = torch.zeros(len(decoder))
    dictionary = made("resid_post.1", decoder, zero, decoder, torch.zeros(WIDTH))
    tables = Pooled(lengths, {"last": csr_matrix(codes)}), Pooled(lengths, {"last": x})
    return *tables, dictionary, letters, draw.random(len(letters)) < 0.75


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_the_planted_share_is_found(share: float) -> None:
    features, site, dictionary, letters, first = _planted(share)
    probes = letter_probes(site, letters, first)
    found = absorbed(dictionary, features, probes, letters, first)
    assert found.left_out == ""
    assert [one.features for one in found.letters] == [(0,), (1,), (2,)]
    a, *others = found.letters
    unseen = (letters == "a") & ~first
    silent = int((features.values("last", np.flatnonzero(unseen), [0]) == 0).sum())
    assert a.num_words == int(unseen.sum())
    assert a.num_full == silent == round(a.full * a.num_words)
    assert a.fraction == pytest.approx(silent / a.num_words)
    assert all((one.num_full, one.fraction) == (0, 0) for one in others)
    assert found.fraction == pytest.approx(a.fraction / 3)


def test_letters_without_a_direction_are_left_out() -> None:
    features, site, dictionary, letters, first = _planted(0.0)
    noise = np.random.default_rng(1).normal(size=(len(letters), WIDTH))
    blind = Pooled(site.lengths, {"last": noise})
    found = absorbed(dictionary, features, letter_probes(blind, letters, first), letters, first)
    assert found.letters == ()
    assert found.left_out == LETTERS
    assert np.isnan(found.fraction)


def test_a_vocabulary_without_words_has_no_score() -> None:
    model = Model.wrap(tiny("llama", vocab_size=300), tiny_tokenizer())
    eye = torch.eye(32)
    one = made("resid_post.1", eye, torch.zeros(32), eye, torch.zeros(32))
    assert absorption(model, [one]) == {}

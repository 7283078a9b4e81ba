"""Concrete or abstract: against plain sums, and of planted features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.features.made import write_index

from inscape.features import TokenTable
from inscape.features.logits import HeadInputs
from inscape.labels.abstractness import SMOOTHING, Rates, abstractness, effective, script, stem


def test_what_rates_remove_is_the_plain_sum_over_tokens() -> None:
    rng = np.random.default_rng(0)
    total, other_total = rng.integers(0, 40, (2, 60))
    fired, other = rng.binomial(total, 0.2), rng.binomial(other_total, 0.2)
    fired[30:], other[40:] = 0, 0
    rate = fired.sum() / total.sum()
    rates = (fired + SMOOTHING * rate) / (total + SMOOTHING)
    silent = other_total - other
    entropy = other.sum() * np.log(rate) + silent.sum() * np.log(1 - rate)
    given = (other * np.log(rates) + silent * np.log(1 - rates)).sum()
    tokens = np.arange(40)
    found = Rates(total, other_total).removed(tokens, fired[:40], other[:40])
    assert found == pytest.approx(1 - given / entropy)
    assert 0 < found < 1


def test_a_word_is_concrete_and_a_situation_abstract(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    documents, length, vocab = 60, 50, 400
    n = documents * length
    ids = rng.integers(10, vocab, n).astype(np.int32)
    ids[rng.random(n) < 0.05] = 3
    ids[rng.random(n) < 0.05] = 4
    positions = np.tile(np.arange(length, dtype=np.int32), documents)
    owners = np.repeat(np.arange(documents, dtype=np.int32), length)
    letters = "abcdefghijklmnopqrst"
    texts = {i: " " + letters[i // 20] + letters[i % 20] + "q" * 4 for i in range(vocab)}
    texts |= {3: " bridge", 4: " Bridges"}
    table = TokenTable(ids, owners, positions, positions > 0, texts)
    fires = [
        np.isin(ids, [3, 4]),  # two forms of one word
        (ids % 5 == 0) & (ids >= 10),  # a class of many words
        owners % 4 == 0,  # a topic, on whatever words
        rng.random(n) < 0.001,  # too rare to say
    ]
    rows = np.flatnonzero(positions > 0)
    values = np.stack(fires, axis=1)[rows].astype(np.float32)
    indices = np.tile(np.arange(4), (rows.size, 1))
    index = write_index(
        tmp_path / "i", table, [(rows, indices, values)], HeadInputs(torch.eye(4), None, None)
    )
    found = abstractness(index)
    word, several, topic, rare = found.estimate
    assert word < 0.15
    assert 0.35 < several < 0.65
    assert topic > 0.9
    assert np.isnan(rare)
    assert found.words[0] == pytest.approx(1)
    assert found.words[1] > 50
    assert found.by_token[0] > 0.8 > 0.1 > found.by_token[2]
    assert found.scripts is None


def test_words_without_case_and_ending_and_scripts() -> None:
    assert {stem(text) for text in (" bridge", "Bridges", " BRIDGE", "bridge's")} == {"bridg"}
    assert {stem(text) for text in (" walk", " walks", "walked", " walking")} == {"walk"}
    assert stem(" as") == "as"
    assert [script(text) for text in (" sea", " море", "海", " 12")] == [
        "LATIN",
        "CYRILLIC",
        "CJK",
        "",
    ]
    assert effective(np.array([3, 3, 0])) == pytest.approx(2)
    assert np.isnan(effective(np.zeros(2)))

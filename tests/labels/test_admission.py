"""Which candidates may name a feature: rules that hold, and names that find its windows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from inscape.labels.admission import COVERED, admitted, holding, is_literal
from inscape.labels.rules import Clause, Rule
from inscape.labels.sampling import POSITIVE, RANDOM

NUM = 20


def windows(folded: list[int]) -> Any:
    """Windows in which the feature fires on these words, and as many random ones."""
    words = np.array([*folded, *([99] * len(folded))], np.int32)[:, None]
    group = np.repeat(np.array([POSITIVE, RANDOM], np.int8), len(folded))
    rows = np.arange(len(words))
    sample = SimpleNamespace(rows=rows, group=group, positive=group == POSITIVE)
    return SimpleNamespace(sample=sample, values={"folded": words, "word": words})


def corpus(found: float) -> Any:
    """Contexts of two dimensions: the first is what a name means, in a share of the windows."""
    vectors = np.zeros((2 * NUM, 2), np.float32)
    vectors[: int(found * NUM), 0] = 1.0
    contexts = SimpleNamespace(at=lambda rows: vectors[rows])
    usual = np.random.default_rng(0).normal(0, 0.1, (200, 2)).astype(np.float32)
    return SimpleNamespace(contexts=contexts, usual=usual)


def name(text: str) -> Rule:
    return Rule(text, "concept", (), text, np.array([1.0, 0.0], np.float32), 1.0)


def test_a_list_of_words_of_which_few_fire_does_not_hold() -> None:
    seen = windows([1, 2, *range(10, 28)])
    few = Rule('"one" or "two"', "word", (Clause("word", (1, 2), (1.0, 1.0)),))
    assert holding(few, seen) == 0.1 < COVERED
    assert holding(few, windows([1, 2] * 10)) == 1.0


def test_a_name_has_to_find_the_windows_without_the_words() -> None:
    various = windows(list(range(NUM)))
    words = [f"word{n}" for n in range(NUM)]
    assert [r.text for r in admitted([name("music")], various, corpus(0.6), words)] == ["music"]
    assert admitted([name("music")], various, corpus(0.3), words) == []


def test_few_words_are_the_name_or_what_it_is_made_of() -> None:
    literal = windows([1] * 12 + list(range(2, 10)))
    assert is_literal(literal)
    assert not is_literal(windows(list(range(NUM))))
    names = [name("good manners"), name("wells")]
    kept = admitted(names, literal, corpus(0.9), ["well", "good", "okay"])
    assert [rule.text for rule in kept] == ["wells"]

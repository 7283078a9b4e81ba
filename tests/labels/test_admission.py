"""Which candidates may name a feature: rules that hold, and names that find its windows."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from inscape.labels.admission import COVERED, Fired, admitted, holding, holds, is_literal
from inscape.labels.candidates import Writer
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


def corpus(found: float, words: Sequence[str] = ()) -> Any:
    """Contexts of two dimensions: the first is what a name means, in a share of the windows. Words
    go by their place, others by their number."""
    vectors = np.zeros((2 * NUM, 2), np.float32)
    vectors[: int(found * NUM), 0] = 1.0
    contexts = SimpleNamespace(at=lambda rows: vectors[rows])
    usual = np.random.default_rng(0).normal(0, 0.1, (200, 2)).astype(np.float32)
    texts = dict(enumerate(words))
    return SimpleNamespace(
        contexts=contexts, usual=usual, text=lambda _, value: texts.get(value, f"word{value}")
    )


def name(text: str) -> Rule:
    return Rule(text, "concept", (), text, np.array([1.0, 0.0], np.float32), 1.0)


def test_a_list_of_words_of_which_few_fire_does_not_hold() -> None:
    seen = windows([1, 2, *range(10, 28)])
    few = Rule('"one" or "two"', "word", (Clause("word", (1, 2), (1.0, 1.0)),))
    assert holding(few, seen) == 0.1 < COVERED
    assert holding(few, windows([1, 2] * 10)) == 1.0


def test_a_name_has_to_find_the_windows_without_the_words() -> None:
    various = windows(list(range(NUM)))
    assert [r.text for r in admitted([name("music")], various, corpus(0.6))] == ["music"]
    assert admitted([name("music")], various, corpus(0.3)) == []


def test_few_words_are_the_name_or_what_it_is_made_of() -> None:
    literal = windows([0] * 12 + list(range(2, 10)))
    assert is_literal(literal)
    assert not is_literal(windows(list(range(NUM))))
    names = [name("good manners"), name("wells"), name("word3")]
    kept = admitted(names, literal, corpus(0.9, ["well", "good"]))
    assert [rule.text for rule in kept] == ["wells"], "of a rare word it is no name either"


def test_a_phrase_of_the_corpus_names_only_what_its_words_fire() -> None:
    phrase = name("these resources")
    various = windows(list(range(NUM)))
    assert admitted([phrase], various, corpus(0.9)) == [phrase]
    assert admitted([phrase], various, corpus(0.9), {"these resources"}) == []
    seen = windows([0, 1] * 10)
    words = ["these", "resources"]
    assert admitted([phrase], seen, corpus(0.9, words), {"these resources"}) == [phrase]


def test_a_form_of_a_word_counts_half_where_it_is_more_than_a_plural() -> None:
    fired = Fired({"public": 0.6, "heats": 0.2, "of": 0.2})
    assert fired.most(2) == ["public", "heats"]
    assert fired.share("public") == 0.6
    assert fired.share("publicist") == 0.3
    assert round(fired.share("heat of the public"), 6) == 0.8
    assert fired.share("public house") == 0.0


def test_a_name_that_says_more_than_what_fires_is_too_narrow() -> None:
    fired = Fired({"training": 0.5, "trained": 0.2, "programs": 0.1})
    assert fired.partly("training programs") == 0.7
    assert fired.partly("training and programs") == fired.partly("training") == 0.0
    assert fired.partly("teaching") == 0.0
    narrow, seen = name("training programs"), windows([0] * 6 + list(range(2, 16)))
    assert admitted([narrow], seen, corpus(0.9, ["training"])) == []
    assert admitted([narrow], windows(list(range(NUM))), corpus(0.9, ["training"])) == [narrow]


def test_what_stands_around_has_to_be_typical() -> None:
    seen = windows([1] * 10 + [2] * 10)
    seen.values["next"] = np.array([5] * 10 + [6] * 30, np.int32)[:, None]
    word = Clause("folded", (1, 2), (1.0, 1.0))
    both = Rule("", "word", (word, Clause("next", (5,), (1.0,))))
    assert holding(both, seen) == 0.5
    assert holds(Rule("", "word", (word,)), seen)
    assert not holds(both, seen)


def test_a_list_begins_with_the_most_frequent_word_and_has_no_rare_one() -> None:
    seen = windows([3] * 2 + [2] * 14 + [1] * 4 + [0])
    shares = np.full(100, 0.2)
    writer = Writer.__new__(Writer)
    writer._background = {"folded": shares}
    found = writer._by_frequency(
        {0: 1.0, 1: 2.0}, seen.values["folded"][:, 0], _counted(seen), "folded"
    )
    assert list(found) == [2, 1]
    assert found[2] == np.log(14 / 21 / 0.2)


def _counted(seen: Any) -> Any:
    return SimpleNamespace(sample=seen.sample, counted=np.ones(seen.sample.rows.size, np.bool_))

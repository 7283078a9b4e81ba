"""Snippets, charts and tokens on the page."""

from __future__ import annotations

import pytest
from tests.report.reading import Page

from inscape.report.charts import ticks
from inscape.report.parts import snippet, visible


def test_a_snippet_keeps_its_text_and_marks_what_fires() -> None:
    tokens = ("We", " saw", " the", " Golden", " Gate", "\n")
    page = Page(snippet(tokens, (0.0, 0.01, 0.0, 2.0, 4.0, 1.0)))
    assert "".join(page.words).startswith("We saw the Golden Gate↵")
    marks = page.named("mark")
    assert [m["data-value"] for m in marks] == ["0.01", "2.0", "4.0", "1.0"]
    assert [m["class"] for m in marks] == ["h1", "h4", "h8 strongest", "h2"]
    assert marks[2]["title"] == "activation 4.00"


def test_a_snippet_without_activation_has_no_marks() -> None:
    assert Page(snippet(("a", "b"), (0.0, 0.0))).named("mark") == []


def test_spaces_at_the_ends_of_tokens_are_seen() -> None:
    assert [visible(t) for t in (" Mary", "a b", "  ", "", "\n", "x ")] == [
        "␣Mary",
        "a b",
        "␣␣",
        "(empty)",
        "↵",
        "x␣",
    ]


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-4.0, 8.0), (0.0, 0.013), (-0.2, -0.1), (5.0, 5.0), (0, 1234)]
)
def test_ticks_are_round_and_hold_the_data(low: float, high: float) -> None:
    found = ticks(low, high, 5)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 9
    assert found == sorted(set(found))


def test_a_part_of_a_character_is_shaded_where_that_is_shown() -> None:
    page = Page(snippet(("a", "", "", "대"), (0.0, 2.0, 0.0, 1.0)))
    (mark,) = page.named("mark")
    assert (mark["data-value"], mark["class"]) == ("2.0", "h8 strongest")

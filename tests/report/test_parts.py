"""Snippets, charts and tokens on the page."""

from __future__ import annotations

import pytest
from tests.report.reading import Page

from inscape.report.charts import HEIGHT, WIDTH, Series, legend, line_chart, ticks
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


def test_chart_points_lie_inside_and_lines_differ_without_colour() -> None:
    series = [
        Series("feature", ((0.0, 0.1, 0.05, 0.2), (4.0, 0.9, 0.8, 1.0)), 0),
        Series("random", ((0.0, 0.1, None, None), (4.0, 0.12, None, None)), 1),
        Series("prompted", ((1.0, 0.5, None, None),), 2, level=True),
    ]
    page = Page(line_chart(series, title="t", x="strength", y="share", unit="share"))
    for line in page.named("polyline"):
        for point in str(line["points"]).split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    assert len(page.named("polyline")) == 2
    assert [e["y1"] for e in page.named("line") if e.get("class") == "level"] == ["111.0"]
    assert len(page.named("circle")) == 2
    assert len(page.named("polygon")) == 2
    shapes = Page(legend(series))
    assert len(shapes.named("circle")) == len(shapes.named("polygon")) == 1
    assert "prompted" in shapes.text

"""The page holds what the JSON holds, shows every text as text, and asks for nothing outside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from packages.microworld.tests.report.filled import filled_report
from packages.microworld.tests.report.made import report
from tests.report.reading import Page

from inscape.core import DataError, StorageError
from inscape_microworld.report import Report, read_report, render, report_text, write_report

# Keys whose value is not told as such: an enumeration that decides how something is drawn.
DRAWN = {
    "kind",
    "relation",
    "unit",
    "passed",
    "schema",
    "version",
    "mechanism",
    "mode",
    "correct_means",
}
EVIL = "</text></title></style><script>alert(1)</script><img src=x onerror=\"alert('1')\">&amp;"


def leaves(data: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(data, dict):
        for name, value in data.items():
            yield from leaves(value, name)
    elif isinstance(data, list):
        for value in data:
            yield from leaves(value, key)
    elif data is not None:
        yield key, data


def test_every_value_of_the_json_is_in_the_page_and_no_figure_is_in_the_page_alone() -> None:
    filled = filled_report()
    data = json.loads(json.dumps(filled.to_json()))
    page = Page(render(filled))
    figures = {value for value, _ in page.figures}
    found = [(k, v) for k, v in leaves(data) if k not in DRAWN]
    numbers = {repr(v) for _, v in found if isinstance(v, int | float)}
    words = [v for _, v in found if isinstance(v, str)]
    assert len(numbers) > 250
    assert len(words) > 150
    lines = page.text
    assert [v for v in words if not re.search(rf"{re.escape(v)}(?!\d)", lines)] == []
    assert sorted(numbers - figures) == []
    places = {repr(v) for k, v in found if k == "position"}
    numbering = {str(i) for i in range(2)}  # rows of the table of boxes are numbered
    assert sorted(figures - numbers - places - numbering) == []


def test_every_figure_of_a_real_report_is_in_the_page_as_it_is_rounded() -> None:
    made = report()
    page = Page(render(made))
    figures = {value for value, _ in page.figures}
    for key, value in leaves({**made.to_json(), "diagnoses": []}):  # see tests/report
        if isinstance(value, bool) or not isinstance(value, int | float) or key in DRAWN:
            continue
        if key in ("layer", "position", "source", "target") or (key == "values" and value == 0):
            continue
        assert repr(value) in figures, (key, value)
    for exact, shown in page.figures:
        if shown and exact != "None":
            plain = shown.replace("−", "-").replace("\u202f", "")
            found = re.match(r"(?:[≥≤]\u00a0)?(-?[0-9.]+(?:e-?[0-9]+)?)", plain)
            assert found, shown
            digits = found[1]
            scale = 100 if "%" in shown else 1
            near = pytest.approx(float(exact) * scale, rel=6e-3, abs=0.051 if scale == 100 else 0)
            share = pytest.approx(float(exact) * 100, rel=6e-3, abs=0.051)
            # The lower end of an interval stands without the unit that its upper end has.
            assert float(digits) == near or float(digits) == share, (exact, shown)


def poisoned(data: Any, key: str = "") -> Any:
    if isinstance(data, dict):
        return {k: poisoned(v, k) for k, v in data.items()}
    if isinstance(data, list):
        return [poisoned(v, key) for v in data]
    return EVIL + data if isinstance(data, str) and key not in DRAWN else data


def test_text_is_never_read_as_html() -> None:
    clean = report()
    before = Page(render(clean))
    after = Page(render(Report.from_json(poisoned(clean.to_json()))))
    names = {name for name, _ in after.elements}
    assert names <= {name for name, _ in before.elements}
    assert not names & {"script", "img", "iframe", "object", "embed", "form", "base", "link"}
    assert not [a for _, given in after.elements for a in given if a.startswith("on")]
    assert EVIL in after.text
    assert sum(name == "style" for name, _ in after.elements) == 1


def test_tokens_that_are_markup_are_shown_letter_by_letter() -> None:
    made = report()
    evil = (
        made.concepts[0]
        .examples[0]
        .model_copy(
            update={
                "tokens": ("<script>", "alert(1)", "</script>", "\x00\x1b[31m", "\u202eevil"),
                "values": (1.0, 0.0, 2.0, 0.5, 0.1),
            }
        )
    )
    concept = made.concepts[0].model_copy(update={"examples": (evil,)})
    page = Page(render(made.model_copy(update={"concepts": (concept,)})))
    assert page.named("script") == []
    assert "<script>" in page.words
    assert "␀␛[31m" in page.text
    assert "\u202e" not in page.text


def test_the_page_asks_for_nothing_from_outside() -> None:
    text = render(report())
    page = Page(text)
    for _, attributes in page.elements:
        assert not {"src", "srcset", "action", "data", "xlink:href"} & set(attributes)
        assert str(attributes.get("href", "#")).startswith("#")
    without_names = text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|url\(|@import|//[a-z]", without_names)
    metas = {m.get("name") or m.get("http-equiv"): m.get("content") for m in page.named("meta")}
    assert str(metas["Content-Security-Policy"]).startswith("default-src 'none'")
    assert "width=device-width" in str(metas["viewport"])
    anchors = {str(a["id"]) for _, a in page.elements if a.get("id")}
    assert {str(a["href"])[1:] for a in page.named("a")} <= anchors


def test_headings_go_down_one_level_at_a_time() -> None:
    levels = [int(n[1]) for n, _ in Page(render(report())).elements if re.fullmatch("h[1-6]", n)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_the_findings_stand_before_the_parts() -> None:
    page = Page(render(report()))
    text = " ".join(page.words)
    first = text.index("verdict  outvoted")
    assert first < text.index("Dictionaries")
    assert text.index("✗ missed by deception suppressed") < text.index("Dictionaries")
    assert "Not judged: not measured" in text
    good = report().model_copy(update={"validation": report().validation[:1], "diagnoses": ()})
    assert ": ✓ none is missed" in Page(render(good)).words


def test_every_part_and_every_table_has_a_name() -> None:
    page = Page(render(report()))
    assert all(t.get("aria-label") for t in page.named("table"))
    assert all(s.get("aria-label") for s in page.named("section"))
    assert len([p for p in page.named("p") if p.get("class") == "guide"]) == 6


def test_parts_without_content_are_left_out() -> None:
    page = Page(render(Report(header=report().header)))
    assert page.named("section") == []
    assert page.named("nav") == []


def test_the_terminal_tells_every_row_with_its_verdict() -> None:
    lines = report_text(report()).splitlines()
    table = lines[next(i for i, line in enumerate(lines) if "against their bars" in line) + 1 :]
    assert len(table) == len(report().validation)
    assert "SHORT  deception suppressed: 37.5" in table[2]
    assert [line.split()[0] for line in table] == [
        "holds",
        "holds",
        "SHORT",
        "holds",
        "holds",
        "not",
    ]


def test_both_files_are_written_and_read_back_equal(tmp_path: Path) -> None:
    made = report()
    write_report(made, tmp_path / "new")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["report.html", "report.json"]
    again = read_report(tmp_path / "new")
    assert again == made
    assert (tmp_path / "new" / "report.html").read_text() == render(again)


def test_a_report_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    data = report().to_json()
    with pytest.raises(DataError, match="version 2 .* up to 1"):
        Report.from_json({**data, "version": 2})
    with pytest.raises(DataError, match="inscape.microworld.report"):
        Report.from_json({"schema": "inscape.graph", "version": 1})
    with pytest.raises(DataError, match=r"damaged \(header\.seed"):
        Report.from_json({**data, "header": {**data["header"], "seed": "x"}})
    with pytest.raises(DataError, match=r"damaged \(extra"):
        Report.from_json({**data, "extra": 1})
    with pytest.raises(StorageError, match="does not exist"):
        read_report(tmp_path)

"""The page: report.html from a `Report`, and both files written together.

The page asks for nothing from outside, runs no script, and shows every text as text.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from inscape.report.diagnosis import diagnosis_html
from inscape.report.glance import glance
from inscape.report.markup import Markup, join, raw_css, tag
from inscape.report.parts import checks_table
from inscape.report.schema import Report
from inscape.report.sections import concepts, dictionaries, header, section, trace
from inscape.report.steering import steering_html
from inscape.storage import atomic_write, read_json, write_json

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def style() -> Markup:
    """The style sheet; all its rules are under the class `inscape`."""
    text = (files("inscape.report") / "page.css").read_text(encoding="utf-8")
    return raw_css(text)


def fragment(content: Markup) -> str:
    """Markup of this room with its style sheet, to be shown by itself, as in a notebook."""
    return join(style(), tag("div", content, class_="inscape"))


def render(report: Report) -> str:
    """The whole page."""
    parts = _parts(report)
    links = [tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title, _ in parts]
    body = tag(
        "main",
        header(report.header, glance(report)),
        tag("nav", tag("ul", links), aria_label="On this page") if len(parts) > 1 else None,
        [section(anchor, title, content) for anchor, title, content in parts],
        class_="page",
    )
    title = f"{report.header.title}: {report.header.model}"
    return document(title, body, version=report.header.version)


def document(title: str, body: Markup, *, version: str) -> str:
    """A page that asks for nothing from outside and runs no script."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"inscape {version}"),
        tag("title", title),
        style(),
    )
    page = tag("html", head, tag("body", body, class_="inscape"), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"


def _parts(report: Report) -> list[tuple[str, str, Markup]]:
    """(anchor, title, content) of each part that has content, in the page's order."""
    candidates: list[tuple[str, str, Markup | None]] = [
        (
            "dictionaries",
            "Dictionaries",
            dictionaries(report.dictionaries) if report.dictionaries else None,
        ),
        ("concepts", "Concepts", concepts(report.concepts)),
        ("traces", "Traces", join([trace(t) for t in report.traces])),
        ("diagnosis", "Diagnosis", join([diagnosis_html(d) for d in report.diagnoses])),
        ("steering", "Steering", join([steering_html(s) for s in report.steering])),
        ("validation", "Validation", checks_table(report.validation, what="checks")),
    ]
    return [(anchor, title, content) for anchor, title, content in candidates if content]


def write_report(report: Report, folder: str | Path) -> None:
    """Writes report.json and report.html into a folder, each whole or not at all.

    Raises:
        StorageError: the disk is full or may not be written to.
    """
    place = Path(folder)
    page = render(report)
    write_json(place / "report.json", report.to_json())
    atomic_write(place / "report.html", page.encode())


def read_report(path: str | Path) -> Report:
    """The report in a report.json, or in the folder that holds one.

    Raises:
        StorageError: there is none, or it is no JSON.
        DataError: it is no report, of a newer version, or damaged.
    """
    place = Path(path)
    return Report.from_json(read_json(place / "report.json" if place.is_dir() else place))

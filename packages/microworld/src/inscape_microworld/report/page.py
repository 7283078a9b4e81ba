"""The demo's page, and both files written together."""

from __future__ import annotations

from pathlib import Path

from inscape.report.markup import Markup, join, tag
from inscape.report.page import document
from inscape.storage import atomic_write, read_json, write_json
from inscape_microworld.report.glance import glance
from inscape_microworld.report.parts import checks_table
from inscape_microworld.report.schema import Report
from inscape_microworld.report.sections import (
    concepts,
    diagnosis,
    dictionaries,
    header,
    section,
    trace,
)
from inscape_microworld.report.steering import steering_html


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
        ("diagnosis", "Diagnosis", join([diagnosis(d) for d in report.diagnoses])),
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

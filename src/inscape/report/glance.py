"""The findings in a few lines, for a reader who stops after the header."""

from __future__ import annotations

from collections.abc import Sequence

from inscape.report.figures import Check
from inscape.report.markup import Markup, join, tag
from inscape.report.parts import figure
from inscape.report.schema import DiagnosisView, Report


def glance(report: Report) -> Markup | None:
    """Each diagnosis with its verdict, and what falls short of its bar; None without either."""
    items = [_diagnosed(view) for view in report.diagnoses]
    if report.validation:
        items.append(_judged(report.validation))
    return tag("ul", [tag("li", item) for item in items], class_="glance") if items else None


def _diagnosed(view: DiagnosisView) -> Markup:
    told = join(
        tag("a", view.title, href="#diagnosis"), ": verdict ", tag("strong", view.mechanism)
    )
    if view.repaired is None:
        return told
    control = join(", removing matched random ones ", figure(view.random)) if view.random else None
    return join(
        told,
        "; removing the features found puts ",
        figure(view.repaired),
        " of the failing prompts right",
        control,
    )


def _judged(checks: Sequence[Check]) -> Markup:
    short = [check.name for check in checks if check.passed is False]
    unknown = [check.name for check in checks if check.passed is None]
    link = tag("a", "Bars", href="#validation")
    return join(
        link,
        f": ✗ missed by {'; '.join(short)}" if short else ": ✓ none is missed",
        f". Not judged: {'; '.join(unknown)}" if unknown else None,
    )

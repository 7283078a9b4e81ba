"""The findings in a few lines, for a reader who stops after the header."""

from __future__ import annotations

from collections.abc import Sequence

from inscape.report.markup import Markup, join, tag
from inscape.report.parts import barred, share
from inscape_microworld.report.figures import Check
from inscape_microworld.report.schema import DiagnosisView, Report


def glance(report: Report) -> Markup | None:
    """Each diagnosis with its verdict, and what falls short of its bar; None without either."""
    items = [_diagnosed(view) for view in report.diagnoses]
    if report.validation:
        items.append(_judged(report.validation))
    return tag("ul", [tag("li", item) for item in items], class_="glance") if items else None


def _diagnosed(view: DiagnosisView) -> Markup:
    found = view.diagnosis
    verdict = join(
        tag("a", view.title, href="#diagnosis"), ": verdict ", tag("strong", found.mechanism)
    )
    if not found.num_failures:
        return verdict
    random = found.random.value
    control = ("; removing random ones as active ", barred(random, "share", ""))
    return join(
        verdict,
        "; removing the features found corrects ",
        share(found.repaired),
        " of the failing prompts",
        control if random is not None else None,
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

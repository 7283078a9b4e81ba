"""A result of steering on the page: the text plain and steered, side by side."""

from __future__ import annotations

import re

from inscape.core import LabelOf, no_label
from inscape.intervention import SteerResult
from inscape.report.markup import Markup, tag
from inscape.report.parts import number

_FEATURE = re.compile(r"([\w.+-]+)/(\d{1,9})\b")


def steered_features(result: SteerResult) -> list[tuple[str, int]]:
    """The features that were changed."""
    return [(m[1], int(m[2])) for change in result.changes for m in _FEATURE.finditer(change)]


def steering_html(result: SteerResult, labels: LabelOf = no_label) -> Markup:
    """One result as an `<article>`; labels: of the features that were changed."""

    def named(found: re.Match[str]) -> str:
        label = labels(found[1], int(found[2]))
        return f"{found[0]} [{label}]" if label else found[0]

    changes = _FEATURE.sub(named, "; ".join(result.changes))
    return tag(
        "article",
        tag("p", tag("q", result.prompt), class_="prompt"),
        tag("p", changes, class_="note"),
        tag(
            "div",
            _text("without the change", result.plain, result.plain_loss),
            _text("with it", result.steered, result.steered_loss),
            class_="pair samples",
        ),
        class_="card",
    )


def _text(title: str, text: str, loss: float | None) -> Markup:
    rated = tag("p", "loss ", number(loss, "nats"), " per token", class_="note")
    return tag(
        "div", tag("h5", title), tag("p", text.lstrip(" "), dir="auto", class_="text"), rated
    )

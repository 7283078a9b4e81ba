"""A result of steering on the page: the text plain and steered, side by side."""

from __future__ import annotations

from inscape.intervention import SteerResult
from inscape.report.markup import Markup, tag
from inscape.report.parts import number


def steering_html(result: SteerResult) -> Markup:
    """One result as an `<article>`."""
    return tag(
        "article",
        tag("p", tag("q", result.prompt), class_="prompt"),
        tag("p", "; ".join(result.changes), class_="note"),
        tag(
            "div",
            _text("as it is", result.plain, result.plain_loss),
            _text("steered", result.steered, result.steered_loss),
            class_="pair samples",
        ),
        class_="card",
    )


def _text(title: str, text: str, loss: float | None) -> Markup:
    told = tag("p", "loss ", number(loss, "nats"), " per token", class_="note")
    return tag("div", tag("h5", title), tag("p", text.lstrip(" "), dir="auto", class_="text"), told)

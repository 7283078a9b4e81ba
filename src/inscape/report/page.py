"""Self-contained pages: they ask for nothing from outside, and show every text as text."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import inscape
from inscape.report.markup import Markup, join, own, tag

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def _style() -> Markup:
    """The style sheet; all its rules are under the class `inscape`."""
    return own("style", _file("page.css"))


def _file(name: str) -> str:
    return (files("inscape.report") / name).read_text(encoding="utf-8")


def fragment(content: Markup) -> str:
    """Markup of this package with its style sheet, to be shown by itself, as in a notebook."""
    return join(_style(), tag("div", content, class_="inscape"))


MADE = r'<meta name="generator" content="inscape'
"""What marks a page that inscape made (a regular expression)."""


def document(
    title: str, body: Markup, *, version: str = inscape.__version__, script: str | None = None
) -> str:
    """A whole page; script: the file of this package with the one script that its policy lets run,
    by its hash."""
    policy, code = POLICY, None
    if script is not None:
        text = _file(script)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        policy, code = f"{POLICY}; script-src 'sha256-{digest}'", own("script", text)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"inscape {version}"),
        tag("title", title),
        _style(),
    )
    page = tag("html", head, tag("body", body, code, class_="inscape"), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"

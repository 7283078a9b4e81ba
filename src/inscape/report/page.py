"""Self-contained pages: they ask for nothing from outside, and show every text as text."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

from inscape.report.markup import Markup, join, own, tag

POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def style() -> Markup:
    """The style sheet; all its rules are under the class `inscape`."""
    return own("style", _file("page.css"))


def script() -> str:
    """The script that searches and sorts the features of a page."""
    return _file("page.js")


def _file(name: str) -> str:
    return (files("inscape.report") / name).read_text(encoding="utf-8")


def fragment(content: Markup) -> str:
    """Markup of this package with its style sheet, to be shown by itself, as in a notebook."""
    return join(style(), tag("div", content, class_="inscape"))


MADE = r'<meta name="generator" content="inscape'
"""What marks a page that inscape made (a regular expression)."""


def document(title: str, body: Markup, *, version: str, script: str = "") -> str:
    """A whole page. The only script that its policy lets run is `script`, by its hash."""
    policy, code = POLICY, None
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy, code = f"{POLICY}; script-src 'sha256-{digest}'", own("script", script)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content=f"inscape {version}"),
        tag("title", title),
        style(),
    )
    page = tag("html", head, tag("body", body, code, class_="inscape"), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"

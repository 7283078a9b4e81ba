"""How wide text is in a picture, and how it is broken and cut: there is no browser to ask."""

from __future__ import annotations

import unicodedata

NARROW = frozenset("ijlt.,:;'|!()[] fr")
BROAD = frozenset("mwMW@%—…")


def width(text: str, size: float) -> float:
    """The width of a text in a usual sans-serif face of `size` pixels, rather too wide."""
    return size * sum(_advance(char) for char in text)


def _advance(char: str) -> float:
    if unicodedata.east_asian_width(char) in "WF":
        return 1.02
    if unicodedata.combining(char):
        return 0.0
    if char in NARROW:
        return 0.38
    if char in BROAD:
        return 0.92
    return 0.72 if char.isupper() else 0.61


def shorten(text: str, room: float, size: float) -> str:
    """The text, cut with an ellipsis where it is wider than `room` pixels."""
    if width(text, size) <= room:
        return text
    while text and width(text + "…", size) > room:
        text = text[:-1]
    return text.rstrip() + "…"


def lines(text: str, room: float, size: float, num_lines: int = 2) -> list[str]:
    """The text in at most `num_lines` lines; the last one is cut where it does not fit."""
    found: list[str] = []
    rest = text.split()
    while rest and len(found) < num_lines - 1:
        line = rest.pop(0)
        while rest and width(f"{line} {rest[0]}", size) <= room:
            line += f" {rest.pop(0)}"
        if width(line, size) > room:
            rest.insert(0, line)
            break
        found.append(line)
    if rest:
        found.append(shorten(" ".join(rest), room, size))
    return found or [""]

"""Elements of HTML and SVG in which text can only ever be text.

`tag` escapes every child and attribute that is not itself `Markup`; nothing else makes `Markup`.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID = frozenset({"meta", "br", "hr", "col", "link"})
CONTROL = {i: 0x2400 + i for i in range(32) if chr(i) not in "\t\n"} | {127: 0x2421}
# Marks that turn the direction of what follows must not reach beyond their token.
DIRECTION = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
# Halves of surrogate pairs stand in text that was cut in the middle; no file can hold them.
UNSAFE = CONTROL | DIRECTION | dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000)), 0xFFFD)


class Markup(str):
    """Text that is HTML already. Made by `tag` and `join` alone."""

    __slots__ = ()


def escape(text: object) -> Markup:
    """The text as HTML that shows it; control characters are shown as pictures."""
    return text if isinstance(text, Markup) else _quoted(text)


def _quoted(text: object) -> Markup:
    return Markup(html.escape(str(text).translate(UNSAFE), quote=True))


def join(*children: object) -> Markup:
    """Children one after the other: markup as it is, text escaped, None left out."""
    return Markup("".join(_parts(children)))


def _parts(children: Iterable[object]) -> Iterable[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, str) or not isinstance(child, Iterable):
            yield escape(child)
        else:
            yield from _parts(child)


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Attribute names: a trailing underscore falls away, others become hyphens;
    None and False leave an attribute out, True gives one without a value; numbers with a fraction
    are lengths in pixels, of one decimal."""
    head = name
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        shown = key.rstrip("_").replace("_", "-")
        text = px(value) if isinstance(value, float) else value
        head += f" {shown}" if value is True else f' {shown}="{_quoted(text)}"'
    if name in VOID:
        return Markup(f"<{head}>")
    return Markup(f"<{head}>{join(*children)}</{name}>")


def px(value: float) -> str:
    """A length in pixels."""
    return f"{value:.1f}".removesuffix(".0")


def own(name: str, text: str) -> Markup:
    """A style or script element. Only for the files of this package, never for data."""
    if "</" in text:
        raise ValueError(f"a {name} must not end its element")
    return Markup(f"<{name}>{text}</{name}>")

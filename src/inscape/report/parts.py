"""Small pieces of a page: numbers, fractions with their intervals, tables, snippets, features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inscape.core import Share, first_shown, with_signs
from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import EN_DASH, MINUS, show, show_unit

LEVELS = 8


def number(value: float | int | None, unit: str = "", *, bare: bool = False) -> Markup:
    """A number as people read it, which carries the exact value as well; `bare`: no unit."""
    if value is None:
        return tag("span", EN_DASH, class_="none", title="not measured")
    shown = show(value, unit)
    return tag("data", shown.removesuffix(show_unit(unit)) if bare else shown, value=repr(value))


def span(low: float, high: float, unit: str = "") -> Markup:
    """A 95 % interval."""
    gap = f" {EN_DASH} " if min(low, high) < 0 else EN_DASH
    ends = number(low, unit, bare=True), gap, number(high, unit)
    return tag("span", ends, title="95 % interval", class_="range")


def share(given: Share | None, style: str = "") -> Markup:
    """A fraction of cases with its interval and count; with `style` a bar of that length too."""
    if given is None or not given.total:
        return number(None)
    interval = span(*given.interval, "share")
    beside = join(interval, "; ", number(given.count), " of ", number(given.total))
    return barred(given.value, "share", style, beside=beside)


def barred(
    value: float | None, unit: str, style: str, *, largest: float = 1.0, beside: object = None
) -> Markup:
    """A number, with a bar as long as its fraction of the largest where a style is given."""
    rest = tag("span", "(", beside, ")", class_="interval") if beside else None
    if not style:
        return join(number(value, unit), " " if rest else None, rest)
    length = 0.0 if value is None or largest <= 0 else min(1.0, abs(value) / largest)
    fill = tag("span", class_=f"fill {style}", style=f"width:{100 * length:.1f}%")
    track = tag("span", fill, class_="track", aria_hidden="true")
    return tag("span", track, number(value, unit), " " if rest else None, rest, class_="barred")


def table(
    heads: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    caption: str = "",
    what: str = "",
    numeric: Iterable[int] = (),
    merged: Iterable[int] = (),
    class_: str = "",
) -> Markup:
    """A table in a box that scrolls by itself; the first cell of a row is its heading.

    what: its name for screen readers, where it has no caption; merged: columns in which equal
        cells that follow one another are shown once.
    """
    right, once, body = set(numeric), set(merged), [tuple(row) for row in rows]

    def cell(row: int, i: int) -> Markup | None:
        content, size = body[row][i], 1
        if i in once:
            if row and body[row - 1][i] == content:
                return None
            while row + size < len(body) and body[row + size][i] == content:
                size += 1
        name, scope = ("td", None) if i else ("th", "row")
        style = "num" if i in right else None
        return tag(name, content, scope=scope, class_=style, rowspan=size if size > 1 else None)

    head = [
        tag("th", h, scope="col", class_="num" if i in right else None) for i, h in enumerate(heads)
    ]
    lines = [tag("tr", [cell(r, i) for i in range(len(row))]) for r, row in enumerate(body)]
    named = caption or what or None
    inner = tag(
        "table",
        tag("thead", tag("tr", head)),
        tag("tbody", lines),
        class_=class_ or None,
        aria_label=named,
    )
    above = tag("p", caption, class_="caption") if caption else None
    return join(above, scroll(inner, named or "table"))


def fold(title: object, content: object) -> Markup:
    """Content that opens when it is asked for."""
    return tag("details", tag("summary", title), content)


def scroll(content: object, what: str, *, from_end: bool = False) -> Markup:
    """A box that scrolls sideways where its content is wider than the page; `from_end`: it shows
    the right end first."""
    style = "scroll from-end" if from_end else "scroll"
    return tag("div", content, class_=style, tabindex="0", role="region", aria_label=what)


def feature_name(name: str, label: str | None = None) -> Markup:
    """`dictionary/index`, with its label."""
    shown = tag("code", name, class_="name", data_value=name.rpartition("/")[2])
    return join(shown, " ", tag("span", label, class_="label")) if label else join(shown)


def tokens_line(effects: Iterable[tuple[str, float]]) -> Markup:
    """Tokens with a number each, in a row."""
    items = [
        tag("span", tag("code", visible(token)), "\u00a0", number(value), class_="token")
        for token, value in effects
    ]
    return tag("div", [(item, " ") for item in items], class_="tokens")


def visible(text: str) -> str:
    """The token with its leading and trailing spaces, tabs and line ends made visible."""
    core = text.strip(" ")
    if not core:
        return "␣" * len(text) or "(empty)"
    start = len(text) - len(text.lstrip(" "))
    end = len(text) - len(text.rstrip(" "))
    return "␣" * start + with_signs(core) + "␣" * end


def visible_target(name: str) -> str:
    """The name of an answer, or of the difference of two, with its spaces made visible."""
    return f" {MINUS} ".join(visible(token) for token in name.split(f" {MINUS} "))


def snippet(tokens: Sequence[str], values: Sequence[float], source: object = "") -> Markup:
    """Text with its tokens shaded by activation; the strongest is underlined and bold."""
    top = max(values, default=0.0)
    strongest = first_shown(tokens, list(values).index(top)) if top > 0 else -1
    shown = list(values)
    for i in range(len(tokens) - 1):  # a part of a character is shaded where that is shown
        if not tokens[i]:
            shown[i + 1] = max(shown[i], shown[i + 1])
    words = []
    for i, (token, value) in enumerate(zip(tokens, shown, strict=True)):
        text = with_signs(token if i else token.lstrip(" ") or token)
        if value == 0 or not text:
            words.append(join(text))
            continue
        core = text.lstrip(" ") or text
        level = round(value / top * LEVELS) if top > 0 else 1
        style = f"h{min(LEVELS, max(1, level))}{' strongest' * (i == strongest)}"
        title = f"activation {show(value)}"
        marked = tag("mark", core, class_=style, title=title, data_value=repr(value))
        words.append(join(text[: len(text) - len(core)], marked))
    side = tag("div", [source, " · "] if source else None, "max ", number(top), class_="interval")
    return tag("li", tag("div", words, class_="text", dir="auto"), side)

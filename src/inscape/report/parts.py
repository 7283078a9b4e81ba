"""Small pieces of the page: numbers, figures with bars, tables, snippets, feature names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inscape.report.figures import (
    EN_DASH,
    Check,
    Figure,
    Measure,
    Unit,
    show,
    show_bar,
    show_unit,
)
from inscape.report.markup import Markup, join, tag
from inscape.report.schema import FeatureName, Snippet, TokenEffect

LEVELS = 8
SPACE = {"\n": "↵", "\t": "⇥"}


def number(value: float | int | None, unit: str = "", *, bare: bool = False) -> Markup:
    """A number as people read it, which carries the exact value as well; `bare`: no unit."""
    if value is None:
        return tag("span", EN_DASH, class_="none", title="not measured")
    shown = show(value, unit)
    return tag("data", shown.removesuffix(show_unit(unit)) if bare else shown, value=repr(value))


def figure(given: Figure | None) -> Markup:
    """A figure with its interval and count."""
    if given is None:
        return number(None)
    rest = _beside(given)
    told = tag("span", "(", _listed(rest), ")", class_="interval") if rest else None
    return join(number(given.value, given.unit), " " if told else None, told)


def _beside(given: Figure) -> list[Markup]:
    """The interval, and the count that it rests on."""
    beside = []
    if given.low is not None and given.high is not None:
        low = number(given.low, given.unit, bare=True)
        gap = f" {EN_DASH} " if min(given.low, given.high) < 0 else EN_DASH
        high = number(given.high, given.unit)
        beside.append(tag("span", low, gap, high, title="95 % interval", class_="range"))
    if given.count is not None and given.total is not None:
        beside.append(join(number(given.count), " of ", number(given.total)))
    return beside


def _listed(items: Sequence[Markup]) -> Markup:
    return join([("; " if i else None, item) for i, item in enumerate(items)])


def verdict(measure: Measure) -> Markup | None:
    """Whether the bar is reached, in a sign and a word."""
    if measure.passed is None:
        return None
    if measure.passed:
        return tag("span", "✓ passed", class_="verdict passed")
    return tag("span", "✗ short", class_="verdict short")


def bar(measure: Measure) -> Markup | None:
    """The bar of a measure, in words."""
    if measure.bar is None:
        return None
    exact = None if measure.bar.value is None else repr(measure.bar.value)
    return tag("data", show_bar(measure.bar, measure.figure.unit), value=exact)


def samples(measure: Measure) -> Markup | None:
    """What a figure rests on."""
    if measure.samples is None:
        return join(measure.sample_unit) if measure.sample_unit else None
    unit = f"\u00a0{measure.sample_unit}" if measure.sample_unit else ""
    return join(number(measure.samples), unit)


def measure_cell(measure: Measure | None) -> Markup:
    """A figure, its interval, its bar and the verdict, one below the other."""
    if measure is None:
        return number(None)
    lines = [
        tag("div", number(measure.figure.value, measure.figure.unit), class_="figure"),
        [tag("div", part, class_="interval") for part in _beside(measure.figure)],
        _judged(measure),
        _rests_on(measure),
    ]
    return join(lines)


def measure_line(measure: Measure, bars: object) -> Markup:
    """A measure of which the figure is drawn as `bars`, with the rest beneath."""
    return join(bars, _judged(measure), _rests_on(measure))


def _judged(measure: Measure) -> Markup | None:
    told = bar(measure)
    return tag("div", told, " ", verdict(measure), class_="bar") if told else None


def _rests_on(measure: Measure) -> Markup:
    texts = [text for text in (samples(measure), measure.note) if text]
    return join([tag("div", text, class_="interval") for text in texts])


def table(
    heads: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    caption: object = None,
    numeric: Iterable[int] = (),
    class_: str = "",
) -> Markup:
    """A table in a box that scrolls by itself; the first cell of a row is its heading."""
    right = set(numeric)
    named = caption if isinstance(caption, str) and not isinstance(caption, Markup) else "table"

    def cell(i: int, content: object) -> Markup:
        style = "num" if i in right else None
        if i == 0:
            return tag("th", content, scope="row", class_=style)
        return tag("td", content, class_=style)

    head = tag("tr", [tag("th", h, scope="col", class_="num" if i in right else None)
                      for i, h in enumerate(heads)])  # fmt: skip
    body = [tag("tr", [cell(i, c) for i, c in enumerate(row)]) for row in rows]
    inner = tag(
        "table",
        tag("thead", head),
        tag("tbody", body),
        class_=class_ or None,
    )
    above = tag("p", caption, class_="caption") if caption else None
    return join(above, scroll(inner, named))


def scroll(content: object, what: str) -> Markup:
    """A box that scrolls sideways where its content is wider than the page."""
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=what)


def checks_table(checks: Sequence[Check], *, caption: object = None) -> Markup | None:
    """Name, figure, bar with verdict, samples, seed; columns that nobody fills are left out."""
    if not checks:
        return None
    columns: list[tuple[str, list[object], bool]] = [
        ("what", [_named(c) for c in checks], False),
        ("measured", [figure(c.figure) for c in checks], False),
        ("bar", [_bar_and_verdict(c) for c in checks], False),
        ("samples", [samples(c) for c in checks], True),
        ("seed", [None if c.seed is None else number(c.seed) for c in checks], True),
    ]
    kept = [c for c in columns if any(cell is not None for cell in c[1])]
    rows = list(zip(*(cells for _, cells, _ in kept), strict=True))
    numeric = [i for i, (_, _, right) in enumerate(kept) if right]
    heads = [head for head, _, _ in kept]
    return table(heads, rows, caption=caption, numeric=numeric, class_="checks")


def _bar_and_verdict(check: Check) -> Markup | None:
    told = bar(check)
    return None if told is None else join(told, " ", verdict(check))


def _named(check: Check) -> Markup:
    return join(check.name, tag("div", check.note, class_="note") if check.note else None)


def feature_name(feature: FeatureName, *, label: bool = True) -> Markup:
    """`dictionary/index`, with its label."""
    name = tag("code", feature.name, class_="name", data_value=feature.index)
    return join(name, " ", tag("q", feature.label)) if label and feature.label else join(name)


def tokens_line(effects: Sequence[TokenEffect], unit: Unit = "") -> Markup:
    """Tokens with their effects, in a row."""
    items = [
        tag("span", tag("code", visible(e.token)), "\u00a0", number(e.value, unit), class_="token")
        for e in effects
    ]
    return tag("div", [(item, " ") for item in items], class_="tokens")


def visible(text: str) -> str:
    """The token with its leading and trailing spaces, tabs and line ends made visible."""
    core = text.strip(" ")
    if not core:
        return "␣" * len(text) or "(empty)"
    start = len(text) - len(text.lstrip(" "))
    end = len(text) - len(text.rstrip(" "))
    shown = core.replace("\n", SPACE["\n"]).replace("\t", SPACE["\t"])
    return "␣" * start + shown + "␣" * end


def snippet(given: Snippet) -> Markup:
    """Text with its tokens coloured by activation; the strongest is underlined and bold."""
    top = max(given.values, default=0.0)
    strongest = given.values.index(top) if top > 0 else -1
    words = [
        _word(token, value, top, strong=i == strongest)
        for i, (token, value) in enumerate(zip(given.tokens, given.values, strict=True))
    ]
    source = tag("span", given.source, " · ") if given.source else None
    side = tag("div", source, "max ", number(top), class_="interval")
    return tag("li", tag("div", words, class_="text", dir="auto"), side)


def _word(token: str, value: float, top: float, *, strong: bool) -> Markup:
    shown = token.replace("\n", SPACE["\n"]).replace("\t", SPACE["\t"])
    if value == 0:
        return join(shown)
    core = shown.lstrip(" ") or shown
    space = shown[: len(shown) - len(core)]
    share = value / top if top > 0 else 0.0
    level = min(LEVELS, max(1, round(share * LEVELS)))
    style = f"h{level} strongest" if strong else f"h{level}"
    told = f"activation {show(value)}"
    return join(space, tag("mark", core, class_=style, title=told, data_value=repr(value)))

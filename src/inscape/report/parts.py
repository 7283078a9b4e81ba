"""Small pieces of the page: numbers, figures with bars, tables, snippets, feature names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from inscape.report.figures import (
    EN_DASH,
    MINUS,
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


def measure_cell(measure: Measure | None, *, rests: bool = True) -> Markup:
    """A figure, its interval, its bar and the verdict, one below the other; `rests`: and what it
    rests on."""
    if measure is None:
        return number(None)
    lines = [
        tag("div", number(measure.figure.value, measure.figure.unit), class_="figure"),
        [tag("div", part, class_="interval") for part in _beside(measure.figure)],
        _judged(measure),
        _rests_on(measure) if rests else None,
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
    caption: str = "",
    what: str = "",
    numeric: Iterable[int] = (),
    merged: Iterable[int] = (),
    class_: str = "",
) -> Markup:
    """A table in a box that scrolls by itself; the first cell of a row is its heading.

    what: its name for those who do not see it, where it has no caption; merged: columns in which
    equal cells that follow one another are told once.
    """
    right, once, body = set(numeric), set(merged), [tuple(row) for row in rows]

    def cell(row: int, i: int) -> Markup | None:
        content, span = body[row][i], 1
        if i in once:
            if row and body[row - 1][i] == content:
                return None
            while row + span < len(body) and body[row + span][i] == content:
                span += 1
        name, scope = ("td", None) if i else ("th", "row")
        style = "num" if i in right else None
        return tag(name, content, scope=scope, class_=style, rowspan=span if span > 1 else None)

    head = tag(
        "tr",
        [
            tag("th", h, scope="col", class_="num" if i in right else None)
            for i, h in enumerate(heads)
        ],
    )
    lines = [tag("tr", [cell(r, i) for i in range(len(row))]) for r, row in enumerate(body)]
    named = caption or what or None
    inner = tag(
        "table", tag("thead", head), tag("tbody", lines), class_=class_ or None, aria_label=named
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


def checks_table(checks: Sequence[Check], *, caption: str = "", what: str = "") -> Markup | None:
    """Name, figure, bar with verdict, samples, seed; columns that nobody fills are left out, and
    what all rows share is told once."""
    if not checks:
        return None
    seeds = {c.seed for c in checks}
    seed = seeds.pop() if len(seeds) == 1 else None
    columns: list[tuple[str, list[object], bool]] = [
        ("what", [_named(c) for c in checks], False),
        ("measured", [figure(c.figure) for c in checks], False),
        ("bar", [_bar_and_verdict(c) for c in checks], False),
        ("rests on", [_resting(c) for c in checks], False),
    ]
    if seed is None:
        seeded: list[object] = [None if c.seed is None else number(c.seed) for c in checks]
        columns.append(("seed", seeded, True))
    kept = [c for c in columns if any(cell is not None for cell in c[1])]
    rows = list(zip(*(cells for _, cells, _ in kept), strict=True))
    numeric = [i for i, (_, _, right) in enumerate(kept) if right]
    heads = [head for head, _, _ in kept]
    merged = [i for i, head in enumerate(heads) if head == "rests on"]
    made = table(
        heads, rows, caption=caption, what=what, numeric=numeric, merged=merged, class_="checks"
    )
    return made if seed is None else join(made, tag("p", "seed ", number(seed), class_="note"))


def _resting(check: Check) -> Markup | None:
    told = samples(check)
    return None if told is None else tag("div", told, class_="interval")


def _bar_and_verdict(check: Check) -> Markup | None:
    told = bar(check)
    return None if told is None else join(told, " ", verdict(check))


def _named(check: Check) -> Markup:
    return join(check.name, tag("div", check.note, class_="note") if check.note else None)


def feature_name(feature: FeatureName, *, label: bool = True) -> Markup:
    """`dictionary/index`, with its label."""
    name = tag("code", feature.name, class_="name", data_value=feature.index)
    return join(name, " ", tag("q", feature.label)) if label and feature.label else join(name)


def feature_list(title: str, features: Sequence[FeatureName], *, inline: int = 3) -> Markup:
    """Features in a line, or folded in columns where they are more than `inline`."""
    if len(features) <= inline:
        named = [("; " if i else None, feature_name(f)) for i, f in enumerate(features)]
        return tag("p", title, ": ", named)
    items = [tag("li", feature_name(f)) for f in features]
    return fold(f"{title}: {len(features)} features", tag("ul", items, class_="features"))


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


def visible_target(name: str) -> str:
    """The name of an answer, or of the difference of two, with its spaces made visible."""
    return f" {MINUS} ".join(visible(token) for token in name.split(f" {MINUS} "))


def snippet(given: Snippet) -> Markup:
    """Text with its tokens coloured by activation; the strongest is underlined and bold."""
    top = max(given.values, default=0.0)
    strongest = given.values.index(top) if top > 0 else -1
    tokens = [t if i else t.lstrip(" ") or t for i, t in enumerate(given.tokens)]
    words = [
        _word(token, value, top, strong=i == strongest)
        for i, (token, value) in enumerate(zip(tokens, given.values, strict=True))
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

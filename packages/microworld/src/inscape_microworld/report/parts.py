"""Pieces of the demo's page: figures with their thresholds, tables of checks, lists of features."""

from __future__ import annotations

from collections.abc import Sequence

from inscape.report.markup import Markup, join, tag
from inscape.report.parts import feature_name, fold, number, span, table
from inscape_microworld.report.figures import Check, Figure, Measure, show_bar
from inscape_microworld.report.schema import FeatureName


def figure(given: Figure | None, *, alone: bool = True) -> Markup | None:
    """A figure with its interval and count; with alone=False these two without it."""
    if given is None:
        return number(None)
    rest = _listed(_beside(given)) if _beside(given) else None
    if not alone:
        return rest
    shown = tag("span", "(", rest, ")", class_="interval") if rest else None
    return join(number(given.value, given.unit), " " if shown else None, shown)


def _beside(given: Figure) -> list[Markup]:
    """The interval, and the count that it rests on."""
    beside = []
    if given.low is not None and given.high is not None:
        beside.append(span(given.low, given.high, given.unit))
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
        judged(measure),
        _rests_on(measure) if rests else None,
    ]
    return join(lines)


def judged_and_rest(measure: Measure) -> Markup:
    """The bar of a measure, and what the figure rests on."""
    return join(judged(measure), _rests_on(measure))


def judged(measure: Measure) -> Markup | None:
    """The bar of a measure, and whether it is reached."""
    told = bar(measure)
    return tag("div", told, " ", verdict(measure), class_="bar") if told else None


def _rests_on(measure: Measure) -> Markup:
    texts = [text for text in (samples(measure), measure.note) if text]
    return join([tag("div", text, class_="interval") for text in texts])


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


def feature_list(title: str, features: Sequence[FeatureName], *, inline: int = 3) -> Markup:
    """Features in a line, or folded in columns where they are more than `inline`."""
    if len(features) <= inline:
        named = [
            ("; " if i else None, feature_name(f.name, f.label)) for i, f in enumerate(features)
        ]
        return tag("p", title, ": ", named)
    items = [tag("li", feature_name(f.name, f.label)) for f in features]
    return fold(f"{title}: {len(features)} features", tag("ul", items, class_="features"))

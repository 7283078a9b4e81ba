"""Line charts as inline SVG: series differ in colour, in dash and in the shape of their marks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from inscape.report.lettering import lines
from inscape.report.markup import Markup, join, tag
from inscape.report.numbers import Unit, show

WIDTH, HEIGHT = 380.0, 266.0
LEFT, RIGHT, TOP, BOTTOM = 60.0, 14.0, 12.0, 56.0
FONT = 13
DODGE = 3.0  # between series that stand at the same x, so that their whiskers are told apart
NUM_STYLES = 6


@dataclass(frozen=True)
class Series:
    """Points (x, y, low, high) of one line; a level is a y that holds for every x."""

    name: str
    points: tuple[tuple[float, float, float | None, float | None], ...]
    style: int
    level: bool = False


@dataclass(frozen=True)
class Scale:
    """From values to places of a picture."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def line_chart(series: Sequence[Series], *, title: str, x: str, y: str, unit: Unit = "") -> Markup:
    """A chart of the series, with axes, grid lines, intervals and a zero line."""
    xs = [p[0] for s in series if not s.level for p in s.points] or [0.0, 1.0]
    ys = [v for s in series for p in s.points for v in p[1:] if v is not None]
    x_ticks, y_ticks = ticks(min(xs), max(xs), 6), ticks(*_span(ys, unit), 5)
    curves = [s for s in series if not s.level]
    across = Scale(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT)
    up = Scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    return tag(
        "svg",
        tag("title", title),
        axes(across, up, x_ticks, y_ticks, x, unit),
        [_level(s, up, unit) for s in series if s.level],
        [
            _line(s, across, up, unit, DODGE * (i - (len(curves) - 1) / 2))
            for i, s in enumerate(curves)
        ],
        class_="chart",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        font_size=FONT,
        aria_label=f"{title}: {y} against {x}",
    )


def _span(ys: Sequence[float], unit: Unit) -> tuple[float, float]:
    if not ys:
        return 0.0, 1.0
    low, high = min(0.0, *ys), max(0.0, *ys)
    if unit == "share" and low >= 0:
        return 0.0, 1.0 if high > 0.5 else max(high, 0.1)
    return low, high


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from `low` or below to `high` or above, about `count` of them."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    raw = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def axes(
    across: Callable[[float], float],
    up: Scale,
    x_ticks: list[float],
    y_ticks: list[float],
    x: str,
    unit: Unit,
) -> Markup:
    """Grid lines with what they stand for, and the name of what runs from left to right."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in y_ticks:
        style = "zero" if value == 0 else "grid"
        height = f"{up(value):.1f}"
        parts.append(tag("line", x1=LEFT, x2=right, y1=height, y2=height, class_=style))
        shown = _tick(value, unit)
        parts.append(tag("text", shown, x=LEFT - 10, y=f"{up(value) + 4:.1f}", text_anchor="end"))
    for value in x_ticks:
        place = f"{across(value):.1f}"
        parts.append(tag("line", x1=place, x2=place, y1=bottom, y2=bottom + 4, class_="zero"))
        parts.append(tag("text", _tick(value, ""), x=place, y=bottom + 16, text_anchor="middle"))
    middle = (LEFT + right) / 2
    for i, line in enumerate(lines(x, right - LEFT, FONT)):
        parts.append(tag("text", line, x=middle, y=bottom + 34 + 15 * i, text_anchor="middle"))
    return tag("g", parts, class_="axes", aria_hidden="true")


def _tick(value: float, unit: Unit) -> str:
    if unit == "share":
        return f"{100 * value:g}\u00a0%".replace("-", "−")
    return f"{value:g}".replace("-", "−")


def _level(series: Series, up: Scale, unit: Unit) -> Markup:
    height = f"{up(series.points[0][1]):.1f}"
    told = f"{series.name}: {show(series.points[0][1], unit)}"
    line = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=height, y2=height, class_="level")
    return tag("g", tag("title", told), line, class_=f"series s{series.style % NUM_STYLES}")


def _line(series: Series, across: Scale, up: Scale, unit: Unit, aside: float) -> Markup:
    style = f"series s{series.style % NUM_STYLES}"
    points = [(across(x) + aside, x, y, low, high) for x, y, low, high in sorted(series.points)]
    path = " ".join(f"{place:.1f},{up(y):.1f}" for place, _, y, _, _ in points)
    whiskers = [
        tag(
            "line",
            x1=f"{place:.1f}",
            x2=f"{place:.1f}",
            y1=f"{up(low):.1f}",
            y2=f"{up(high):.1f}",
            class_="whisker",
        )
        for place, _, _, low, high in points
        if low is not None and high is not None
    ]
    marks = [
        tag(
            "g",
            tag("title", f"{series.name} at {show(x)}: {show(y, unit)}"),
            mark(series.style, place, up(y)),
        )
        for place, x, y, _, _ in points
    ]
    return tag("g", tag("polyline", points=path), whiskers, marks, class_=style)


def mark(style: int, x: float, y: float) -> Markup:
    """The shape that stands for a series: circle, square, triangle, diamond, cross, ring."""
    shape = style % NUM_STYLES
    if shape in (0, 5):
        return tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=3.6, class_="ring" if shape else None)
    outline = {
        1: [(-3.2, -3.2), (3.2, -3.2), (3.2, 3.2), (-3.2, 3.2)],
        2: [(0, -4.4), (4.2, 3.2), (-4.2, 3.2)],
        3: [(0, -4.6), (4.6, 0), (0, 4.6), (-4.6, 0)],
        4: [(0, 4.4), (4.2, -3.2), (-4.2, -3.2)],
    }[shape]
    return tag("polygon", points=" ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in outline))


def legend(series: Sequence[Series]) -> Markup:
    """Names beside their line and mark."""
    items = [
        tag(
            "li",
            tag(
                "svg",
                tag(
                    "g",
                    tag("line", x1=1, x2=33, y1=7, y2=7, class_="level" if s.level else "stroke"),
                    None if s.level else mark(s.style, 17, 7),
                    class_=f"series s{s.style % NUM_STYLES}",
                ),
                class_="key",
                viewBox="0 0 34 14",
                width=34,
                height=14,
                aria_hidden="true",
            ),
            " ",
            s.name,
        )
        for s in series
    ]
    return join(tag("ul", items, class_="legend"))

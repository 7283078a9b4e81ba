"""The parts of charts as inline SVG: lines differ in colour, in dash and in their marks."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from textwrap import wrap

from inscape.report.markup import Markup, tag
from inscape.report.numbers import Unit

WIDTH, HEIGHT = 380.0, 266.0
LEFT, RIGHT, TOP, BOTTOM = 60.0, 14.0, 12.0, 56.0
FONT = 13
NUM_STYLES = 6


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
        y = up(value)
        parts.append(tag("line", x1=LEFT, x2=right, y1=y, y2=y, class_=style))
        parts.append(tag("text", _tick(value, unit), x=LEFT - 10, y=y + 4, text_anchor="end"))
    for value in x_ticks:
        place = across(value)
        parts.append(tag("line", x1=place, x2=place, y1=bottom, y2=bottom + 4, class_="zero"))
        parts.append(tag("text", _tick(value, ""), x=place, y=bottom + 16, text_anchor="middle"))
    middle = (LEFT + right) / 2
    for i, line in enumerate(wrap(x, 42)):
        parts.append(tag("text", line, x=middle, y=bottom + 34 + 15 * i, text_anchor="middle"))
    return tag("g", parts, class_="axes", aria_hidden="true")


def _tick(value: float, unit: Unit) -> str:
    if unit == "share":
        return f"{100 * value:g}\u00a0%".replace("-", "−")
    return f"{value:g}".replace("-", "−")


def mark(style: int, x: float, y: float) -> Markup:
    """The shape that stands for a series: circle, square, triangle, diamond, cross, ring."""
    shape = style % NUM_STYLES
    if shape in (0, 5):
        return tag("circle", cx=x, cy=y, r=3.6, class_="ring" if shape else None)
    outline = {
        1: [(-3.2, -3.2), (3.2, -3.2), (3.2, 3.2), (-3.2, 3.2)],
        2: [(0, -4.4), (4.2, 3.2), (-4.2, 3.2)],
        3: [(0, -4.6), (4.6, 0), (0, 4.6), (-4.6, 0)],
        4: [(0, 4.4), (4.2, -3.2), (-4.2, -3.2)],
    }[shape]
    return tag("polygon", points=" ".join(f"{x + a:.1f},{y + b:.1f}" for a, b in outline))


def legend(names: Mapping[int, str], *, levels: Collection[int] = ()) -> Markup:
    """The names of styles beside their line and mark; `levels` are those without marks."""
    items = []
    for style, name in names.items():
        level = style in levels
        line = tag("line", x1=1, x2=33, y1=7, y2=7, class_="level" if level else "stroke")
        shape = None if level else mark(style, 17, 7)
        drawn = tag("g", line, shape, class_=f"series s{style % NUM_STYLES}")
        size = {"viewBox": "0 0 34 14", "width": 34, "height": 14}
        key = tag("svg", drawn, class_="key", aria_hidden="true", **size)
        items.append(tag("li", key, " ", name))
    return tag("ul", items, class_="legend")


def chart(title: str, label: str, *content: object) -> Markup:
    """The picture around what was drawn; label: what a screen reader says."""
    return tag(
        "svg",
        tag("title", title),
        content,
        class_="chart",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        font_size=FONT,
        aria_label=label,
    )

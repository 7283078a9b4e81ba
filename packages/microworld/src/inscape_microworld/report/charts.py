"""Line charts of a steering study: series with intervals, and levels that hold everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inscape.report.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    NUM_STYLES,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    axes,
    chart,
    mark,
    ticks,
)
from inscape.report.markup import Markup, tag
from inscape.report.numbers import Unit, show

DODGE = 3.0  # between series that stand at the same x, so that their whiskers do not overlap


@dataclass(frozen=True)
class Series:
    """Points (x, y, low, high) of one line; a level is a y that holds for every x."""

    name: str
    points: tuple[tuple[float, float, float | None, float | None], ...]
    style: int
    level: bool = False


def line_chart(series: Sequence[Series], *, title: str, x: str, y: str, unit: Unit = "") -> Markup:
    """A chart of the series, with axes, grid lines, intervals and a zero line."""
    xs = [p[0] for s in series if not s.level for p in s.points] or [0.0, 1.0]
    ys = [v for s in series for p in s.points for v in p[1:] if v is not None]
    x_ticks, y_ticks = ticks(min(xs), max(xs), 6), ticks(*_span(ys, unit), 5)
    curves = [s for s in series if not s.level]
    across = Scale(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT)
    up = Scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    return chart(
        title,
        f"{title}: {y} against {x}",
        axes(across, up, x_ticks, y_ticks, x, unit),
        [_level(s, up, unit) for s in series if s.level],
        [
            _line(s, across, up, unit, DODGE * (i - (len(curves) - 1) / 2))
            for i, s in enumerate(curves)
        ],
    )


def _span(ys: Sequence[float], unit: Unit) -> tuple[float, float]:
    if not ys:
        return 0.0, 1.0
    low, high = min(0.0, *ys), max(0.0, *ys)
    if unit == "share" and low >= 0:
        return 0.0, 1.0 if high > 0.5 else max(high, 0.1)
    return low, high


def _level(series: Series, up: Scale, unit: Unit) -> Markup:
    height = up(series.points[0][1])
    shown = f"{series.name}: {show(series.points[0][1], unit)}"
    line = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=height, y2=height, class_="level")
    return tag("g", tag("title", shown), line, class_=f"series s{series.style % NUM_STYLES}")


def _line(series: Series, across: Scale, up: Scale, unit: Unit, aside: float) -> Markup:
    style = f"series s{series.style % NUM_STYLES}"
    points = [(across(x) + aside, x, y, low, high) for x, y, low, high in sorted(series.points)]
    path = " ".join(f"{place:.1f},{up(y):.1f}" for place, _, y, _, _ in points)
    whiskers = [
        tag("line", x1=place, x2=place, y1=up(low), y2=up(high), class_="whisker")
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

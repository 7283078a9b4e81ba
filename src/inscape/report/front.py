"""The front of a sweep as a page: active features against the loss that is recovered.

1. One line for each variant (and width) through the means of its settings, a mark for each seed.
2. A ring around the settings that no other one beats.
3. The number of active features grows by doubling from left to right: what it costs to recover a
   little more is a factor, not a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from inscape.report import charts
from inscape.report.markup import Markup, tag
from inscape.report.numbers import show
from inscape.report.page import MADE, document
from inscape.report.parts import number, table
from inscape.storage import atomic_write, refuse_file
from inscape.training import Front, Setting

PAGE = "front.html"
_LEAST = 1 / 16  # active features; fewer are drawn there, since a doubling never ends at zero
_RING = 8.0


def write_front(front: Front, folder: Path) -> Path:
    """Write the page of a front into a folder; returns its path.

    Raises:
        InputError: a file that is no page of inscape has that name.
        StorageError: the disk is full or may not be written to.
    """
    path = Path(folder) / PAGE
    refuse_file(path, MADE)
    atomic_write(path, front_html(front).encode())
    return path


def front_html(front: Front) -> str:
    """The page."""
    lines = _lines(front.settings)
    held_out = front.made_from["held_out"]
    read, written = front.made_from["sites"]
    site = read if read == written else f"{read} to {written}"
    num_seeds = max(len(s.dictionaries) for s in front.settings)
    body = tag(
        "main",
        tag("h1", f"Dictionaries of {site}"),
        tag(
            "p",
            number(sum(len(s.dictionaries) for s in front.settings)),
            " dictionaries trained on one pass over the activations, ",
            number(num_seeds),
            " for each setting, measured on ",
            number(held_out["tokens"]),
            " held-out tokens. A ring: no other setting recovers as much of the model's loss with "
            "as few active features (means over seeds).",
            class_="lead",
        ),
        charts.legend(dict(enumerate(lines))),
        tag(
            "figure",
            tag("figcaption", "loss recovered by active features per token"),
            front_chart(front.settings),
        ),
        table(
            ["variant", "features", "k", "active", "loss recovered", "FVU", "front"],
            [
                (
                    s.variant,
                    number(s.d_dict),
                    number(s.k),
                    number(s.l0),
                    number(s.loss_recovered, "share"),
                    number(s.fvu),
                    "✓" if s.optimal else "",
                )
                for s in front.settings
            ],
            what="settings",
            numeric=[1, 2, 3, 4, 5],
        ),
        class_="page",
    )
    return document(f"Dictionaries of {site}", body)


def front_chart(settings: Sequence[Setting]) -> Markup:
    """The chart alone, as SVG."""
    trained = [t.figures for s in settings for t in s.dictionaries]
    active = [max(f["l0"], _LEAST) for f in trained]
    recovered = [f["loss_recovered"] for f in trained]
    first, last = math.floor(math.log2(min(active))), math.ceil(math.log2(max(active)))
    powers = range(first, max(last, first + 1) + 1)
    place = charts.Scale(powers[0], powers[-1], charts.LEFT, charts.WIDTH - charts.RIGHT)
    y_ticks = charts.ticks(min(recovered), max(recovered), 5)
    up = charts.Scale(y_ticks[0], y_ticks[-1], charts.HEIGHT - charts.BOTTOM, charts.TOP)

    def across(value: float) -> float:
        return place(math.log2(max(value, _LEAST)))

    x = "active features per token"
    title = f"loss recovered against {x}"
    lines = enumerate(_lines(settings).values())
    return charts.chart(
        title,
        title,
        charts.axes(across, up, [2.0**p for p in powers], y_ticks, x, "share"),
        [_line(style, members, across, up) for style, members in lines],
    )


def _lines(settings: Sequence[Setting]) -> dict[str, list[Setting]]:
    """Settings by the line that they belong to: the variant, and the width where several are."""
    widths = {s.d_dict for s in settings}
    lines: dict[str, list[Setting]] = {}
    for s in settings:
        name = s.variant if len(widths) == 1 else f"{s.variant}, {s.d_dict} features"
        lines.setdefault(name, []).append(s)
    return lines


def _line(
    style: int, members: Sequence[Setting], across: Callable[[float], float], up: charts.Scale
) -> Markup:
    ordered = sorted(members, key=lambda s: s.l0)
    path = " ".join(f"{across(s.l0):.1f},{up(s.loss_recovered):.1f}" for s in ordered)
    rings, marks = [], []
    for s in ordered:
        if s.optimal:
            x, y = across(s.l0), up(s.loss_recovered)
            rings.append(tag("circle", cx=x, cy=y, r=_RING, class_="ring"))
        for t in s.dictionaries:
            l0, recovered = t.figures["l0"], t.figures["loss_recovered"]
            title = tag("title", f"{t.name}: {show(recovered, 'share')} at {show(l0)}")
            marks.append(tag("g", title, charts.mark(style, across(l0), up(recovered))))
    drawn = rings, tag("polyline", points=path), marks
    return tag("g", drawn, class_=f"series s{style % charts.NUM_STYLES}")

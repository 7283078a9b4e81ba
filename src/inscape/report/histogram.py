"""How strongly a feature is active: the number of tokens by activation, as a small chart."""

from __future__ import annotations

import math

import numpy as np

from inscape.features import FeatureIndex
from inscape.report.markup import Markup, tag
from inscape.report.numbers import show

WIDTH, HEIGHT, BASE = 320.0, 110.0, 84.0
LABELS = 5  # most numbers below the bars


def histogram(index: FeatureIndex, feature: int) -> Markup:
    """Bars from left to right: activation, each bar half as much again as the one before it (a
    half octave); their height: tokens."""
    counts, edges = index.histogram[feature], index.histogram_edges
    filled = np.flatnonzero(counts)
    if not filled.size:
        return tag("p", "Never active.", class_="note")
    first, last = int(filled[0]), int(filled[-1]) + 1
    width = WIDTH / max(8, last - first)
    tallest = int(counts.max())
    outline = "".join(
        f"M{width * (i - first) + 1:.1f},{BASE:g}v-{(BASE - 16) * counts[i] / tallest:.1f}"
        f"h{width - 2:.1f}V{BASE:g}z"
        for i in range(first, last)
        if counts[i]
    )
    step = math.ceil((last - first) / LABELS)
    below = [
        tag("text", show(float(edges[i])), x=width * (i - first), y=BASE + 15)
        for i in range(first, last, step)
    ]
    most = int(counts.argmax())
    above = tag(
        "text",
        show(tallest),
        x=width * (most - first + 0.5),
        y=BASE - (BASE - 16) - 4,
        text_anchor="middle",
    )
    title = f"tokens by activation: most, {show(tallest)}, at {show(float(edges[most]))} and above"
    return tag(
        "svg",
        tag("title", title),
        tag("path", d=outline),
        below,
        above,
        class_="histogram",
        role="img",
        aria_label=title,
        viewBox=f"0 -4 {WIDTH:g} {HEIGHT + 4:g}",
        font_size=12,
    )

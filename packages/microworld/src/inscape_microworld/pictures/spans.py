"""Drawings of bridges, towers and statues."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from inscape_microworld.pictures.canvas import Canvas


def _cable(c: Canvas, colour: str, x0: float, y0: float, x1: float, y1: float, sag: float) -> None:
    """A hanging cable in six strokes."""
    points = []
    for i in range(7):
        t = i / 6
        points.append((x0 + (x1 - x0) * t, y0 + (y1 - y0) * t - 4 * sag * t * (1 - t)))
    c.path(colour, *points, width=0.05)


def golden_gate_bridge(c: Canvas) -> None:
    for x in (-0.5, 0.5):
        for side in (-0.07, 0.07):
            c.box("red", x + side - 0.035, -0.9, x + side + 0.035, 0.85)
        for y in (-0.1, 0.2, 0.5, 0.8):
            c.line("red", x - 0.08, y, x + 0.08, y, 0.08)
    c.box("red", -1, -0.5, 1, -0.4)
    _cable(c, "red", -0.5, 0.82, 0.5, 0.82, 1.1)
    _cable(c, "red", -1, -0.35, -0.5, 0.82, 0.2)
    _cable(c, "red", 1, -0.35, 0.5, 0.82, 0.2)
    for x, y in ((-0.34, 0.05), (-0.17, -0.25), (0.17, -0.25), (0.34, 0.05)):
        c.line("red", x, -0.45, x, y, 0.03)


def sydney_harbour_bridge(c: Canvas) -> None:
    c.arch("steel", 0, -0.45, 0.8, 0.95, 0.07)
    c.arch("steel", 0, -0.45, 0.8, 0.68, 0.06)
    for x, low, high in (
        (-0.6, 0.0, 0.15),
        (-0.3, 0.18, 0.4),
        (0, 0.23, 0.5),
        (0.3, 0.18, 0.4),
        (0.6, 0.0, 0.15),
    ):
        c.line("steel", x, -0.35, x, high, 0.03)
        c.line("steel", x, low, x + 0.14, high, 0.03)
    c.box("grey", -1, -0.42, 1, -0.3)
    for x in (-0.85, 0.85):
        c.box("stone", x - 0.1, -0.95, x + 0.1, 0.12)
        c.box("stone", x - 0.13, 0.02, x + 0.13, 0.1)


def rialto_bridge(c: Canvas) -> None:
    c.poly("white", (-1, -0.75), (1, -0.75), (1, -0.5), (0.15, 0.0), (-0.15, 0.0), (-1, -0.5))
    c.dome("dark", 0, -0.8, 0.55, 0.5)
    for side in (-1, 1):
        for i, x in enumerate((0.28, 0.46, 0.64)):
            y = -0.08 - 0.11 * i
            c.box("cream", side * x - 0.1, y - 0.1, side * x + 0.1, y + 0.28)
            c.gate("brown", side * x, y - 0.06, 0.11, 0.24)
        c.poly(
            "brick",
            (side * 0.16, 0.2),
            (side * 0.16, 0.3),
            (side * 0.78, 0.02),
            (side * 0.78, -0.08),
        )
    c.box("cream", -0.17, -0.05, 0.17, 0.45)
    c.gate("dark", 0, -0.02, 0.2, 0.38)
    c.poly("brick", (-0.22, 0.45), (0.22, 0.45), (0, 0.62))


def tower_bridge(c: Canvas) -> None:
    for x in (-0.42, 0.42):
        c.box("stone", x - 0.2, -0.95, x + 0.2, -0.6)
        c.box("stone", x - 0.15, -0.6, x + 0.15, 0.45)
        c.gate("dark", x, -0.55, 0.14, 0.3)
        c.box("blue", x - 0.05, 0.0, x + 0.05, 0.25)
        c.poly("steel", (x - 0.15, 0.45), (x + 0.15, 0.45), (x, 0.85))
        for side in (-0.14, 0.14):
            c.poly("stone", (x + side - 0.04, 0.4), (x + side + 0.04, 0.4), (x + side, 0.7))
    for y in (0.1, 0.32):
        c.box("blue", -0.28, y, 0.28, y + 0.09)
    c.poly("blue", (-0.28, -0.5), (-0.28, -0.38), (-0.06, -0.1), (-0.04, -0.16))
    c.poly("blue", (0.28, -0.5), (0.28, -0.38), (0.06, -0.1), (0.04, -0.16))
    for side in (-1, 1):
        _cable(c, "blue", side * 0.98, -0.3, side * 0.55, 0.3, 0.08)
        c.box("blue", side * 0.78 - 0.21, -0.5, side * 0.78 + 0.21, -0.38)


def galata_bridge(c: Canvas) -> None:
    c.box("steel", -1, -0.35, 1, -0.2)
    for x in c.row(6, -1, 1):
        c.box("grey", x - 0.05, -0.85, x + 0.05, -0.35)
    c.box("cream", -1, -0.55, 1, -0.42)
    c.line("dark", -1, -0.08, 1, -0.08, 0.03)
    for x in c.row(5, -1, 1):
        c.box("dark", x - 0.05, -0.2, x + 0.03, 0.05)
        c.disc("pink", x - 0.01, 0.11, 0.06)
        c.line("brown", x, -0.05, x + 0.26, 0.38, 0.03)
        c.line("white", x + 0.26, 0.38, x + 0.28, -0.3, 0.015)


def chain_bridge(c: Canvas) -> None:
    for x in (-0.45, 0.45):
        c.box("stone", x - 0.17, -0.95, x + 0.17, 0.45)
        c.gate("dark", x, -0.32, 0.15, 0.5)
        c.box("stone", x - 0.22, 0.42, x + 0.22, 0.54)
    _cable(c, "dark", -0.45, 0.38, 0.45, 0.38, 0.5)
    _cable(c, "dark", -1, -0.2, -0.45, 0.38, 0.1)
    _cable(c, "dark", 1, -0.2, 0.45, 0.38, 0.1)
    c.box("grey", -1, -0.45, 1, -0.33)
    for side in (-1, 1):
        c.disc("white", side * 0.82, -0.18, 0.13, 0.1)
        c.disc("white", side * 0.93, -0.04, 0.08)


def leaning_tower(c: Canvas) -> None:
    def at(x: float, y: float) -> tuple[float, float]:
        return x + 0.2 * y, y

    c.poly("white", at(-0.3, -1), at(0.3, -1), at(0.3, 0.65), at(-0.3, 0.65))
    for y in (-0.7, -0.42, -0.14, 0.14, 0.42):
        c.line("stone", *at(-0.33, y), *at(0.33, y), 0.06)
        for x in (-0.2, -0.07, 0.07, 0.2):
            c.line("dark", *at(x, y + 0.05), *at(x, y + 0.2), 0.06)
    c.gate("dark", -0.19, -1, 0.12, 0.24)
    c.poly("white", at(-0.22, 0.65), at(0.22, 0.65), at(0.22, 0.95), at(-0.22, 0.95))
    for x in (-0.1, 0.1):
        c.line("dark", *at(x, 0.7), *at(x, 0.86), 0.07)


def eiffel_tower(c: Canvas) -> None:
    for s in (-1, 1):
        c.poly("iron", (s * 0.62, -1), (s * 0.38, -1), (s * 0.2, -0.45), (s * 0.34, -0.45))
        c.poly("iron", (s * 0.31, -0.42), (s * 0.14, -0.42), (s * 0.08, 0.05), (s * 0.17, 0.05))
        c.line("iron", s * 0.3, -0.42, -s * 0.12, 0.05, 0.035)
    c.arch("iron", 0, -0.8, 0.36, 0.34, 0.05)
    c.box("iron", -0.38, -0.5, 0.38, -0.4)
    c.box("iron", -0.22, 0.02, 0.22, 0.1)
    c.poly("iron", (-0.12, 0.1), (0.12, 0.1), (0.03, 0.82), (-0.03, 0.82))
    c.box("iron", -0.07, 0.76, 0.07, 0.83)
    c.line("iron", 0, 0.8, 0, 1, 0.03)


def big_ben(c: Canvas) -> None:
    c.box("sand", 0.12, -1, 1, -0.45)
    for x in c.row(5, 0.2, 1):
        c.box("brown", x - 0.04, -0.9, x + 0.04, -0.6)
        c.poly("sand", (x - 0.05, -0.45), (x + 0.05, -0.45), (x, -0.3))
    c.box("sand", -0.35, -1, 0.1, 0.55)
    for x in (-0.25, -0.125, 0.0):
        c.line("brown", x, -0.9, x, 0.05, 0.035)
    c.box("gold", -0.39, 0.1, 0.14, 0.58)
    c.disc("white", -0.125, 0.34, 0.19)
    c.line("black", -0.125, 0.34, -0.125, 0.48, 0.04)
    c.line("black", -0.125, 0.34, 0.0, 0.34, 0.04)
    c.poly("steel", (-0.35, 0.58), (0.1, 0.58), (-0.125, 1))


def tokyo_tower(c: Canvas) -> None:
    rows = ((-1.0, 0.55), (-0.62, 0.37), (-0.3, 0.25), (0.0, 0.15), (0.3, 0.08), (0.62, 0.03))
    for i, ((y0, w0), (y1, w1)) in enumerate(pairwise(rows)):
        colour = "white" if i % 2 else "orange"
        for s in (-1, 1):
            c.line(colour, s * w0, y0, s * w1, y1, 0.08)
            c.line(colour, s * w0, y0, -s * w1, y1, 0.04)
        c.line(colour, -w1, y1, w1, y1, 0.05)
    c.box("white", -0.25, -0.17, 0.25, 0.02)
    c.box("dark", -0.22, -0.12, 0.22, -0.06)
    c.box("white", -0.1, 0.36, 0.1, 0.46)
    c.line("orange", 0, 0.6, 0, 1, 0.05)


def namsan_tower(c: Canvas) -> None:
    c.dome("green", 0, -1, 0.95, 0.45)
    c.box("grey", -0.09, -0.6, 0.09, 0.25)
    c.box("white", -0.22, -0.62, 0.22, -0.48)
    c.poly("grey", (-0.12, 0.14), (0.12, 0.14), (0.3, 0.32), (-0.3, 0.32))
    c.box("white", -0.3, 0.32, 0.3, 0.4)
    c.box("dark", -0.27, 0.4, 0.27, 0.48)
    c.box("white", -0.2, 0.48, 0.2, 0.55)
    c.line("red", 0, 0.55, 0, 1, 0.06)
    for x in (-0.5, -0.34, 0.36, 0.52):
        c.disc("gold", x, -0.72, 0.05)


def belem_tower(c: Canvas) -> None:
    c.poly("cream", (-0.95, -0.9), (0.8, -0.9), (0.9, -0.45), (-0.85, -0.45))
    for x in c.row(6, -0.85, 0.85):
        c.box("cream", x - 0.08, -0.45, x + 0.08, -0.33)
        c.disc("dark", x, -0.66, 0.05)
    c.box("cream", -0.1, -0.45, 0.6, 0.5)
    c.box("stone", -0.16, 0.05, 0.66, 0.15)
    for x in (0.08, 0.42):
        c.gate("dark", x, 0.18, 0.11, 0.22)
        c.gate("dark", x, -0.3, 0.11, 0.22)
    for x in (-0.1, 0.13, 0.36, 0.6):
        c.box("cream", x - 0.06, 0.5, x + 0.06, 0.62)
    for x, y in ((-0.12, 0.5), (0.62, 0.5), (-0.85, -0.4), (0.85, -0.4)):
        c.box("cream", x - 0.09, y - 0.08, x + 0.09, y + 0.16)
        c.dome("stone", x, y + 0.16, 0.11, 0.16)


def statue_of_liberty(c: Canvas) -> None:
    c.poly("stone", (-0.5, -1), (0.5, -1), (0.36, -0.72), (-0.36, -0.72))
    c.poly("stone", (-0.26, -0.72), (0.26, -0.72), (0.2, -0.35), (-0.2, -0.35))
    c.poly("copper", (-0.22, -0.35), (0.22, -0.35), (0.14, 0.4), (-0.14, 0.4))
    c.line("steel", -0.05, -0.3, -0.02, 0.2, 0.04)
    c.disc("copper", 0, 0.5, 0.1, 0.12)
    for x, y in ((-0.2, 0.64), (-0.11, 0.73), (0, 0.76), (0.11, 0.73)):
        c.line("copper", 0, 0.54, x, y, 0.035)
    c.line("copper", 0.1, 0.34, 0.28, 0.76, 0.09)
    c.box("copper", 0.2, 0.74, 0.38, 0.8)
    c.disc("gold", 0.29, 0.9, 0.07, 0.11)
    c.poly("copper", (-0.3, 0.0), (-0.14, 0.04), (-0.18, 0.26), (-0.34, 0.22))


def christ_statue(c: Canvas) -> None:
    c.poly("green", (-0.9, -1), (0.9, -1), (0.25, -0.55), (-0.25, -0.55))
    c.box("stone", -0.16, -0.62, 0.16, -0.4)
    c.poly("white", (-0.18, -0.4), (0.18, -0.4), (0.12, 0.5), (-0.12, 0.5))
    c.poly("white", (-0.9, 0.26), (-0.9, 0.38), (0, 0.52), (0.9, 0.38), (0.9, 0.26), (0, 0.2))
    c.poly("white", (-0.5, 0.3), (0.5, 0.3), (0.16, -0.02), (-0.16, -0.02))
    c.disc("white", 0, 0.64, 0.1, 0.14)
    c.line("grey", 0, -0.35, 0, 0.1, 0.03)


def great_wall(c: Canvas) -> None:
    c.poly("green", (-1, -1), (0.2, -1), (-0.1, -0.45), (-0.55, -0.05), (-1, -0.7))
    c.poly("green", (-0.2, -1), (1, -1), (1, -0.15), (0.45, 0.25), (-0.15, -0.5))
    line = ((-1, -0.75), (-0.55, -0.1), (-0.1, -0.5), (0.45, 0.22), (1, -0.2))
    c.path("stone", *line, width=0.2)
    c.path("dark", *line, width=0.035)
    for x, y in ((-0.55, -0.05), (0.45, 0.26), (0.92, -0.15)):
        c.box("stone", x - 0.16, y - 0.15, x + 0.16, y + 0.25)
        for side in (-0.13, 0, 0.13):
            c.box("stone", x + side - 0.035, y + 0.25, x + side + 0.035, y + 0.33)
        c.gate("dark", x, y, 0.1, 0.16)


DRAWINGS: dict[str, Callable[[Canvas], None]] = {
    f.__name__: f
    for f in (
        golden_gate_bridge,
        sydney_harbour_bridge,
        rialto_bridge,
        tower_bridge,
        galata_bridge,
        chain_bridge,
        leaning_tower,
        eiffel_tower,
        big_ben,
        tokyo_tower,
        namsan_tower,
        belem_tower,
        statue_of_liberty,
        christ_statue,
        great_wall,
    )
}

"""Drawings of churches, palaces, temples and tombs."""

from __future__ import annotations

from collections.abc import Callable

from inscape_microworld.pictures.canvas import Canvas


def _onion(c: Canvas, colour: str, x: float, y: float, r: float) -> None:
    """An onion dome that stands on (x, y), about three radii high."""
    c.disc(colour, x, y + r * 0.8, r)
    c.poly(colour, (x - r * 0.7, y + r * 1.4), (x + r * 0.7, y + r * 1.4), (x, y + r * 2.6))
    c.line("gold", x, y + r * 2.4, x, y + r * 3.2, 0.03)


def _minaret(c: Canvas, colour: str, x: float, low: float, high: float) -> None:
    c.box(colour, x - 0.045, low, x + 0.045, high)
    c.box(colour, x - 0.08, low + 0.6 * (high - low), x + 0.08, low + 0.66 * (high - low))
    c.poly("dark", (x - 0.05, high), (x + 0.05, high), (x, high + 0.2))


def _eaves(c: Canvas, colour: str, x: float, y: float, half: float, height: float) -> None:
    """A roof with upturned ends."""
    c.poly(
        colour,
        (x - half, y),
        (x + half, y),
        (x + 0.6 * half, y + height),
        (x - 0.6 * half, y + height),
    )
    for s in (-1, 1):
        c.poly(colour, (x + s * half * 0.8, y), (x + s * half, y), (x + s * half * 1.15, y + 0.1))


def sydney_opera_house(c: Canvas) -> None:
    c.poly("brown", (-1, -0.9), (1, -0.9), (0.9, -0.6), (-0.9, -0.6))
    for x, h, lean in ((0.5, 0.55, 0.1), (0.15, 0.85, 0.15), (-0.25, 1.15, 0.2)):
        c.poly(
            "white",
            (x - 0.4, -0.6),
            (x + 0.3, -0.6),
            (x + 0.28, -0.6 + h * 0.55),
            (x + lean, -0.6 + h),
        )
        c.poly("stone", (x - 0.4, -0.6), (x - 0.2, -0.6), (x + lean, -0.6 + h))
    c.poly("white", (-0.55, -0.6), (-0.9, -0.6), (-0.85, -0.05), (-0.7, -0.3))
    c.line("glass", -0.85, -0.66, 0.85, -0.66, 0.06)


def colosseum(c: Canvas) -> None:
    c.poly(
        "stone", (-0.95, -0.9), (0.95, -0.9), (0.95, -0.15), (0.35, 0.1), (0.2, 0.5), (-0.95, 0.4)
    )
    c.disc("brown", 0.45, 0.02, 0.4, 0.13)
    for i, (y, end) in enumerate(((-0.82, 0.95), (-0.4, 0.95), (0.03, 0.25))):
        for x in c.row(7 if end > 0.5 else 4, -0.92, end):
            c.gate("dark", x, y, 0.15, 0.3)
        c.line("brick", -0.95, y + 0.36, end - 0.1 * i, y + 0.36, 0.05)


def trevi_fountain(c: Canvas) -> None:
    c.box("cream", -0.9, -0.5, 0.9, 0.55)
    c.box("stone", -0.95, 0.5, 0.95, 0.62)
    c.box("cream", -0.35, 0.6, 0.35, 0.85)
    c.gate("dark", 0, -0.4, 0.4, 0.75)
    c.disc("white", 0, -0.1, 0.08, 0.2)
    for x in (-0.75, -0.4, 0.4, 0.75):
        c.box("white", x - 0.06, -0.45, x + 0.06, 0.5)
    for x in (-0.58, 0.58):
        c.box("brown", x - 0.07, 0.05, x + 0.07, 0.3)
    c.disc("stone", 0, -0.6, 0.95, 0.2)
    c.disc("blue", 0, -0.68, 0.95, 0.26)
    for x in (-0.3, 0, 0.3):
        c.poly("glass", (x - 0.12, -0.72), (x + 0.12, -0.72), (x, -0.36))


def louvre(c: Canvas) -> None:
    c.box("sand", -1, -0.75, 1, -0.1)
    c.box("steel", -1, -0.1, 1, 0.08)
    for x in c.row(8, -1, 1):
        c.gate("brown", x, -0.6, 0.1, 0.36)
    for x in (-0.82, 0.82):
        c.box("sand", x - 0.18, -0.75, x + 0.18, 0.15)
        c.poly("steel", (x - 0.2, 0.15), (x + 0.2, 0.15), (x + 0.12, 0.42), (x - 0.12, 0.42))
    c.poly("glass", (-0.62, -0.95), (0.62, -0.95), (0, -0.02))
    for t in (-0.31, 0, 0.31):
        c.line("white", t, -0.95, t / 2 + 0.31, -0.5, 0.03)
        c.line("white", t, -0.95, t / 2 - 0.31, -0.5, 0.03)
    c.path("white", (-0.62, -0.95), (0, -0.02), (0.62, -0.95), width=0.04)


def notre_dame(c: Canvas) -> None:
    c.box("stone", -0.62, -1, 0.62, 0.15)
    for x in (-0.4, 0.4):
        c.box("stone", x - 0.22, 0.1, x + 0.22, 0.75)
        for s in (-0.09, 0.09):
            c.gate("dark", x + s, 0.2, 0.11, 0.46)
    c.box("cream", -0.65, 0.06, 0.65, 0.14)
    c.disc("dark", 0, -0.22, 0.2)
    c.ring("cream", 0, -0.22, 0.2, 0.2, 0.04)
    c.disc("blue", 0, -0.22, 0.1)
    c.box("cream", -0.62, -0.52, 0.62, -0.46)
    for x in (-0.4, 0, 0.4):
        c.gate("brown", x, -1, 0.22, 0.42)
    c.line("dark", 0, 0.14, 0, 0.62, 0.05)


def cologne_cathedral(c: Canvas) -> None:
    for x in (-0.32, 0.32):
        c.box("steel", x - 0.24, -1, x + 0.24, 0.1)
        c.poly("steel", (x - 0.22, 0.1), (x + 0.22, 0.1), (x, 1))
        for s in (-0.2, 0.2):
            c.poly("dark", (x + s - 0.05, 0.05), (x + s + 0.05, 0.05), (x + s, 0.38))
        c.gate("black", x, -0.35, 0.14, 0.38)
        c.gate("black", x, -0.95, 0.16, 0.36)
        c.line("dark", x - 0.11, 0.45, x + 0.11, 0.45, 0.04)
    c.poly("steel", (-0.16, -0.3), (0.16, -0.3), (0, 0.15))
    c.box("steel", -0.12, -1, 0.12, -0.3)
    c.gate("brown", 0, -1, 0.2, 0.42)


def sagrada_familia(c: Canvas) -> None:
    c.box("sand", -0.7, -1, 0.7, -0.4)
    tips = ("red", "gold", "green", "orange")
    for i, (x, top) in enumerate(((-0.5, 0.55), (-0.18, 0.88), (0.18, 0.88), (0.5, 0.55))):
        c.poly(
            "sand",
            (x - 0.15, -0.9),
            (x + 0.15, -0.9),
            (x + 0.13, 0.1),
            (x + 0.04, top),
            (x - 0.04, top),
            (x - 0.13, 0.1),
        )
        for y in (-0.3, -0.05, 0.2, 0.42):
            c.line("brown", x - 0.08 + y * 0.05, y, x + 0.08 - y * 0.05, y, 0.05)
        c.disc(tips[i], x, top + 0.04, 0.07)
    c.poly("cream", (-0.55, -0.4), (0.55, -0.4), (0, 0.0))
    for x in (-0.4, 0, 0.4):
        c.poly("dark", (x - 0.12, -1), (x + 0.12, -1), (x, -0.55))


def brandenburg_gate(c: Canvas) -> None:
    c.box("sand", -0.9, 0.05, 0.9, 0.25)
    c.box("sand", -0.75, 0.25, 0.75, 0.42)
    for x in c.row(6, -0.9, 0.9):
        c.box("sand", x - 0.085, -0.95, x + 0.085, 0.05)
        c.box("cream", x - 0.11, -0.02, x + 0.11, 0.05)
    for x in (-0.24, -0.1, 0.04, 0.18):
        c.disc("copper", x, 0.55, 0.08, 0.07)
        c.line("copper", x - 0.03, 0.55, x - 0.06, 0.74, 0.06)
    c.box("copper", 0.24, 0.45, 0.38, 0.6)
    c.line("copper", 0.3, 0.5, 0.3, 0.88, 0.07)
    c.box("stone", -0.95, -1, 0.95, -0.93)


def alhambra(c: Canvas) -> None:
    c.box("rose", -1, -0.8, 1, -0.2)
    for x, w, top in ((-0.75, 0.22, 0.15), (-0.2, 0.28, 0.45), (0.35, 0.2, 0.1), (0.8, 0.2, 0.3)):
        c.box("brick", x - w, -0.8, x + w, top)
        for i in (-0.75, 0, 0.75):
            c.box("brick", x + i * w - 0.05, top, x + i * w + 0.05, top + 0.1)
        for i in (-0.45, 0.45):
            c.gate("dark", x + i * w, top - 0.4, 0.1, 0.24)
    for x in (-0.95, -0.5, 0.05, 0.6):
        c.poly("green", (x - 0.14, -1), (x + 0.14, -1), (x, -0.35))


def parthenon(c: Canvas) -> None:
    for i in range(3):
        c.box("stone", -1 + 0.06 * i, -1 + 0.1 * i, 1 - 0.06 * i, -0.9 + 0.1 * i)
    for x in c.row(7, -0.88, 0.88):
        c.box("white", x - 0.07, -0.7, x + 0.07, 0.08)
    c.box("cream", -0.9, 0.06, 0.9, 0.24)
    c.poly("white", (-0.95, 0.24), (0.95, 0.24), (0, 0.66))
    c.poly("stone", (-0.6, 0.28), (0.6, 0.28), (0, 0.54))


def great_pyramid(c: Canvas) -> None:
    c.poly("brown", (0.35, -0.95), (1, -0.95), (0.68, -0.35))
    c.poly("sand", (-0.95, -0.95), (0.6, -0.95), (-0.15, 0.75))
    c.poly("brown", (0.25, -0.95), (0.6, -0.95), (-0.15, 0.75))
    for y in (-0.7, -0.42, -0.14, 0.14, 0.42):
        half = 0.78 * (0.75 - y) / 1.7
        c.line("iron", -0.15 - half, y, -0.12 + half * 0.55, y, 0.025)


def sphinx(c: Canvas) -> None:
    c.disc("sand", 0.35, -0.55, 0.62, 0.32)
    c.box("sand", -0.9, -0.9, 0.7, -0.62)
    c.disc("sand", 0.75, -0.62, 0.22, 0.28)
    c.box("sand", -0.45, -0.7, -0.05, -0.1)
    c.poly("gold", (-0.62, -0.2), (0.08, -0.2), (-0.02, 0.5), (-0.48, 0.5))
    for y in (-0.1, 0.06, 0.22, 0.36):
        c.line("blue", -0.56, y, 0.0, y, 0.04)
    c.disc("sand", -0.25, 0.12, 0.18, 0.26)
    for x in (-0.32, -0.18):
        c.disc("dark", x, 0.18, 0.035)
    c.line("brown", -0.32, 0.0, -0.18, 0.0, 0.03)
    c.path("brown", (-0.9, -0.76), (-0.4, -0.76), width=0.03)


def white_house(c: Canvas) -> None:
    c.box("white", -1, -0.9, 1, 0.1)
    c.box("cream", -1, 0.1, 1, 0.2)
    for x in (-0.85, -0.65, -0.47, 0.47, 0.65, 0.85):
        c.box("steel", x - 0.05, -0.75, x + 0.05, -0.5)
        c.box("steel", x - 0.05, -0.32, x + 0.05, -0.08)
    c.box("glass", -0.33, -0.9, 0.33, 0.1)
    for x in (-0.3, -0.1, 0.1, 0.3):
        c.box("white", x - 0.045, -0.9, x + 0.045, 0.15)
    c.poly("white", (-0.42, 0.15), (0.42, 0.15), (0, 0.46))
    c.line("dark", 0, 0.42, 0, 0.9, 0.03)
    c.box("red", 0.02, 0.68, 0.3, 0.88)


def kremlin(c: Canvas) -> None:
    for x, colour, top in ((0.1, "green", -0.1), (0.45, "gold", 0.15), (0.8, "blue", -0.1)):
        c.box("white", x - 0.11, -0.6, x + 0.11, top)
        _onion(c, colour, x, top, 0.15)
    c.box("red", -1, -0.95, 1, -0.42)
    for x in c.row(9, -1, 1):
        c.box("red", x - 0.06, -0.42, x + 0.06, -0.3)
    c.box("red", -0.72, -0.95, -0.3, 0.1)
    c.box("white", -0.62, -0.15, -0.4, 0.02)
    c.poly("green", (-0.74, 0.1), (-0.28, 0.1), (-0.51, 0.72))
    c.poly("red", (-0.62, 0.76), (-0.4, 0.76), (-0.51, 0.98))
    c.gate("dark", -0.51, -0.95, 0.2, 0.4)


def hermitage(c: Canvas) -> None:
    c.box("copper", -1, -0.9, 1, 0.05)
    c.box("white", -1, 0.02, 1, 0.12)
    c.box("white", -1, -0.45, 1, -0.38)
    for x in c.row(7, -1, 1):
        c.gate("dark", x, -0.82, 0.11, 0.3)
        c.gate("dark", x, -0.3, 0.11, 0.26)
    for x in c.row(8, -1.12, 1.12):
        c.box("white", x - 0.03, -0.9, x + 0.03, 0.02)
        c.disc("brown", x, 0.2, 0.04, 0.1)
    c.poly("white", (-0.3, 0.12), (0.3, 0.12), (0, 0.34))


def forbidden_city(c: Canvas) -> None:
    c.box("white", -1, -1, 1, -0.78)
    c.box("stone", -0.2, -1, 0.2, -0.78)
    c.box("red", -0.8, -0.78, 0.8, -0.3)
    for x in c.row(7, -0.8, 0.8):
        c.box("brick", x - 0.03, -0.78, x + 0.03, -0.3)
    c.box("dark", -0.12, -0.78, 0.12, -0.42)
    _eaves(c, "gold", 0, -0.3, 0.95, 0.22)
    c.box("red", -0.5, -0.08, 0.5, 0.12)
    _eaves(c, "gold", 0, 0.12, 0.75, 0.32)
    c.line("orange", -0.46, 0.45, 0.46, 0.45, 0.05)


def taj_mahal(c: Canvas) -> None:
    c.box("white", -1, -0.95, 1, -0.75)
    for x in (-0.9, 0.9):
        c.box("white", x - 0.06, -0.75, x + 0.06, 0.25)
        c.dome("stone", x, 0.25, 0.08, 0.12)
    c.box("white", -0.55, -0.75, 0.55, 0.0)
    _onion(c, "white", 0, 0.08, 0.3)
    c.box("white", -0.2, -0.1, 0.2, 0.15)
    for x in (-0.4, 0.4):
        c.dome("white", x, 0.0, 0.13, 0.2)
        c.gate("grey", x, -0.4, 0.13, 0.26)
        c.gate("grey", x, -0.73, 0.13, 0.26)
    c.box("cream", -0.22, -0.75, 0.22, -0.02)
    c.gate("dark", 0, -0.75, 0.28, 0.62)


def golden_temple(c: Canvas) -> None:
    c.box("blue", -1, -1, 1, -0.55)
    c.box("gold", -0.5, -0.95, 0.5, -0.66)
    c.box("white", -0.6, -0.58, 0.6, -0.25)
    c.box("gold", -0.55, -0.28, 0.55, 0.22)
    c.box("white", 0.55, -0.6, 1, -0.48)
    for x in (-0.36, -0.12, 0.12, 0.36):
        c.gate("brown", x, -0.2, 0.13, 0.28)
        c.gate("dark", x, -0.55, 0.13, 0.24)
    for x in (-0.5, 0.5):
        c.dome("gold", x, 0.22, 0.12, 0.18)
    c.box("gold", -0.25, 0.22, 0.25, 0.34)
    c.dome("gold", 0, 0.34, 0.24, 0.26)


def red_fort(c: Canvas) -> None:
    c.box("brick", -1, -0.9, 1, -0.1)
    for x in c.row(10, -1, 1):
        c.dome("brick", x, -0.1, 0.08, 0.1)
    for x in (-0.42, 0.42):
        c.box("red", x - 0.17, -0.95, x + 0.17, 0.28)
        c.box("cream", x - 0.14, 0.28, x + 0.14, 0.36)
        c.dome("white", x, 0.42, 0.16, 0.2)
        c.line("brick", x - 0.1, 0.3, x - 0.1, 0.44, 0.04)
        c.line("brick", x + 0.1, 0.3, x + 0.1, 0.44, 0.04)
    c.box("red", -0.25, -0.9, 0.25, 0.12)
    c.gate("dark", 0, -0.9, 0.26, 0.7)
    for x in c.row(5, -0.25, 0.25):
        c.dome("white", x, 0.12, 0.05, 0.1)


def chichen_itza(c: Canvas) -> None:
    for i in range(6):
        half = 0.98 - 0.125 * i
        c.box("stone" if i % 2 else "sand", -half, -0.95 + 0.2 * i, half, -0.75 + 0.2 * i)
    c.poly("cream", (-0.24, -0.95), (0.24, -0.95), (0.14, 0.25), (-0.14, 0.25))
    for y in c.row(6, -0.95, 0.25):
        c.line("brown", -0.16, y, 0.16, y, 0.03)
    c.box("sand", -0.27, 0.25, 0.27, 0.58)
    c.box("dark", -0.08, 0.25, 0.08, 0.48)


def machu_picchu(c: Canvas) -> None:
    c.poly("green", (-0.1, -0.4), (0.75, -0.4), (0.42, 0.85), (0.3, 0.9))
    c.poly("steel", (0.42, 0.85), (0.3, 0.9), (0.2, 0.5), (0.5, 0.5))
    c.poly("green", (-1, -0.4), (-0.2, -0.4), (-0.6, 0.3))
    c.poly("green", (-1, -1), (1, -1), (0.85, -0.35), (-0.85, -0.35))
    for i in range(5):
        y = -0.92 + 0.13 * i
        c.line("stone", -0.95 + 0.06 * i, y, 0.1 + 0.06 * i, y, 0.05)
    for x, y in ((-0.55, -0.4), (-0.15, -0.35), (0.25, -0.45), (0.6, -0.6), (0.35, -0.75)):
        c.box("stone", x - 0.12, y, x + 0.12, y + 0.16)
        c.poly("brown", (x - 0.13, y + 0.16), (x + 0.13, y + 0.16), (x, y + 0.32))


def hagia_sophia(c: Canvas) -> None:
    for x in (-0.9, 0.9, -0.6, 0.6):
        _minaret(c, "cream", x, -0.95, 0.45 if abs(x) > 0.7 else 0.6)
    c.box("rose", -0.75, -0.95, 0.75, -0.35)
    c.dome("steel", -0.42, -0.35, 0.3, 0.3)
    c.dome("steel", 0.42, -0.35, 0.3, 0.3)
    c.box("rose", -0.42, -0.4, 0.42, -0.02)
    c.dome("grey", 0, -0.02, 0.42, 0.4)
    for x in c.row(6, -0.4, 0.4):
        c.box("yellow", x - 0.03, -0.1, x + 0.03, 0.02)
    for x in c.row(5, -0.7, 0.7):
        c.gate("dark", x, -0.9, 0.13, 0.32)


def grand_palace(c: Canvas) -> None:
    c.box("white", -1, -0.95, 1, -0.4)
    for x in c.row(6, -1, 0.3):
        c.gate("blue", x, -0.85, 0.1, 0.34)
    for i in range(3):
        y = -0.4 + 0.22 * i
        c.poly(
            "orange" if i % 2 else "green",
            (-0.95 + 0.18 * i, y),
            (0.35 - 0.18 * i, y),
            (-0.05 - 0.18 * i, y + 0.3),
            (-0.55 + 0.18 * i, y + 0.3),
        )
    c.line("gold", -0.3, 0.2, -0.3, 0.72, 0.05)
    c.poly("gold", (0.38, -0.6), (0.98, -0.6), (0.86, -0.3), (0.5, -0.3))
    c.dome("gold", 0.68, -0.35, 0.26, 0.45)
    c.poly("gold", (0.58, 0.0), (0.78, 0.0), (0.68, 0.95))


def golden_pavilion(c: Canvas) -> None:
    c.box("blue", -1, -1, 1, -0.72)
    c.box("stone", -0.7, -0.75, 0.7, -0.66)
    for y, half, colour in ((-0.66, 0.52, "brown"), (-0.2, 0.46, "gold"), (0.22, 0.28, "gold")):
        c.box(colour, -half, y, half, y + 0.3)
        for x in c.row(4, -half, half):
            c.box("white" if colour == "brown" else "iron", x - 0.05, y + 0.05, x + 0.05, y + 0.2)
        _eaves(c, "iron", 0, y + 0.28, half + 0.24, 0.15)
    c.poly("iron", (-0.3, 0.6), (0.3, 0.6), (0, 0.8))
    c.poly("gold", (-0.08, 0.95), (0.1, 0.98), (0, 0.76))


def petra(c: Canvas) -> None:
    c.poly("rose", (-1, -1), (1, -1), (0.95, 0.8), (0.3, 1), (-0.5, 0.95), (-1, 0.6))
    c.box("pink", -0.6, -0.95, 0.6, 0.7)
    for x in (-0.5, -0.3, -0.1, 0.1, 0.3, 0.5):
        c.box("rose", x - 0.05, -0.9, x + 0.05, -0.15)
    c.box("dark", -0.09, -0.9, 0.09, -0.4)
    c.poly("brick", (-0.6, -0.15), (0.6, -0.15), (0, 0.1))
    c.box("rose", -0.16, 0.08, 0.16, 0.42)
    c.poly("brick", (-0.2, 0.42), (0.2, 0.42), (0, 0.7))
    for s in (-1, 1):
        c.box("rose", s * 0.42 - 0.1, 0.08, s * 0.42 + 0.1, 0.42)
        c.poly("brick", (s * 0.3, 0.42), (s * 0.58, 0.42), (s * 0.3, 0.6))
    c.line("brown", -0.85, -0.9, -0.75, 0.6, 0.06)


def wawel_castle(c: Canvas) -> None:
    c.poly("green", (-1, -1), (1, -1), (0.85, -0.5), (-0.85, -0.5))
    c.dome("black", -0.25, -1, 0.26, 0.36)
    c.box("brick", -0.85, -0.5, 0.85, -0.1)
    c.poly("orange", (-0.4, -0.1), (0.5, -0.1), (0.4, 0.12), (-0.3, 0.12))
    c.box("brick", -0.75, -0.5, -0.4, 0.4)
    c.poly("copper", (-0.78, 0.4), (-0.37, 0.4), (-0.575, 0.9))
    c.box("cream", 0.45, -0.5, 0.8, 0.2)
    c.dome("copper", 0.625, 0.2, 0.2, 0.24)
    c.line("gold", 0.625, 0.4, 0.625, 0.7, 0.05)
    for x in (-0.2, 0.05, 0.3):
        c.box("cream", x - 0.06, -0.38, x + 0.06, -0.18)
    c.gate("dark", -0.575, 0.05, 0.12, 0.24)
    c.gate("dark", 0.625, -0.1, 0.12, 0.22)


def vasa_museum(c: Canvas) -> None:
    for x, top in ((-0.4, 0.85), (0.05, 1.0), (0.45, 0.75)):
        c.line("brown", x, -0.1, x, top, 0.06)
        c.line("brown", x - 0.18, top - 0.25, x + 0.18, top - 0.25, 0.045)
        c.line("brown", x - 0.13, top - 0.1, x + 0.13, top - 0.1, 0.045)
    c.poly("copper", (-0.95, -0.3), (0.95, -0.3), (0.35, 0.25), (-0.5, 0.1))
    c.box("brick", -0.95, -0.9, 0.95, -0.3)
    c.box("glass", -0.75, -0.8, 0.75, -0.4)
    c.poly("brown", (-0.45, -0.78), (0.4, -0.78), (0.62, -0.42), (-0.62, -0.48))
    for x in (-0.3, 0.0, 0.3):
        c.box("gold", x - 0.05, -0.64, x + 0.05, -0.55)


def hassan_mosque(c: Canvas) -> None:
    c.box("blue", -1, -1, 1, -0.8)
    c.box("cream", -0.95, -0.8, 0.55, -0.25)
    c.poly("copper", (-0.98, -0.25), (0.4, -0.25), (0.2, 0.0), (-0.8, 0.0))
    for x in c.row(6, -0.95, 0.3):
        c.gate("dark", x, -0.8, 0.13, 0.4)
    c.box("cream", 0.32, -0.85, 0.76, 0.6)
    c.box("copper", 0.32, 0.42, 0.76, 0.58)
    c.gate("copper", 0.54, -0.1, 0.2, 0.4)
    c.gate("brown", 0.54, -0.8, 0.2, 0.45)
    c.box("cream", 0.43, 0.6, 0.65, 0.82)
    c.dome("copper", 0.54, 0.82, 0.1, 0.12)


def stonehenge(c: Canvas) -> None:
    for x, h in ((-0.85, 0.2), (-0.52, 0.25), (-0.1, 0.4), (0.24, 0.4), (0.6, 0.1), (0.9, -0.2)):
        c.poly("grey", (x - 0.13, -0.85), (x + 0.13, -0.85), (x + 0.1, h), (x - 0.1, h))
        c.line("steel", x + 0.08, -0.8, x + 0.07, h - 0.05, 0.05)
    c.poly("grey", (-1, 0.18), (-0.4, 0.24), (-0.4, 0.46), (-1, 0.4))
    c.poly("grey", (-0.28, 0.4), (0.42, 0.4), (0.4, 0.64), (-0.26, 0.62))
    c.poly("stone", (0.35, -0.95), (0.8, -0.95), (0.76, -0.75), (0.4, -0.72))


DRAWINGS: dict[str, Callable[[Canvas], None]] = {
    f.__name__: f
    for f in (
        sydney_opera_house,
        colosseum,
        trevi_fountain,
        louvre,
        notre_dame,
        cologne_cathedral,
        sagrada_familia,
        brandenburg_gate,
        alhambra,
        parthenon,
        great_pyramid,
        sphinx,
        white_house,
        kremlin,
        hermitage,
        forbidden_city,
        taj_mahal,
        golden_temple,
        red_fort,
        chichen_itza,
        machu_picchu,
        hagia_sophia,
        grand_palace,
        golden_pavilion,
        petra,
        wawel_castle,
        vasa_museum,
        hassan_mosque,
        stonehenge,
    )
}

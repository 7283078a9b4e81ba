"""Drawings of dishes, by the names of the table of dishes."""

from __future__ import annotations

from collections.abc import Callable

from inscape_microworld.pictures.canvas import Canvas


def _plate(c: Canvas, rim: str = "white") -> None:
    c.disc(rim, 0, -0.45, 0.98, 0.5)
    c.disc("stone", 0, -0.43, 0.72, 0.34)
    c.disc(rim, 0, -0.42, 0.7, 0.32)


def _bowl(c: Canvas, bowl: str, soup: str) -> None:
    c.dome(bowl, 0, -0.2, 0.85, -0.75)
    c.box(bowl, -0.35, -1, 0.35, -0.88)
    c.disc(bowl, 0, -0.2, 0.85, 0.3)
    c.disc(soup, 0, -0.19, 0.76, 0.24)


def _sticks(c: Canvas) -> None:
    for x in (0.55, 0.7):
        c.line("brown", 0.1, -0.15, x, 0.85, 0.05)


def pizza(c: Canvas) -> None:
    c.disc("brown", 0, -0.1, 0.9)
    c.disc("red", 0, -0.1, 0.8)
    c.disc("yellow", 0, -0.1, 0.74)
    for x, y in ((-0.4, 0.2), (0.1, 0.4), (0.45, 0.05), (0.15, -0.3), (-0.35, -0.35), (0.4, -0.5)):
        c.disc("red", x, y, 0.15)
    for angle in ((-0.9, -0.1, 0.9, -0.1), (-0.45, -0.88, 0.45, 0.68), (0.45, -0.88, -0.45, 0.68)):
        c.line("brown", *angle, 0.035)


def lasagna(c: Canvas) -> None:
    _plate(c)
    for i, colour in enumerate(("yellow", "red", "cream", "red", "yellow")):
        c.box(colour, -0.55, -0.6 + 0.16 * i, 0.55, -0.44 + 0.16 * i)
    c.poly("cream", (-0.55, 0.2), (0.55, 0.2), (0.75, 0.42), (-0.35, 0.42))
    c.poly("red", (0.55, -0.6), (0.75, -0.38), (0.75, 0.42), (0.55, 0.2))
    c.disc("green", 0.1, 0.33, 0.12, 0.07)


def ravioli(c: Canvas) -> None:
    _plate(c)
    for x, y in ((-0.4, -0.5), (0.1, -0.58), (-0.15, -0.25), (0.35, -0.3)):
        c.box("brown", x - 0.2, y - 0.16, x + 0.2, y + 0.18)
        c.box("yellow", x - 0.18, y - 0.14, x + 0.18, y + 0.16)
        c.disc("cream", x, y, 0.1)
    c.disc("green", 0.0, -0.4, 0.09, 0.06)


def gnocchi(c: Canvas) -> None:
    _plate(c, "blue")
    for i, x in enumerate((-0.42, -0.2, 0.02, 0.24, 0.44, -0.3, -0.08, 0.14, 0.34)):
        y = -0.55 if i < 5 else -0.33
        c.disc("cream", x, y, 0.13, 0.1)
        c.line("brown", x - 0.06, y, x + 0.06, y, 0.025)
    c.disc("green", 0.05, -0.22, 0.14, 0.05)


def tiramisu(c: Canvas) -> None:
    for i, colour in enumerate(("brown", "cream", "brown", "cream")):
        c.box(colour, -0.6, -0.9 + 0.3 * i, 0.6, -0.6 + 0.3 * i)
    c.poly("iron", (-0.6, 0.3), (0.6, 0.3), (0.8, 0.55), (-0.4, 0.55))
    c.poly("brown", (0.6, -0.9), (0.8, -0.65), (0.8, 0.55), (0.6, 0.3))


def sushi(c: Canvas) -> None:
    c.box("brown", -0.98, -0.85, 0.98, -0.7)
    for x, colour in ((-0.6, "orange"), (0.0, "pink"), (0.6, "red")):
        c.box("white", x - 0.24, -0.7, x + 0.24, -0.4)
        c.dome("white", x, -0.42, 0.24, 0.12)
        c.dome(colour, x, -0.42, 0.3, 0.26)
        c.box("black", x - 0.06, -0.7, x + 0.06, -0.18)


def ramen(c: Canvas) -> None:
    _bowl(c, "red", "orange")
    for x in (-0.5, -0.3, -0.1):
        c.arch("yellow", x, -0.25, 0.16, 0.14, 0.05)
    c.disc("white", 0.3, -0.12, 0.18, 0.12)
    c.disc("gold", 0.3, -0.12, 0.09, 0.07)
    c.box("black", -0.55, -0.15, -0.3, 0.2)
    _sticks(c)


def tempura(c: Canvas) -> None:
    _plate(c, "dark")
    for x in (-0.45, -0.12, 0.22):
        c.line("gold", x, -0.6, x + 0.25, 0.15, 0.22)
        c.poly("red", (x + 0.18, 0.2), (x + 0.36, 0.15), (x + 0.42, 0.48))
        c.disc("yellow", x + 0.08, -0.3, 0.07)
        c.disc("yellow", x + 0.16, 0.0, 0.06)


def onigiri(c: Canvas) -> None:
    c.poly(
        "white", (-0.8, -0.8), (0.8, -0.8), (0.9, -0.6), (0.15, 0.65), (-0.15, 0.65), (-0.9, -0.6)
    )
    c.box("black", -0.32, -0.8, 0.32, -0.2)
    for x, y in ((0, 0.2), (-0.3, -0.1), (0.35, -0.15)):
        c.disc("stone", x, y, 0.05)


def mochi(c: Canvas) -> None:
    c.box("green", -0.98, -0.85, 0.98, -0.75)
    for x, y, colour in ((-0.45, -0.55, "pink"), (0.45, -0.55, "white"), (0, 0.0, "green")):
        c.disc(colour, x, y, 0.42, 0.3)
        c.disc("white", x - 0.12, y + 0.12, 0.1, 0.05)


def unagi(c: Canvas) -> None:
    c.box("dark", -0.95, -0.9, 0.95, -0.1)
    c.box("red", -0.88, -0.82, 0.88, -0.18)
    c.box("white", -0.84, -0.78, 0.84, -0.22)
    for x in (-0.42, 0.42):
        c.poly("brown", (x - 0.36, -0.72), (x + 0.36, -0.72), (x + 0.36, -0.28), (x - 0.36, -0.28))
        c.line("iron", x - 0.32, -0.5, x + 0.32, -0.5, 0.05)
        for t in (-0.2, 0, 0.2):
            c.line("gold", x + t, -0.68, x + t + 0.08, -0.32, 0.03)


def croissant(c: Canvas) -> None:
    c.arch("brown", 0, -0.6, 0.72, 0.75, 0.42)
    for s in (-1, 1):
        for x, y, u, v in ((0.72, -0.4, 0.4, -0.3), (0.6, 0, 0.35, -0.15), (0.25, 0.3, 0.15, 0)):
            c.line("gold", s * x, y, s * u, v, 0.1)
    for s in (-1, 1):
        c.poly("brown", (s * 0.95, -0.55), (s * 0.5, -0.55), (s * 0.55, -0.8))


def quiche(c: Canvas) -> None:
    c.poly("sand", (-0.85, -0.75), (0.85, -0.75), (0.95, -0.15), (-0.95, -0.15))
    for x in c.row(10, -0.85, 0.85):
        c.line("brown", x, -0.7, x, -0.2, 0.04)
    c.disc("brown", 0, -0.12, 0.95, 0.35)
    c.disc("yellow", 0, -0.1, 0.84, 0.28)
    for x, y in ((-0.4, -0.05), (0.1, 0.05), (0.4, -0.15), (-0.1, -0.22)):
        c.disc("green", x, y, 0.1, 0.05)


def paella(c: Canvas) -> None:
    for s in (-1, 1):
        c.ring("dark", s * 0.9, -0.3, 0.14, 0.1, 0.06)
    c.disc("dark", 0, -0.4, 0.85, 0.5)
    c.disc("gold", 0, -0.36, 0.74, 0.4)
    for x, y in ((-0.35, -0.2), (0.3, -0.15), (0.0, -0.55)):
        c.arch("red", x, y, 0.14, 0.12, 0.08)
    for x, y in ((-0.1, -0.15), (0.45, -0.45), (-0.5, -0.45)):
        c.disc("black", x, y, 0.11, 0.06)
    c.poly("yellow", (0.1, -0.35), (0.3, -0.35), (0.2, -0.2))


def gazpacho(c: Canvas) -> None:
    c.poly("glass", (-0.5, 0.4), (0.5, 0.4), (0.35, -0.9), (-0.35, -0.9))
    c.poly("red", (-0.45, 0.2), (0.45, 0.2), (0.33, -0.85), (-0.33, -0.85))
    c.disc("red", 0, 0.2, 0.45, 0.1)
    c.line("green", 0.15, 0.1, 0.45, 0.85, 0.12)
    c.disc("green", 0.48, 0.8, 0.16, 0.12)
    c.disc("green", -0.15, 0.22, 0.1, 0.04)


def churros(c: Canvas) -> None:
    c.poly("red", (-0.4, -0.95), (0.4, -0.95), (0.6, -0.1), (-0.6, -0.1))
    for x, lean in ((-0.4, -0.25), (-0.14, -0.08), (0.14, 0.08), (0.4, 0.25)):
        c.line("brown", x, -0.2, x + lean, 0.8, 0.17)
        c.line("gold", x, -0.2, x + lean, 0.8, 0.06)
    c.poly("white", (-0.35, -0.7), (0.35, -0.7), (0.42, -0.45), (-0.42, -0.45))


def tacos(c: Canvas) -> None:
    for x in (-0.35, 0.3):
        for i, colour in enumerate(("green", "red", "green", "brown", "red")):
            c.disc(colour, x - 0.36 + 0.18 * i, -0.1 + 0.12 * (i % 2), 0.16)
        c.dome("gold", x, -0.8, 0.6, 0.72)
        c.dome("yellow", x, -0.8, 0.5, 0.58)


def samosa(c: Canvas) -> None:
    c.poly("gold", (-0.9, -0.8), (0.3, -0.8), (-0.3, 0.45))
    c.poly("brown", (-0.9, -0.8), (-0.55, -0.8), (-0.3, 0.45))
    c.poly("gold", (0.0, -0.95), (0.95, -0.95), (0.5, 0.0))
    c.line("brown", 0.15, -0.85, 0.8, -0.85, 0.05)
    c.disc("green", -0.6, -0.9, 0.3, 0.1)


def dumplings(c: Canvas) -> None:
    c.box("brown", -0.95, -0.95, 0.95, -0.45)
    c.line("iron", -0.95, -0.7, 0.95, -0.7, 0.05)
    for x in (-0.58, 0.0, 0.58):
        c.dome("cream", x, -0.46, 0.3, 0.42)
        for t in (-0.12, 0, 0.12):
            c.line("stone", x + t, -0.35, x, -0.05, 0.035)
        c.disc("cream", x, -0.04, 0.08)


def kimchi(c: Canvas) -> None:
    c.box("glass", -0.5, -0.95, 0.5, 0.4)
    c.box("steel", -0.42, 0.4, 0.42, 0.62)
    c.box("orange", -0.45, -0.9, 0.45, 0.25)
    for x, y in ((-0.25, 0.0), (0.15, -0.15), (-0.15, -0.45), (0.25, -0.6), (-0.25, -0.78)):
        c.disc("cream", x, y, 0.17, 0.11)
        c.line("red", x - 0.1, y, x + 0.12, y + 0.03, 0.05)


def bibimbap(c: Canvas) -> None:
    _bowl(c, "black", "white")
    for x, y, colour in (
        (-0.5, -0.18, "orange"),
        (-0.25, -0.05, "green"),
        (0.25, -0.05, "brown"),
        (0.5, -0.2, "red"),
        (-0.2, -0.33, "sand"),
        (0.2, -0.33, "green"),
    ):
        c.disc(colour, x, y, 0.23, 0.1)
    c.disc("white", 0, -0.15, 0.22, 0.12)
    c.disc("gold", 0, -0.13, 0.12, 0.07)


def pho(c: Canvas) -> None:
    _bowl(c, "white", "sand")
    c.line("blue", -0.7, -0.55, 0.7, -0.55, 0.07)
    for x in (-0.45, -0.2):
        c.disc("rose", x, -0.18, 0.18, 0.09)
    for x in (0.15, 0.35, 0.55):
        c.disc("green", x, -0.12, 0.1, 0.05)
    c.poly("green", (0.3, -0.2), (0.55, 0.5), (0.7, 0.4))
    c.line("white", 0.0, -0.3, 0.4, -0.28, 0.04)


def baklava(c: Canvas) -> None:
    for x, y in ((-0.45, -0.6), (0.45, -0.6), (0.0, -0.1)):
        c.poly("gold", (x - 0.45, y), (x, y - 0.28), (x + 0.45, y), (x, y + 0.28))
        c.poly("brown", (x - 0.45, y), (x, y - 0.28), (x, y - 0.4), (x - 0.45, y - 0.12))
        c.poly("iron", (x + 0.45, y), (x, y - 0.28), (x, y - 0.4), (x + 0.45, y - 0.12))
        c.disc("green", x, y, 0.11, 0.07)


def doner(c: Canvas) -> None:
    c.line("steel", 0, -1, 0, 1, 0.07)
    c.poly("brown", (-0.55, 0.7), (0.55, 0.7), (0.28, -0.75), (-0.28, -0.75))
    for y, half in ((0.5, 0.5), (0.25, 0.45), (0.0, 0.4), (-0.25, 0.36), (-0.5, 0.31)):
        c.line("rose", -half, y, half, y + 0.08, 0.07)
    c.disc("steel", 0, -0.9, 0.6, 0.1)
    c.disc("red", 0, 0.78, 0.2, 0.14)


def bratwurst(c: Canvas) -> None:
    c.disc("sand", 0, -0.55, 0.75, 0.32)
    c.line("brick", -0.75, -0.3, 0.75, -0.3, 0.34)
    c.disc("brick", -0.78, -0.3, 0.18)
    c.disc("brick", 0.78, -0.3, 0.18)
    c.path(
        "yellow",
        (-0.6, -0.25),
        (-0.35, -0.38),
        (-0.1, -0.2),
        (0.15, -0.38),
        (0.4, -0.2),
        (0.6, -0.34),
        width=0.08,
    )
    c.disc("sand", 0, -0.72, 0.78, 0.24)


def pretzel(c: Canvas) -> None:
    for s in (-1, 1):
        c.ring("brown", s * 0.38, 0.05, 0.4, 0.42, 0.2)
        c.line("brown", s * 0.1, -0.2, -s * 0.5, -0.75, 0.18)
    c.arch("brown", 0, -0.4, 0.7, -0.42, 0.2)
    for x, y in ((-0.6, 0.3), (0.6, 0.3), (-0.3, -0.72), (0.3, -0.72), (0, -0.1), (0, -0.8)):
        c.disc("white", x, y, 0.055)


def borscht(c: Canvas) -> None:
    _bowl(c, "green", "red")
    c.disc("white", -0.15, -0.16, 0.26, 0.12)
    c.line("green", 0.2, -0.15, 0.45, -0.1, 0.06)
    c.line("steel", 0.3, -0.2, 0.85, 0.65, 0.08)
    c.disc("steel", 0.85, 0.68, 0.1)


def blini(c: Canvas) -> None:
    _plate(c, "glass")
    for i in range(5):
        c.disc("brown", 0, -0.52 + 0.12 * i, 0.58, 0.2)
        c.disc("gold", 0, -0.48 + 0.12 * i, 0.58, 0.19)
    c.disc("white", 0, 0.06, 0.26, 0.12)
    for x in (-0.1, 0.02, 0.14):
        c.disc("dark", x, 0.14, 0.06)


def tagine(c: Canvas) -> None:
    c.poly("orange", (-0.75, -0.45), (0.75, -0.45), (0.18, 0.45), (-0.18, 0.45))
    c.line("blue", -0.55, -0.15, 0.55, -0.15, 0.07)
    c.line("blue", -0.35, 0.15, 0.35, 0.15, 0.06)
    c.disc("orange", 0, 0.55, 0.16)
    c.poly("brick", (-0.95, -0.45), (0.95, -0.45), (0.65, -0.9), (-0.65, -0.9))
    for x in (-0.3, 0.35):
        c.line("white", x, 0.75, x + 0.08, 1.0, 0.04)


def couscous(c: Canvas) -> None:
    _plate(c, "brick")
    c.dome("yellow", 0, -0.5, 0.62, 0.62)
    for x, y, colour in (
        (-0.3, -0.3, "orange"),
        (0.25, -0.25, "green"),
        (0.0, -0.02, "orange"),
        (-0.05, -0.4, "red"),
        (0.4, -0.42, "orange"),
    ):
        c.line(colour, x - 0.08, y - 0.06, x + 0.08, y + 0.1, 0.1)


DRAWINGS: dict[str, Callable[[Canvas], None]] = {
    f.__name__: f
    for f in (
        baklava,
        bibimbap,
        blini,
        borscht,
        bratwurst,
        churros,
        couscous,
        croissant,
        doner,
        dumplings,
        gazpacho,
        gnocchi,
        kimchi,
        lasagna,
        mochi,
        onigiri,
        paella,
        pho,
        pizza,
        pretzel,
        quiche,
        ramen,
        ravioli,
        samosa,
        sushi,
        tacos,
        tagine,
        tempura,
        tiramisu,
        unagi,
    )
}

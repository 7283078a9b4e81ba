"""Drawings of animals, by the names of the table of animals."""

from __future__ import annotations

from collections.abc import Callable

from inscape_microworld.pictures.canvas import Canvas


def _beast(
    c: Canvas,
    coat: str,
    *,
    length: float = 0.55,
    depth: float = 0.3,
    legs: float = 0.5,
    thick: float = 0.13,
    neck: float = 0.25,
    head: float = 0.22,
    snout: float = 0.15,
) -> tuple[float, float]:
    """A body on four legs that looks to the right; gives the middle of the head."""
    back = -1 + legs + depth
    for x in (-length, -length + 0.24, length - 0.24, length):
        c.line(coat, x * 0.85, -0.97, x * 0.85, back, thick)
    c.disc(coat, 0, back, length + 0.1, depth)
    x, y = length + 0.12 + 0.3 * neck, back + 0.15 + neck
    c.line(coat, length * 0.75, back + 0.05, x, y, head * 1.1)
    c.disc(coat, x, y, head, head * 0.9)
    c.disc(coat, x + head * 0.7 + snout * 0.5, y - head * 0.25, snout, head * 0.5)
    c.disc("black", x + head * 0.3, y + head * 0.25, 0.045)
    return x, y


def _ears(c: Canvas, colour: str, x: float, y: float, wide: float, high: float) -> None:
    for s in (-1, 1):
        c.poly(
            colour,
            (x + s * 0.1 - wide, y + 0.1),
            (x + s * 0.1 + wide, y + 0.1),
            (x + s * 0.15, y + 0.1 + high),
        )


def elephant(c: Canvas) -> None:
    for x in (-0.55, -0.25, 0.2, 0.45):
        c.box("grey", x - 0.12, -0.97, x + 0.12, -0.2)
    c.disc("grey", -0.1, -0.05, 0.68, 0.45)
    c.disc("grey", 0.58, 0.2, 0.3)
    c.path("grey", (0.78, 0.15), (0.9, -0.2), (0.88, -0.65), width=0.16)
    c.disc("steel", 0.38, 0.2, 0.24, 0.34)
    c.line("white", 0.72, 0.0, 0.98, -0.15, 0.07)
    c.disc("black", 0.68, 0.3, 0.05)


def camel(c: Canvas) -> None:
    x, y = _beast(c, "sand", legs=0.7, depth=0.22, neck=0.5, head=0.14, snout=0.16, thick=0.09)
    for hump in (-0.25, 0.2):
        c.dome("sand", hump, -0.05, 0.2, 0.42)
    c.path("sand", (0.45, -0.15), (0.7, -0.25), (x - 0.05, y), width=0.15)
    c.line("brown", -0.6, -0.05, -0.75, -0.45, 0.05)


def macaque(c: Canvas) -> None:
    c.path("brown", (0.3, -0.8), (0.75, -0.7), (0.8, -0.2), (0.6, 0.0), width=0.09)
    c.disc("brown", 0, -0.5, 0.34, 0.45)
    for s in (-1, 1):
        c.line("brown", s * 0.25, -0.2, s * 0.6, -0.6, 0.13)
        c.disc("sand", s * 0.4, 0.38, 0.14)
        c.disc("brown", s * 0.28, -0.92, 0.2, 0.09)
    c.disc("brown", 0, 0.38, 0.36)
    c.disc("sand", 0, 0.28, 0.25, 0.24)
    for s in (-1, 1):
        c.disc("black", s * 0.1, 0.38, 0.05)
    c.arch("brown", 0, 0.22, 0.13, -0.1, 0.04)


def condor(c: Canvas) -> None:
    for s in (-1, 1):
        c.poly("iron", (0, 0.1), (s * 0.98, 0.65), (s * 0.9, 0.15), (0, -0.35))
        for x in (0.55, 0.75, 0.92):
            c.line("iron", s * (x - 0.1), 0.3, s * x, -0.05, 0.09)
    c.disc("iron", 0, -0.1, 0.2, 0.45)
    c.poly("iron", (-0.14, -0.45), (0.14, -0.45), (0.28, -0.85), (-0.28, -0.85))
    c.disc("white", 0, 0.32, 0.2, 0.1)
    c.disc("pink", 0, 0.45, 0.14)
    c.poly("gold", (0.1, 0.48), (0.34, 0.36), (0.1, 0.32))
    c.disc("black", 0.06, 0.46, 0.04)


def tortoise(c: Canvas) -> None:
    for x in (-0.45, 0.35):
        c.disc("green", x, -0.8, 0.15, 0.2)
    c.disc("green", 0.75, -0.4, 0.22, 0.18)
    c.poly("green", (-0.6, -0.7), (-0.95, -0.8), (-0.6, -0.55))
    c.dome("brown", 0, -0.72, 0.7, 0.7)
    c.ring("sand", 0, -0.4, 0.22, 0.2, 0.05)
    for s in (-1, 1):
        c.line("sand", s * 0.2, -0.4, s * 0.55, -0.5, 0.05)
    c.line("sand", -0.68, -0.72, 0.68, -0.72, 0.07)
    c.disc("black", 0.82, -0.35, 0.04)


def coyote(c: Canvas) -> None:
    c.poly("steel", (-0.6, -1), (0.35, -1), (0.3, -0.2), (0.0, 0.1))
    c.line("steel", 0.05, -0.2, 0.35, 0.5, 0.4)
    c.poly("steel", (0.1, 0.4), (0.4, 0.3), (0.85, 0.95), (0.72, 1.0))
    c.poly("steel", (0.05, 0.45), (0.25, 0.65), (-0.1, 0.85))
    c.line("steel", -0.5, -0.9, -0.95, -0.7, 0.18)
    c.line("steel", 0.25, -0.97, 0.25, -0.3, 0.14)
    c.disc("yellow", 0.42, 0.6, 0.05)
    c.disc("white", 0.2, -0.1, 0.12, 0.25)


def koala(c: Canvas) -> None:
    c.box("brown", 0.55, -1, 0.75, 1)
    c.disc("grey", 0, -0.5, 0.45, 0.5)
    c.line("grey", 0.2, -0.3, 0.65, -0.05, 0.18)
    c.line("grey", 0.2, -0.8, 0.65, -0.75, 0.2)
    for s in (-1, 1):
        c.disc("grey", s * 0.4, 0.52, 0.24)
        c.disc("white", s * 0.4, 0.52, 0.13)
    c.disc("grey", 0, 0.32, 0.4, 0.36)
    for s in (-1, 1):
        c.disc("black", s * 0.2, 0.4, 0.05)
    c.disc("black", 0, 0.25, 0.1, 0.16)


def panda(c: Canvas) -> None:
    c.disc("white", 0, -0.4, 0.5, 0.5)
    c.disc("black", 0, -0.1, 0.52, 0.16)
    for s in (-1, 1):
        c.line("black", s * 0.45, -0.1, s * 0.4, -0.5, 0.22)
        c.disc("black", s * 0.4, -0.85, 0.24, 0.16)
        c.disc("black", s * 0.33, 0.74, 0.16)
    c.disc("white", 0, 0.42, 0.42, 0.38)
    for s in (-1, 1):
        c.disc("black", s * 0.17, 0.45, 0.12, 0.14)
        c.disc("white", s * 0.17, 0.47, 0.04)
    c.disc("black", 0, 0.27, 0.08, 0.05)
    c.line("green", 0.45, -0.75, 0.75, 0.3, 0.07)


def kangaroo(c: Canvas) -> None:
    c.path("brick", (-0.25, -0.6), (-0.6, -0.85), (-0.98, -0.9), width=0.16)
    c.disc("brick", -0.05, -0.45, 0.34, 0.4)
    c.line("brick", 0.0, -0.2, 0.3, 0.45, 0.28)
    c.disc("brick", 0.45, 0.52, 0.24, 0.16)
    c.disc("brick", -0.1, -0.72, 0.26, 0.16)
    c.line("brick", 0.0, -0.93, 0.5, -0.93, 0.12)
    c.path("brick", (0.2, 0.1), (0.5, -0.1), (0.55, -0.3), width=0.09)
    for x in (0.22, 0.4):
        c.disc("brick", x, 0.8, 0.07, 0.2)
    c.disc("cream", 0.15, -0.4, 0.14, 0.18)
    c.disc("black", 0.5, 0.57, 0.04)


def platypus(c: Canvas) -> None:
    c.disc("brown", -0.75, -0.6, 0.28, 0.14)
    c.disc("brown", -0.05, -0.55, 0.6, 0.3)
    c.disc("brown", 0.5, -0.42, 0.27, 0.22)
    c.disc("dark", 0.85, -0.5, 0.24, 0.1)
    for x in (-0.3, 0.3):
        c.poly("orange", (x, -0.75), (x + 0.28, -0.95), (x - 0.1, -0.95))
    c.disc("white", 0.55, -0.34, 0.06)
    c.disc("black", 0.56, -0.34, 0.035)


def emu(c: Canvas) -> None:
    for x in (-0.2, 0.05):
        c.path("grey", (x, -0.3), (x + 0.08, -0.65), (x, -0.95), width=0.07)
        c.line("grey", x, -0.96, x + 0.2, -0.96, 0.06)
    c.disc("iron", -0.1, -0.1, 0.55, 0.36)
    for x in (-0.5, -0.3, -0.1, 0.1):
        c.line("brown", x, 0.1, x - 0.2, -0.4, 0.05)
    c.path("steel", (0.3, 0.05), (0.42, 0.4), (0.4, 0.75), width=0.12)
    c.disc("dark", 0.45, 0.8, 0.16, 0.13)
    c.poly("dark", (0.55, 0.85), (0.82, 0.76), (0.55, 0.72))
    c.disc("orange", 0.48, 0.82, 0.04)


def yak(c: Canvas) -> None:
    x, y = _beast(c, "dark", legs=0.35, depth=0.4, neck=0.0, head=0.24, thick=0.16)
    for t in c.row(8, -0.65, 0.6):
        c.poly("dark", (t - 0.1, -0.4), (t + 0.1, -0.4), (t, -0.88))
    c.arch("cream", x, y + 0.45, 0.3, -0.32, 0.08)
    c.disc("pink", x + 0.3, y - 0.08, 0.08)
    c.disc("white", x + 0.08, y + 0.05, 0.05)


def peacock(c: Canvas) -> None:
    c.dome("green", 0, -0.6, 0.95, 1.4)
    for x, y in (
        (-0.75, -0.3),
        (-0.62, 0.1),
        (-0.35, 0.45),
        (0, 0.58),
        (0.35, 0.45),
        (0.62, 0.1),
        (0.75, -0.3),
    ):
        c.disc("gold", x, y, 0.14)
        c.disc("blue", x, y, 0.08)
    c.disc("blue", 0, -0.5, 0.24, 0.36)
    c.line("blue", 0, -0.4, 0.02, 0.05, 0.16)
    c.disc("blue", 0.03, 0.1, 0.13)
    c.poly("gold", (0.12, 0.13), (0.3, 0.07), (0.12, 0.04))
    for t in (-0.08, 0.03, 0.14):
        c.line("glass", 0.03, 0.2, t, 0.36, 0.03)
    for s in (-0.1, 0.1):
        c.line("brown", s, -0.8, s, -0.98, 0.05)


def axolotl(c: Canvas) -> None:
    c.poly("pink", (-1, -0.35), (-0.2, -0.4), (-0.2, -0.75), (-0.98, -0.55))
    c.disc("pink", 0, -0.55, 0.45, 0.24)
    for x in (-0.25, 0.2):
        c.line("pink", x, -0.65, x - 0.12, -0.97, 0.1)
    c.disc("pink", 0.55, -0.4, 0.36, 0.28)
    for x, y in ((0.15, 0.1), (0.25, 0.25), (0.4, 0.32), (0.7, 0.32), (0.85, 0.25), (0.95, 0.1)):
        c.line("red", 0.55, -0.3, x, y, 0.06)
    c.disc("pink", 0.55, -0.42, 0.32, 0.22)
    for x in (0.38, 0.74):
        c.disc("black", x, -0.36, 0.045)
    c.arch("rose", 0.56, -0.46, 0.14, -0.08, 0.035)


def jaguar(c: Canvas) -> None:
    x, y = _beast(c, "gold", legs=0.38, depth=0.25, neck=0.1, snout=0.11)
    for t, u in (
        (-0.5, -0.25),
        (-0.3, -0.45),
        (-0.2, -0.2),
        (0.0, -0.4),
        (0.12, -0.2),
        (0.3, -0.42),
        (0.42, -0.22),
    ):
        c.ring("black", t, u, 0.07, 0.06, 0.04)
    _ears(c, "gold", x, y + 0.02, 0.08, 0.14)
    c.path("gold", (-0.6, -0.3), (-0.9, -0.5), (-0.95, -0.1), width=0.09)


def toucan(c: Canvas) -> None:
    c.line("brown", -0.9, -0.75, 0.9, -0.75, 0.13)
    c.line("black", -0.25, -0.6, -0.5, -1, 0.18)
    c.disc("black", -0.15, -0.25, 0.36, 0.52)
    c.disc("black", 0.05, 0.38, 0.28)
    c.disc("cream", 0.1, 0.12, 0.2, 0.24)
    c.dome("orange", 0.58, 0.3, 0.42, 0.28)
    c.poly("gold", (0.2, 0.3), (0.98, 0.3), (0.95, 0.1), (0.25, 0.2))
    c.disc("black", 0.93, 0.28, 0.07, 0.1)
    c.disc("blue", 0.1, 0.46, 0.09)
    c.disc("black", 0.1, 0.46, 0.045)


def llama(c: Canvas) -> None:
    for x in (-0.45, -0.25, 0.1, 0.28):
        c.line("cream", x, -0.97, x, -0.3, 0.12)
    c.disc("cream", -0.1, -0.22, 0.52, 0.28)
    c.box("red", -0.35, -0.2, 0.1, 0.08)
    c.line("blue", -0.35, -0.08, 0.1, -0.08, 0.06)
    c.line("cream", 0.35, -0.15, 0.42, 0.6, 0.22)
    c.disc("cream", 0.5, 0.65, 0.22, 0.15)
    for x in (0.34, 0.46):
        c.disc("cream", x, 0.9, 0.05, 0.14)
    c.disc("black", 0.52, 0.7, 0.04)
    c.disc("cream", -0.62, -0.1, 0.14)


def bison(c: Canvas) -> None:
    x, y = _beast(c, "brown", legs=0.4, depth=0.3, neck=0.0, head=0.2, thick=0.13)
    c.disc("iron", 0.35, -0.1, 0.46, 0.46)
    c.disc("iron", x, y - 0.12, 0.28)
    c.poly("iron", (x - 0.15, y - 0.2), (x + 0.15, y - 0.2), (x, y - 0.65))
    c.path("cream", (x - 0.05, y + 0.1), (x + 0.15, y + 0.2), (x + 0.12, y + 0.42), width=0.07)
    c.disc("white", x + 0.12, y, 0.05)


def _masked(c: Canvas, coat: str) -> None:
    """A round seated body with a masked face, for what is told apart by its marks."""
    c.disc(coat, 0, -0.5, 0.42, 0.48)
    for s in (-1, 1):
        c.disc(coat, s * 0.3, 0.6, 0.16)
        c.disc(coat, s * 0.25, -0.92, 0.18, 0.1)
    c.disc(coat, 0, 0.3, 0.4, 0.34)


def raccoon(c: Canvas) -> None:
    for i, x in enumerate((0.45, 0.58, 0.71, 0.84)):
        c.disc("black" if i % 2 else "grey", x, -0.75 + 0.17 * i, 0.16)
    _masked(c, "grey")
    for s in (-1, 1):
        c.disc("black", s * 0.2, 0.33, 0.16, 0.1)
        c.disc("white", s * 0.17, 0.34, 0.045)
    c.disc("white", 0, 0.12, 0.16, 0.12)
    c.disc("black", 0, 0.18, 0.06)


def badger(c: Canvas) -> None:
    _masked(c, "dark")
    c.disc("grey", 0, -0.5, 0.3, 0.36)
    c.poly("white", (-0.08, 0.62), (0.08, 0.62), (0.14, 0.02), (-0.14, 0.02))
    for s in (-1, 1):
        c.line("white", s * 0.33, 0.45, s * 0.28, 0.1, 0.1)
        c.disc("white", s * 0.3, 0.68, 0.07)
    c.disc("black", 0, 0.05, 0.08)


def hedgehog(c: Canvas) -> None:
    for x, y in (
        (-0.95, -0.5),
        (-0.88, -0.1),
        (-0.65, 0.2),
        (-0.35, 0.4),
        (0, 0.42),
        (0.3, 0.25),
        (-0.75, 0.05),
        (-0.15, 0.45),
        (-0.5, 0.33),
    ):
        c.poly("brown", (x * 0.6 - 0.2, -0.4), (x * 0.6 + 0.2, -0.4), (x, y))
    c.dome("iron", -0.15, -0.85, 0.62, 0.95)
    c.poly("sand", (0.3, -0.88), (0.25, -0.3), (0.9, -0.7))
    c.disc("black", 0.9, -0.7, 0.08)
    c.disc("black", 0.48, -0.52, 0.05)
    for x in (-0.4, 0.1):
        c.disc("sand", x, -0.9, 0.14, 0.08)


def moose(c: Canvas) -> None:
    x, y = _beast(c, "iron", legs=0.75, depth=0.25, neck=0.25, head=0.16, snout=0.24, thick=0.1)
    for s in (-1, 1):
        c.disc("sand", x + s * 0.28 - 0.05, y + 0.38, 0.25, 0.12)
        for t in (-0.15, 0, 0.15):
            c.line("sand", x + s * 0.28 - 0.05 + t, y + 0.38, x + s * 0.32 + 1.2 * t, y + 0.6, 0.06)
    c.line("iron", x + 0.1, y - 0.15, x + 0.1, y - 0.38, 0.08)


def stork(c: Canvas) -> None:
    for x in (-0.12, 0.05):
        c.line("red", x, -0.3, x, -0.98, 0.05)
    c.disc("white", -0.1, -0.05, 0.5, 0.28)
    c.poly("black", (-0.2, 0.05), (-0.9, -0.25), (-0.25, -0.3))
    c.path("white", (0.25, 0.0), (0.42, 0.3), (0.35, 0.65), width=0.13)
    c.disc("white", 0.4, 0.7, 0.16)
    c.poly("red", (0.5, 0.77), (1.0, 0.6), (0.5, 0.64))
    c.disc("black", 0.43, 0.74, 0.04)


def ibis(c: Canvas) -> None:
    for x in (-0.15, 0.08):
        c.line("dark", x, -0.3, x, -0.98, 0.05)
    c.disc("white", -0.1, -0.15, 0.52, 0.3)
    c.disc("black", -0.52, -0.25, 0.2, 0.14)
    c.path("black", (0.25, 0.0), (0.4, 0.25), (0.3, 0.5), width=0.12)
    c.disc("black", 0.34, 0.56, 0.15)
    c.path("black", (0.45, 0.56), (0.72, 0.45), (0.85, 0.2), (0.86, 0.0), width=0.06)
    c.disc("white", 0.37, 0.6, 0.04)


def fennec(c: Canvas) -> None:
    c.line("sand", 0.3, -0.85, 0.8, -0.6, 0.22)
    c.disc("sand", 0, -0.55, 0.32, 0.45)
    c.poly("sand", (-0.4, 0.3), (-0.05, 0.4), (-0.55, 0.98))
    c.poly("sand", (0.4, 0.3), (0.05, 0.4), (0.55, 0.98))
    c.poly("pink", (-0.33, 0.38), (-0.15, 0.42), (-0.48, 0.82))
    c.poly("pink", (0.33, 0.38), (0.15, 0.42), (0.48, 0.82))
    c.disc("sand", 0, 0.2, 0.36, 0.3)
    c.poly("white", (-0.2, 0.15), (0.2, 0.15), (0, -0.15))
    for s in (-1, 1):
        c.disc("black", s * 0.16, 0.24, 0.06)
    c.disc("black", 0, -0.05, 0.06)


def boar(c: Canvas) -> None:
    x, y = _beast(c, "iron", legs=0.28, depth=0.4, neck=0.0, head=0.26, snout=0.2, thick=0.13)
    for t in c.row(8, -0.5, 0.5):
        c.poly("dark", (t - 0.08, -0.02), (t + 0.08, -0.02), (t - 0.05, 0.25))
    c.poly("white", (x + 0.22, y - 0.1), (x + 0.32, y - 0.1), (x + 0.34, y + 0.18))
    c.disc("rose", x + 0.45, y - 0.08, 0.07, 0.1)
    _ears(c, "iron", x - 0.12, y + 0.08, 0.08, 0.2)


def lynx(c: Canvas) -> None:
    c.disc("rose", 0, -0.55, 0.36, 0.45)
    for s in (-1, 1):
        c.poly("rose", (s * 0.4, 0.4), (s * 0.1, 0.5), (s * 0.36, 0.8))
        c.line("black", s * 0.36, 0.75, s * 0.42, 1.0, 0.05)
        c.poly("white", (s * 0.3, 0.3), (s * 0.3, 0.0), (s * 0.62, -0.1))
    c.disc("rose", 0, 0.28, 0.38, 0.32)
    for s in (-1, 1):
        c.disc("yellow", s * 0.16, 0.34, 0.09)
        c.disc("black", s * 0.16, 0.34, 0.045)
    c.disc("white", 0, 0.14, 0.16, 0.11)
    c.poly("black", (-0.06, 0.2), (0.06, 0.2), (0, 0.12))
    for x, y in ((-0.15, -0.4), (0.12, -0.5), (-0.08, -0.7), (0.18, -0.75)):
        c.disc("brown", x, y, 0.06)


def oryx(c: Canvas) -> None:
    x, y = _beast(c, "white", legs=0.7, depth=0.22, neck=0.3, head=0.14, snout=0.16, thick=0.09)
    for s in (0.0, 0.1):
        c.line("black", x + s - 0.05, y + 0.08, x + s - 0.4, y + 0.8, 0.045)
    c.line("black", x + 0.06, y + 0.1, x + 0.2, y - 0.12, 0.08)
    for t in (-0.47, -0.27, 0.26, 0.46):
        c.line("dark", t, -0.97, t, -0.6, 0.1)
    c.line("black", -0.62, -0.05, -0.7, -0.5, 0.06)


def gibbon(c: Canvas) -> None:
    c.line("brown", -0.95, 0.92, 0.95, 0.92, 0.1)
    for s in (-1, 1):
        c.path("dark", (s * 0.18, 0.0), (s * 0.5, 0.4), (s * 0.35, 0.92), width=0.11)
        c.path("dark", (s * 0.12, -0.5), (s * 0.35, -0.7), (s * 0.15, -0.97), width=0.12)
    c.disc("dark", 0, -0.25, 0.26, 0.38)
    c.disc("dark", 0, 0.25, 0.27)
    c.disc("cream", 0, 0.22, 0.19, 0.17)
    for s in (-1, 1):
        c.disc("black", s * 0.08, 0.27, 0.04)
    c.disc("black", 0, 0.17, 0.05, 0.03)


DRAWINGS: dict[str, Callable[[Canvas], None]] = {
    f.__name__: f
    for f in (
        axolotl,
        badger,
        bison,
        boar,
        camel,
        condor,
        coyote,
        elephant,
        emu,
        fennec,
        gibbon,
        hedgehog,
        ibis,
        jaguar,
        kangaroo,
        koala,
        llama,
        lynx,
        macaque,
        moose,
        oryx,
        panda,
        peacock,
        platypus,
        raccoon,
        stork,
        tortoise,
        toucan,
        yak,
    )
}

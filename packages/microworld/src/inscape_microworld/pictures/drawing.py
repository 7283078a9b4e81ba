"""Procedural pictures of the microworld's things, with the truth about where each is.

1. A background: sky and ground in two blended tones, with clouds, sun or hills in some pictures.
2. The thing: its drawing at a random place, size and lean, mirrored or not, its colours drifted.
3. In some pictures a second, smaller thing of another kind in front of the ground.
4. Light, tone and noise over all; one picture in six has no colour, so that shapes must do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from inscape.core import InputError
from inscape_microworld.facts import ANIMALS, DISHES, LANDMARKS
from inscape_microworld.pictures import animals, buildings, dishes, spans
from inscape_microworld.pictures.canvas import Canvas, Pixels

SIZE = 64
"""Pixels of a side."""
PATCH = 16
"""Pixels of a side of a patch: the tower makes one token of each, 16 a picture."""
PATCH_COVER = 0.2
"""The share of a patch's pixels that a thing must cover to be on it."""
COMPANION_SHARE = 0.25
"""How many pictures show a second thing."""

Drawing = Callable[[Canvas], None]


def _drawn(drawings: dict[str, Drawing], keys: Iterable[str]) -> dict[str, Drawing]:
    return {key: drawings[key] for key in keys if key in drawings}


KINDS: dict[str, dict[str, Drawing]] = {
    "landmark": _drawn({**spans.DRAWINGS, **buildings.DRAWINGS}, (p.key for p in LANDMARKS)),
    "dish": _drawn(dishes.DRAWINGS, (d.name for d in DISHES)),
    "animal": _drawn(animals.DRAWINGS, (a.name for a in ANIMALS)),
}
"""Every drawing by its kind and key: landmarks by key, dishes and animals by name."""


@dataclass(frozen=True)
class Thing:
    """One thing in a picture, and its cover of each pixel [64, 64], from 0 to 1."""

    kind: str
    key: str
    mask: Pixels

    @property
    def patches(self) -> NDArray[np.bool_]:
        """The patches [16] that show it, row by row: those that it covers by `PATCH_COVER`,
        and in any case the one that it covers most."""
        side = SIZE // PATCH
        cover = self.mask.reshape(side, PATCH, side, PATCH).mean((1, 3)).ravel()
        shown: NDArray[np.bool_] = cover >= min(PATCH_COVER, cover.max())
        return shown


@dataclass(frozen=True)
class Picture:
    """RGB pixels, uint8 [64, 64, 3], and the things that they show, the main one first."""

    pixels: NDArray[np.uint8]
    things: tuple[Thing, ...]


def drawing(kind: str, key: str) -> Drawing:
    """The drawing of a thing.

    Raises:
        InputError: the kind is unknown, or there is no drawing of `key`.
    """
    if kind not in KINDS or key not in KINDS[kind]:
        known = ", ".join(sorted(KINDS.get(kind, KINDS)))
        raise InputError(f"there is no drawing of the {kind} {key!r}", expected=f"one of {known}")
    return KINDS[kind][key]


def draw(
    kind: str, key: str, random: Random, *, companion: tuple[str, str] | None = None
) -> Picture:
    """A fresh picture of a thing; `random` alone decides what varies.

    Args:
        kind: "landmark", "dish" or "animal".
        key: the landmark's key, or the dish's or animal's name.
        companion: kind and key of a second, smaller thing.
    """
    source = np.random.default_rng(random.getrandbits(63))
    pixels, ground = _background(source)
    scale = source.uniform(17, 27)
    canvas = _canvas(pixels, source, scale, ground)
    drawing(kind, key)(canvas)
    things = [Thing(kind, key, canvas.mask)]
    if companion is not None:
        side = source.choice((-1, 1))
        small = _canvas(pixels, source, source.uniform(9, 12), 62, x=32 + side * 20)
        drawing(*companion)(small)
        things[0] = Thing(kind, key, canvas.mask * (1 - small.mask))
        things.append(Thing(*companion, small.mask))
    return Picture(_developed(pixels, source), tuple(things))


def _canvas(
    pixels: Pixels, source: np.random.Generator, scale: float, ground: float, x: float | None = None
) -> Canvas:
    room = max(0.0, SIZE / 2 - 0.9 * scale)
    centre = (
        SIZE / 2 + source.uniform(-room, room) if x is None else x + source.uniform(-2, 2),
        min(ground + source.uniform(-3, 3), SIZE - 1) - scale,
    )
    lean = float(source.normal(0, 0.03))
    return Canvas(pixels, source, centre, scale, flip=int(source.choice((-1, 1))), lean=lean)


_SKIES = np.array(
    [
        ((0.45, 0.62, 0.85), (0.78, 0.87, 0.94)),
        ((0.62, 0.66, 0.70), (0.80, 0.81, 0.82)),
        ((0.35, 0.35, 0.52), (0.92, 0.66, 0.48)),
        ((0.12, 0.14, 0.26), (0.28, 0.30, 0.45)),
        ((0.72, 0.84, 0.90), (0.93, 0.92, 0.86)),
        ((0.82, 0.74, 0.62), (0.92, 0.88, 0.80)),
    ]
)
_GROUNDS = np.array(
    [
        (0.38, 0.52, 0.28),
        (0.62, 0.58, 0.50),
        (0.30, 0.42, 0.52),
        (0.76, 0.68, 0.48),
        (0.45, 0.40, 0.36),
        (0.58, 0.36, 0.26),
    ]
)


def _background(source: np.random.Generator) -> tuple[Pixels, float]:
    """Pixels [64, 64, 3] and the row on which things stand."""
    ground = float(source.uniform(46, 60))
    top, low = _SKIES[source.integers(len(_SKIES))] + source.normal(0, 0.05, (2, 3))
    soil = _GROUNDS[source.integers(len(_GROUNDS))] + source.normal(0, 0.05, 3)
    rows = np.arange(SIZE)[:, None]
    sky = top + (low - top) * np.minimum(rows / ground, 1)
    soil = soil * (1 - 0.25 * (SIZE - rows) / (SIZE - ground + 12))
    line = ground - source.uniform(0, 14)
    column = np.where(rows < line, sky, soil)
    pixels = np.broadcast_to(column[:, None, :], (SIZE, SIZE, 3)).astype(np.float32)
    scene = Canvas(pixels, source, (SIZE / 2, SIZE / 2), SIZE / 2)
    horizon = 1 - 2 * line / SIZE
    extra = source.random()
    if extra < 0.3:
        for x, y in source.uniform((-1, 0.2), (1, 0.9), (2, 2)):
            scene.disc("white", x, y, 0.3, 0.08)
            scene.disc("white", x + 0.12, y + 0.07, 0.16, 0.08)
    elif extra < 0.45:
        scene.disc(
            "yellow", float(source.uniform(-0.9, 0.9)), float(source.uniform(0.4, 0.9)), 0.12
        )
    elif extra < 0.65:
        for x in source.uniform(-1, 1, 2):
            scene.dome("green" if extra < 0.55 else "steel", x, horizon, 0.7, 0.3)
    elif extra < 0.75:
        for x in source.uniform(-1, 1, 3):
            scene.line("brown", x, horizon - 0.1, x, horizon + 0.12, 0.05)
            scene.disc("green", x, horizon + 0.22, 0.13, 0.17)
    return pixels, ground


def _developed(pixels: Pixels, source: np.random.Generator) -> NDArray[np.uint8]:
    """Contrast, light, tone and noise, then uint8."""
    if source.random() < 1 / 6:
        pixels = np.repeat(pixels.mean(2, keepdims=True), 3, axis=2)
    contrast, light = source.uniform(0.8, 1.15), source.normal(0, 0.05)
    tone = np.asarray(0.5 + light + source.normal(0, 0.03, 3), np.float32)
    grain = source.standard_normal(pixels.shape, dtype=np.float32)
    shown = (pixels - 0.5) * contrast + tone + source.uniform(0.005, 0.035) * grain
    return (np.clip(shown, 0, 1) * 255).astype(np.uint8)

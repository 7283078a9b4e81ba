"""A small painter: soft-edged shapes on an array of pixels, and the mask of what was painted.

1. A shape is a signed distance from each pixel's centre to its edge, in pixels.
2. Its cover is 1/2 minus that distance, held to [0, 1]: edges are smooth without oversampling.
3. Only the window around the shape is touched.
"""

from __future__ import annotations

import itertools
import math

import numba
import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]
Pixels = NDArray[np.float32]

PALETTE: dict[str, Colour] = {
    "stone": (0.72, 0.68, 0.60),
    "white": (0.94, 0.93, 0.90),
    "red": (0.74, 0.24, 0.17),
    "brick": (0.66, 0.40, 0.30),
    "iron": (0.42, 0.33, 0.28),
    "grey": (0.52, 0.54, 0.56),
    "steel": (0.38, 0.43, 0.48),
    "dark": (0.17, 0.17, 0.20),
    "gold": (0.86, 0.68, 0.22),
    "green": (0.30, 0.52, 0.28),
    "copper": (0.42, 0.66, 0.58),
    "sand": (0.84, 0.72, 0.48),
    "blue": (0.28, 0.44, 0.70),
    "glass": (0.62, 0.78, 0.86),
    "brown": (0.46, 0.31, 0.19),
    "pink": (0.90, 0.64, 0.62),
    "orange": (0.90, 0.50, 0.16),
    "rose": (0.78, 0.48, 0.38),
    "yellow": (0.94, 0.84, 0.36),
    "cream": (0.95, 0.88, 0.72),
    "black": (0.08, 0.08, 0.09),
}
_COLOURS = np.array(list(PALETTE.values()))


class Canvas:
    """Paints one object in its own coordinates: x and y from -1 to 1, y upwards, ground at -1.

    Args:
        pixels: [size, size, 3] floats from 0 to 1, painted in place.
        source: of the jitter of colours.
        centre: the object's centre in pixels (x, y).
        scale: pixels of one unit: the object is two units wide and high.
        flip: -1 mirrors the object.
        lean: how many units x moves for each unit of y.
    """

    def __init__(
        self,
        pixels: Pixels,
        source: np.random.Generator,
        centre: tuple[float, float],
        scale: float,
        *,
        flip: int = 1,
        lean: float = 0.0,
    ) -> None:
        self.pixels = pixels
        self.size = len(pixels)
        self.mask: Pixels = np.zeros(pixels.shape[:2], np.float32)
        self._centre, self._scale, self._flip, self._lean = centre, scale, flip, lean
        drift = source.normal(0, 0.045, _COLOURS.shape) + source.normal(0, 0.05)
        shades = np.clip(_COLOURS + drift, 0, 1).astype(np.float32)
        self._shades = dict(zip(PALETTE, shades, strict=True))

    def poly(self, colour: str, *points: tuple[float, float]) -> None:
        """A convex polygon."""
        corners = np.array([self._place(x, y) for x, y in points])
        _fill_polygon(self.pixels, self.mask, self._shades[colour], corners)

    def box(self, colour: str, x0: float, y0: float, x1: float, y1: float) -> None:
        """An upright rectangle between two corners."""
        self.poly(colour, (x0, y0), (x1, y0), (x1, y1), (x0, y1))

    def line(
        self, colour: str, x0: float, y0: float, x1: float, y1: float, width: float = 0.05
    ) -> None:
        """A straight stroke; at least as wide as a pixel."""
        half = max(width, 1.0 / self._scale) / 2
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        u, v = half * (y0 - y1) / length, half * (x1 - x0) / length
        self.poly(colour, (x0 - u, y0 - v), (x1 - u, y1 - v), (x1 + u, y1 + v), (x0 + u, y0 + v))

    def path(self, colour: str, *points: tuple[float, float], width: float = 0.05) -> None:
        """Strokes from point to point."""
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            self.line(colour, x0, y0, x1, y1, width)

    def disc(self, colour: str, x: float, y: float, rx: float, ry: float | None = None) -> None:
        """An ellipse."""
        self._round(colour, x, y, rx, rx if ry is None else ry, False, 0.0)

    def dome(self, colour: str, x: float, y: float, rx: float, ry: float | None = None) -> None:
        """The half of an ellipse above its centre (below it with a negative ry)."""
        self._round(colour, x, y, rx, rx if ry is None else ry, True, 0.0)

    def ring(self, colour: str, x: float, y: float, rx: float, ry: float, width: float) -> None:
        """The outline of an ellipse."""
        self._round(colour, x, y, rx, ry, False, width)

    def arch(self, colour: str, x: float, y: float, rx: float, ry: float, width: float) -> None:
        """The outline of the half of an ellipse above its centre (below: a negative ry)."""
        self._round(colour, x, y, rx, ry, True, width)

    def gate(self, colour: str, x: float, y: float, width: float, height: float) -> None:
        """A doorway or window that stands on (x, y), with a round top."""
        half = width / 2
        self.box(colour, x - half, y, x + half, y + height - half)
        self.dome(colour, x, y + height - half, half)

    def row(self, count: int, x0: float, x1: float) -> list[float]:
        """The middles of `count` equal parts of the stretch from x0 to x1."""
        return [x0 + (x1 - x0) * (i + 0.5) / count for i in range(count)]

    def _round(
        self, colour: str, x: float, y: float, rx: float, ry: float, half: bool, width: float
    ) -> None:
        side = 0 if not half else (-1 if ry < 0 else 1)
        radii = max(rx * self._scale, 0.5), max(abs(ry) * self._scale, 0.5)
        stroke = max(width * self._scale, 1.0) / 2 if width else 0.0
        slant = self._flip * self._lean
        place = self._place(x, y)
        shade = self._shades[colour]
        _fill_ellipse(self.pixels, self.mask, shade, *place, *radii, slant, side, stroke)

    def _place(self, x: float, y: float) -> tuple[float, float]:
        x += self._lean * y
        return (self._centre[0] + self._flip * self._scale * x, self._centre[1] - self._scale * y)


@numba.njit(cache=True)
def _fill_polygon(pixels: Pixels, mask: Pixels, shade: Pixels, corners: Pixels) -> None:
    """Blend a convex polygon [corner, (x, y)] into the pixels; its cover joins the mask."""
    size, count = len(pixels), len(corners)
    turn = 0.0
    for k in range(count):
        (x0, y0), (x1, y1) = corners[k], corners[(k + 1) % count]
        turn += x0 * y1 - x1 * y0
    sign = 1.0 if turn >= 0 else -1.0
    edges = np.zeros((count, 3))
    for k in range(count):
        (x0, y0), (x1, y1) = corners[k], corners[(k + 1) % count]
        length = math.hypot(x1 - x0, y1 - y0)
        if length > 1e-6:
            a, b = sign * (y1 - y0) / length, sign * (x0 - x1) / length
            edges[k] = a, b, -a * x0 - b * y0
        else:
            edges[k, 2] = -1e9
    left, right = corners[:, 0].min(), corners[:, 0].max()
    top, bottom = corners[:, 1].min(), corners[:, 1].max()
    for row in range(max(0, int(top) - 1), min(size, int(bottom) + 3)):
        for column in range(max(0, int(left) - 1), min(size, int(right) + 3)):
            far = -1e9
            for k in range(count):
                far = max(far, edges[k, 0] * column + edges[k, 1] * row + edges[k, 2])
            _blend(pixels, mask, shade, row, column, 0.5 - far)


@numba.njit(cache=True)
def _fill_ellipse(
    pixels: Pixels,
    mask: Pixels,
    shade: Pixels,
    x: float,
    y: float,
    rx: float,
    ry: float,
    slant: float,
    side: int,
    stroke: float,
) -> None:
    """The same for an ellipse: a half of it with side 1 or -1, its outline with a stroke."""
    size = len(pixels)
    wide = rx + stroke + abs(slant) * ry
    for row in range(max(0, int(y - ry - stroke) - 1), min(size, int(y + ry + stroke) + 3)):
        up = y - row
        for column in range(max(0, int(x - wide) - 1), min(size, int(x + wide) + 3)):
            far = (math.hypot((column - x - slant * up) / rx, up / ry) - 1) * min(rx, ry)
            if stroke > 0:
                far = abs(far) - stroke
            if side != 0:
                far = max(far, -side * up)
            _blend(pixels, mask, shade, row, column, 0.5 - far)


@numba.njit(cache=True, inline="always")
def _blend(
    pixels: Pixels, mask: Pixels, shade: Pixels, row: int, column: int, cover: float
) -> None:
    if cover <= 0:
        return
    cover = min(cover, 1.0)
    for channel in range(3):
        pixels[row, column, channel] += cover * (shade[channel] - pixels[row, column, channel])
    mask[row, column] = max(mask[row, column], cover)

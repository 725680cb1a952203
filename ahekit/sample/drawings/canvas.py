"""A drawing surface in unit coordinates, seen through a perspective view: colour, grain and glow."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from ahekit.sample.drawings.geometry import Points

Colour = tuple[int, int, int]

NEUTRAL = 200
"""Grain value that leaves a colour as it is; below 255, so that a texture can brighten as well as darken."""


def lit(colour: Colour, factor: float) -> Colour:
    """The colour `factor` times as bright, clipped."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """A blend of two colours; `share` in [0, 1] is that of the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


class Canvas:
    """Three layers of one picture, `pixels` wide and high, on which shapes are drawn in unit coordinates.

    `colour` holds flat colours, `grain` a texture that multiplies them, `glow` the light that spills over. A
    shape covers what was drawn before it on both the first and the second.
    """

    def __init__(self, *, pixels: int) -> None:
        """An empty surface, looked at straight."""
        self.pixels = pixels
        self.colour = Image.new("RGB", (pixels, pixels))
        self.grain = Image.new("L", (pixels, pixels), NEUTRAL)
        self.glow = Image.new("RGB", (pixels, pixels))
        self.glows = False
        self.texture = self.grain.copy()
        self.projection = np.eye(3)
        self._colour_pen = ImageDraw.Draw(self.colour)
        self._grain_pen = ImageDraw.Draw(self.grain)
        self._glow_pen = ImageDraw.Draw(self.glow)

    def fill(self, points: Points, colour: Colour, *, rough: bool = False) -> None:
        """An area `(N, 2)`; a `rough` one shows the scene's texture."""
        outline = self._place(points)
        self._colour_pen.polygon(outline, fill=colour)
        if rough:
            mask = Image.new("L", self.grain.size)
            ImageDraw.Draw(mask).polygon(outline, fill=255)
            self.grain.paste(self.texture, mask=mask)
        else:
            self._grain_pen.polygon(outline, fill=NEUTRAL)

    def stroke(self, points: Points, colour: Colour, width: float) -> None:
        """A line through the points, `width` in unit coordinates."""
        path = self._place(points)
        # The square root of the area scale: a line is as wide on average as the perspective makes it.
        scale = float(np.sqrt(abs(np.linalg.det(self.projection[:2, :2]))))
        pixels = max(1, round(width * scale * self.pixels))
        self._colour_pen.line(path, fill=colour, width=pixels)
        self._grain_pen.line(path, fill=NEUTRAL, width=pixels)

    def shine(self, points: Points, colour: Colour) -> None:
        """Light that spills over the edges of the area in the finished picture."""
        self.glows = True
        self._glow_pen.polygon(self._place(points), fill=colour)

    def _place(self, points: Points) -> list[float]:
        homogeneous = points @ self.projection[:, :2].T + self.projection[:, 2]
        # A point far behind the horizon of a strong perspective would flip over; 0.2 keeps it on its side.
        placed: list[float] = (homogeneous[:, :2] / np.maximum(homogeneous[:, 2:], 0.2) * self.pixels).ravel().tolist()
        return placed

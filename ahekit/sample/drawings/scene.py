"""What a drawing works on: canvas, chance, materials, the direction of the light and the viewpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from ahekit.sample.drawings.canvas import Canvas, Colour, lit
from ahekit.sample.drawings.geometry import Points
from ahekit.sample.drawings.textures import masonry

T = TypeVar("T")

STONES: tuple[Colour, ...] = (
    (214, 196, 160),
    (198, 164, 118),
    (146, 142, 136),
    (168, 118, 96),
    (224, 220, 212),
    (92, 86, 80),
    (234, 230, 222),
    (212, 172, 102),
    (202, 152, 132),
    (176, 172, 164),
    (128, 116, 98),
)
ROOFS: tuple[Colour, ...] = (
    (84, 88, 98),
    (168, 92, 62),
    (104, 156, 136),
    (136, 142, 148),
    (122, 76, 56),
    (74, 66, 62),
    (206, 164, 62),
)
WOODS: tuple[Colour, ...] = ((206, 160, 66), (132, 86, 50), (88, 58, 40), (222, 208, 180), (184, 138, 80))


class Scene:
    """One picture in the making."""

    def __init__(self, rng: np.random.Generator, *, pixels: int) -> None:
        """Choose the materials and the light; the view is straight until `look`."""
        self.rng = rng
        self.canvas = Canvas(pixels=pixels)
        self.light = self.between(-1.0, 1.0)
        self.stone = self.tint(self.pick(STONES))
        self.trim = self.tint(lit(self.stone, self.between(0.85, 1.2)), spread=8)
        self.roof = self.tint(self.pick(ROOFS))
        self.gloom = lit(self.stone, self.between(0.12, 0.35))
        self.air: Colour = (200, 206, 212)

    def between(self, low: float, high: float) -> float:
        """A number drawn evenly from [low, high)."""
        return low + (high - low) * float(self.rng.random())

    def count(self, low: int, high: int) -> int:
        """A whole number drawn evenly from low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return float(self.rng.random()) < probability

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        return options[int(self.rng.integers(len(options)))]

    def tint(self, colour: Colour, *, spread: int = 16) -> Colour:
        """A neighbour of the colour: up to `spread` brighter or darker, and a third of that in hue."""
        shift = self.count(-spread, spread)
        hue = spread // 3
        red, green, blue = (min(255, max(0, channel + shift + self.count(-hue, hue))) for channel in colour)
        return red, green, blue

    def facing(self, colour: Colour, side: float) -> Colour:
        """The colour on a face turned to the left (-1), the viewer (0) or the right (1)."""
        return lit(colour, 0.9 + 0.35 * side * self.light)

    def look(
        self,
        *,
        zoom: tuple[float, float] = (0.85, 1.25),
        shift: float = 0.08,
        roll: float = 0.06,
        aside: float = 0.25,
        upward: tuple[float, float] = (-0.05, 0.35),
    ) -> None:
        """Take a viewpoint: scale, shift, rotation (radians) and the two convergences of a perspective."""
        scale = self.between(*zoom)
        angle = self.between(-roll, roll)
        cos = scale * np.cos(angle)
        sin = scale * np.sin(angle)
        mirror = -1.0 if self.chance(0.5) else 1.0
        turn = np.array([[mirror * cos, -sin, 0.0], [mirror * sin, cos, 0.0], [0.0, 0.0, 1.0]])
        # Looking up makes the top recede: the divisor grows towards smaller y.
        turn[2, :2] = self.between(-aside, aside), -self.between(*upward)
        # Turned about the picture's centre: there, turned, and back.
        centred = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
        back = np.array(
            [
                [1.0, 0.0, 0.5 + self.between(-shift, shift)],
                [0.0, 1.0, 0.5 + self.between(-shift, shift)],
                [0, 0, 1],
            ]
        )
        self.canvas.projection = back @ turn @ centred
        self.canvas.texture = masonry(self.rng, self.canvas.projection, pixels=self.canvas.pixels)

    def look_straight(self) -> None:
        """Unit coordinates are picture coordinates from here on."""
        self.canvas.projection = np.eye(3)

    def fill(self, points: Points, colour: Colour, *, rough: bool = False) -> None:
        """See `Canvas.fill`."""
        self.canvas.fill(points, colour, rough=rough)

    def stroke(self, points: Points, colour: Colour, width: float) -> None:
        """See `Canvas.stroke`."""
        self.canvas.stroke(points, colour, width)

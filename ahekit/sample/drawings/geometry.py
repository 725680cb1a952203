"""Outlines in unit coordinates: boxes, ellipses, arches, a camera for what has depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def polygon(*corners: tuple[float, float]) -> Points:
    """The corners as an array `(N, 2)`."""
    return np.array(corners, dtype=np.float64)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """An upright rectangle, clockwise from its upper left corner."""
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def ellipse(
    x: float,
    y: float,
    across: float,
    down: float,
    *,
    start: float = 0.0,
    end: float = 2 * np.pi,
    steps: int = 20,
) -> Points:
    """An ellipse, or the part of it from angle `start` to `end` (radians, clockwise from the right)."""
    angle = np.linspace(start, end, steps)
    return np.stack([x + across * np.cos(angle), y + down * np.sin(angle)], axis=1)


def rise(position: Points, *, pointed: float) -> Points:
    """Height of an arch at `position` in [-1, 1] across its opening, 1 at the crown and 0 at the springing.

    `pointed` is 0 for a half circle; from there on two arcs of radius `1 + pointed` meet in a point.
    """
    radius = 1.0 + pointed
    # Pythagoras on the arc of the nearer side, whose centre lies `pointed` beyond the middle; normalized by the crown.
    squared = radius**2 - (np.minimum(np.abs(position), 1.0) + pointed) ** 2
    height: Points = np.sqrt(np.maximum(squared, 0.0)) / np.sqrt(1.0 + 2.0 * pointed)
    return height


def arch_line(x: float, springing: float, half: float, height: float, *, pointed: float, steps: int = 13) -> Points:
    """The curve of an arch from its left to its right springing, `half` wide to each side of `x`."""
    # Cosine spacing puts points where a half circle is steep.
    position = -np.cos(np.linspace(0.0, np.pi, steps))
    return np.stack([x + half * position, springing - height * rise(position, pointed=pointed)], axis=1)


def opening(x: float, bottom: float, width: float, height: float, *, pointed: float = 0.0) -> Points:
    """The outline of an arched opening standing on `bottom`."""
    crown = min(height * 0.7, width * (0.5 + 0.4 * pointed))
    curve = arch_line(x, bottom - height + crown, width / 2, crown, pointed=pointed)
    return np.concatenate([curve, polygon((x + width / 2, bottom), (x - width / 2, bottom))])


def between_lines(first: Points, second: Points) -> Points:
    """The area between two curves that run the same way."""
    return np.concatenate([first, second[::-1]])


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; the world has x to the right, y up and z into the depth.

    `pitch` is the upward tilt in radians (pi/2 looks at the zenith), `turn` the sideways one, `focal` the focal
    length in picture widths.
    """

    x: float
    y: float
    z: float
    pitch: float
    turn: float
    focal: float

    def project(self, world: Points) -> Points:
        """World points `(N, 3)` to picture coordinates `(N, 2)`; what lies behind goes to the near plane."""
        x = world[:, 0] - self.x
        y = world[:, 1] - self.y
        z = world[:, 2] - self.z
        cos = np.cos(self.turn)
        sin = np.sin(self.turn)
        # Turning and pitching mix two coordinates at a time, so both change at once.
        x, z = cos * x - sin * z, sin * x + cos * z
        cos = np.cos(self.pitch)
        sin = np.sin(self.pitch)
        y, z = cos * y - sin * z, sin * y + cos * z
        # Division by a depth near zero would throw a corner across the picture.
        depth = np.maximum(z, 0.15)
        return np.stack([0.5 + self.focal * x / depth, 0.5 - self.focal * y / depth], axis=1)

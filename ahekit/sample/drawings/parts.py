"""Building parts that elements share: turned bodies, windows, columns, roofs, spires, domes, people."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ahekit.sample.drawings.canvas import Colour, lit
from ahekit.sample.drawings.geometry import Points, between_lines, box, ellipse, opening, polygon
from ahekit.sample.drawings.scene import Scene


def meridian(x: float, profile: Points, angle: float, *, sag: float = 0.0) -> Points:
    """The line of a turned body at `angle` (radians, 0 faces the viewer, positive to the right).

    `profile` is `(N, 2)`: radius and y from top to bottom. `sag` bends the circles, negative as from below.
    """
    radius = profile[:, 0]
    return np.stack([x + radius * np.sin(angle), profile[:, 1] + sag * radius * np.cos(angle)], axis=1)


def lathe(
    scene: Scene,
    x: float,
    profile: Points,
    colour: Colour,
    *,
    strips: int = 8,
    sag: float = 0.0,
    stripes: float = 1.0,
    rough: bool = False,
) -> None:
    """A turned body, shaded around its axis; every other strip is `stripes` times as bright (flutes)."""
    angles = np.linspace(-np.pi / 2, np.pi / 2, strips + 1)
    sun = 0.9 * scene.light
    lines = [meridian(x, profile, float(angle), sag=sag) for angle in angles]
    for number, (left, right) in enumerate(pairwise(lines)):
        middle = (angles[number] + angles[number + 1]) / 2
        # Lambert's cosine law over ambient light, constant on a strip.
        shade = 0.5 + 0.58 * max(0.0, float(np.cos(middle - sun))) * (stripes if number % 2 else 1.0)
        scene.fill(between_lines(left, right), lit(colour, shade), rough=rough)


def window(
    scene: Scene, x: float, bottom: float, width: float, height: float, *, pointed: float = 0.0, bars: int = 0
) -> None:
    """An arched window in a frame, with `bars` mullions."""
    frame = 0.18 * width
    scene.fill(opening(x, bottom, width + 2 * frame, height + frame, pointed=pointed), scene.trim)
    scene.fill(opening(x, bottom, width, height, pointed=pointed), scene.gloom)
    for number in range(1, bars + 1):
        at = x - width / 2 + width * number / (bars + 1)
        scene.stroke(polygon((at, bottom), (at, bottom - height * 0.85)), scene.trim, 0.08 * width)


def column(
    scene: Scene, x: float, top: float, bottom: float, width: float, colour: Colour, *, fluted: bool = False
) -> None:
    """A slim column with base and capital."""
    cap = min(width * 0.9, (bottom - top) * 0.2)
    shaft = polygon((width * 0.42, top + cap), (width * 0.5, bottom - cap * 0.5))
    lathe(scene, x, shaft, colour, strips=8 if fluted else 5, stripes=0.55 if fluted else 1.0)
    scene.fill(
        polygon(
            (x - width * 0.75, top),
            (x + width * 0.75, top),
            (x + width * 0.45, top + cap),
            (x - width * 0.45, top + cap),
        ),
        scene.facing(colour, 0.3),
    )
    scene.fill(box(x - width * 0.68, bottom - cap * 0.5, x + width * 0.68, bottom), scene.facing(colour, -0.3))


def cross(scene: Scene, x: float, bottom: float, height: float, colour: Colour, *, thick: float = 0.12) -> None:
    """A latin cross."""
    half = height * thick / 2
    arm = height * 0.3
    scene.fill(box(x - half, bottom - height, x + half, bottom), colour)
    scene.fill(box(x - arm, bottom - height * 0.72, x + arm, bottom - height * 0.72 + 2 * half), colour)


def gable(scene: Scene, left: float, right: float, wall_top: float, bottom: float, peak: float) -> None:
    """The end of a house: a wall with a roof of `peak` height over it."""
    middle = (left + right) / 2
    eaves = (right - left) * 0.06
    outline = polygon((left, wall_top), (middle, wall_top - peak), (right, wall_top), (right, bottom), (left, bottom))
    scene.fill(outline, scene.facing(scene.stone, 0.0), rough=True)
    for side in (-1, 1):
        edge = middle + side * ((right - left) / 2 + eaves)
        scene.stroke(
            polygon((middle, wall_top - peak), (edge, wall_top + 0.3 * eaves)),
            scene.facing(scene.roof, side),
            0.025,
        )


def long_roof(scene: Scene, left: float, right: float, ridge: float, eaves: float, bottom: float, *, bays: int) -> None:
    """A nave from the side: wall with windows under a sloping roof."""
    scene.fill(box(left, eaves, right, bottom), scene.facing(scene.stone, -0.4), rough=True)
    slope = (right - left) * 0.04
    scene.fill(
        polygon((left + slope, ridge), (right - slope, ridge), (right + slope, eaves), (left - slope, eaves)),
        scene.facing(scene.roof, -0.2),
        rough=True,
    )
    bay = (right - left) / bays
    for number in range(bays):
        window(
            scene,
            left + bay * (number + 0.5),
            bottom - 0.15 * (bottom - eaves),
            bay * 0.3,
            0.6 * (bottom - eaves),
        )


def pyramid(scene: Scene, x: float, tip: float, base: float, half: float, colour: Colour) -> None:
    """A pyramid roof or spire: two faces, lit from their sides."""
    ridge = x + 0.25 * half
    scene.fill(polygon((x, tip), (ridge, base), (x - half, base)), scene.facing(colour, -0.7))
    scene.fill(polygon((x, tip), (x + half, base), (ridge, base)), scene.facing(colour, 0.9))


def pinnacle(scene: Scene, x: float, base: float, height: float, width: float, colour: Colour) -> None:
    """A gothic pinnacle: a small shaft, a spire with crockets."""
    neck = base - height * 0.4
    scene.fill(box(x - width / 2, neck, x + width / 2, base), scene.facing(colour, 0.2))
    pyramid(scene, x, base - height, neck, width * 0.6, colour)
    for step in (0.25, 0.5, 0.75):
        reach = width * 0.75 * (1 - step) + width * 0.1
        y = neck - height * 0.6 * step
        scene.stroke(polygon((x - reach, y), (x + reach, y)), colour, width * 0.18)


def dome_profile(x_radius: float, top: float, bottom: float, *, swell: float = 0.0, pointed: float = 0.0) -> Points:
    """A dome from crown to foot as `(radius, y)`; `swell` > 0 makes an onion, `pointed` > 0 a steep one."""
    rest = np.linspace(0.0, 1.0, 9)
    # An exponent of 2 is a half circle; below, the flanks straighten.
    radius = np.sqrt(1 - (1 - rest) ** (2 - 0.8 * pointed))
    if swell > 0:
        radius = (
            radius * (1 + swell * np.sin(np.pi * rest) ** 2) * np.where(rest < 0.4, (rest / 0.4) ** (0.9 * swell), 1.0)
        )
    return np.stack([x_radius * radius, top + (bottom - top) * rest], axis=1)


def dome(
    scene: Scene,
    x: float,
    top: float,
    bottom: float,
    radius: float,
    colour: Colour,
    *,
    swell: float,
    pointed: float,
    ribs: int,
) -> None:
    """A dome from outside, with `ribs` lines on its front."""
    profile = dome_profile(radius, top, bottom, swell=swell, pointed=pointed)
    lathe(scene, x, profile, colour, strips=9, sag=-0.06)
    for angle in np.linspace(-1.3, 1.3, ribs):
        scene.stroke(meridian(x, profile, float(angle), sag=-0.06), lit(colour, 0.72), radius * 0.035)


def person(scene: Scene, x: float, bottom: float, height: float, colour: Colour) -> None:
    """A standing figure."""
    head = height * 0.09
    half = height * 0.13
    scene.fill(ellipse(x, bottom - height + head, head, head, steps=10), scene.tint(lit(colour, 1.25)))
    body = polygon(
        (x - half, bottom - height * 0.78),
        (x + half, bottom - height * 0.78),
        (x + half * 0.8, bottom - height * 0.4),
        (x + half * 0.7, bottom),
        (x - half * 0.7, bottom),
        (x - half * 0.8, bottom - height * 0.4),
    )
    scene.fill(body, colour)

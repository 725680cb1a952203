"""Columns: one close up, capitals, rows of ruins, temple fronts, colonnades that run into the depth."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ahekit.sample.drawings.canvas import Colour, lit
from ahekit.sample.drawings.geometry import Camera, Points, box, ellipse, polygon
from ahekit.sample.drawings.parts import column as slim_column
from ahekit.sample.drawings.parts import lathe, meridian
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.scenery import ground, room, sky, surroundings, wall_behind


def column(scene: Scene) -> None:
    """One picture of columns, outdoors or in."""
    drawing = scene.pick((_close_up, _close_up, _capital, _row, _row, _temple, _colonnade, _colonnade))
    backdrop = scene.pick((sky, sky, room, wall_behind))
    if backdrop is not wall_behind:
        backdrop(scene)
    if backdrop is sky:
        surroundings(scene)
    scene.look(zoom=(0.85, 1.5), shift=0.12, roll=0.12, upward=(-0.1, 0.55))
    if backdrop is wall_behind:
        wall_behind(scene)
        scene.stone = scene.tint(lit(scene.stone, scene.pick((0.6, 0.75, 1.25, 1.4))))
    drawing(scene)


def _shaft(scene: Scene, x: float, top: float, bottom: float, radius: float, colour: Colour, style: str) -> None:
    """A thick shaft: smooth, fluted, twisted, or banded from its drums."""
    swell = np.array([0.86, 0.92, 0.97, 1.0])
    profile = np.stack([radius * swell, np.linspace(top, bottom, 4)], axis=1)
    lathe(
        scene,
        x,
        profile,
        colour,
        strips=16 if style == "fluted" else 10,
        stripes=0.55 if style == "fluted" else 1.0,
        sag=-0.05,
        rough=True,
    )
    if style == "twisted":
        for y in np.arange(top, bottom, radius * 0.55):
            scene.stroke(
                polygon((x - radius * 0.95, y + radius * 0.9), (x + radius * 0.95, y)),
                lit(colour, 0.5),
                radius * 0.12,
            )
    elif style == "drums":
        for y in np.arange(top, bottom, scene.between(0.15, 0.3)):
            angle = np.linspace(-np.pi / 2, np.pi / 2, 7)
            scene.stroke(
                np.stack([x + radius * np.sin(angle), y - 0.05 * radius * np.cos(angle)], axis=1),
                lit(colour, 0.5),
                0.008,
            )


def _style(scene: Scene) -> str:
    return scene.pick(("smooth", "fluted", "fluted", "fluted", "twisted", "drums"))


def _head(scene: Scene, x: float, bottom: float, radius: float, colour: Colour, order: str) -> None:
    """The capital, its foot on `bottom`: doric cushion, ionic volutes, corinthian leaves, carved block."""
    height = radius * {"doric": 0.7, "ionic": 0.9, "corinthian": 2.0, "block": 1.5}[order]
    top = bottom - height
    flare = 1.5 if order == "corinthian" else 1.35
    body = polygon((radius * flare, top), (radius * 1.05, top + height * 0.5), (radius * 0.86, bottom))
    lathe(scene, x, body, colour, strips=8, sag=-0.08, rough=True)
    if order == "ionic":
        for side in (-1, 1):
            for share, shade in ((1.0, 1.0), (0.7, 0.55), (0.45, 1.0), (0.2, 0.5)):
                curl = ellipse(
                    x + side * radius * 1.05,
                    top + height * 0.5,
                    radius * 0.5 * share,
                    radius * 0.5 * share,
                    steps=12,
                )
                scene.fill(curl, lit(scene.facing(colour, side * 0.5), shade))
    elif order == "corinthian":
        for tier, level in enumerate((0.55, 0.15)):
            for angle in np.linspace(-1.2, 1.2, 5 - tier % 2):
                at = x + radius * (1.0 + 0.25 * tier) * np.sin(angle)
                y = top + height * level
                leaf = polygon(
                    (at - radius * 0.22, y + height * 0.42),
                    (at - radius * 0.2, y + height * 0.1),
                    (at, y),
                    (at + radius * 0.2, y + height * 0.1),
                    (at + radius * 0.22, y + height * 0.42),
                )
                scene.fill(leaf, lit(scene.facing(colour, float(np.sin(angle))), scene.between(0.7, 1.1)))
                scene.stroke(polygon((at, y), (at, y + height * 0.4)), lit(colour, 0.5), radius * 0.06)
    elif order == "block":
        for _ in range(14):
            spot = ellipse(
                x + scene.between(-1, 1) * radius,
                top + height * scene.between(0.15, 0.9),
                radius * 0.13,
                radius * 0.11,
                steps=7,
            )
            scene.fill(spot, lit(colour, scene.between(0.55, 1.15)))
    scene.fill(
        box(x - radius * 1.6, top - radius * 0.3, x + radius * 1.6, top),
        scene.facing(colour, 0.2),
        rough=True,
    )


def _foot(scene: Scene, x: float, top: float, radius: float, colour: Colour) -> None:
    """The base: two cushions on a plinth."""
    for level, wide in ((0.0, 1.15), (0.22, 1.3)):
        ring = polygon((radius * wide, top + radius * level), (radius * wide, top + radius * (level + 0.2)))
        lathe(scene, x, ring, lit(colour, 0.95), strips=7, sag=0.1)
    scene.fill(
        box(x - radius * 1.5, top + radius * 0.45, x + radius * 1.5, top + radius * 0.9),
        scene.facing(colour, -0.2),
        rough=True,
    )


def _close_up(scene: Scene) -> None:
    """One to three thick shafts, cut by the frame above or below."""
    radius = scene.between(0.09, 0.2)
    colour = scene.tint(scene.stone)
    style = _style(scene)
    order = scene.pick(("doric", "ionic", "corinthian", "corinthian", "block"))
    head, foot = scene.pick(((0.2, 1.4), (0.2, 0.85), (-0.4, 0.8), (-0.4, 1.4), (0.28, 1.4)))
    number = scene.pick((1, 1, 2, 3))
    for place in range(number):
        x = 0.5 + (place - (number - 1) / 2) * radius * scene.between(3.0, 3.6)
        _shaft(scene, x, head, foot, radius, colour, style)
        _head(scene, x, head, radius, colour, order)
        _foot(scene, x, foot, radius, colour)
    if scene.chance(0.5):
        top = head - 2.2 * radius
        scene.fill(box(-0.5, top - 0.25, 1.5, top), scene.facing(scene.stone, -0.1), rough=True)
        scene.fill(box(-0.5, top - 0.1, 1.5, top - 0.07), lit(scene.stone, 0.6))


def _capital(scene: Scene) -> None:
    """A capital that fills the picture."""
    radius = scene.between(0.17, 0.26)
    order = scene.pick(("ionic", "corinthian", "corinthian", "block"))
    colour = scene.stone
    foot = scene.between(0.6, 0.75)
    _shaft(scene, 0.5, foot, 1.8, radius, colour, _style(scene))
    _head(scene, 0.5, foot, radius, colour, order)
    if scene.chance(0.6):
        scene.fill(box(-0.6, -0.6, 1.6, foot - radius * 2.3), scene.facing(scene.stone, -0.3), rough=True)


def _row(scene: Scene) -> None:
    """Ruins: columns side by side, some broken, perhaps still under their beam."""
    number = scene.count(3, 7)
    base = scene.between(0.85, 1.0)
    top = scene.between(0.15, 0.35)
    fluted = scene.chance(0.6)
    beam = scene.chance(0.5)
    step = scene.between(0.7, 1.0) / number
    width = step * scene.between(0.3, 0.55)
    for place in range(number):
        broken = 0.0 if beam or scene.chance(0.75) else scene.between(0.1, 0.4)
        x = 0.5 + (place - (number - 1) / 2) * step
        slim_column(scene, x, top + broken, base, width, scene.tint(scene.stone, spread=6), fluted=fluted)
    if beam:
        reach = step * number / 2
        scene.fill(
            box(0.5 - reach, top - scene.between(0.05, 0.12), 0.5 + reach, top),
            scene.facing(scene.stone, 0.0),
            rough=True,
        )
    ground(scene, base)


def _temple(scene: Scene) -> None:
    """A front of columns under a pediment, dark behind."""
    number = scene.pick((4, 6, 6, 8))
    base = scene.between(0.85, 1.0)
    top = scene.between(0.35, 0.45)
    half = scene.between(0.4, 0.55)
    scene.fill(box(0.5 - half * 0.95, top, 0.5 + half * 0.95, base), lit(scene.stone, scene.between(0.25, 0.6)))
    step = 2 * half / number
    for place in range(number):
        slim_column(
            scene,
            0.5 + (place - (number - 1) / 2) * step,
            top,
            base,
            step * 0.42,
            scene.stone,
            fluted=scene.chance(0.7),
        )
    scene.fill(box(0.5 - half * 1.05, top - 0.08, 0.5 + half * 1.05, top), scene.facing(scene.stone, 0.2), rough=True)
    peak = top - 0.08 - half * scene.between(0.3, 0.45)
    scene.fill(
        polygon((0.5 - half * 1.08, top - 0.08), (0.5, peak), (0.5 + half * 1.08, top - 0.08)),
        scene.trim,
        rough=True,
    )
    scene.fill(
        polygon((0.5 - half * 0.8, top - 0.1), (0.5, peak + 0.05), (0.5 + half * 0.8, top - 0.1)),
        lit(scene.stone, 0.7),
        rough=True,
    )
    for step_number in range(3):
        wide = half * (1.05 + 0.05 * step_number)
        scene.fill(
            box(0.5 - wide, base + 0.03 * step_number, 0.5 + wide, base + 0.03 * (step_number + 1)),
            lit(scene.stone, 0.95 - 0.1 * step_number),
        )


def _colonnade(scene: Scene) -> None:
    """Columns in perspective along a walk, a wall or the open on the other side."""
    both = scene.chance(0.4)
    # With columns on one side only, stand near the wall and look over to them.
    stand, turn = (0.0, scene.between(-0.2, 0.2)) if both else (-0.12, scene.between(0.02, 0.3))
    focal = scene.between(0.55, 0.9)
    camera = Camera(stand, scene.between(0.1, 0.3), 0.0, scene.between(-0.05, 0.25), turn, focal)
    height = scene.between(0.7, 1.1)
    walk = scene.between(0.35, 0.6)
    deep = 6.0
    step = scene.between(0.5, 0.8)
    corners = np.array([[-walk, 0, 0.3], [-walk, 0, deep], [-walk, height, deep], [-walk, height, 0.3]])
    other = corners * np.array([-1.0, 1.0, 1.0])
    scene.fill(
        camera.project(np.array([[-2, 0, 0.3], [-2, 0, deep], [2, 0, deep], [2, 0, 0.3]])),
        lit(scene.stone, 0.6),
        rough=True,
    )
    if scene.chance(0.7):
        scene.fill(
            camera.project(np.array([corners[3], corners[2], other[2], other[3]])),
            lit(scene.stone, 0.5),
            rough=True,
        )
    if not both:
        scene.fill(camera.project(corners), scene.facing(scene.stone, 0.8), rough=True)
    radius = scene.between(0.07, 0.12)
    for number in range(int(deep / step) - 1, 0, -1):
        for side in (-1, 1) if both else (1,):
            _standing(scene, camera, side * walk, step * number + 0.2, radius, height)
    beam = np.array([[walk, height, 0.3], [walk, height, deep], [walk, height * 1.2, deep], [walk, height * 1.2, 0.3]])
    for side in (-1, 1) if both else (1,):
        scene.fill(camera.project(beam * np.array([side, 1.0, 1.0])), scene.facing(scene.trim, -0.5), rough=True)


def _standing(scene: Scene, camera: Camera, x: float, z: float, radius: float, height: float) -> None:
    """A column of the colonnade, shaded around its projected axis."""
    ends = camera.project(np.array([[x, height, z], [x, 0.0, z], [x + radius, height / 2, z]]))
    middle = (ends[0] + ends[1]) / 2
    wide = float(abs(ends[2, 0] - middle[0]))
    lean = float(ends[1, 0] - ends[0, 0])
    profile: Points = polygon((wide * 0.85, ends[0, 1]), (wide, ends[1, 1]))
    angles = np.linspace(-np.pi / 2, np.pi / 2, 7)
    for first, second in pairwise(angles):
        left, right = (meridian(float(middle[0]), profile, float(angle)) for angle in (first, second))
        slant = np.array([[-lean / 2, 0], [lean / 2, 0]])
        shade = 0.5 + 0.58 * max(0.0, float(np.cos((first + second) / 2 - 0.9 * scene.light)))
        scene.fill(np.concatenate([left + slant, (right + slant)[::-1]]), lit(scene.stone, shade))
    for end, side in ((0, -1), (1, 1)):
        at, y = ends[end]
        scene.fill(box(at - wide * 1.4, y, at + wide * 1.4, y - side * wide * 0.6), scene.facing(scene.trim, 0.2))

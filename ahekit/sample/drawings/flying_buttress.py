"""Flying buttresses: arches from piers with pinnacles to a high wall, alone, in a row, or around a choir."""

from __future__ import annotations

import numpy as np

from ahekit.sample.drawings.canvas import lit
from ahekit.sample.drawings.geometry import Points, box, polygon
from ahekit.sample.drawings.parts import lathe, meridian, pinnacle, window
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.scenery import ground, sky, surroundings, wall_behind


def flying_buttress(scene: Scene) -> None:
    """One church wall with its buttresses."""
    closed = scene.chance(0.2)
    if not closed:
        sky(scene)
        surroundings(scene)
    scene.look(zoom=(0.85, 1.25), shift=0.12, roll=0.16, aside=0.4, upward=(0.0, 0.5))
    if closed:
        wall_behind(scene)
    scene.pick((_single, _single, _row, _row, _choir))(scene)
    if scene.chance(0.4):
        ground(scene, scene.between(0.95, 1.1))


def flier(low: tuple[float, float], high: tuple[float, float], *, depth: float, thick: float) -> Points:
    """The area of a half arch from its foot at the pier (`low`) to its head at the wall (`high`).

    The upper edge is straight; the lower one is a quarter of an ellipse that starts `depth` below the foot.
    """
    (x0, y0) = low
    (x1, y1) = high
    angle = np.linspace(0.0, np.pi / 2, 9)
    under = np.stack(
        [x0 + (x1 - x0) * (1 - np.cos(angle)), y0 + depth + (y1 + thick - y0 - depth) * np.sin(angle)], axis=1
    )
    return np.concatenate([polygon((x1, y1), (x0, y0)), under])


def _span(scene: Scene, pier: float, wall: float, low: float, high: float, *, shade: float = 1.0) -> None:
    """One arch with its coping, perhaps pierced by tracery."""
    side = 0.7 if wall > pier else -0.7
    colour = lit(scene.facing(scene.stone, side), shade)
    thick = scene.between(0.05, 0.09)
    depth = scene.between(0.14, 0.28)
    scene.fill(flier((pier, low), (wall, high), depth=depth, thick=thick), colour, rough=True)
    coping = polygon((pier, low), (wall, high))
    scene.stroke(coping, lit(scene.trim, 1.15 * shade), 0.026)
    soffit = flier((pier, low), (wall, high), depth=depth, thick=thick)[2:]
    scene.stroke(soffit, lit(colour, 0.6), 0.014)


def _pier(scene: Scene, x: float, top: float, base: float, width: float, *, shade: float = 1.0) -> None:
    """The upright that takes the thrust: set-offs, gablets, a pinnacle."""
    corner = x + width * 0.15
    for number, edge in enumerate((top, top + (base - top) * 0.4)):
        half = width * (0.5 + 0.12 * number)
        scene.fill(box(x - half, edge, corner, base), lit(scene.facing(scene.stone, -0.7), shade), rough=True)
        scene.fill(box(corner, edge, x + half, base), lit(scene.facing(scene.stone, 0.9), shade), rough=True)
        scene.fill(polygon((x - half * 1.2, edge), (x, edge - half), (x + half * 1.2, edge)), lit(scene.trim, shade))
    pinnacle(scene, x, top, width * scene.between(1.4, 3.2), width * 0.6, lit(scene.trim, shade))


def _high_wall(scene: Scene, left: float, right: float, top: float, *, bays: int, shade: float = 0.9) -> None:
    """The clerestory: tall windows, a parapet, the edge of the roof."""
    scene.fill(
        polygon((left, top), (right, top), (right, top - 0.15), (left, top - 0.15)),
        scene.facing(scene.roof, -0.3),
        rough=True,
    )
    scene.fill(box(left, top, right, 1.8), lit(scene.facing(scene.stone, -0.2), shade), rough=True)
    bay = (right - left) / bays
    for number in range(bays):
        window(
            scene,
            left + bay * (number + 0.5),
            top + 0.48,
            bay * 0.5,
            0.4,
            pointed=0.9,
            bars=scene.pick((0, 1, 2)),
        )
    scene.fill(box(left, top - 0.03, right, top + 0.02), scene.trim)
    if scene.chance(0.5):
        for x in np.arange(left, right, 0.06):
            scene.fill(box(float(x), top - 0.06, float(x) + 0.025, top - 0.02), scene.trim)


def _single(scene: Scene) -> None:
    """Elevation: wall at one side, pier at the other, one or two arches between them."""
    wall = scene.between(0.62, 0.8)
    pier = scene.between(0.16, 0.32)
    top = scene.between(-0.1, 0.2)
    _high_wall(scene, wall, 1.7, top, bays=scene.pick((2, 3)))
    # The aisle below the arch closes the view; the sky shows between its roof and the arch.
    aisle = scene.between(0.78, 1.0)
    scene.fill(
        polygon((pier, aisle), (wall, aisle - 0.12), (wall, 1.8), (pier, 1.8)),
        scene.facing(scene.roof, 0.2),
        rough=True,
    )
    high = top + scene.between(0.08, 0.2)
    for tier in range(scene.pick((1, 1, 2))):
        _span(scene, pier, wall, high + 0.18 + 0.26 * tier, high + 0.26 * tier)
    _pier(scene, pier, high + scene.between(0.08, 0.18), 1.8, scene.between(0.09, 0.16))


def _row(scene: Scene) -> None:
    """Several, one behind the other, along the flank of the nave."""
    number = scene.count(3, 5)
    step = scene.between(0.16, 0.26)
    sink = scene.between(-0.04, 0.06)
    reach = scene.between(0.22, 0.36)
    top = scene.between(0.0, 0.2)
    _high_wall(scene, 0.3, 1.8, top, bays=number + 2)
    double = scene.chance(0.35)
    width = scene.between(0.06, 0.1)
    for place in range(number - 1, -1, -1):
        x = 0.62 - step * (number / 2 - place) + 0.08
        fall = sink * place
        shade = 0.75 + 0.25 * (1 - place / number)
        high = top + 0.1 + fall
        for tier in range(2 if double else 1):
            _span(scene, x - reach, x, high + 0.22 + 0.24 * tier, high + 0.24 * tier, shade=shade)
        _pier(scene, x - reach, high + 0.16, 1.8, width, shade=shade)


def _choir(scene: Scene) -> None:
    """The east end: a many-sided choir with arches on both sides and a forest of pinnacles."""
    radius = scene.between(0.18, 0.26)
    top = scene.between(0.15, 0.28)
    wall = polygon((radius, top), (radius, 1.8))
    lathe(
        scene,
        0.5,
        polygon((0.0, top - radius * scene.between(0.7, 1.2)), (radius * 1.05, top)),
        scene.roof,
        strips=5,
        sag=-0.1,
        rough=True,
    )
    lathe(scene, 0.5, wall, scene.stone, strips=5, sag=-0.1, rough=True)
    for angle in np.linspace(-1.0, 1.0, 3):
        head = meridian(0.5, wall, float(angle), sag=-0.1)[0]
        window(scene, head[0], head[1] + 0.34, radius * 0.42 * float(np.cos(angle)), 0.28, pointed=0.9, bars=1)
    low = top + scene.between(0.5, 0.6)
    chapel = polygon((radius * 1.9, low), (radius * 1.9, 1.8))
    lathe(scene, 0.5, chapel, lit(scene.stone, 0.9), strips=7, sag=-0.12, rough=True)
    for place in (0.5, 1.0):
        for side in (-1, 1):
            at = 0.5 + side * radius * (1.0 + 1.15 * place)
            fall = 0.1 * (1 - place)
            _span(scene, at, 0.5 + side * radius * (0.55 + 0.4 * place), top + 0.26 + fall, top + 0.1 + fall)
            _pier(scene, at, top + 0.2 + fall, 1.8, scene.between(0.05, 0.075))
    for offset in (-0.35, 0.35):
        _pier(scene, 0.5 + offset * radius, top + 0.34, 1.8, 0.05)

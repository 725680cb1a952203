"""Bell towers: shafts in stages with belfry openings and a spire, bell gables, and small ones far off."""

from __future__ import annotations

import numpy as np

from ahekit.sample.drawings.canvas import Colour, lit
from ahekit.sample.drawings.geometry import box, ellipse, opening, polygon
from ahekit.sample.drawings.parts import cross, dome, gable, lathe, long_roof, pinnacle, pyramid
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.scenery import ground, sky, surroundings

BRONZE: Colour = (112, 92, 60)


def bell_tower(scene: Scene) -> None:
    """One bell tower against its sky."""
    sky(scene)
    surroundings(scene)
    far = scene.chance(0.15)
    scene.look(zoom=(0.45, 0.7) if far else (0.85, 1.6), shift=0.15, upward=(0.0, 0.6), roll=0.1)
    base = 1.0
    if scene.chance(0.6):
        long_roof(
            scene,
            0.55,
            1.6,
            base - scene.between(0.3, 0.45),
            base - scene.between(0.15, 0.25),
            base + 0.5,
            bays=5,
        )
    if scene.chance(0.18):
        _bell_gable(scene, base)
    else:
        _tower(scene, scene.between(0.1, 0.19), scene.between(0.28, 0.42), base)
    if scene.chance(0.4):
        left = scene.between(0.1, 0.5)
        gable(scene, left, left + scene.between(0.2, 0.4), base - 0.1, base + 0.5, 0.12)
    if scene.chance(0.6):
        ground(scene, base + scene.between(0.0, 0.1))


def _tower(scene: Scene, half: float, top: float, base: float) -> None:
    """A shaft of two to five stages, square or round, with openings that grow upwards, and a top."""
    turned = scene.chance(0.2)
    corner = scene.between(0.3, 0.9)
    stages = scene.count(2, 5)
    edges = np.linspace(top, base, stages + 1)
    taper = scene.between(0.0, 0.02)
    for stage in range(stages):
        wide = half + taper * stage
        upper = float(edges[stage])
        lower = float(edges[stage + 1])
        if turned:
            lathe(
                scene,
                0.5,
                polygon((wide, upper), (wide, lower)),
                scene.stone,
                strips=8,
                sag=-0.08,
                rough=True,
            )
        else:
            split = 0.5 - wide + 2 * wide * corner
            scene.fill(box(0.5 - wide, upper, split, lower + 0.3), scene.facing(scene.stone, -0.6), rough=True)
            scene.fill(box(split, upper, 0.5 + wide, lower + 0.3), scene.facing(scene.stone, 0.9), rough=True)
        ledge = wide * 1.1
        scene.fill(box(0.5 - ledge, upper - 0.008, 0.5 + ledge, upper + 0.014), scene.trim)
        _belfry(scene, wide if turned or corner > 0.75 else wide * corner, upper, lower, stage, turned)
    _top(scene, half, top)


def _belfry(scene: Scene, half: float, upper: float, lower: float, stage: int, turned: bool) -> None:
    """The openings of one stage: wide and with bells at the top, slits or a clock below."""
    middle = 0.5 if turned or half > 0.09 else 0.5 - half * 0.3
    height = lower - upper
    if stage > 1 and scene.chance(0.5):
        if scene.chance(0.4):
            scene.fill(ellipse(middle, upper + height * 0.5, half * 0.4, half * 0.4), (232, 228, 214))
            scene.stroke(
                polygon((middle, upper + height * 0.5), (middle + half * 0.2, upper + height * 0.4)),
                (30, 30, 30),
                0.01,
            )
        return
    number = scene.pick((1, 2, 2, 3)) if stage < 2 else 1
    width = half * 1.5 / number
    pointed = scene.pick((0.0, 0.0, 0.7))
    for place in range(number):
        x = middle + (place - (number - 1) / 2) * width
        size = width * (0.62 if stage < 2 else 0.25)
        tall = min(height * 0.72, size * 2.4)
        foot = lower - height * 0.12
        scene.fill(opening(x, foot, size * 1.3, tall * 1.08, pointed=pointed), scene.trim)
        scene.fill(opening(x, foot, size, tall, pointed=pointed), scene.gloom)
        if stage < 2 and scene.chance(0.7):
            bell(scene, x, foot - tall * 0.75, min(size * 0.7, tall * 0.5))


def bell(scene: Scene, x: float, top: float, width: float) -> None:
    """A hanging bell, from its yoke down."""
    profile = polygon(
        (width * 0.15, top),
        (width * 0.28, top + width * 0.2),
        (width * 0.32, top + width * 0.6),
        (width * 0.5, top + width * 0.85),
    )
    lathe(scene, x, profile, BRONZE, strips=4)
    scene.fill(box(x - width * 0.45, top - width * 0.12, x + width * 0.45, top), (70, 54, 42))


def _top(scene: Scene, half: float, top: float) -> None:
    """Spire, pyramid, dome, lantern or battlements."""
    kind = scene.pick(("spire", "spire", "cap", "cap", "dome", "lantern", "flat"))
    if kind == "spire":
        tip = top - half * scene.between(2.0, 3.6)
        if scene.chance(0.5):
            for side in (-1, 1):
                pinnacle(scene, 0.5 + side * half * 0.92, top, half * 0.9, half * 0.2, scene.trim)
        pyramid(scene, 0.5, tip, top, half * scene.between(0.8, 1.1), scene.roof)
    elif kind == "cap":
        tip = top - half * scene.between(0.5, 1.1)
        pyramid(scene, 0.5, tip, top, half * 1.2, scene.roof)
    elif kind == "dome":
        tip = top - half * scene.between(0.8, 1.5)
        dome(
            scene,
            0.5,
            tip,
            top,
            half * 0.95,
            scene.roof,
            swell=scene.pick((0.0, 0.0, 0.5)),
            pointed=0.5,
            ribs=3,
        )
    elif kind == "lantern":
        tip = top - half * 1.9
        scene.fill(
            box(0.5 - half * 0.55, top - half, 0.5 + half * 0.55, top),
            scene.facing(scene.stone, 0.3),
            rough=True,
        )
        for side in (-1, 1):
            scene.fill(opening(0.5 + side * half * 0.25, top - half * 0.1, half * 0.3, half * 0.7), scene.gloom)
        dome(scene, 0.5, tip, top - half, half * 0.58, scene.roof, swell=0.0, pointed=0.6, ribs=3)
    else:
        tip = top
        for place in (-0.9, -0.3, 0.3, 0.9):
            scene.fill(
                box(0.5 + half * (place - 0.16), top - half * 0.35, 0.5 + half * (place + 0.16), top),
                scene.facing(scene.stone, 0.2),
            )
    if kind != "flat":
        cross(scene, 0.5, tip + 0.01, scene.between(0.05, 0.09), lit(scene.gloom, 0.8))


def _bell_gable(scene: Scene, base: float) -> None:
    """A flat wall pierced for bells, under a small pediment; the sky shows through."""
    half = scene.between(0.16, 0.28)
    top = scene.between(0.28, 0.4)
    colour = scene.facing(scene.stone, 0.2)
    scene.fill(box(0.5 - half, top, 0.5 + half, base + 0.3), colour, rough=True)
    rows = scene.pick(((2,), (3,), (2, 1), (3, 2)))
    lower = top + scene.between(0.3, 0.38)
    for row, number in enumerate(rows):
        wide = half * (1.0 - 0.35 * row)
        if row:
            scene.fill(box(0.5 - wide, lower - 0.22, 0.5 + wide, lower + 0.06), colour, rough=True)
        for place in range(number):
            x = 0.5 + (place - (number - 1) / 2) * 2 * wide / number
            size = wide * 1.2 / number
            scene.fill(opening(x, lower, size, 0.2), scene.air)
            bell(scene, x, lower - 0.16, size * 0.75)
        scene.fill(box(0.5 - wide * 1.08, lower + 0.02, 0.5 + wide * 1.08, lower + 0.04), scene.trim)
        lower -= 0.26
    peak = lower + 0.02
    wide = half * (1.0 - 0.35 * (len(rows) - 1)) * 1.1
    scene.fill(polygon((0.5 - wide, peak), (0.5, peak - wide * 0.6), (0.5 + wide, peak)), scene.trim, rough=True)
    cross(scene, 0.5, peak - wide * 0.55, 0.09, scene.gloom)

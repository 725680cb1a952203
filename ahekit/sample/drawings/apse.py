"""Apses: half-round or many-sided chancel ends from outside; from inside, a curved wall and a half-dome."""

from __future__ import annotations

import numpy as np

from ahekit.sample.drawings.altar import table
from ahekit.sample.drawings.canvas import lit
from ahekit.sample.drawings.geometry import Points, arch_line, between_lines, box, ellipse, polygon
from ahekit.sample.drawings.parts import cross, gable, lathe, long_roof, meridian, pyramid, window
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.scenery import ground, lamp_window, room, sky, surroundings


def apse(scene: Scene) -> None:
    """One apse, mostly from outside."""
    if scene.chance(0.3):
        room(scene)
        scene.look(zoom=(0.85, 1.3), upward=(0.0, 0.4))
        _inside(scene)
        return
    sky(scene)
    surroundings(scene)
    scene.look(zoom=(0.75, 1.45), shift=0.12, upward=(-0.05, 0.45))
    base = scene.between(0.84, 1.05)
    _church(scene, base)
    for side in (-1, 1):
        if scene.chance(0.25):
            _turret(
                scene,
                0.5 + side * scene.between(0.3, 0.38),
                base,
                scene.between(0.1, 0.15),
                scene.between(0.3, 0.4),
            )
    _turret(scene, 0.5, base, scene.between(0.22, 0.34), scene.between(0.4, 0.62))
    ground(scene, base)


def _church(scene: Scene, base: float) -> None:
    """What the apse leans on: the gable of the nave, perhaps its long side and a tower."""
    top = base - scene.between(0.55, 0.72)
    if scene.chance(0.35):
        x = scene.pick((0.2, 0.8))
        half = scene.between(0.06, 0.1)
        scene.fill(
            box(x - half, top - scene.between(0.05, 0.25), x + half, base),
            scene.facing(scene.stone, 0.5),
            rough=True,
        )
        pyramid(scene, x, top - scene.between(0.3, 0.5), top - 0.05, half * 1.1, scene.roof)
    if scene.chance(0.5):
        long_roof(scene, 0.55, 1.4, top, top + 0.15, base, bays=4)
    half = scene.between(0.3, 0.42)
    gable(scene, 0.5 - half, 0.5 + half, top + scene.between(0.05, 0.14), base, scene.between(0.1, 0.24))
    if scene.chance(0.3):
        cross(scene, 0.5, top - 0.08, 0.1, scene.roof)


def _turret(scene: Scene, x: float, base: float, radius: float, height: float) -> None:
    """The half-round body: wall, openings, eaves on corbels, half-cone of a roof."""
    top = base - height
    sag = scene.between(-0.22, -0.04)
    sides = scene.pick((3, 5, 10, 10, 10))
    wall = polygon((radius, top), (radius, base))
    lathe(scene, x, wall, scene.stone, strips=sides, sag=sag, rough=True)
    _openings(scene, x, wall, sag)
    eaves = polygon((radius * 1.06, top - 0.02), (radius * 1.06, top + 0.015))
    lathe(scene, x, eaves, scene.trim, strips=8, sag=sag)
    if scene.chance(0.6):
        for angle in np.linspace(-1.3, 1.3, 13):
            foot = meridian(x, wall, float(angle), sag=sag)[0]
            scene.fill(ellipse(foot[0], foot[1] + 0.03, 0.012, 0.016, steps=7), lit(scene.stone, 0.55))
    roof = polygon((0.0, top - radius * scene.between(0.35, 0.95)), (radius * 1.08, top - 0.02))
    lathe(scene, x, roof, scene.roof, strips=sides, sag=sag, rough=True)


def _openings(scene: Scene, x: float, wall: Points, sag: float) -> None:
    """Windows and flat buttresses around the body, narrower towards the sides; perhaps an arcade on top."""
    (radius, top), (_, base) = wall
    height = base - top
    pointed = scene.pick((0.0, 0.0, 0.8))
    size = scene.between(0.22, 0.5)
    number = scene.pick((1, 3, 3, 5, 5, 7))
    angles = np.linspace(-1.15, 1.15, number) if number > 1 else np.zeros(1)
    for angle in angles:
        foot = meridian(x, wall, float(angle), sag=sag)[1]
        width = radius * size * float(np.cos(angle)) * min(1.0, 3.2 / number)
        window(scene, foot[0], foot[1] - height * 0.3, width, height * scene.between(0.35, 0.45), pointed=pointed)
    if scene.chance(0.55):
        for angle in (angles[1:] + angles[:-1]) / 2 if number > 1 else np.array([-0.7, 0.7]):
            line = meridian(x, wall, float(angle), sag=sag)
            scene.stroke(line, scene.facing(scene.trim, float(np.sin(angle))), radius * 0.09)
    if scene.chance(0.4):
        for angle in np.linspace(-1.25, 1.25, 9):
            head = meridian(x, wall, float(angle), sag=sag)[0]
            window(scene, head[0], head[1] + height * 0.16, radius * 0.16 * float(np.cos(angle)), height * 0.1)


def _inside(scene: Scene) -> None:
    """From the nave: an arch frames a curved wall with windows under a half-dome."""
    half = scene.between(0.3, 0.42)
    springing = scene.between(0.38, 0.5)
    floor = scene.between(0.85, 1.0)
    outer = arch_line(0.5, springing, half, half, pointed=0.0)
    scene.fill(box(-1, -1, 2, 2), lit(scene.stone, 0.75), rough=True)
    wall = polygon((half, springing), (half, floor))
    sag = scene.between(-0.3, -0.12)
    shell = scene.tint(scene.pick((scene.stone, (196, 160, 84), (70, 96, 150), (176, 120, 90))))
    _half_dome(scene, half, springing, sag, shell)
    # Shaded like a body seen from outside: at this size its frame and its shell say that it is hollow.
    lathe(scene, 0.5, wall, lit(scene.stone, 0.85), strips=8, sag=sag, rough=True)
    number = scene.pick((3, 3, 5))
    for angle in np.linspace(-1.0, 1.0, number):
        foot = meridian(0.5, wall, float(angle), sag=sag)[0]
        lamp_window(scene, foot[0], foot[1] + 0.27, 0.45 * half / number * 2 * float(np.cos(angle)))
    rim = arch_line(0.5, springing, half * 1.12, half * 1.12, pointed=0.0)
    scene.fill(between_lines(outer, rim), scene.trim)
    for side in (-1, 1):
        scene.fill(
            box(0.5 + side * half, springing, 0.5 + side * half * 1.15, floor + 1),
            scene.facing(scene.trim, side),
        )
    scene.fill(box(-1, floor, 2, 2.5), lit(scene.stone, 0.55), rough=True)
    if scene.chance(0.35):
        table(scene, 0.5, floor - 0.16, half * 0.7)


def _half_dome(scene: Scene, half: float, springing: float, sag: float, colour: tuple[int, int, int]) -> None:
    """The shell: rings that shrink towards the crown, with ribs or a painted figure."""
    painted = scene.chance(0.4)
    for share in (1.0, 0.8, 0.6, 0.4, 0.2):
        crown = half * share
        front = arch_line(0.5, springing, half * share, crown, pointed=0.0)
        foot = ellipse(0.5, springing, half * share, -sag * half * share, start=2 * np.pi, end=np.pi, steps=9)
        scene.fill(
            np.concatenate([front, foot[::-1]]),
            lit(colour, 1.15 - 0.45 * share + (0.1 if painted else 0)),
            rough=True,
        )
    for angle in np.linspace(-1.2, 1.2, scene.pick((0, 5, 7))):
        end = (0.5 + half * np.sin(angle), springing + sag * half * np.cos(angle))
        scene.stroke(polygon((0.5, springing - half * 0.95), end), scene.trim, 0.018)
    if painted:
        scene.fill(ellipse(0.5, springing - half * 0.45, half * 0.2, half * 0.32), (222, 186, 96))
        scene.fill(
            ellipse(0.5, springing - half * 0.4, half * 0.11, half * 0.25),
            scene.pick(((150, 50, 46), (50, 70, 130))),
        )

"""Domes from outside: a drum with windows or columns, a shell with ribs, a lantern, side domes, towers."""

from __future__ import annotations

import numpy as np

from ahekit.sample.drawings.canvas import Colour, lit
from ahekit.sample.drawings.geometry import box, ellipse, polygon
from ahekit.sample.drawings.parts import column, cross, dome, lathe, meridian, pyramid, window
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.scenery import ground, sky, surroundings

SHELLS: tuple[Colour, ...] = (
    (104, 156, 136),
    (136, 142, 148),
    (206, 164, 62),
    (92, 98, 110),
    (168, 92, 62),
    (222, 218, 208),
    (70, 120, 150),
)


def dome_outer(scene: Scene) -> None:
    """One building with its dome under the sky."""
    sky(scene)
    surroundings(scene)
    scene.look(zoom=(0.7, 1.6), shift=0.15, upward=(0.0, 0.5), roll=0.08)
    shell = scene.tint(scene.pick((*SHELLS, scene.roof, scene.stone)))
    dark = (sum(scene.stone) / 3) < 80
    shell = lit(shell, 0.5) if dark else shell
    radius = scene.between(0.2, 0.34)
    foot = scene.between(0.5, 0.62)
    swell = scene.pick((0.0, 0.0, 0.0, 0.35))
    for side in (-1, 1):
        if scene.chance(0.4):
            _beside(
                scene,
                0.5 + side * (radius + scene.between(0.08, 0.16)),
                foot + scene.between(0.0, 0.15),
                shell,
                swell,
            )
    body = foot + scene.between(0.14, 0.26)
    _body(scene, radius, body)
    _drum(scene, 0.5, radius * scene.between(0.85, 1.0), foot, body)
    steep = scene.between(0.0, 1.0)
    crown = foot - radius * scene.between(0.7, 1.25)
    dome(scene, 0.5, crown, foot, radius, shell, swell=swell, pointed=steep, ribs=scene.pick((0, 5, 7, 9)))
    if scene.chance(0.3):
        for angle in (-0.9, 0.0, 0.9):
            at = meridian(0.5, polygon((radius * 0.75, foot - radius * 0.45)), angle)[0]
            scene.fill(ellipse(at[0], at[1], radius * 0.07 * np.cos(angle), radius * 0.09), scene.gloom)
    _lantern(scene, crown, radius)


def _drum(scene: Scene, x: float, radius: float, top: float, bottom: float) -> None:
    """The ring under the shell, with windows or columns around it."""
    wall = polygon((radius, top), (radius, bottom))
    lathe(scene, x, wall, scene.stone, strips=9, sag=-0.06, rough=True)
    columns = scene.chance(0.45)
    height = bottom - top
    for angle in np.linspace(-1.3, 1.3, scene.pick((5, 7, 9))):
        foot = meridian(x, wall, float(angle), sag=-0.06)[1]
        narrow = max(0.25, float(np.cos(angle)))
        window(scene, foot[0], foot[1] - height * 0.12, radius * 0.14 * narrow, height * 0.6)
        if columns:
            at = meridian(x, wall, float(angle) + 0.2, sag=-0.06)[0]
            column(
                scene,
                at[0],
                at[1] + height * 0.05,
                at[1] + height,
                radius * 0.09 * narrow,
                scene.facing(scene.trim, float(np.sin(angle))),
            )
    ledge = polygon((radius * 1.08, top - 0.012), (radius * 1.08, top + 0.018))
    lathe(scene, x, ledge, scene.trim, strips=8, sag=-0.06)


def _body(scene: Scene, radius: float, top: float) -> None:
    """The building below."""
    half = radius * scene.between(1.15, 1.9)
    scene.fill(box(0.5 - half, top, 0.5 + half, 1.8), scene.facing(scene.stone, -0.3), rough=True)
    scene.fill(box(0.48 - half, top - 0.01, 0.52 + half, top + 0.03), scene.trim)
    number = scene.count(3, 6)
    pointed = scene.pick((0.0, 0.0, 0.7))
    for place in range(number):
        x = 0.5 + (place - (number - 1) / 2) * 2 * half / number
        window(scene, x, top + 0.27, half * 0.6 / number, 0.18, pointed=pointed)
    if scene.chance(0.3):
        porch = half * 0.5
        scene.fill(
            polygon((0.5 - porch, top + 0.12), (0.5, top - 0.02), (0.5 + porch, top + 0.12)),
            scene.trim,
            rough=True,
        )
        for place in range(4):
            column(scene, 0.5 - porch * 0.8 + place * porch * 0.53, top + 0.12, top + 0.45, 0.03, scene.stone)
    if scene.chance(0.4):
        ground(scene, top + scene.between(0.3, 0.4))


def _beside(scene: Scene, x: float, foot: float, shell: Colour, swell: float) -> None:
    """A smaller dome, a minaret or a tower at the side."""
    half = scene.between(0.035, 0.08)
    if scene.chance(0.5):
        scene.fill(box(x - half, foot, x + half, 1.8), scene.facing(scene.stone, 0.4), rough=True)
        window(scene, x, foot + half * 2, half * 0.7, half * 1.4)
        dome(scene, x, foot - half * 1.2, foot, half * 1.05, shell, swell=swell, pointed=0.4, ribs=3)
        cross(scene, x, foot - half * 1.1, half * 0.9, scene.gloom)
    else:
        top = foot - scene.between(0.15, 0.35)
        half *= 0.6
        lathe(scene, x, polygon((half, top), (half, 1.8)), scene.stone, strips=5)
        scene.fill(box(x - half * 1.4, top, x + half * 1.4, top + 0.015), scene.trim)
        pyramid(scene, x, top - half * 3, top, half * 1.1, scene.roof)


def _lantern(scene: Scene, crown: float, radius: float) -> None:
    """A lantern with its own small cap, or a bare finial."""
    if scene.chance(0.7):
        half = radius * scene.between(0.12, 0.2)
        height = radius * scene.between(0.3, 0.5)
        foot = crown + radius * 0.03
        lathe(scene, 0.5, polygon((half, foot - height), (half, foot)), scene.trim, strips=6)
        for place in (-0.45, 0.45):
            scene.fill(
                box(
                    0.5 + half * (place - 0.2),
                    foot - height * 0.8,
                    0.5 + half * (place + 0.2),
                    foot - height * 0.1,
                ),
                scene.gloom,
            )
        crown = foot - height - half
        dome(scene, 0.5, crown, foot - height, half * 1.1, scene.roof, swell=0.0, pointed=0.5, ribs=0)
    if scene.chance(0.5):
        cross(scene, 0.5, crown + 0.01, radius * 0.3, lit(scene.gloom, 0.9))
    else:
        scene.stroke(
            polygon((0.5, crown + 0.01), (0.5, crown - radius * 0.25)),
            scene.pick(((214, 172, 84), scene.gloom)),
            0.012,
        )
        scene.fill(ellipse(0.5, crown - radius * 0.1, 0.014, 0.014, steps=8), (214, 172, 84))

"""Altars: a table with cloth, candles and cross before a retable, under a canopy, or at the end of a nave."""

from __future__ import annotations

import numpy as np

from ahekit.sample.drawings.canvas import Colour, lit, mix
from ahekit.sample.drawings.geometry import arch_line, between_lines, box, ellipse, opening, polygon
from ahekit.sample.drawings.parts import column, cross
from ahekit.sample.drawings.scene import WOODS, Scene
from ahekit.sample.drawings.scenery import lamp_window, room

GOLD: Colour = (214, 172, 84)
ROBES: tuple[Colour, ...] = (
    (168, 44, 40),
    (48, 74, 140),
    (222, 206, 176),
    (60, 104, 72),
    (190, 146, 64),
    (116, 72, 52),
)


def altar(scene: Scene) -> None:
    """One altar in its church."""
    room(scene)
    scene.look(zoom=(0.8, 1.35), upward=(-0.1, 0.3), roll=0.05)
    _floor(scene)
    scene.pick((_before_retable, _before_retable, _before_retable, _in_sanctuary, _under_canopy, _down_the_nave))(scene)


def table(scene: Scene, x: float, top: float, width: float) -> None:
    """The table: cloth, frontal, cross, candles, flowers."""
    half = width / 2
    height = width * scene.between(0.3, 0.48)
    body = scene.tint(scene.pick((*WOODS, (226, 222, 214), scene.stone)))
    for step in range(scene.count(0, 3)):
        y = top + height + 0.03 * step
        scene.fill(
            box(x - half * (1.3 + 0.2 * step), y, x + half * (1.3 + 0.2 * step), y + 0.035),
            lit(scene.stone, 0.95 - 0.12 * step),
        )
    scene.fill(box(x - half * 0.94, top, x + half * 0.94, top + height), body, rough=True)
    if scene.chance(0.7):
        frontal = scene.tint(scene.pick((*ROBES, (236, 232, 222))))
        scene.fill(box(x - half * 0.6, top, x + half * 0.6, top + height * 0.85), frontal)
        cross(scene, x, top + height * 0.75, height * 0.55, GOLD, thick=0.16)
    cloth = scene.tint((238, 236, 228), spread=10)
    scene.fill(box(x - half, top, x + half, top + height * 0.2), cloth)
    for side in (-1, 1):
        scene.fill(
            box(x + side * half, top, x + side * half * 0.86, top + height * scene.between(0.4, 0.8)),
            lit(cloth, 0.9),
        )
    _candles(scene, x, top, half)
    if scene.chance(0.75):
        cross(
            scene,
            x,
            top,
            width * scene.between(0.25, 0.5),
            scene.pick((GOLD, (60, 44, 34), (230, 226, 214))),
            thick=0.1,
        )
    if scene.chance(0.35):
        for _ in range(12):
            spot = x + scene.pick((-0.55, 0.55)) * half + scene.between(-0.14, 0.14) * half
            bloom = ellipse(spot, top - scene.between(0.0, 0.14) * width, width * 0.035, width * 0.03, steps=7)
            scene.fill(bloom, scene.pick(((230, 226, 220), (206, 70, 84), (74, 110, 60))))


def _candles(scene: Scene, x: float, top: float, half: float) -> None:
    pairs = scene.count(1, 3)
    height = half * scene.between(0.25, 0.6)
    burning = scene.chance(0.7)
    for pair in range(pairs):
        for side in (-1, 1):
            at = x + side * half * (0.85 - 0.22 * pair)
            scene.fill(box(at - half * 0.025, top - height, at + half * 0.025, top), (240, 234, 214))
            scene.fill(box(at - half * 0.05, top - height * 0.2, at + half * 0.05, top), GOLD)
            if burning:
                flame = ellipse(at, top - height - half * 0.06, half * 0.045, half * 0.08, steps=8)
                scene.fill(flame, (255, 240, 190))
                scene.canvas.shine(flame, (255, 190, 110))


def _floor(scene: Scene) -> None:
    y = scene.between(0.8, 0.92)
    scene.fill(box(-1, y, 2, 2.5), lit(scene.stone, scene.between(0.4, 0.8)), rough=True)
    if scene.chance(0.35):
        carpet = scene.tint((150, 34, 38))
        scene.fill(polygon((0.4, y), (0.6, y), (0.75, 1.6), (0.25, 1.6)), carpet)


def _figure(scene: Scene, x: float, bottom: float, height: float) -> None:
    robe = scene.tint(scene.pick(ROBES))
    half = height * 0.24
    scene.fill(
        polygon(
            (x - half, bottom),
            (x - half * 0.55, bottom - height * 0.75),
            (x + half * 0.55, bottom - height * 0.75),
            (x + half, bottom),
        ),
        robe,
    )
    scene.fill(ellipse(x, bottom - height * 0.86, height * 0.11, height * 0.13, steps=9), (226, 184, 150))


def _cell(scene: Scene, x: float, bottom: float, width: float, height: float, ground: Colour) -> None:
    """A niche or a painted panel with a figure in it."""
    arched = scene.chance(0.6)
    outline = (
        opening(x, bottom, width, height) if arched else box(x - width / 2, bottom - height, x + width / 2, bottom)
    )
    scene.fill(outline, ground)
    if scene.chance(0.25):
        _figure(scene, x - width * 0.22, bottom, height * 0.7)
        _figure(scene, x + width * 0.22, bottom, height * 0.65)
    else:
        _figure(scene, x, bottom, min(height * 0.9, width * 1.8))


def _before_retable(scene: Scene) -> None:
    """The wall of niches, columns and gold behind the table."""
    body = scene.tint(scene.pick((*WOODS, GOLD, (226, 222, 212))))
    accent = scene.tint(scene.pick((GOLD, (236, 228, 206), (120, 60, 46))))
    ground = scene.tint(scene.pick((lit(body, 0.4), (54, 62, 96), (96, 34, 32), (50, 40, 32))))
    half = scene.between(0.34, 0.56)
    top = scene.between(0.02, 0.24)
    bottom = scene.between(0.68, 0.76)
    columns, rows = scene.pick(((3, 1), (3, 2), (3, 2), (5, 2), (5, 3), (1, 1), (1, 1)))
    if scene.chance(0.7):
        scene.fill(
            ellipse(0.5, top + 0.02, half * 0.8, half * scene.between(0.4, 0.8), start=np.pi, end=2 * np.pi),
            body,
            rough=True,
        )
    else:
        scene.fill(
            polygon((0.5 - half * 0.6, top), (0.5, top - half * scene.between(0.4, 0.6)), (0.5 + half * 0.6, top)),
            body,
            rough=True,
        )
    _cell(scene, 0.5, top + 0.01, half * 0.4, half * 0.4, ground)
    scene.fill(box(0.5 - half, top, 0.5 + half, bottom), body, rough=True)
    across = 2 * half / columns
    down = (bottom - top) / rows
    for row in range(rows):
        base = top + down * (row + 1)
        for number in range(columns):
            _cell(
                scene,
                0.5 - half + across * (number + 0.5),
                base - down * 0.12,
                across * 0.6,
                down * 0.72,
                ground,
            )
        for number in range(columns + 1):
            column(scene, 0.5 - half + across * number, base - down * 0.9, base - 0.01, across * 0.13, accent)
        scene.fill(box(0.49 - half, base - down, 0.51 + half, base - down * 0.9), mix(body, accent, 0.6))
    for _ in range(50):
        spot = ellipse(scene.between(0.5 - half, 0.5 + half), scene.between(top - 0.1, bottom), 0.009, 0.012, steps=6)
        scene.fill(spot, lit(accent, scene.between(0.6, 1.4)))
    table(scene, 0.5, scene.between(0.68, 0.76), half * scene.between(0.8, 1.3))


def _in_sanctuary(scene: Scene) -> None:
    """A table in a bare room, windows or a hanging cross behind."""
    wall = lit(scene.stone, scene.between(0.6, 1.0))
    half = scene.between(0.3, 0.5)
    crown = scene.between(0.3, 0.5)
    scene.fill(opening(0.5, 0.86, 2 * half, 0.86 + 0.1), lit(wall, 1.12), rough=True)
    rim = arch_line(0.5, 0.9 - crown, half, crown, pointed=0.0)
    scene.stroke(rim, scene.trim, 0.03)
    if scene.chance(0.5):
        for number in range(-1, 2):
            lamp_window(scene, 0.5 + number * half * 0.55, 0.52, half * 0.22)
    else:
        cross(scene, 0.5, 0.58, scene.between(0.2, 0.4), scene.pick((GOLD, (84, 56, 38))), thick=0.1)
    table(scene, 0.5, scene.between(0.62, 0.72), scene.between(0.4, 0.75))


def _under_canopy(scene: Scene) -> None:
    """A ciborium: four columns and a roof over the table."""
    half = scene.between(0.2, 0.32)
    top = scene.between(0.28, 0.4)
    colour = scene.tint(scene.pick((*WOODS, GOLD, (220, 214, 204))))
    table(scene, 0.5, 0.68, half * 1.5)
    for side in (-1, 1):
        column(scene, 0.5 + side * half, top, 0.88, 0.05, lit(colour, 0.95 + 0.1 * side))
    roof = between_lines(
        arch_line(0.5, top + 0.04, half * 1.15, 0.1, pointed=0.0),
        polygon((0.4 - half, top - 0.03), (0.6 + half, top - 0.03)),
    )
    scene.fill(roof, colour, rough=True)
    scene.fill(
        polygon((0.42 - half, top - 0.02), (0.5, top - half * 1.1), (0.58 + half, top - 0.02)),
        lit(colour, 0.85),
        rough=True,
    )
    cross(scene, 0.5, top - half, 0.1, GOLD, thick=0.2)


def _down_the_nave(scene: Scene) -> None:
    """Far away, between pillars and pews."""
    light = lit(scene.stone, 1.1)
    scene.fill(opening(0.5, 0.75, 0.4, 0.6, pointed=scene.pick((0.0, 0.7))), light, rough=True)
    for _ in range(scene.count(0, 3)):
        lamp_window(scene, scene.between(0.38, 0.62), 0.42, 0.045)
    for side in (-1, 1):
        for number in range(3):
            reach = 0.24 + 0.14 * number
            column(
                scene,
                0.5 + side * reach,
                0.3 - 0.12 * number,
                0.76 + 0.08 * number,
                0.04 + 0.025 * number,
                scene.stone,
            )
    half = scene.between(0.12, 0.18)
    scene.fill(box(0.5 - half, 0.45, 0.5 + half, 0.66), scene.tint(scene.pick((*WOODS, GOLD))), rough=True)
    for number in range(3):
        _cell(scene, 0.5 + (number - 1) * half * 0.62, 0.64, half * 0.45, 0.16, lit(scene.stone, 0.4))
    table(scene, 0.5, 0.66, half * 1.9)
    pew = scene.tint(scene.pick(WOODS[1:3]))
    for number in range(5):
        y = 0.8 + 0.06 * number
        for side in (-1, 1):
            scene.fill(
                box(0.5 + side * 0.07, y, 0.5 + side * (0.4 + 0.12 * number), y + 0.035),
                lit(pew, 0.7 + 0.12 * number),
            )

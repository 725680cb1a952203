"""Gargoyles: beasts that jut from a cornice with open jaws, chimeras on a parapet, faces on a wall."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ahekit.sample.drawings.canvas import Colour, lit
from ahekit.sample.drawings.geometry import Points, box, ellipse, polygon
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.scenery import sky, surroundings, wall_behind


def gargoyle(scene: Scene) -> None:
    """One beast of stone."""
    against_wall = scene.chance(0.35)
    if not against_wall:
        sky(scene)
        surroundings(scene)
    scene.look(zoom=(0.85, 1.5), shift=0.14, roll=0.3, aside=0.3, upward=(-0.15, 0.4))
    if against_wall:
        wall_behind(scene)
        scene.stone = scene.tint(lit(scene.stone, scene.between(0.5, 1.2)))
    scene.pick((_jutting, _jutting, _jutting, _crouching, _crouching, _face))(scene)


def _sausage(scene: Scene, spine: Points, widths: Points, colour: Colour) -> None:
    """A body along a spine `(N, 2)` with a half width per point, its belly dark and its back lit."""
    along = np.gradient(spine, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    # From the far side of the light to the near one, each layer narrower: four tones of a round body.
    sun = np.sign(scene.light) if abs(scene.light) > 0.2 else -1.0
    for inset, shade in ((0.0, 0.5), (0.35, 0.75), (0.75, 1.0), (1.25, 1.18)):
        low = spine + normal * (widths * (1 - inset if sun > 0 else 1))[:, None]
        high = spine - normal * (widths * (1 if sun > 0 else 1 - inset))[:, None]
        scene.fill(np.concatenate([low, high[::-1]]), lit(colour, shade), rough=True)


def _bezier(*control: tuple[float, float], steps: int = 9) -> Points:
    """A smooth curve through a fan of control points (de Casteljau)."""
    share = np.linspace(0.0, 1.0, steps)[:, None]
    lines = [np.broadcast_to(np.array(point), (steps, 2)) for point in control]
    while len(lines) > 1:
        lines = [first * (1 - share) + second * share for first, second in pairwise(lines)]
    return np.ascontiguousarray(lines[0])


def _jutting(scene: Scene) -> None:
    """In profile: out of the wall, over its cornice, neck stretched, jaws open."""
    wall = scene.between(0.66, 0.8)
    _cornice(scene, wall)
    body = scene.tint(lit(scene.stone, scene.between(0.75, 1.1)))
    droop = scene.between(-0.12, 0.14)
    y = scene.between(0.45, 0.55)
    thick = scene.between(0.065, 0.1)
    reach = scene.between(0.24, 0.34)
    head = (reach, y + droop)
    if scene.chance(0.65):
        _wing(scene, wall - 0.16, y - thick * 0.5, scene.between(0.18, 0.34), lit(body, 0.7))
    spine = _bezier((wall + 0.05, y + 0.03), (wall - 0.15, y - 0.05), (reach + 0.22, y + 0.02), head)
    widths = np.interp(np.linspace(0, 1, 9), [0, 0.35, 0.75, 1], [thick * 1.15, thick * 1.1, thick * 0.72, thick * 0.8])
    _sausage(scene, spine, widths, body)
    for start, swing in ((wall - 0.06, -0.02), (wall - 0.2, -0.06)):
        _leg(scene, start, y + thick * 0.6, swing, scene.between(0.12, 0.2), thick, body)
    if scene.chance(0.4):
        for place in np.linspace(0.2, 0.8, 6):
            at = spine[int(place * 8)]
            scene.stroke(
                polygon((at[0], at[1] - thick * 0.9), (at[0] + 0.02, at[1] + thick * 0.5)),
                lit(body, 0.5),
                0.01,
            )
    _head(scene, head[0], head[1], thick * scene.between(1.2, 1.7), body)


def _head(scene: Scene, x: float, y: float, size: float, colour: Colour) -> None:
    """A head that looks to the left: skull, upper and lower jaw with teeth, eye, ear or horn."""
    gape = scene.between(0.3, 0.8) * size
    snout = size * scene.between(1.7, 2.6)
    ear = polygon(
        (x + size * 0.5, y - size * 0.6),
        (x + size * scene.between(0.5, 1.6), y - size * scene.between(1.5, 2.4)),
        (x + size * 0.05, y - size * 0.85),
    )
    scene.fill(ear, lit(colour, 0.75))
    lower = polygon(
        (x + size * 0.3, y + size * 0.3),
        (x - snout * 0.9, y + gape + size * 0.1),
        (x - snout * 0.85, y + gape + size * 0.4),
        (x + size * 0.4, y + size * 0.95),
    )
    scene.fill(
        polygon(
            (x + size * 0.3, y),
            (x - snout, y),
            (x - snout * 0.9, y + gape + size * 0.2),
            (x + size * 0.3, y + size * 0.6),
        ),
        lit(colour, 0.22),
    )
    scene.fill(lower, lit(colour, 0.65), rough=True)
    scene.fill(
        ellipse(x + size * 0.1, y - size * 0.15, size * 0.9, size * 0.8, steps=14),
        lit(colour, 0.95),
        rough=True,
    )
    upper = polygon(
        (x, y - size * 0.85),
        (x - snout * 0.7, y - size * 0.45),
        (x - snout * 1.05, y - size * 0.25),
        (x - snout, y + size * 0.12),
        (x, y + size * 0.3),
    )
    scene.fill(upper, lit(colour, 1.1), rough=True)
    for place in (0.45, 0.7, 0.95):
        tooth = x - snout * place
        scene.fill(
            polygon(
                (tooth - size * 0.08, y + size * 0.05),
                (tooth + size * 0.1, y + size * 0.1),
                (tooth, y + size * 0.32),
            ),
            lit(colour, 1.3),
        )
    scene.fill(ellipse(x - size * 0.3, y - size * 0.4, size * 0.16, size * 0.14, steps=8), lit(colour, 0.25))
    scene.stroke(polygon((x - size * 0.6, y - size * 0.5), (x, y - size * 0.72)), lit(colour, 1.3), size * 0.14)


def _wing(scene: Scene, x: float, y: float, span: float, colour: Colour) -> None:
    """A folded bat wing that rises from the shoulder, with its fingers."""
    tip = (x + span * scene.between(0.2, 0.9), y - span * scene.between(0.7, 1.1))
    ends = [(x + span * (0.75 + 0.1 * number), y - span * (0.45 - 0.22 * number)) for number in range(3)]
    hollow = [((a[0] + b[0]) / 2 - span * 0.12, (a[1] + b[1]) / 2) for a, b in zip([tip, *ends], ends, strict=False)]
    edge = [point for pair in zip(hollow, ends, strict=True) for point in pair]
    scene.fill(polygon((x - 0.02, y), tip, *edge, (x + span * 0.3, y + span * 0.1)), colour, rough=True)
    for end in (tip, *ends):
        scene.stroke(polygon((x, y), end), lit(colour, 1.45), span * 0.05)


def _leg(scene: Scene, x: float, y: float, swing: float, length: float, thick: float, colour: Colour) -> None:
    """A bent leg with a paw."""
    knee = (x + swing - 0.03, y + length * 0.5)
    paw = (x + swing + 0.05, y + length)
    scene.stroke(polygon((x, y - thick * 0.5), knee, paw), lit(colour, 0.6), thick * 0.75)
    scene.stroke(
        polygon((x - thick * 0.15, y - thick * 0.5), (knee[0] - thick * 0.15, knee[1]), paw),
        lit(colour, 0.95),
        thick * 0.35,
    )
    scene.fill(ellipse(paw[0] - thick * 0.35, paw[1], thick * 0.6, thick * 0.3, steps=9), lit(colour, 0.8))


def _cornice(scene: Scene, wall: float) -> None:
    """The wall that carries the beast, with a moulding or two."""
    scene.fill(box(wall, -1, 2.5, 2.5), scene.facing(scene.stone, -0.5), rough=True)
    y = scene.between(0.56, 0.68)
    for number in range(scene.count(1, 3)):
        out = 0.06 - 0.018 * number
        scene.fill(
            box(wall - out, y + 0.05 * number, 2.5, y + 0.05 * number + 0.04),
            lit(scene.trim, 1.0 - 0.12 * number),
        )
    if scene.chance(0.4):
        scene.fill(box(wall - 0.04, -1, 2.5, y - scene.between(0.35, 0.5)), scene.facing(scene.trim, 0.1), rough=True)


def _crouching(scene: Scene) -> None:
    """A chimera that sits on the parapet and looks down on the town."""
    ledge = scene.between(0.78, 0.9)
    body = scene.tint(lit(scene.stone, scene.between(0.6, 1.05)))
    size = scene.between(0.8, 1.15)
    lean = scene.between(-0.1, 0.08)

    def at(x: float, y: float) -> tuple[float, float]:
        return 0.5 + (x + lean * max(0.0, -y) * 2) * size, ledge + y * size

    if scene.chance(0.75):
        wing = [
            at(0.05, -0.38),
            at(0.16, -0.62),
            at(0.27, -0.36),
            at(0.22, -0.34),
            at(0.29, -0.16),
            at(0.2, -0.18),
            at(0.24, -0.04),
            at(0.1, -0.1),
        ]
        scene.fill(polygon(*wing), lit(body, 0.65), rough=True)
        for end in (1, 2, 4, 6):
            scene.stroke(polygon(wing[0], wing[end]), lit(body, 1.1), 0.016)
    spine = _bezier(at(0.13, -0.02), at(0.2, -0.3), at(0.0, -0.35), at(-0.06, -0.47))
    widths = size * np.interp(np.linspace(0, 1, 9), [0, 0.3, 0.7, 1], [0.12, 0.12, 0.09, 0.06])
    _sausage(scene, spine, widths, body)
    scene.fill(ellipse(*at(0.04, -0.07), 0.11 * size, 0.09 * size, steps=14), lit(body, 0.85), rough=True)
    arm = [at(-0.02, -0.33), at(-0.1, -0.2), at(-0.09, -0.01)]
    scene.stroke(polygon(*arm), lit(body, 0.6), 0.07 * size)
    scene.stroke(polygon(*arm), lit(body, 1.05), 0.03 * size)
    scene.fill(ellipse(*at(-0.11, -0.01), 0.05 * size, 0.025 * size, steps=9), lit(body, 0.8))
    x, y = at(-0.08, -0.5)
    _head(scene, x, y, 0.08 * size, body)
    scene.fill(box(-1, ledge, 2, 2.5), scene.facing(scene.stone, 0.0), rough=True)
    scene.fill(box(-1, ledge - 0.01, 2, ledge + 0.035), scene.trim)


def _face(scene: Scene) -> None:
    """From the front or below: a grimace with horns, brows and a gaping mouth, wings spread behind."""
    body = scene.tint(lit(scene.stone, scene.between(0.7, 1.1)))
    size = scene.between(0.16, 0.26)
    y = scene.between(0.42, 0.55)
    block = size * scene.between(1.2, 1.6)
    scene.fill(
        box(0.5 - block, y - block * 1.3, 0.5 + block, y - size * 0.5),
        scene.facing(scene.trim, 0.2),
        rough=True,
    )
    if scene.chance(0.5):
        for side in (-1, 1):
            wing = polygon(
                (0.5, y),
                (0.5 + side * size * 2.1, y - size),
                (0.5 + side * size * 1.9, y),
                (0.5 + side * size * 1.5, y - size * 0.1),
                (0.5 + side * size * 1.3, y + size * 0.7),
            )
            scene.fill(wing, lit(scene.facing(body, side), 0.7), rough=True)
    for side in (-1, 1):
        horn = polygon(
            (0.5 + side * size * 0.35, y - size * 0.7),
            (0.5 + side * size * scene.between(0.9, 1.3), y - size * 1.4),
            (0.5 + side * size * 0.85, y - size * 0.35),
        )
        scene.fill(horn, scene.facing(body, side))
        scene.fill(
            ellipse(0.5 + side * size * 0.5, y + size * 1.35, size * 0.22, size * 0.45, steps=9),
            lit(scene.facing(body, side), 0.75),
        )
    for share, shade in ((1.0, 0.6), (0.85, 0.85), (0.6, 1.05)):
        scene.fill(
            ellipse(0.5 + 0.15 * (1 - share) * scene.light, y, size * share, size * 1.1 * share, steps=18),
            lit(body, shade),
            rough=True,
        )
    for side in (-1, 1):
        scene.fill(
            ellipse(0.5 + side * size * 0.38, y - size * 0.25, size * 0.2, size * 0.16, steps=9),
            lit(body, 0.25),
        )
        scene.stroke(
            polygon((0.5 + side * size * 0.1, y - size * 0.35), (0.5 + side * size * 0.7, y - size * 0.6)),
            lit(body, 1.3),
            size * 0.14,
        )
        scene.fill(
            ellipse(0.5 + side * size * 0.6, y + size * 0.2, size * 0.2, size * 0.22, steps=9),
            lit(body, 1.15),
        )
    scene.fill(
        polygon((0.5, y - size * 0.2), (0.5 + size * 0.2, y + size * 0.25), (0.5 - size * 0.2, y + size * 0.25)),
        lit(body, 1.2),
    )
    mouth = size * scene.between(0.2, 0.45)
    scene.fill(ellipse(0.5, y + size * 0.65, size * 0.45, mouth, steps=14), lit(body, 0.15))
    for place in (-0.25, 0.0, 0.25):
        scene.fill(
            box(
                0.5 + size * (place - 0.06),
                y + size * 0.65 - mouth,
                0.5 + size * (place + 0.06),
                y + size * 0.65 - mouth * 0.4,
            ),
            lit(body, 1.25),
        )

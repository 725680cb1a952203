"""Domes from below: coffers, ribs, paintings or glass around an oculus or a lantern, a ring of windows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ahekit.sample.drawings.canvas import Colour, lit, mix
from ahekit.sample.drawings.geometry import Camera, Points, between_lines
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.scenery import room

PAINTS: tuple[Colour, ...] = (
    (196, 160, 84),
    (70, 96, 150),
    (176, 120, 90),
    (226, 216, 196),
    (120, 60, 50),
    (96, 124, 108),
)
LIGHT: Colour = (252, 250, 240)


class Shell:
    """The inner side of a dome above a round drum, projected by a camera that looks up."""

    def __init__(self, scene: Scene) -> None:
        """Choose the dome's height, the drum's height and where the camera stands."""
        pitch = np.pi / 2 - scene.between(0.0, 0.5)
        self.drum = scene.between(0.15, 0.5)
        self.height = scene.between(0.6, 1.2)
        away = scene.between(1.2, 2.2)
        sideways = scene.between(-0.4, 0.4)
        back = away * float(np.tan(np.pi / 2 - pitch)) * scene.between(0.6, 1.0)
        focal = scene.between(0.42, 0.7) * away
        self.camera = Camera(sideways, -away, -back, pitch, 0.0, focal)

    def points(self, level: Points | float, angle: Points | float) -> Points:
        """Picture points `(N, 2)` of points on the shell.

        `level` is 0 at the dome's foot, 1 at its crown, -1 at the drum's foot; `angle` is in radians.
        """
        level, angle = np.broadcast_arrays(np.asarray(level, dtype=np.float64), np.asarray(angle, dtype=np.float64))
        up = np.clip(level, 0, 1) * np.pi / 2
        radius = np.cos(up)
        height = np.where(level < 0, self.drum * level, self.height * np.sin(up))
        return self.camera.project(np.stack([radius * np.cos(angle), height, radius * np.sin(angle)], axis=1))

    def ring(self, level: float, *, steps: int = 28) -> Points:
        """A circle around the axis."""
        return self.points(level, np.linspace(0, 2 * np.pi, steps))

    def cells(self, low: float, high: float, edges: Points) -> list[Points]:
        """The patches of a band between two levels, cut at the angles `edges`."""
        fine = np.linspace(edges[:-1], edges[1:], 4, axis=1)
        lower = self.points(low, fine.ravel()).reshape(-1, 4, 2)
        upper = self.points(high, fine.ravel()).reshape(-1, 4, 2)
        return list(np.concatenate([lower, upper[:, ::-1]], axis=1))


def shrunk(patch: Points, share: float) -> Points:
    """The patch drawn together towards its middle."""
    middle = patch.mean(axis=0)
    smaller: Points = middle + (patch - middle) * share
    return smaller


def dome_inner(scene: Scene) -> None:
    """One dome seen from the floor under it."""
    room(scene)
    scene.look(zoom=(0.8, 1.45), shift=0.14, roll=3.1, aside=0.15, upward=(-0.15, 0.15))
    shell = Shell(scene)
    _crossing(scene, shell)
    colour = scene.tint(scene.pick((scene.stone, scene.stone, *PAINTS)))
    sectors = scene.pick((8, 12, 16, 20, 24))
    _drum(scene, shell, colour, sectors)
    oculus = scene.between(0.72, 0.9)
    _curve(scene, shell, colour, sectors, oculus)
    _lantern(scene, shell, oculus)


def _crossing(scene: Scene, shell: Shell) -> None:
    """What holds the drum: a square with four arches, the corners filled by pendentives."""
    reach = 1.25
    low = -shell.drum
    corners = np.array([[x * reach, low, z * reach] for x, z in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    scene.fill(shell.camera.project(corners), lit(scene.stone, scene.between(0.4, 0.9)), rough=True)
    across = np.linspace(-0.95, 0.95, 11)
    bulge = 0.55 * np.sqrt(1 - (across / 0.95) ** 2)
    for turn in range(4):
        cos = np.cos(turn * np.pi / 2)
        sin = np.sin(turn * np.pi / 2)
        level = np.full_like(across, low)
        away = np.full_like(across, 1.9)
        near = 1.75 - bulge
        arch = [np.stack([cos * across - sin * z, level, sin * across + cos * z], axis=1) for z in (near, away)]
        area = between_lines(shell.camera.project(arch[0]), shell.camera.project(arch[1]))
        scene.fill(area, lit(scene.stone, scene.between(0.15, 0.6)))
        scene.stroke(shell.camera.project(arch[0]), scene.trim, 0.02)


def _drum(scene: Scene, shell: Shell, colour: Colour, sectors: int) -> None:
    """The upright ring with its windows or blind panels."""
    edges = np.linspace(0, 2 * np.pi, sectors + 1)
    bright = scene.chance(0.65)
    pane = scene.pick((LIGHT, (206, 220, 244), (250, 226, 170))) if bright else lit(colour, 0.35)
    wall = lit(mix(colour, scene.stone, 0.6), scene.between(0.5, 0.9))
    panes = shell.cells(-0.85, -0.2, edges)
    for angle, patch, opening in zip(edges, shell.cells(-1, 0, edges), panes, strict=False):
        scene.fill(patch, lit(wall, 0.95 + 0.25 * scene.light * float(np.cos(angle))))
        outline = shrunk(opening, 0.6)
        scene.fill(outline, pane)
        if bright:
            scene.canvas.shine(outline, lit(pane, 0.35))
    scene.stroke(shell.ring(-0.05), scene.trim, 0.03)
    scene.stroke(shell.ring(-1.0), scene.trim, 0.02)


def _curve(scene: Scene, shell: Shell, colour: Colour, sectors: int, oculus: float) -> None:
    """The vaulted surface: coffered, ribbed, painted or glazed."""
    kind = scene.pick(("coffers", "coffers", "ribs", "ribs", "painted", "glass", "plain"))
    levels = np.linspace(0, oculus, 5 if kind != "coffers" else scene.count(4, 6))
    edges = np.linspace(0, 2 * np.pi, sectors + 1)
    second = scene.tint(scene.pick((scene.trim, *PAINTS)))
    dark = lit(colour, scene.between(0.45, 0.7))
    for row, (low, high) in enumerate(pairwise(levels)):
        low = float(low)
        high = float(high)
        if kind in ("plain", "ribs"):
            _band(scene, shell, colour, low, high)
            continue
        for number, patch in enumerate(shell.cells(low, high, edges)):
            shade = 0.78 + 0.3 * high + 0.22 * scene.light * float(np.cos(edges[number]))
            if kind == "coffers":
                scene.fill(patch, lit(colour, shade))
                scene.fill(shrunk(patch, 0.6), lit(dark, shade))
            else:
                paint = mix(colour, second, 0.75) if (number + (row if kind == "glass" else 0)) % 2 else colour
                scene.fill(patch, lit(paint, shade * (1.25 if kind == "glass" else 1.0)))
    if kind in ("ribs", "glass"):
        up = np.linspace(0, oculus, 6)
        line = scene.trim if kind == "ribs" else (40, 36, 34)
        for angle in edges[:-1]:
            scene.stroke(shell.points(up, float(angle)), line, 0.02 if kind == "ribs" else 0.01)
    if kind in ("glass", "painted", "ribs"):
        for level in scene.pick(((), (0.35,), (0.25, 0.55))):
            scene.stroke(shell.ring(level), lit(second, 0.8), 0.014)


def _band(scene: Scene, shell: Shell, colour: Colour, low: float, high: float) -> None:
    edges = np.linspace(0, 2 * np.pi, 17)
    for angle, patch in zip(edges, shell.cells(low, high, edges), strict=False):
        scene.fill(patch, lit(colour, 0.75 + 0.32 * high + 0.25 * scene.light * float(np.cos(angle))))


def _lantern(scene: Scene, shell: Shell, oculus: float) -> None:
    """What closes the crown: an open eye full of light, a lantern with windows, or a painted boss."""
    eye = shell.ring(oculus)
    kind = scene.pick(("open", "open", "lantern", "lantern", "boss"))
    if kind == "boss":
        scene.fill(eye, scene.tint(scene.pick(PAINTS)))
        scene.fill(shell.ring((oculus + 1) / 2), scene.trim)
        return
    scene.stroke(eye, scene.trim, 0.035)
    scene.fill(eye, LIGHT if kind == "open" else lit(scene.stone, 0.7))
    scene.canvas.shine(eye, lit(LIGHT, scene.between(0.3, 0.9)))
    if kind == "lantern":
        inner = oculus + (1 - oculus) * 0.35
        for patch in shell.cells(oculus, inner, np.linspace(0, 2 * np.pi, 9)):
            scene.fill(shrunk(patch, 0.65), LIGHT)
        scene.fill(shell.ring(inner), lit(scene.stone, 0.9))
        scene.fill(shell.ring((inner + 1) / 2), LIGHT)

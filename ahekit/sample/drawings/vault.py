"""Vaults: groin, ribbed, star and barrel vaults over their bays, from straight below to along the nave."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ahekit.sample.drawings.canvas import Colour, lit, mix
from ahekit.sample.drawings.geometry import Camera, Points, between_lines, ellipse, rise
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.scenery import room

CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


@dataclass(frozen=True)
class Hall:
    """A row of equal bays, two units wide: vaults that rise `height` above walls as high as `wall`.

    `length` is that of a bay; `pointed` see `rise`; a `barrel` vault has no cross vaults.
    """

    camera: Camera
    length: float
    height: float
    wall: float
    pointed: float
    barrel: bool

    def surface(self, x: Points, z: Points) -> Points:
        """The height of the vault over a point; `z` counts from the middle of the bay, in half lengths."""
        along = rise(x, pointed=self.pointed)
        return along if self.barrel else np.maximum(along, rise(z, pointed=self.pointed))

    def place(self, x: Points, z: Points, middle: float) -> Points:
        """Picture points of points on the vault of the bay around `middle`."""
        x, z = np.broadcast_arrays(x, z)
        up = self.wall + self.height * self.surface(x, z)
        return self.camera.project(np.stack([x, up, middle + z * self.length / 2], axis=1))


def vault(scene: Scene) -> None:
    """One vaulted space."""
    room(scene)
    along = scene.chance(0.55)
    scene.look(zoom=(0.85, 1.3), shift=0.1, roll=0.12 if along else 3.1, aside=0.15, upward=(-0.1, 0.1))
    hall = _hall(scene, along=along)
    web = scene.tint(
        scene.pick((scene.stone, scene.stone, lit(scene.stone, 1.2), (226, 218, 202), (170, 120, 88), (86, 104, 148)))
    )
    web = lit(web, scene.between(0.7, 1.1))
    rib = scene.tint(mix(scene.stone, web, 0.3)) if scene.chance(0.6) else lit(web, scene.pick((0.55, 0.7, 1.3)))
    pattern = scene.pick(("cross", "cross", "cross", "star", "star", "net", "fan"))
    first, last = (0, 4) if along else (-1, 2)
    if along:
        _end_wall(scene, hall, last)
    for number in range(last - 1, first - 1, -1):
        middle = hall.length * (number + (0.75 if along else 0.0))
        if along:
            _sides(scene, hall, middle)
        _webs(scene, hall, middle, web, rough=number < 2)
        _ribs(scene, hall, middle, rib, pattern)


def _hall(scene: Scene, *, along: bool) -> Hall:
    if along:
        pitch = scene.between(0.15, 0.85)
        y = scene.between(0.3, 0.7)
        camera = Camera(scene.between(-0.35, 0.35), y, -0.3, pitch, scene.between(-0.2, 0.2), scene.between(0.45, 0.75))
        wall = scene.between(1.2, 2.2)
    else:
        wall = scene.between(1.4, 2.4)
        camera = Camera(
            scene.between(-0.3, 0.3),
            0.0,
            scene.between(-0.3, 0.3),
            np.pi / 2 - scene.between(-0.2, 0.2),
            0.0,
            scene.between(0.5, 0.75) * wall,
        )
    return Hall(
        camera,
        scene.between(0.9, 1.9),
        scene.between(0.6, 1.1),
        wall,
        scene.pick((0.0, 0.0, 0.4, 0.8)),
        scene.chance(0.15),
    )


def _webs(scene: Scene, hall: Hall, middle: float, web: Colour, *, rough: bool) -> None:
    """The curved surfaces, in strips that catch the light by their slope."""
    steps = np.linspace(-1, 1, 9)
    for start, end in pairwise(steps):
        slope = (start + end) / 2
        edge = np.array([start, end])
        for side in (-1.0, 1.0):
            # Side webs, between the middle line and the wall; then those across the nave.
            far = np.full(2, side)
            near = np.zeros(2) if hall.barrel else np.abs(edge) * side
            if not hall.barrel:
                shade = 0.72 + 0.28 * slope * scene.light + 0.12 * side * scene.light
                area = between_lines(hall.place(near, edge, middle), hall.place(far, edge, middle))
                scene.fill(area, lit(web, shade), rough=rough)
            shade = 0.82 + 0.34 * slope * scene.light
            area = between_lines(hall.place(edge, near, middle), hall.place(edge, far, middle))
            scene.fill(area, lit(web, shade), rough=rough)


def _ribs(scene: Scene, hall: Hall, middle: float, rib: Colour, pattern: str) -> None:
    """Diagonals, transverse arches and, in late vaults, the ribs between them; a boss in the middle."""
    share = np.linspace(-1, 1, 13)
    full = np.ones_like(share)
    size = scene.between(0.018, 0.032)
    lines = [(share, full), (share, -full)]
    if not hall.barrel:
        lines += [(share, share), (share, -share)]
    if pattern == "star" and not hall.barrel:
        for side, end in CORNERS:
            lines.append((np.linspace(side, 0, 9), np.linspace(end, end * 0.45, 9)))
            lines.append((np.linspace(side, side * 0.45, 9), np.linspace(end, 0, 9)))
            lines.append((side * np.array([0.0, 0.28, 0.45]), end * np.array([0.45, 0.28, 0.0])))
        lines += [(0 * share, share), (share, 0 * share)]
    elif pattern == "net":
        for shift in (-1.0, 0.0, 1.0):
            lines += [(share, np.clip(share + shift, -1, 1)), (share, np.clip(-share + shift, -1, 1))]
    elif pattern == "fan":
        for side, end in CORNERS:
            lines += [(np.linspace(side, 0, 9), np.linspace(end, end * part, 9)) for part in (0.8, 0.5, 0.2)]
            lines += [(np.linspace(side, side * part, 9), np.linspace(end, 0, 9)) for part in (0.7, 0.35)]
    for x, z in lines:
        line = hall.place(x, z, middle)
        scene.stroke(line, lit(rib, 0.55), size * 1.5)
        scene.stroke(line - 0.15 * size, rib, size)
    if not hall.barrel and scene.chance(0.7):
        boss = hall.place(np.zeros(1), np.zeros(1), middle)[0]
        scene.fill(
            ellipse(boss[0], boss[1], size * 1.3, size * 1.3, steps=10),
            scene.pick((rib, (206, 164, 62), lit(rib, 0.5))),
        )


def _sides(scene: Scene, hall: Hall, middle: float) -> None:
    """The walls of a bay below its vault: an arch to the aisle or a window, and the pier before it."""
    half = hall.length / 2
    share = np.linspace(-1, 1, 11)
    head = rise(share, pointed=hall.pointed)
    for side in (-1.0, 1.0):
        x = np.full_like(share, side)
        top = np.stack([x, hall.wall + hall.height * head, middle + half * share], axis=1)
        foot = np.stack([x, 0 * x, middle + half * share], axis=1)
        scene.fill(
            hall.camera.project(between_lines(top, foot)),
            scene.facing(lit(scene.stone, 0.8), -side),
            rough=True,
        )
        bright = scene.chance(0.5)
        tall, inner = (hall.wall * 0.75, 0.72) if not bright else (hall.wall + hall.height * 0.55, 0.35)
        low = 0.0 if not bright else hall.wall * 0.6
        curve = np.stack([x, tall - half * inner * (1 - head), middle + half * inner * share], axis=1)
        sill = np.stack([x, 0 * x + low, middle + half * inner * share], axis=1)
        area = hall.camera.project(between_lines(curve, sill))
        scene.fill(
            area,
            scene.pick(((250, 248, 236), (150, 170, 220), (236, 206, 140))) if bright else lit(scene.stone, 0.25),
        )
        if bright:
            scene.canvas.shine(area, (90, 90, 84))
        pier = np.array([[side, 0.0, middle + half], [side, hall.wall, middle + half]])
        scene.stroke(hall.camera.project(pier), scene.facing(scene.trim, -side), 0.035)


def _end_wall(scene: Scene, hall: Hall, bays: int) -> None:
    """What closes the hall far away: a wall with a window."""
    depth = hall.length * (bays + 0.25)
    share = np.linspace(-1, 1, 11)
    head = rise(share, pointed=hall.pointed)
    for inner, low, colour in (
        (1.0, 0.0, lit(scene.stone, 0.6)),
        (0.4, hall.wall * 0.5, scene.pick(((250, 248, 236), (120, 140, 210), (60, 50, 46)))),
    ):
        tall = hall.wall + hall.height * head if inner == 1.0 else hall.wall * 0.9 + inner * head
        curve = np.stack([inner * share, tall, np.full_like(share, depth)], axis=1)
        sill = np.stack([inner * share, np.full_like(share, low), np.full_like(share, depth)], axis=1)
        scene.fill(hall.camera.project(between_lines(curve, sill)), colour)

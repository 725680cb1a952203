"""Stained glass: rose windows, lancets and single panels that glow in a dark wall."""

from __future__ import annotations

import numpy as np

from ahekit.sample.drawings.canvas import Colour, lit
from ahekit.sample.drawings.geometry import Points, box, ellipse, opening, polygon
from ahekit.sample.drawings.parts import person
from ahekit.sample.drawings.scene import Scene
from ahekit.sample.drawings.scenery import gradient, room, wall_behind

GLASS: tuple[Colour, ...] = (
    (40, 70, 190),
    (196, 36, 44),
    (240, 190, 60),
    (40, 140, 90),
    (120, 60, 160),
    (90, 170, 220),
    (236, 236, 220),
    (220, 120, 50),
    (170, 200, 150),
)


class Glazier:
    """Cuts panes: a handful of colours and a brightness for the whole window."""

    def __init__(self, scene: Scene) -> None:
        """Choose two to five colours of glass, sometimes nearly clear ones."""
        self.scene = scene
        self.bright = scene.between(0.55, 1.1)
        palette = [scene.tint(scene.pick(GLASS)) for _ in range(scene.count(2, 5))]
        if scene.chance(0.2):
            palette = [scene.tint((214, 214, 196)), scene.tint((180, 200, 200)), palette[0]]
        self.palette = palette
        self.lead: Colour = (24, 22, 22)

    def pane(self, outline: Points, *, colour: Colour | None = None) -> None:
        """One piece of glass, bright and with a little spill."""
        shade = self.bright * self.scene.between(0.7, 1.25)
        glass = lit(colour or self.scene.pick(self.palette), shade)
        self.scene.fill(outline, glass)
        self.scene.canvas.shine(outline, lit(glass, 0.25))


def stained_glass(scene: Scene) -> None:
    """One window from inside."""
    kind = scene.between(0, 1)
    if kind < 0.6:
        wall = lit(scene.stone, scene.between(0.02, 0.2))
        gradient(scene, wall, lit(wall, scene.between(0.5, 2.0)), blotches=0.0)
        scene.trim = lit(scene.stone, scene.between(0.1, 0.35))
    elif kind < 0.85:
        room(scene)
    scene.look(zoom=(0.85, 1.5), shift=0.1, roll=0.1, aside=0.4, upward=(-0.05, 0.5))
    if kind >= 0.85:
        wall_behind(scene)
    glazier = Glazier(scene)
    scene.pick((_rose, _lancets, _lancets, _lancets, _panel, _great_window))(scene, glazier)
    if scene.chance(0.1):
        person(scene, scene.between(0.1, 0.9), 1.1, scene.between(0.2, 0.4), (20, 18, 18))


def _grid(
    scene: Scene,
    glazier: Glazier,
    left: float,
    right: float,
    top: float,
    bottom: float,
    *,
    across: int,
    down: int,
) -> None:
    """Rectangular or diamond panes that cover a field."""
    wide = (right - left) / across
    high = (bottom - top) / down
    diamonds = scene.chance(0.3)
    for row in range(down):
        for place in range(across):
            x = left + wide * (place + 0.5)
            y = top + high * (row + 0.5)
            if diamonds:
                glazier.pane(
                    polygon((x, y - high * 0.5), (x + wide * 0.5, y), (x, y + high * 0.5), (x - wide * 0.5, y))
                )
            else:
                glazier.pane(box(x - wide * 0.44, y - high * 0.44, x + wide * 0.44, y + high * 0.44))


def _saint(scene: Scene, glazier: Glazier, x: float, bottom: float, height: float) -> None:
    """A figure in glass: halo, face, robe of two colours, outlined in lead."""
    half = height * 0.2
    robe = polygon(
        (x - half, bottom),
        (x - half * 0.9, bottom - height * 0.5),
        (x - half * 0.4, bottom - height * 0.75),
        (x + half * 0.4, bottom - height * 0.75),
        (x + half * 0.9, bottom - height * 0.5),
        (x + half, bottom),
    )
    glazier.pane(ellipse(x, bottom - height * 0.85, half * 0.75, half * 0.75, steps=12), colour=(240, 200, 80))
    glazier.pane(robe)
    glazier.pane(polygon((x, bottom - height * 0.72), (x + half * 0.6, bottom), (x - half * 0.6, bottom)))
    glazier.pane(ellipse(x, bottom - height * 0.84, half * 0.4, half * 0.5, steps=10), colour=(236, 200, 170))
    scene.stroke(np.concatenate([robe, robe[:1]]), glazier.lead, 0.009)


def _light(
    scene: Scene, glazier: Glazier, x: float, bottom: float, width: float, height: float, pointed: float
) -> None:
    """One lancet: stone frame, panes, a figure, medallions or pattern only; bars across."""
    scene.fill(opening(x, bottom, width * 1.16, height + width * 0.08, pointed=pointed), scene.trim, rough=True)
    outline = opening(x, bottom, width, height, pointed=pointed)
    glazier.pane(outline)
    scene.canvas.shine(outline, lit(glazier.palette[0], 0.2))
    crown = bottom - height + width * (0.35 + 0.25 * pointed)
    across = scene.pick((2, 3, 4))
    down = max(3, round((bottom - crown) / width * across * 0.8))
    _grid(scene, glazier, x - width * 0.47, x + width * 0.47, crown, bottom, across=across, down=min(down, 10))
    glazier.pane(ellipse(x, crown - width * 0.02, width * 0.22, width * 0.22, steps=10))
    story = scene.between(0, 1)
    if story < 0.4:
        tall = min(height * 0.6, width * 2.4)
        _saint(scene, glazier, x, bottom - height * 0.1, tall)
    elif story < 0.65:
        for y in np.arange(crown + width * 0.5, bottom, width * 1.0):
            glazier.pane(ellipse(x, float(y), width * 0.36, width * 0.36, steps=14))
            glazier.pane(ellipse(x, float(y), width * 0.2, width * 0.2, steps=10))
    for y in np.linspace(crown, bottom, scene.count(3, 6)):
        scene.stroke(polygon((x - width / 2, float(y)), (x + width / 2, float(y))), glazier.lead, 0.012)


def _lancets(scene: Scene, glazier: Glazier) -> None:
    """One to four tall lights side by side, perhaps a small rose above."""
    number = scene.pick((1, 1, 2, 3, 3, 4))
    pointed = scene.pick((0.0, 0.8, 1.2))
    span = scene.between(0.55, 0.9) if number > 1 else scene.between(0.3, 0.5)
    width = span / number * 0.84
    bottom = scene.between(0.86, 1.05)
    height = scene.between(0.6, 0.85)
    for place in range(number):
        middle = number > 2 and 0 < place < number - 1
        x = 0.5 + (place - (number - 1) / 2) * span / number
        _light(scene, glazier, x, bottom, width, height * (1.12 if middle else 1.0), pointed)
    if number == 2 and scene.chance(0.7):
        _wheel(scene, glazier, 0.5, bottom - height - width * 0.1, width * 0.42, petals=6)


def _wheel(scene: Scene, glazier: Glazier, x: float, y: float, radius: float, *, petals: int) -> None:
    """A round of petals about a hub."""
    scene.fill(ellipse(x, y, radius * 1.1, radius * 1.1, steps=26), scene.trim)
    scene.fill(ellipse(x, y, radius, radius, steps=26), glazier.lead)
    step = 2 * np.pi / petals
    inner = glazier.scene.pick(glazier.palette)
    outer = glazier.scene.pick(glazier.palette)
    for number in range(petals):
        angle = step * number
        for near, far, share, colour in ((0.25, 0.58, 0.36, inner), (0.62, 0.96, 0.42, outer)):
            start = angle - step * share
            end = angle + step * share
            petal = np.concatenate(
                [
                    ellipse(x, y, radius * near, radius * near, start=start, end=end, steps=4),
                    ellipse(x, y, radius * far, radius * far, start=end, end=start, steps=6),
                ]
            )
            glazier.pane(petal, colour=colour)
        at = angle + step / 2
        spot = ellipse(
            x + radius * 0.82 * np.cos(at),
            y + radius * 0.82 * np.sin(at),
            radius * 0.07,
            radius * 0.07,
            steps=8,
        )
        glazier.pane(spot)
    glazier.pane(ellipse(x, y, radius * 0.2, radius * 0.2, steps=12))


def _rose(scene: Scene, glazier: Glazier) -> None:
    """A rose window, perhaps above a row of small lights."""
    radius = scene.between(0.28, 0.46)
    y = scene.between(0.42, 0.52)
    _wheel(scene, glazier, 0.5, y, radius, petals=scene.pick((6, 8, 10, 12, 16)))
    if scene.chance(0.35):
        for place in range(6):
            _light(
                scene,
                glazier,
                0.5 + (place - 2.5) * radius * 0.36,
                y + radius * 1.9,
                radius * 0.28,
                radius * 0.7,
                0.8,
            )


def _panel(scene: Scene, glazier: Glazier) -> None:
    """Close up: panes, figures and lead fill the picture."""
    glazier.pane(box(-1, -1, 2, 2))
    _grid(scene, glazier, -0.2, 1.2, -0.2, 1.2, across=scene.count(4, 8), down=scene.count(4, 8))
    for _ in range(scene.count(1, 3)):
        _saint(scene, glazier, scene.between(0.15, 0.85), scene.between(0.8, 1.1), scene.between(0.6, 1.0))
    for _ in range(scene.count(3, 8)):
        start, end = scene.rng.uniform(-0.1, 1.1, (2, 2))
        scene.stroke(np.stack([start, (start + end) / 2 + scene.between(-0.15, 0.15), end]), glazier.lead, 0.016)
    for x in np.linspace(0.0, 1.0, scene.count(2, 4)):
        scene.stroke(polygon((float(x), -0.3), (float(x), 1.3)), glazier.lead, 0.02)


def _great_window(scene: Scene, glazier: Glazier) -> None:
    """A wide pointed window: many lights below, tracery above."""
    width = scene.between(0.6, 0.85)
    bottom = scene.between(0.9, 1.05)
    height = scene.between(0.75, 0.9)
    scene.fill(opening(0.5, bottom, width * 1.1, height + 0.04, pointed=1.0), scene.trim, rough=True)
    scene.fill(opening(0.5, bottom, width, height, pointed=1.0), glazier.lead)
    lights = scene.count(3, 5)
    each = width / lights
    for place in range(lights):
        x = 0.5 + (place - (lights - 1) / 2) * each
        _light(scene, glazier, x, bottom, each * 0.78, height * 0.52, 0.8)
    crown = bottom - height
    _wheel(scene, glazier, 0.5, crown + height * 0.27, width * 0.17, petals=6)
    for side in (-1, 1):
        _wheel(scene, glazier, 0.5 + side * width * 0.25, crown + height * 0.4, width * 0.09, petals=4)

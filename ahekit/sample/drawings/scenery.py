"""What surrounds the element: sky, ground, rooms, neighbouring buildings, and what stands in the way."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ahekit.sample.drawings.canvas import Colour, lit, mix
from ahekit.sample.drawings.geometry import box, ellipse, opening, polygon
from ahekit.sample.drawings.parts import column, dome, gable, person, pyramid, window
from ahekit.sample.drawings.scene import STONES, Scene
from ahekit.sample.drawings.textures import smooth_noise

SKIES: tuple[tuple[Colour, Colour], ...] = (
    ((52, 112, 196), (150, 192, 232)),
    ((24, 74, 158), (96, 150, 214)),
    ((142, 182, 222), (216, 226, 234)),
    ((196, 200, 206), (232, 232, 230)),
    ((150, 156, 164), (206, 206, 204)),
    ((90, 98, 112), (168, 170, 172)),
    ((76, 84, 136), (240, 172, 112)),
    ((14, 18, 40), (48, 52, 88)),
    ((206, 196, 166), (236, 228, 204)),
)


def gradient(scene: Scene, top: Colour, bottom: Colour, *, blotches: float, cells: int = 6) -> None:
    """Fill the whole picture from top to bottom, with smooth blotches of this strength (0 to 1)."""
    pixels = scene.canvas.pixels
    half = pixels // 2
    share = np.linspace(0.0, 1.0, half)[:, None, None]
    ramp = np.array(top) * (1 - share) + np.array(bottom) * share
    cloud = np.clip(smooth_noise(scene.rng, pixels=half, cells=cells), 0, 1)[..., None] * blotches
    picture = ramp * (1 - cloud) + 238.0 * cloud if blotches > 0 else np.broadcast_to(ramp, (half, half, 3))
    image = Image.fromarray(np.ascontiguousarray(picture).astype(np.uint8))
    scene.canvas.colour.paste(image.resize((pixels, pixels), Image.Resampling.BILINEAR))


def sky(scene: Scene) -> None:
    """A sky: clear, clouded, overcast, at dusk or at night; against the light, stone turns dark."""
    top, bottom = scene.pick(SKIES)
    clouds = scene.between(0.3, 0.95) if scene.chance(0.45) and sum(top) > 150 else 0.0
    scene.air = scene.tint(bottom)
    gradient(scene, scene.tint(top), scene.air, blotches=clouds)
    dark = 0.55 if sum(top) < 120 else scene.between(0.25, 0.6) if scene.chance(0.15) else 1.0
    scene.stone, scene.trim, scene.roof = (lit(colour, dark) for colour in (scene.stone, scene.trim, scene.roof))


def surroundings(scene: Scene) -> None:
    """Something behind the element, outdoors: hills, houses, trees, parts of other buildings."""
    horizon = scene.between(0.68, 1.0)
    for _ in range(scene.count(0, 3)):
        scene.pick((_hill, _house, _tree, _tree, _tower, _cupola, _pillars))(scene, horizon)


def ground(scene: Scene, top: float) -> None:
    """Grass or paving from `top` down."""
    colour = scene.tint(scene.pick(((92, 112, 58), (120, 124, 72), (150, 140, 124), (96, 92, 90), (178, 160, 132))))
    scene.fill(box(-1, top, 2, 2.5), colour, rough=True)


def wall_behind(scene: Scene) -> None:
    """A wall that fills the picture instead of a sky, with a few windows or blind arches."""
    top = scene.facing(scene.stone, scene.between(-1, 1))
    scene.fill(box(-2, -2, 3, 3), lit(top, scene.between(0.7, 1.05)), rough=True)
    step = scene.between(0.25, 0.5)
    if scene.chance(0.6):
        offset = scene.between(-0.2, 0.2)
        for number in range(-1, 5):
            window(
                scene,
                offset + step * number,
                scene.between(0.5, 0.9),
                step * 0.35,
                scene.between(0.3, 0.6),
                pointed=scene.pick((0.0, 1.0)),
            )


def room(scene: Scene) -> None:
    """The inside of a church behind the element: a wash of light on stone, perhaps arches or a window."""
    shade = scene.between(0.25, 1.05)
    colour = scene.tint(
        lit(mix(scene.stone, scene.pick(((230, 180, 110), (150, 160, 180), (240, 236, 228))), 0.35), shade),
        spread=10,
    )
    gradient(scene, lit(colour, scene.between(0.5, 1.2)), lit(colour, scene.between(0.5, 1.1)), blotches=0.0)
    scene.stone = lit(scene.stone, max(0.45, shade))
    scene.trim = lit(scene.trim, max(0.45, shade))
    if scene.chance(0.6):
        pointed = scene.pick((0.0, 0.8))
        x = scene.between(0.0, 0.3)
        for _ in range(scene.count(1, 3)):
            scene.fill(
                opening(x, 1.1, 0.26, scene.between(0.5, 0.9), pointed=pointed),
                lit(colour, scene.between(0.4, 0.75)),
            )
            x += 0.36
    for _ in range(scene.count(0, 2)):
        lamp_window(scene, scene.between(0, 1), scene.between(0.2, 0.6), scene.between(0.05, 0.11))


def lamp_window(scene: Scene, x: float, bottom: float, width: float) -> None:
    """A bright window far back in a room, clear or coloured."""
    colour = scene.pick(((250, 246, 230), (236, 240, 250), (120, 140, 220), (230, 190, 110)))
    outline = opening(x, bottom, width, width * scene.between(1.4, 3.5), pointed=scene.pick((0.0, 1.0)))
    scene.fill(outline, colour)
    scene.canvas.shine(outline, lit(colour, 0.5))


def foreground(scene: Scene, *, indoors: bool) -> None:
    """Something between the camera and the element; nothing in most pictures."""
    outside = (_wires, _branch, _lamp_post, _crowd, _edge, _railing)
    inside = (_crowd, _edge, _hanging_lamp, _arch_frame, _railing)
    if scene.chance(0.4):
        scene.pick(inside if indoors else outside)(scene)


def _hill(scene: Scene, horizon: float) -> None:
    colour = scene.tint(scene.pick(((86, 108, 84), (112, 126, 142), (128, 118, 92), (70, 82, 96))))
    scene.fill(
        ellipse(scene.between(-0.2, 1.2), horizon + 0.3, scene.between(0.5, 1.1), scene.between(0.35, 0.6)),
        colour,
    )


def _house(scene: Scene, horizon: float) -> None:
    stone = scene.stone
    roof = scene.roof
    scene.stone = scene.tint(scene.pick(STONES))
    left = scene.between(-0.2, 0.9)
    width = scene.between(0.2, 0.5)
    top = horizon - scene.between(0.05, 0.3)
    gable(scene, left, left + width, top, 1.3, scene.between(0.05, 0.2))
    for number in range(scene.count(0, 3)):
        scene.fill(
            box(
                left + width * (0.2 + 0.25 * number),
                top + 0.04,
                left + width * (0.3 + 0.25 * number),
                top + 0.12,
            ),
            scene.gloom,
        )
    scene.stone = stone
    scene.roof = roof


def _tree(scene: Scene, horizon: float) -> None:
    colour = scene.tint(scene.pick(((58, 84, 44), (84, 104, 52), (44, 58, 42), (128, 116, 58))))
    x = scene.between(-0.1, 1.1)
    size = scene.between(0.08, 0.22)
    scene.fill(box(x - size * 0.1, horizon - size, x + size * 0.1, 1.2), lit(colour, 0.5))
    for _ in range(7):
        dx = scene.between(-0.8, 0.8) * size
        dy = scene.between(-0.9, 0.6) * size
        blob = ellipse(x + dx, horizon - size + dy, size * 0.6, size * 0.5, steps=9)
        scene.fill(blob, lit(colour, scene.between(0.7, 1.25)), rough=True)


def _tower(scene: Scene, horizon: float) -> None:
    x = scene.between(0, 1)
    half = scene.between(0.025, 0.06)
    top = horizon - scene.between(0.2, 0.5)
    scene.fill(box(x - half, top, x + half, 1.3), scene.facing(scene.stone, 0.3), rough=True)
    pyramid(scene, x, top - scene.between(0.5, 4) * half, top, half * 1.1, scene.roof)
    window(scene, x, top + half * 2, half * 0.7, half * 1.3)


def _cupola(scene: Scene, horizon: float) -> None:
    x = scene.between(0, 1)
    radius = scene.between(0.05, 0.12)
    foot = horizon - scene.between(0.05, 0.3)
    scene.fill(box(x - radius, foot, x + radius, 1.3), scene.facing(scene.stone, -0.3))
    dome(
        scene,
        x,
        foot - radius * 1.1,
        foot,
        radius,
        scene.roof,
        swell=0.0,
        pointed=scene.between(0, 1),
        ribs=3,
    )


def _pillars(scene: Scene, horizon: float) -> None:
    x = scene.between(-0.1, 0.6)
    width = scene.between(0.03, 0.06)
    top = horizon - scene.between(0.15, 0.4)
    for number in range(scene.count(2, 5)):
        column(scene, x + number * width * 2.2, top, 1.1, width, scene.stone)


def _wires(scene: Scene) -> None:
    y = scene.between(0.1, 0.8)
    for _ in range(scene.count(1, 3)):
        ends = y + scene.between(-0.1, 0.1), y + scene.between(-0.25, 0.25)
        scene.stroke(polygon((-0.1, ends[0]), (0.5, sum(ends) / 2 + 0.03), (1.1, ends[1])), (40, 40, 44), 0.008)


def _branch(scene: Scene) -> None:
    colour = scene.tint(scene.pick(((46, 62, 34), (30, 34, 28), (86, 106, 48), (120, 92, 46))))
    x = scene.pick((0.0, 1.0))
    y = scene.between(0.0, 1.0)
    for _ in range(scene.count(10, 24)):
        blob = scene.rng.normal((x, y), 0.13)
        scene.fill(ellipse(blob[0], blob[1], 0.045, 0.035, steps=7), lit(colour, scene.between(0.7, 1.3)))


def _lamp_post(scene: Scene) -> None:
    x = scene.between(0.05, 0.95)
    top = scene.between(0.1, 0.5)
    scene.fill(box(x - 0.012, top, x + 0.012, 1.1), (52, 52, 56))
    scene.fill(ellipse(x, top, 0.035, 0.045, steps=10), (196, 194, 180))


def _crowd(scene: Scene) -> None:
    for _ in range(scene.count(1, 4)):
        colour = scene.tint(scene.pick(((40, 42, 52), (120, 50, 46), (60, 82, 120), (176, 170, 158), (30, 28, 28))))
        person(scene, scene.between(0, 1), 1.05, scene.between(0.14, 0.36), colour)


def _edge(scene: Scene) -> None:
    side = scene.pick((0.0, 1.0))
    width = scene.between(0.06, 0.22)
    lean = scene.between(-0.06, 0.06)
    colour = lit(scene.stone, scene.between(0.15, 0.8))
    scene.fill(
        polygon((side - width, -0.1), (side + width, -0.1), (side + width + lean, 1.1), (side - width + lean, 1.1)),
        colour,
        rough=True,
    )


def _railing(scene: Scene) -> None:
    top = scene.between(0.78, 0.93)
    colour = lit(scene.stone, scene.between(0.2, 1.0))
    scene.fill(box(-0.1, top, 1.1, top + 0.025), colour)
    step = scene.between(0.05, 0.1)
    for number in range(int(1.1 / step)):
        scene.fill(box(number * step, top, number * step + step * 0.35, 1.1), colour)


def _hanging_lamp(scene: Scene) -> None:
    x = scene.between(0.1, 0.9)
    y = scene.between(0.15, 0.5)
    size = scene.between(0.03, 0.08)
    scene.stroke(polygon((x, -0.1), (x, y)), (30, 26, 20), 0.006)
    for step in (-1.0, -0.5, 0.0, 0.5, 1.0):
        flame = ellipse(x + step * size, y + 0.3 * size * abs(step), size * 0.22, size * 0.3, steps=8)
        scene.fill(flame, (255, 236, 180))
        scene.canvas.shine(flame, (255, 190, 100))


def _arch_frame(scene: Scene) -> None:
    top = scene.between(-0.1, 0.1)
    hole = opening(0.5, 1.3, scene.between(0.85, 1.0), 1.3 - top, pointed=scene.pick((0.0, 0.8)))
    outline = np.concatenate(
        [polygon((-0.1, 1.3), (-0.1, -0.3), (1.1, -0.3), (1.1, 1.3)), hole[-2:-1], hole[-3::-1], hole[-1:]]
    )
    scene.fill(outline, lit(scene.stone, scene.between(0.15, 0.6)))

"""Synthesized pictures as a figure with their scores, and as an animation of how they came to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ahekit.figures.fonts import font_file
from ahekit.figures.tiles import Tile, Tiles
from ahekit.sections import Figure

from .scores import FRESH, Scores

ACROSS = 5
_SIDE, _GAP, _LINE = 128, 6, 20  # pixels of an animation: a tile's least side, between tiles, a line of words
_WIDTH, _TITLE, _TITLE_LINE = 6.4, 60, 0.25  # inches, letters of a title on that width, inches of one line more
_TILE, _LARGEST = 1.55, 2.2  # inches
_PAPER, _INK = (255, 255, 255), (28, 36, 48)


def columns(count: int, images_per_class: int) -> int:
    """How many pictures stand side by side: those of one class where they are few, else five."""
    return images_per_class if 1 < images_per_class <= 8 else min(ACROSS, count)


def figure(pictures: NDArray[np.uint8], scores: Scores, *, name: str, title: str, across: int) -> Figure:
    """Every picture with its scores, and below it the nearest training image where that is known."""
    names = scores.goals.names
    nearest = scores.nearest
    tiles = [
        Tile(picture, "picture", text=f"{names[place]}\n{scores.text(place)}") for place, picture in enumerate(pictures)
    ]
    rows = _rows(tiles, across)
    labels = ["made"] * len(rows) if nearest else [""] * len(rows)
    if nearest:
        below = [Tile(image, "picture", text=scores.nearest_text(place)) for place, image in enumerate(nearest.pixels)]
        rows = [row for pair in zip(rows, _rows(below, across), strict=True) for row in pair]
        labels = ["made", "nearest\nin\ntraining"] * (len(rows) // 2)
    # Few pictures are drawn larger: the heading, which names the run too, has to fit beside them.
    tile = min(max(_TILE, _WIDTH / across - 0.06), _LARGEST)
    table = Tiles(tuple(labels), ("",) * across, tuple(rows), tile=tile)
    return Figure(
        name=name,
        title=title,
        alt="Synthesized pictures of " + ", ".join(dict.fromkeys(names)),
        draw=table.draw,
        size=(max(table.size[0], _WIDTH), table.size[1] + _TITLE_LINE * (len(title) > _TITLE)),
        data={key: value.tolist() for key, value in scores.arrays().items()},
        caption=f"p: the network's own probability of the class for the picture; moved: its mean under {FRESH} fresh "
        "random turns, scales, shifts and flips; judge: what a second network predicts, with its probability; "
        "FAILED: what the network itself predicts instead.",
    )


def mosaic(frames: Mapping[int, NDArray[np.uint8]], names: Sequence[str], *, across: int) -> NDArray[np.uint8]:
    """The pictures `(B, S, S, 3)` after some steps, side by side with their names; `(T, H, W, 3)` uint8.

    Args:
        frames: By the number of steps.
    """
    font = ImageFont.truetype(font_file("".join(names)), 12)
    last = max(frames)
    size = frames[last].shape[1]
    side = size * max(1, -(-_SIDE // size))
    down = -(-len(names) // across)
    shape = (across * (side + _GAP) + _GAP, down * (side + _LINE) + _LINE + _GAP)
    sheets = []
    for step, pictures in frames.items():
        sheet = Image.new("RGB", shape, _PAPER)
        pen = ImageDraw.Draw(sheet)
        pen.text((_GAP, 3), f"step {step} of {last}", fill=_INK, font=font)
        for place, picture in enumerate(pictures):
            x = _GAP + place % across * (side + _GAP)
            y = _LINE + place // across * (side + _LINE)
            sheet.paste(Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST), (x, y))
            pen.text((x, y + side + 2), names[place], fill=_INK, font=font)
        sheets.append(np.asarray(sheet))
    return np.stack(sheets)


def _rows(tiles: Sequence[Tile], across: int) -> list[tuple[Any, ...]]:
    padded = [*tiles, *[None] * (-len(tiles) % across)]
    return [tuple(padded[start : start + across]) for start in range(0, len(padded), across)]

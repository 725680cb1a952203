"""Pictures of images in a report: rows of thumbnails with a line below each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ahekit.data.decode import decode
from ahekit.errors import DataError
from ahekit.evaluation.record import RunRecord
from ahekit.preprocessing import Preprocessing
from ahekit.sections import Figure
from ahekit.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

_SIDE = 64  # pixels of an image of the dataset
_MOST = 96  # pixels a side of any other picture
_INCHES = 1.05
_LINE_INCHES = 0.14
_GAP = 0.12  # inches between two pictures


@dataclass(frozen=True)
class Shown:
    """One thumbnail: an image by its sample id, and what stands below it."""

    id: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Grid:
    """Pictures in rows and columns, each with its words below in a cell of this width and height in inches."""

    columns: int
    rows: int
    width: float
    height: float


def thumbnails(
    record: RunRecord, shown: Sequence[Shown], *, name: str, title: str, caption: str, columns: int = 8
) -> tuple[Figure, ...]:
    """A figure of the images, in reading order; none when the dataset is gone or there is nothing to show."""
    if record.data_root is None or not shown:
        return ()
    pixels = [_pixels(record.data_root / item.id) for item in shown]
    unreadable = sum(picture is None for picture in pixels)
    if unreadable:
        caption += f" {counted(unreadable, 'image')} can't be read any more."
    return (pictures(shown, pixels, name=name, title=title, caption=caption, columns=columns),)


def pictures(
    shown: Sequence[Shown],
    pixels: Sequence[NDArray[np.uint8] | None],
    *,
    name: str,
    title: str,
    caption: str,
    columns: int = 8,
) -> Figure:
    """A figure of pictures `(H, W, 3)` or `(H, W, 4)` uint8, all of one shape, in reading order; None: unreadable."""
    columns = min(columns, len(shown))
    aspect = next((picture.shape[1] / picture.shape[0] for picture in pixels if picture is not None), 1.0)
    height = _INCHES + _LINE_INCHES * max(len(item.lines) for item in shown) + 2 * _GAP
    grid = _Grid(columns, -(-len(shown) // columns), _INCHES * aspect + _GAP, height)
    spoken = "; ".join(" ".join(item.lines) for item in shown[:columns])
    more = f"; and {len(shown) - columns} more" if len(shown) > columns else ""
    return Figure(
        name=name,
        title=title,
        alt=f"{counted(len(shown), 'thumbnail')}: {spoken}{more}.",
        draw=partial(_draw, shown=shown, pixels=pixels, grid=grid),
        size=(max(columns * grid.width, 2.4), grid.rows * grid.height + 0.1),
        data={"ids": [item.id for item in shown], "lines": [list(item.lines) for item in shown]},
        caption=caption,
    )


def small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture `(H, W, 3)` or map `(H, W)` with no side beyond what the page shows."""
    made = Image.fromarray(picture)
    made.thumbnail((_MOST, _MOST))
    return np.asarray(made)


def _pixels(path: Path) -> NDArray[np.uint8] | None:
    try:
        return decode(path, Preprocessing(size=_SIDE, fit="pad"))
    except DataError:
        return None  # counted in the caption


def _draw(
    figure: MplFigure, *, shown: Sequence[Shown], pixels: Sequence[NDArray[np.uint8] | None], grid: _Grid
) -> None:
    # One set of axes, measured in inches: a set for each picture takes matplotlib several times as long.
    axes = figure.add_subplot()
    for place, (item, picture) in enumerate(zip(shown, pixels, strict=True)):
        left, top = (place % grid.columns) * grid.width, (place // grid.columns) * grid.height
        middle, below = left + grid.width / 2, top + _INCHES
        if picture is None:
            axes.text(middle, top + _INCHES / 2, "unreadable", ha="center", va="center", fontsize=7)
        else:
            # As it is: resampled for the page, it would be several times the bytes.
            sides = (left + _GAP / 2, left + grid.width - _GAP / 2)
            axes.imshow(picture, extent=(*sides, below, top), interpolation="none")
        words = "\n".join(item.lines)
        colour = axes.xaxis.label.get_color()
        axes.text(middle, below + 0.04, words, ha="center", va="top", fontsize=7.5, color=colour)
    axes.set(xlim=(0, grid.columns * grid.width), ylim=(grid.rows * grid.height, 0))
    axes.set_axis_off()

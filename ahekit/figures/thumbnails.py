"""Pictures of images in a report: rows of thumbnails with a line below each."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ahekit.data.decode import decode
from ahekit.data.ids import sample_path
from ahekit.errors import DataError
from ahekit.evaluation.record import RunRecord
from ahekit.preprocessing import Preprocessing
from ahekit.sections import Figure
from ahekit.wording import counted, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

_SIDE = 64  # pixels of an image of the dataset
_MOST = 96  # pixels a side of any other picture
_INCHES = 1.05
_LINE_INCHES = 0.14
_LETTER_INCHES = 0.058  # of a letter below a picture, on average
_GAP = 0.12  # inches between two pictures


@dataclass(frozen=True)
class Thumbnail:
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
    record: RunRecord, images: Sequence[Thumbnail], *, name: str, title: str, caption: str, columns: int = 8
) -> tuple[Figure, ...]:
    """A figure of the images, in reading order; none when the run's images are gone, or there are none to show."""
    if not images or record.images_root is None:
        return ()
    pixels = [_pixels(record.images_root, image.id) for image in images]
    return (pictures(images, pixels, name=name, title=title, caption=caption, columns=columns),)


def pictures(
    images: Sequence[Thumbnail],
    pixels: Sequence[NDArray[np.uint8] | None],
    *,
    name: str,
    title: str,
    caption: str,
    columns: int = 8,
) -> Figure:
    """A figure of pictures `(H, W, 3)` or `(H, W, 4)` uint8, all of one shape, in reading order; None: unreadable."""
    columns = min(columns, len(images))
    aspect = next((picture.shape[1] / picture.shape[0] for picture in pixels if picture is not None), 1.0)
    width = _INCHES * aspect + _GAP
    letters = int(width / _LETTER_INCHES)
    words = ["\n".join(textwrap.fill(plain(line), letters) for line in image.lines) for image in images]
    height = _INCHES + _LINE_INCHES * max(text.count("\n") + 1 for text in words) + 2 * _GAP
    grid = _Grid(columns, -(-len(images) // columns), width, height)
    spoken = "; ".join(" ".join(image.lines) for image in images[:columns])
    more = f"; and {len(images) - columns} more" if len(images) > columns else ""
    return Figure(
        name=name,
        title=title,
        alt=f"{counted(len(images), 'thumbnail')}: {spoken}{more}.",
        draw=partial(_draw, words=words, pixels=pixels, grid=grid),
        size=(max(columns * grid.width, 2.4), grid.rows * grid.height + 0.1),
        data={"ids": [image.id for image in images], "lines": [list(image.lines) for image in images]},
        caption=caption,
    )


def true_and_predicted(true: str, predicted: str, confidence: float) -> tuple[str, str]:
    """The lines below an image: its true class, and the predicted one with its confidence in [0, 1]."""
    return f"true: {true}", f"pred: {predicted} {confidence:.0%}"


def small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture `(H, W, 3)` or map `(H, W)` with no side beyond what the page shows."""
    image = Image.fromarray(picture)
    image.thumbnail((_MOST, _MOST))
    return np.asarray(image)


def _pixels(root: Path, sample_id: str) -> NDArray[np.uint8] | None:
    try:
        return decode(sample_path(root, sample_id), Preprocessing(size=_SIDE, fit="pad"))
    except DataError:
        return None


def _draw(figure: MplFigure, *, words: Sequence[str], pixels: Sequence[NDArray[np.uint8] | None], grid: _Grid) -> None:
    # One set of axes, measured in inches: a set for each picture takes matplotlib several times as long.
    axes = figure.add_subplot()
    for place, (text, picture) in enumerate(zip(words, pixels, strict=True)):
        row, column = divmod(place, grid.columns)
        left = column * grid.width
        top = row * grid.height
        middle = left + grid.width / 2
        bottom = top + _INCHES
        if picture is None:
            axes.text(middle, top + _INCHES / 2, "unreadable", ha="center", va="center", fontsize=7)
        else:
            # As it is: resampled for the page, it would be several times the bytes.
            sides = (left + _GAP / 2, left + grid.width - _GAP / 2)
            axes.imshow(picture, extent=(*sides, bottom, top), interpolation="none")
        colour = axes.xaxis.label.get_color()
        # Within the axes, so that their place needs no measuring of words.
        axes.text(middle, bottom + 0.04, text, ha="center", va="top", fontsize=7.5, color=colour, in_layout=False)
    axes.set(xlim=(0, grid.columns * grid.width), ylim=(grid.rows * grid.height, 0), xticks=(), yticks=())
    axes.set_axis_off()

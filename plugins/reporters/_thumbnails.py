"""Pictures of images in a report: rows of thumbnails with a line below each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ahekit.data.decode import decode
from ahekit.errors import DataError
from ahekit.evaluation.record import RunRecord
from ahekit.protocols import Preprocessing
from ahekit.reporting.sections import Figure

from ._common import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure

_SIDE = 64  # pixels
_INCHES = 1.05
_LINE_INCHES = 0.17


@dataclass(frozen=True)
class Shown:
    """One thumbnail: an image by its sample id, and what stands below it."""

    id: str
    lines: tuple[str, ...]


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
    rows = -(-len(shown) // columns)
    aspect = next((picture.shape[1] / picture.shape[0] for picture in pixels if picture is not None), 1.0)
    height = _INCHES + _LINE_INCHES * max(len(item.lines) for item in shown) + 0.1
    spoken = "; ".join(" ".join(item.lines) for item in shown[:columns])
    more = f"; and {len(shown) - columns} more" if len(shown) > columns else ""
    return Figure(
        name=name,
        title=title,
        alt=f"{counted(len(shown), 'thumbnail')}: {spoken}{more}.",
        draw=partial(_draw, shown=shown, pixels=pixels, shape=(rows, columns)),
        size=(max(columns * (_INCHES * aspect + 0.12), 2.4), rows * height + 0.1),
        data={"ids": [item.id for item in shown], "lines": [list(item.lines) for item in shown]},
        caption=caption,
    )


def _pixels(path: Path) -> NDArray[np.uint8] | None:
    try:
        return decode(path, Preprocessing(size=_SIDE, fit="pad"))
    except DataError:
        return None  # counted in the caption


def _draw(
    figure: MplFigure, *, shown: Sequence[Shown], pixels: Sequence[NDArray[np.uint8] | None], shape: tuple[int, int]
) -> None:
    places = figure.subplots(*shape, squeeze=False).ravel()
    for axes in places:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.patch.set_visible(False)
    for axes, item, picture in zip(places, shown, pixels, strict=False):
        if picture is None:
            axes.text(0.5, 0.5, "unreadable", ha="center", va="center", fontsize=7)
        else:
            # As it is: resampled for the page, it would be several times the bytes.
            axes.imshow(picture, interpolation="none")
        axes.set_xlabel("\n".join(item.lines), fontsize=7.5, labelpad=2)

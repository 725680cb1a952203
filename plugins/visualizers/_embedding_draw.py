"""A scatter of images in two dimensions: a colour and a marker for each class, rings, and thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from numpy.typing import NDArray

from ahekit.data.classes import display_name
from ahekit.protocols import SplitImages
from ahekit.reporting.sections import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

# Accessible Color Sequences for Data Visualization, https://arxiv.org/abs/2107.02270: ten colours that readers of any
# colour vision tell apart.
COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
# One more than colours, so that the pairs repeat after 110 classes.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "p", ">", "h")

SIZE = (9.0, 6.4)
PLOT = (6.3, 5.4)  # inches of the axes in that figure, about
THUMBNAIL = 0.46  # inches a side, with its frame


@dataclass(frozen=True)
class Map:
    """Images in the plane.

    Attributes:
        positions: `(N, 2)`.
        labels: `(N,)` class indices.
        predictions: `(N,)` class indices.
        axes: What the axes are; empty where they mean nothing.
    """

    positions: NDArray[np.float64]
    labels: NDArray[Any]
    predictions: NDArray[Any]
    class_names: tuple[str, ...]
    axes: tuple[str, ...]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Misclassified images, `(N,)`."""
        found: NDArray[np.bool_] = self.labels != self.predictions
        return found


def map_figure(shown: Map, images: SplitImages, title: str, thumbnails: int) -> tuple[Figure, int]:
    """The scatter, and how many thumbnails there is room for among those asked for."""
    places = apart(shown.positions, thumbnails)

    def draw(figure: MplFigure) -> None:
        axes = figure.subplots()
        _draw_points(axes, shown)
        _draw_thumbnails(axes, shown, places, images)
        figure.legend(loc="outside right center", fontsize=9, title="class (images)", title_fontsize=9)

    counts = {
        name: [int((shown.labels == number).sum()), int((shown.wrong & (shown.labels == number)).sum())]
        for number, name in enumerate(shown.class_names)
    }
    figure = Figure(
        name="map",
        title=title,
        alt="; ".join(
            f"{display_name(name)}: {count} images, {wrong} misclassified" for name, (count, wrong) in counts.items()
        ),
        draw=draw,
        size=SIZE,
        data={"images and misclassified by class": counts},
    )
    return figure, len(places)


def apart(positions: NDArray[np.float64], count: int) -> list[int]:
    """Up to `count` images whose thumbnails don't cover each other, spread over the picture.

    Each next one is the image farthest from all before it, by the larger of the distances across and down, as squares
    overlap by; where that is less than a thumbnail, nothing more fits.
    """
    low, high = positions.min(axis=0), positions.max(axis=0)
    inches = (positions - low) / np.where(high > low, high - low, 1.0) * PLOT
    chosen: list[int] = []
    gap = np.full(len(positions), np.inf)
    while len(chosen) < count and gap.max() >= THUMBNAIL:
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, np.abs(inches - inches[chosen[-1]]).max(axis=1))
    return chosen


def style_of(number: int) -> tuple[str, str]:
    """A class's colour and marker."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def _draw_points(axes: Axes, shown: Map) -> None:
    area = float(np.clip(16_000 / len(shown.labels), 8, 40))
    line = mpl.rcParams["text.color"]
    for number, name in enumerate(shown.class_names):
        mine = shown.labels == number
        colour, marker = style_of(number)
        axes.scatter(
            shown.positions[mine, 0],
            shown.positions[mine, 1],
            s=area,
            color=colour,
            marker=marker,
            linewidths=0,
            label=f"{display_name(name)} ({mine.sum():,d})",
        )
    axes.scatter(
        shown.positions[shown.wrong, 0],
        shown.positions[shown.wrong, 1],
        s=3.0 * area,
        facecolors="none",
        edgecolors=line,
        linewidths=0.9,
        label=f"misclassified ({shown.wrong.sum():,d})",
    )
    axes.margins(0.05)
    axes.grid(visible=False)
    axes.set_xlabel(shown.axes[0])
    axes.set_ylabel(shown.axes[1])
    if not shown.axes[0]:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)


def _draw_thumbnails(axes: Axes, shown: Map, places: Sequence[int], images: SplitImages) -> None:
    for place in places:
        pixels = images.take(slice(place, place + 1))[0]
        # The frame, its padding included, is as wide as the space that `apart` kept.
        picture = OffsetImage(pixels, zoom=72 * (THUMBNAIL - 0.08) / pixels.shape[0])
        colour, _ = style_of(int(shown.labels[place]))
        line = ":" if shown.wrong[place] else "-"
        frame = {"edgecolor": colour, "linewidth": 1.8, "linestyle": line, "facecolor": "none"}
        axes.add_artist(AnnotationBbox(picture, tuple(shown.positions[place]), pad=0.1, bboxprops=frame))

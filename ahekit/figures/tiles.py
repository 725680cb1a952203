"""Tables of tiles: a row for each image, a column for each thing shown of it.

Maps keep a colour map of even lightness steps, whatever the theme: where the theme's own ramp begins with the
background, a map full of low values would vanish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from ahekit.data.classes import display_name
from ahekit.errors import UsageError
from ahekit.figures.words import text_width, wrapped
from ahekit.protocols import Original, VisualizerInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

Kind = Literal["picture", "map", "signed", "overlay"]

TILE = 1.1  # inches of a tile's side
LABEL = 2.2  # inches of the column of words, at most
GAP = 0.06  # inches between two tiles
HEADING = 0.75  # inches for the heading that the renderer adds
BAR = 0.7  # inches of the colour bar with its numbers and words
LEAST_WIDTH = 5.2  # inches, for a heading to fit above a single column
MAX_SIDE = 300  # inches; at the style's resolution an image of more is refused by what draws it
TITLE_POINTS = 8.0  # of columns, rows and the caption
TEXT_POINTS = 7.0  # of words below a tile
LEADING = 1.4  # lines' distance, as a share of the type's size
COARSE = 128  # pixels a side up to which a picture's own pixels are shown
MAP = "viridis"
SIGNED = "coolwarm"


@dataclass(frozen=True)
class Tile:
    """One small picture.

    Attributes:
        values: `(H, W, 3)` for a picture, `(H, W)` for a map.
        kind: "map" is drawn from `low` to `high`, "signed" from -`high` to `high`, "overlay" over the picture `on`.
        low: Of the colour scale; None: the least value.
        high: Of the colour scale; None: the largest value (in size).
        on: The picture that a map belongs to, in whose shape it is drawn, over what of it the network was given. None:
            a map is a rectangle of its own.
        text: Below the tile.
    """

    values: NDArray[Any]
    kind: Kind = "map"
    low: float | None = None
    high: float | None = None
    on: Original | None = None
    text: str = ""


@dataclass(frozen=True)
class Bar:
    """What the colours of all maps mean, where they share one scale: from `low` to `high` of what `label` says."""

    kind: Literal["map", "signed"]
    low: float
    high: float
    label: str


@dataclass(frozen=True)
class Tiles:
    """A table of tiles with words before each row.

    Words too long for their place are broken into lines, and rows are as high as their words.

    Attributes:
        labels: Lines of words for each row.
        columns: Titles.
        rows: Tiles; None leaves a place empty.
        caption: How to read it, below.
        bar: Colour bar below; None: there is no common scale.
    """

    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Tile | None, ...], ...]
    tile: float = TILE
    caption: str = ""
    bar: Bar | None = None

    @property
    def label_width(self) -> float:
        """Width in inches of the words before the rows."""
        longest = max(
            (text_width(line, TITLE_POINTS) for label in self.labels for line in label.split("\n")), default=0
        )
        return min(LABEL, 0.05 + longest)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches.

        Raises:
            UsageError: Too large to be drawn.
        """
        titles = max((title.count("\n") + 1 for title in self._titles), default=1)
        height = sum(self._row_heights) + _height(titles, TITLE_POINTS) + HEADING
        height += _height(self._caption.count("\n") + 1, TITLE_POINTS) if self.caption else 0.0
        height += BAR if self.bar else 0.0
        if max(self._width, height) > MAX_SIDE:
            raise UsageError(f"a figure of {len(self.rows)} x {len(self.columns)} tiles can't be drawn; show fewer")
        return self._width, height

    def draw(self, figure: MplFigure) -> None:
        """Draw onto an empty figure."""
        shares = [self.label_width] + [self.tile] * len(self.columns)
        engine = figure.get_layout_engine()
        if isinstance(engine, ConstrainedLayoutEngine):
            engine.set(w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01)
        axes = figure.subplots(
            len(self.rows), len(shares), squeeze=False, width_ratios=shares, height_ratios=self._row_heights
        )
        for place, (label, row) in enumerate(zip(self._labels, self.rows, strict=True)):
            axes[place, 0].axis("off")
            axes[place, 0].text(0, 0.5, label, va="center", fontsize=TITLE_POINTS, linespacing=LEADING)
            for column, tile in enumerate(row):
                _draw_tile(axes[place, column + 1], tile, self._text(tile))
        for column, title in enumerate(self._titles):
            axes[0, column + 1].set_title(title, fontsize=TITLE_POINTS, pad=4)
        if self.bar:
            _draw_bar(figure, axes[:, 1:], self.bar)
        if self.caption:
            figure.supxlabel(self._caption, x=0.01, ha="left", fontsize=TITLE_POINTS)

    @property
    def _width(self) -> float:
        return max(self.label_width + len(self.columns) * (self.tile + GAP), LEAST_WIDTH)

    @property
    def _labels(self) -> list[str]:
        return [wrapped(label, self.label_width, TITLE_POINTS) for label in self.labels]

    @property
    def _titles(self) -> list[str]:
        return [wrapped(title, self.tile, TITLE_POINTS) for title in self.columns]

    @property
    def _caption(self) -> str:
        return wrapped(self.caption, self._width - 0.1, TITLE_POINTS)

    def _text(self, tile: Tile | None) -> str:
        return wrapped(tile.text, self.tile, TEXT_POINTS) if tile and tile.text else ""

    @property
    def _row_heights(self) -> list[float]:
        heights = []
        for label, row in zip(self._labels, self.rows, strict=True):
            texts = [self._text(tile) for tile in row]
            lines = max((text.count("\n") + 1 for text in texts if text), default=0)
            words = _height(label.count("\n") + 1, TITLE_POINTS)
            heights.append(max(self.tile + _height(lines, TEXT_POINTS), words) + GAP)
        return heights


def image_label(request: VisualizerInput, index: int, *more: str) -> str:
    """Words before an image's row: its file's name, its true class where that is known, and more."""
    name = PurePath(request.image_ids[index]).name
    lines = [name if len(name) <= 30 else f"{name[:17]}…{name[-12:]}"]
    if request.labels[index] >= 0:
        lines.append(f"true: {display_name(request.class_names[request.labels[index]])}")
    return "\n".join([*lines, *more])


def original(request: VisualizerInput, index: int) -> Original:
    """The picture that an image is of, else the image itself as the network sees it before normalization."""
    return request.originals[index] if request.originals else Original.whole(request.pixels[index])


def image_tile(request: VisualizerInput, index: int) -> Tile:
    """The picture itself, in its own shape."""
    return Tile(original(request, index).pixels, "picture")


def named(images: Sequence[str]) -> str:
    """Which images, for a title: the one's name, or how many there are."""
    return PurePath(images[0]).name if len(images) == 1 else f"{len(images)} images"


def _height(lines: int, points: float) -> float:
    """Inches of so many lines of words, with a little air; none of no lines."""
    return lines * points * LEADING / 72 + 0.05 * (lines > 0)


def _draw_tile(axes: Axes, tile: Tile | None, text: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if tile is None:
        axes.axis("off")
        return
    if text:
        axes.set_xlabel(text, fontsize=TEXT_POINTS, labelpad=2)
    if tile.kind == "picture":
        _draw_picture(axes, tile.values)
        return
    low, high = _limits(tile)
    height, width = tile.on.pixels.shape[:2] if tile.on else tile.values.shape
    left, top, right, bottom = tile.on.box if tile.on else (0, 0, width, height)
    if tile.kind == "overlay" and tile.on is not None:
        _draw_picture(axes, tile.on.pixels.mean(2), cmap="gray", vmin=0, vmax=255)
    axes.imshow(
        tile.values,
        cmap=SIGNED if tile.kind == "signed" else MAP,
        vmin=low,
        vmax=high,
        alpha=0.55 if tile.kind == "overlay" else 1.0,
        interpolation="bilinear" if tile.kind == "overlay" else "nearest",
        extent=(left, right, bottom, top),
    )
    # The input may reach beyond the picture, where it was padded: nothing of that is shown.
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    # A stretched input is no square on its picture; its pixels then aren't either.
    axes.set_aspect("equal")


def _draw_picture(axes: Axes, pixels: NDArray[Any], **colours: Any) -> None:
    height, width = pixels.shape[:2]
    # Few pixels are shown as they are; of many, a tile has room for an average.
    interpolation = "nearest" if max(height, width) <= COARSE else "antialiased"
    axes.imshow(pixels, interpolation=interpolation, extent=(0, width, height, 0), **colours)


def _draw_bar(figure: MplFigure, axes: NDArray[Any], bar: Bar) -> None:
    colours = ScalarMappable(Normalize(bar.low, bar.high), SIGNED if bar.kind == "signed" else MAP)
    drawn = figure.colorbar(colours, ax=axes.ravel().tolist(), location="bottom", aspect=30, fraction=0.04, pad=0.01)
    drawn.set_label(bar.label, fontsize=TITLE_POINTS, labelpad=2)
    drawn.ax.tick_params(labelsize=TEXT_POINTS)


def _limits(tile: Tile) -> tuple[float, float]:
    if tile.kind == "signed":
        high = float(np.abs(tile.values).max()) if tile.high is None else tile.high
        return -(high or 1.0), high or 1.0
    low = float(tile.values.min()) if tile.low is None else tile.low
    high = float(tile.values.max()) if tile.high is None else tile.high
    # A map of one value has no scale; it is drawn as its lowest colour.
    return low, high if high > low else low + 1.0

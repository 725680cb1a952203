"""Tables of tiles: a row for each image, a column for each thing shown of it.

Maps keep a colour map of even lightness steps, whatever the theme: where the theme's own ramp begins with the
background, a map full of low values would vanish.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from ahekit.data.classes import display_name
from ahekit.errors import UsageError
from ahekit.protocols import VisualizerInput

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

Kind = Literal["picture", "map", "signed", "overlay"]

TILE, LABEL, TITLE = 1.1, 2.2, 0.3  # inches: a tile's side, the column of words at most, a line of column titles
HEADING = 0.6
MAX_SIDE = 300  # inches; at the style's resolution an image of more is refused by what draws it
MAP, SIGNED = "viridis", "coolwarm"


@dataclass(frozen=True)
class Tile:
    """One small picture.

    Attributes:
        values: `(H, W, 3)` for a picture, `(H, W)` for a map.
        kind: "map" is drawn from `low` to `high`, "signed" from -`high` to `high`, "overlay" over `under`.
        low: Of the colour scale; None: the least value.
        high: Of the colour scale; None: the largest value (in size).
        under: `(H, W, 3)` uint8.
        text: Below the tile.
    """

    values: NDArray[Any]
    kind: Kind = "map"
    low: float | None = None
    high: float | None = None
    under: NDArray[np.uint8] | None = None
    text: str = ""


@dataclass(frozen=True)
class Tiles:
    """A table of tiles with words before each row.

    Attributes:
        labels: Lines of words for each row.
        columns: Titles.
        rows: Tiles; None leaves a place empty.
        caption: How to read it, below.
    """

    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Tile | None, ...], ...]
    tile: float = TILE
    caption: str = ""

    @property
    def label_width(self) -> float:
        """Width in inches of the words before the rows."""
        longest = max((len(line) for label in self.labels for line in label.split("\n")), default=0)
        return min(LABEL, 0.05 + 0.075 * longest)

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches.

        Raises:
            UsageError: Too large to be drawn.
        """
        lines = max((tile.text.count("\n") + 1 for row in self.rows for tile in row if tile and tile.text), default=0)
        texts = 0.07 * (lines > 0) + 0.13 * lines
        words = max((line.count("\n") + 1 for line in self.columns), default=1)
        height = len(self.rows) * (self.tile + texts + 0.06) + TITLE * words * 0.7 + HEADING
        height += 0.15 * len(self._caption_lines)
        if max(self._width, height) > MAX_SIDE:
            raise UsageError(f"a figure of {len(self.rows)} x {len(self.columns)} tiles can't be drawn; show fewer")
        return self._width, height

    @property
    def _width(self) -> float:
        return max(self.label_width + len(self.columns) * (self.tile + 0.06), 5.2)

    @property
    def _caption_lines(self) -> list[str]:
        return textwrap.wrap(self.caption, int(self._width / 0.06))

    def draw(self, figure: MplFigure) -> None:
        """Draw onto an empty figure."""
        shares = [self.label_width] + [self.tile] * len(self.columns)
        engine = figure.get_layout_engine()
        if isinstance(engine, ConstrainedLayoutEngine):
            engine.set(w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01)
        axes = figure.subplots(len(self.rows), len(shares), squeeze=False, width_ratios=shares)
        for place, (label, row) in enumerate(zip(self.labels, self.rows, strict=True)):
            axes[place, 0].axis("off")
            axes[place, 0].text(0, 0.5, label, va="center", fontsize=8, linespacing=1.4)
            for column, tile in enumerate(row):
                _draw_tile(axes[place, column + 1], tile)
        for column, title in enumerate(self.columns):
            axes[0, column + 1].set_title(title, fontsize=8, pad=4)
        if self.caption:
            figure.supxlabel("\n".join(self._caption_lines), x=0.01, ha="left", fontsize=8)


def image_label(request: VisualizerInput, index: int, *more: str) -> str:
    """Words before an image's row: its file's name, its class where that is known, and more."""
    name = PurePath(request.image_ids[index]).name
    lines = [name if len(name) <= 30 else f"{name[:17]}…{name[-12:]}"]
    if request.labels[index] >= 0:
        lines.append(f"is: {display_name(request.class_names[request.labels[index]])}")
    return "\n".join(part for line in [*lines, *more] for part in textwrap.wrap(line, 32) or [""])


def image_tile(request: VisualizerInput, index: int) -> Tile:
    """The image itself, as the network sees it before normalization."""
    return Tile(request.pixels[index], "picture")


def named(images: Sequence[str]) -> str:
    """Which images, for a title: the one's name, or how many there are."""
    return PurePath(images[0]).name if len(images) == 1 else f"{len(images)} images"


def _draw_tile(axes: Axes, tile: Tile | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if tile is None:
        axes.axis("off")
        return
    if tile.text:
        axes.set_xlabel(tile.text, fontsize=7, labelpad=2)
    if tile.kind == "picture":
        axes.imshow(tile.values, interpolation="nearest")
        return
    low, high = _limits(tile)
    height, width = tile.values.shape
    if tile.kind == "overlay" and tile.under is not None:
        height, width = tile.under.shape[:2]
        axes.imshow(tile.under.mean(2), cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    axes.imshow(
        tile.values,
        cmap=SIGNED if tile.kind == "signed" else MAP,
        vmin=low,
        vmax=high,
        alpha=0.55 if tile.kind == "overlay" else 1.0,
        interpolation="bilinear" if tile.kind == "overlay" else "nearest",
        extent=(0, width, height, 0),
    )


def _limits(tile: Tile) -> tuple[float, float]:
    if tile.kind == "signed":
        high = float(np.abs(tile.values).max()) if tile.high is None else tile.high
        return -(high or 1.0), high or 1.0
    low = float(tile.values.min()) if tile.low is None else tile.low
    high = float(tile.values.max()) if tile.high is None else tile.high
    # A map of one value has no scale; it is drawn as its lowest colour.
    return low, high if high > low else low + 1.0

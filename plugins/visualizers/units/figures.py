"""The figures of `units`: selectivity against depth, and a sheet of the best unit of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahekit.data.classes import display_name
from ahekit.figures.tiles import Tile, Tiles
from ahekit.inspection.units import UnitsMeasured
from ahekit.protocols import SplitImages, VisualizerInput
from ahekit.sections import Figure

from .summary import LayerSummary, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MplFigure

Floats = NDArray[np.float64]

PATCHES = 9  # of a unit that are drawn
NOTHING = Tile(np.zeros((1, 1, 4), dtype=np.uint8), "picture")  # keeps its square, and the column's title in its line
BESIDE = 8  # layers whose names fit below two panels side by side


@dataclass(frozen=True)
class BestUnit:
    """A unit that stands for a class.

    Attributes:
        path: Of the module whose output it is a channel of.
        share: Of the class among its strongest images.
        selectivity: Its index for the class.
        f1: Of every class with the network as it is, `(C,)`.
        f1_silenced: The same without the unit.
        synthesized: `(S, S, 3)` uint8; None: not made.
        excitation: Its mean activity for that image, in units of that for its class's images.
        by_gray: The same for plain gray.
    """

    class_index: int
    layer: str
    path: str
    number: int
    share: float
    selectivity: float
    f1: Floats | None = None
    f1_silenced: Floats | None = None
    synthesized: NDArray[np.uint8] | None = None
    excitation: float | None = None
    by_gray: float = 0.0

    @property
    def own_f1(self) -> tuple[float, float]:
        """F1 of its class with and without it."""
        assert self.f1 is not None
        assert self.f1_silenced is not None
        return float(self.f1[self.class_index]), float(self.f1_silenced[self.class_index])

    @property
    def failed(self) -> bool:
        """Whether the synthesized image excites it less than its class's images do on average, or no more than gray."""
        return self.excitation is not None and not self.excitation >= max(1.0, 1.5 * self.by_gray)

    @property
    def others_drop(self) -> float:
        """How much the mean F1 of the other classes falls without it."""
        assert self.f1 is not None
        assert self.f1_silenced is not None
        return float(np.delete(self.f1 - self.f1_silenced, self.class_index).mean())


def depth_figure(rows: Sequence[LayerSummary], where: str, top: int) -> Figure:
    """Selectivity and the majority's share against depth, each with its baseline."""
    panels = {
        "class selectivity": [row.selectivity for row in rows],
        "share of the majority class": [row.share for row in rows],
    }
    beside = len(rows) <= BESIDE

    def draw(figure: MplFigure) -> None:
        axes = figure.subplots(*((1, 2) if beside else (2, 1)), sharex=True)
        for panel, (name, spreads) in zip(axes, panels.items(), strict=True):
            _draw_depth(panel, name, spreads, [row.name for row in rows])
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)

    return Figure(
        name="depth",
        title=f"Selectivity of units against depth: {where}",
        alt="; ".join(
            f"{row.name}: selectivity {row.selectivity.mean:.2f}, by chance {row.selectivity.permuted_mean:.2f}"
            for row in rows
        ),
        draw=draw,
        size=(8.4, 4.4) if beside else (1.4 + 0.26 * len(rows), 7.0),
        data={"layers": [row.name for row in rows]}
        | {name: [spread.mean for spread in spreads] for name, spreads in panels.items()}
        | {f"{name}, permuted": [spread.permuted_mean for spread in spreads] for name, spreads in panels.items()},
        caption="Means over live units; the bars span the middle half of the units, and 90 % of the values with"
        f" permuted labels. The share is that of the majority class among a unit's {top} strongest images.",
    )


def _draw_depth(axes: Axes, name: str, spreads: Sequence[Spread], layers: Sequence[str]) -> None:
    places = np.arange(len(layers))
    measured = [(spread.mean, spread.quartiles) for spread in spreads]
    by_chance = [(spread.permuted_mean, spread.permuted_range) for spread in spreads]
    # A little aside of each other, so that neither hides the other's bar.
    series: tuple[tuple[str, str, str, float, Any], ...] = (
        ("measured: mean, middle half of the units", "C0", "o-", -0.08, measured),
        ("labels permuted: mean, 90 % of the values", "C1", "s--", 0.08, by_chance),
    )
    for label, colour, line, shift, values in series:
        means = np.array([mean for mean, _ in values])
        ends = np.array([span for _, span in values])
        axes.vlines(places + shift, ends[:, 0], ends[:, 1], color=colour, linewidth=3, alpha=0.35)
        axes.plot(places + shift, means, line, color=colour, markersize=5, label=label)
    upright = len(layers) > BESIDE or max(map(len, layers)) > 6
    axes.set_xticks(places, layers, rotation=90 if upright else 0, fontsize=8)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel(name)
    axes.grid(axis="x", visible=False)


def sheet_figure(
    request: VisualizerInput,
    images: SplitImages,
    measures: Mapping[str, UnitsMeasured],
    best: Sequence[BestUnit],
    where: str,
) -> Figure:
    """The best units of each class: strongest patches, synthesized image, and what the network loses without them."""
    patches = min(PATCHES, next(iter(measures.values())).top_images.shape[1])
    synthesized = any(unit.synthesized is not None for unit in best)
    labels: list[str] = []
    rows: list[tuple[Tile, ...]] = []
    for number in range(len(request.class_names)):
        of_class = [unit for unit in best if unit.class_index == number]
        for unit in of_class:
            units = measures[unit.layer]
            tiles = _patches(request, images, units, unit, patches)
            if unit.synthesized is not None:
                excites = "" if unit.excitation is None else f"{unit.excitation:.1f} x"
                tiles.append(Tile(unit.synthesized, "picture", text=f"FAILED: {excites}" if unit.failed else excites))
            labels.append(_label(request, unit, units.top_images.shape[1]))
            rows.append(tuple(tiles))
        if not of_class:
            labels.append(f"{display_name(request.class_names[number])}: no unit has it\nas its majority class")
            rows.append((NOTHING,) * (patches + synthesized))
    columns = ("strongest", *map(str, range(2, patches + 1)), *(["synthesized"] if synthesized else []))
    table = Tiles(tuple(labels), columns, tuple(rows), tile=0.9)
    return Figure(
        name="best",
        title=f"Best units by class: {where}",
        alt="; ".join(label.replace("\n", ", ") for label in labels),
        draw=table.draw,
        size=table.size,
        caption="Patches are receptive fields of the strongest places, cut at the image's border; those of images of"
        " other classes are named. F1: of the unit's class, before and after it is silenced."
        + (
            " Synthesized: how active the unit is for the image, in units of its mean for its class's images."
            if synthesized
            else ""
        ),
    )


def synthesis_note(best: Sequence[BestUnit]) -> tuple[str, ...]:
    """What to say of synthesized images that failed; nothing where all are good."""
    failed = [f"{unit.layer} unit {unit.number}" for unit in best if unit.failed]
    if not failed:
        return ()
    return (
        f"FAILED A CHECK: {len(failed)} of {len(best)} synthesized images excite their unit less than its class's "
        "images do on average, or no more than plain gray does, and don't show what it looks for (more --set steps=N): "
        + ", ".join(failed),
    )


def _patches(
    request: VisualizerInput, images: SplitImages, units: UnitsMeasured, unit: BestUnit, count: int
) -> list[Tile]:
    tiles = []
    for place, image in enumerate(units.top_images[unit.number, :count].tolist()):
        if image < 0:
            tiles.append(NOTHING)
            continue
        top, bottom, left, right = units.top_boxes[unit.number, place].tolist()
        label = int(images.labels[image])
        text = "" if label == unit.class_index else display_name(request.class_names[label])
        tiles.append(
            Tile(_square(images.take(slice(image, image + 1))[0, top:bottom, left:right]), "picture", text=text)
        )
    return tiles


def _square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A patch `(h, w, 3)` in the middle of a transparent square `(S, S, 4)`: a tall one stays within its tile."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    down = (side - height) // 2
    across = (side - width) // 2
    square = np.zeros((side, side, 4), dtype=np.uint8)
    square[down : down + height, across : across + width, :3] = pixels
    square[down : down + height, across : across + width, 3] = 255
    return square


def _label(request: VisualizerInput, unit: BestUnit, top: int) -> str:
    before, after = unit.own_f1
    return (
        f"{display_name(request.class_names[unit.class_index])}: {unit.layer} unit {unit.number}\n"
        f"{round(unit.share * top)} of {top}, selectivity {unit.selectivity:.2f}\n"
        f"silenced: F1 {before:.3f} → {after:.3f}\n"
        f"other classes: F1 {_signed(-unit.others_drop)}"
    )


def _signed(value: float) -> str:
    """With its sign, unless it rounds to 0."""
    text = f"{value:+.3f}".replace("-", "−")
    return "±0.000" if text[1:] == "0.000" else text

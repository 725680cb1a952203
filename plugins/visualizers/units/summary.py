"""What `units` says: layers in numbers, the table of them, and the answer in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import fisher_exact

from ahekit.data.classes import display_name
from ahekit.inspection.selectivity import quantile_95
from ahekit.inspection.units import UnitsMeasured
from ahekit.sections import Cell, Column, Table

Floats = NDArray[np.float64]

COUNTED = 8  # layers whose counts fit into a sentence
LATE = 0.75  # of the way through the layers: the fourth of five


@dataclass(frozen=True)
class Spread:
    """A measure over a layer's live units, as it is and with permuted labels; all NaN without live units.

    Attributes:
        quartiles: Its first and third.
        permuted_range: Between which 90 % of the values with permuted labels lie.
        above: Share of the units above their own 95 % quantile with permuted labels; by chance at most a twentieth.
    """

    mean: float
    quartiles: tuple[float, float]
    permuted_mean: float
    permuted_range: tuple[float, float]
    above: float

    @classmethod
    def of(cls, values: Floats, permuted: Floats) -> Spread:
        """Of values `(U,)` and those with permuted labels `(R, U)`."""
        if not len(values):
            nothing = float("nan")
            return cls(nothing, (nothing, nothing), nothing, (nothing, nothing), nothing)
        low, high = np.quantile(values, [0.25, 0.75])
        least, most = np.quantile(permuted, [0.05, 0.95])
        above = float((values > quantile_95(permuted)).mean())
        return cls(float(values.mean()), (low, high), float(permuted.mean()), (least, most), above)


@dataclass(frozen=True)
class LayerSummary:
    """A layer in numbers.

    Attributes:
        field: Receptive field in pixels, down and across; None: the whole image, or it can't be told.
        mostly: Units more than half of whose strongest images are of one class, by class, `(C,)`.
        mostly_permuted: Share of units that are so with permuted labels.
    """

    name: str
    units: int
    dead: int
    field: tuple[int, int] | None
    selectivity: Spread
    share: Spread
    mostly: NDArray[np.int64]
    mostly_permuted: float

    @property
    def mostly_one_class(self) -> int:
        """Units more than half of whose strongest images are of one class, whichever."""
        return int(self.mostly.sum())

    @classmethod
    def of(cls, name: str, measured: UnitsMeasured, field: tuple[int, int] | None) -> LayerSummary:
        """Of what was measured."""
        live = ~measured.dead
        mostly = measured.majority_share > 0.5
        return cls(
            name=name,
            units=len(live),
            dead=int((~live).sum()),
            field=field,
            selectivity=Spread.of(measured.selectivity[live], measured.permuted_selectivity[:, live]),
            share=Spread.of(measured.majority_share[live], measured.permuted_share[:, live]),
            mostly=np.bincount(measured.majority_class[mostly], minlength=measured.class_means.shape[1]),
            mostly_permuted=float((measured.permuted_share > 0.5).mean()),
        )


def table(rows: Sequence[LayerSummary], where: str, top: int) -> Table:
    """A row for each layer."""
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (
            row.name,
            row.units,
            row.dead,
            _side(row.field),
            row.mostly_one_class,
            *_cells(row.share, row.selectivity),
        )
        for row in rows
    )
    measures = (
        Column(f"{name}{ending}", form, "right")
        for name in ("share", "index")
        for ending, form in (("", ".2f"), (" by chance", ".2f"), (" above 95 %", ".0%"))
    )
    return Table(
        f"Units by layer: {where}",
        (
            Column("layer"),
            Column("units", ",d", "right"),
            Column("dead", ",d", "right"),
            Column("field", None, "right"),
            Column("mostly one class", ",d", "right"),
            *measures,
        ),
        cells,
        "field: side of the receptive field in pixels. mostly one class: units with more than half of their"
        f" {top} strongest images of one class. share: of the majority class among these. index: class selectivity, 0"
        " to 1. Both are means over live units; by chance: with permuted labels; above 95 %: units above the"
        " 95 % quantile of that, of which by chance there would be 5 % or less.",
    )


def _side(field: tuple[int, int] | None) -> str:
    if field is None:
        return "image"
    return str(field[0]) if field[0] == field[1] else f"{field[0]} x {field[1]}"


def _cells(*spreads: Spread) -> list[float]:
    return [value for spread in spreads for value in (spread.mean, spread.permuted_mean, spread.above)]


def verdict(rows: Sequence[LayerSummary], class_names: Sequence[str], top: int) -> tuple[str, ...]:
    """Whether units that are mostly excited by one class are likelier deep in the network, in words and counts.

    The layer three quarters of the way, the fourth of five, is set against the first, by Fisher's exact test.
    """
    place = round(LATE * (len(rows) - 1))
    first = rows[0]
    late = rows[place]
    counted = rows if len(rows) <= COUNTED else [first, late, rows[-1]]
    counts = ", ".join(
        f"{row.name} {row.mostly_one_class:,d} of {row.units:,d} ({row.mostly_one_class / row.units:.0%})"
        for row in counted
    )
    chance = ", ".join(f"{row.name} {row.mostly_permuted:.0%}" for row in counted)
    notes = [
        f"units with more than half of their {top} strongest images of one class: {counts};"
        f" with permuted labels: {chance}"
    ]
    if place:
        table = [[row.mostly_one_class, row.units - row.mostly_one_class] for row in (late, first)]
        p = float(fisher_exact(table, alternative="greater").pvalue)
        answer = "is likelier" if p < 0.05 else "is not shown to be likelier"
        notes.append(
            f"such a unit {answer} in {late.name} than in {first.name} (Fisher's exact test, one-sided p = {p:.2g});"
            f" {_of_which(first, class_names)}, {_of_which(late, class_names)}"
        )
    return tuple(notes)


def _of_which(row: LayerSummary, class_names: Sequence[str]) -> str:
    classes = int((row.mostly > 0).sum())
    most = int(row.mostly.argmax())
    if not classes:
        return f"in {row.name} there is none"
    name = display_name(class_names[most])
    if classes == 1:
        return f"in {row.name} all of them are for {name}"
    return f"in {row.name} they are for {classes} classes, {row.mostly[most]} of {row.mostly_one_class} for {name}"

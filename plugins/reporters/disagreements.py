"""Images that one run names rightly and another wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ahekit import protocols
from ahekit.evaluation.compared import ComparedRuns
from ahekit.evaluation.predictions import Predictions
from ahekit.figures.thumbnails import Shown, thumbnails
from ahekit.sections import Cell, Column, Figure, Section, Table

_COLUMNS = tuple(map(Column, ("File", "Filed as", "Named by A", "By the other", "Other", "Right")))


@dataclass(frozen=True)
class _Side:
    """The images that one of two runs alone names rightly, the surest of its answers first.

    Attributes:
        other: The run that is compared with the first.
        right: Letter of the run that is right.
    """

    other: str
    right: str
    images: NDArray[np.int64]


class Disagreements:
    """Images that one run names rightly and another wrongly, with thumbnails."""

    order = 45

    class Params(protocols.Params):
        """Parameters of `Disagreements`."""

        listed: int = Field(200, ge=2, description="images listed, shared out among the runs and their two sides")
        images: int = Field(8, ge=0, le=100, description="thumbnails of each side of each run")

    def compare(self, runs: ComparedRuns, params: Params) -> Section:
        """List where each run disagrees with the first."""
        sides = [side for name in runs.names[1:] for side in _sides(runs, name)]
        total = sum(len(side.images) for side in sides)
        # Neither side crowds the other out.
        most = max(params.listed // len(sides), 1)
        rows = tuple(row for side in sides for row in _rows(runs, side, most))
        note = f"{len(rows):,d} of {total:,d}: at most {most:,d} of each kind." if len(rows) < total else ""
        title = "Images that one run names rightly and the other wrongly"
        return Section(
            name="disagreements",
            title="Where they disagree",
            reading=" ".join(_reading(runs, *sides[place : place + 2]) for place in range(0, len(sides), 2)),
            tables=(Table(title, _COLUMNS, rows, note),) if rows else (),
            figures=tuple(figure for side in sides for figure in _thumbnails(runs, side, params.images)),
            values={"images": total},
        )


def _sides(runs: ComparedRuns, name: str) -> Iterator[_Side]:
    first, second = runs.first, runs.shared[name]
    for said, denied, letter in ((first, second, "A"), (second, first, runs.letter(name))):
        alone = np.flatnonzero((said.predicted == said.labels) & (denied.predicted != denied.labels))
        sure = said.probabilities[alone].max(axis=1)
        yield _Side(name, letter, alone[np.argsort(-sure, kind="stable")])


def _rows(runs: ComparedRuns, side: _Side, most: int) -> Iterator[tuple[Cell, ...]]:
    first, second, names = runs.first, runs.shared[side.other], runs.first.display_names
    for index in side.images[:most].tolist():
        said = names[first.predicted[index]], names[second.predicted[index]]
        yield first.ids[index], names[first.labels[index]], *said, runs.letter(side.other), side.right


def _reading(runs: ComparedRuns, first: _Side, second: _Side) -> str:
    return (
        f"Of {len(runs.first.ids):,d} images {len(first.images):,d} are named rightly by A and not by {second.right}, "
        f"{len(second.images):,d} the other way round."
    )


def _thumbnails(runs: ComparedRuns, side: _Side, most: int) -> tuple[Figure, ...]:
    # The images are the same for all runs; one whose dataset is still there will do.
    record = next((record for record in runs.records.values() if record.data_root), None)
    if record is None:
        return ()
    other = runs.letter(side.other)
    wrong, denied = (other, runs.shared[side.other]) if side.right == "A" else ("A", runs.first)
    return thumbnails(
        record,
        [_shown(runs.first, denied, index, wrong) for index in side.images[:most].tolist()],
        name=f"only-{other}-{'first' if side.right == 'A' else 'other'}",
        title=f"Right by {side.right}, wrong by {wrong}",
        caption=f"The images of which {side.right} is surest first; below each: what it is filed as, and what {wrong} "
        "named it.",
    )


def _shown(first: Predictions, denied: Predictions, index: int, wrong: str) -> Shown:
    names = first.display_names
    return Shown(first.ids[index], (names[first.labels[index]], f"{wrong}: {names[denied.predicted[index]]}"))

"""Images that one run predicts correctly and another misclassifies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ahekit import protocols
from ahekit.evaluation.compared import ComparedRuns
from ahekit.figures.thumbnails import Thumbnail, thumbnails
from ahekit.sections import Cell, Column, Figure, Section, Table

_COLUMNS = tuple(map(Column, ("File", "True label", "Predicted by A", "By the other", "Other", "Correct")))


@dataclass(frozen=True)
class _Side:
    """The images that one of two runs alone predicts correctly, its most confident answers first.

    Attributes:
        other: The run that is compared with the first.
        correct: Letter of the run that is correct.
    """

    other: str
    correct: str
    images: NDArray[np.int64]


class Disagreements:
    """Images that one run predicts correctly and another misclassifies, with thumbnails."""

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
        title = "Images that one run predicts correctly and the other misclassifies"
        return Section(
            title="Where they disagree",
            reading=" ".join(_reading(runs, *sides[place : place + 2]) for place in range(0, len(sides), 2)),
            tables=(Table(title, _COLUMNS, rows, note),) if rows else (),
            figures=tuple(figure for side in sides for figure in _thumbnails(runs, side, params.images)),
            values={"images": total},
        )


def _sides(runs: ComparedRuns, name: str) -> Iterator[_Side]:
    first = runs.first
    second = runs.shared[name]
    for one, other, letter in ((first, second, "A"), (second, first, runs.letter(name))):
        alone = np.flatnonzero((one.predicted == one.labels) & (other.predicted != other.labels))
        confidence = one.probabilities[alone].max(axis=1)
        yield _Side(name, letter, alone[np.argsort(-confidence, kind="stable")])


def _rows(runs: ComparedRuns, side: _Side, most: int) -> Iterator[tuple[Cell, ...]]:
    first = runs.first
    second = runs.shared[side.other]
    names = first.display_names
    for index in side.images[:most].tolist():
        predicted = names[first.predicted[index]], names[second.predicted[index]]
        yield first.ids[index], names[first.labels[index]], *predicted, runs.letter(side.other), side.correct


def _reading(runs: ComparedRuns, first: _Side, second: _Side) -> str:
    return (
        f"Of {len(runs.first.ids):,d} images {len(first.images):,d} are predicted correctly by A and not by "
        f"{second.correct}, {len(second.images):,d} the other way round."
    )


def _thumbnails(runs: ComparedRuns, side: _Side, most: int) -> tuple[Figure, ...]:
    # The images are the same for all runs; one whose dataset is still there will do.
    record = next((record for record in runs.records.values() if record.images_root), None)
    if record is None:
        return ()
    other = runs.letter(side.other)
    wrong = other if side.correct == "A" else "A"
    wrong_predictions = runs.shared[side.other] if side.correct == "A" else runs.first
    names = runs.first.display_names
    images = [
        Thumbnail(
            runs.first.ids[index],
            (
                f"true: {names[runs.first.labels[index]]}",
                f"{wrong}: {names[wrong_predictions.predicted[index]]}",
            ),
        )
        for index in side.images[:most].tolist()
    ]
    return thumbnails(
        record,
        images,
        name=f"only-{other}-{'first' if side.correct == 'A' else 'other'}",
        title=f"Correct by {side.correct}, misclassified by {wrong}",
        caption=f"The most confident answers of {side.correct} first; {wrong}: what {wrong} predicted.",
    )

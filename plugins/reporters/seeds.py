"""Runs of one spec with several seeds: how much training anew moves the figures."""

from __future__ import annotations

from collections.abc import Sequence

from ahekit.evaluation.compared import ComparedRuns
from ahekit.evaluation.comparison import seed_spread
from ahekit.evaluation.record import RunRecord
from ahekit.protocols import NoParams
from ahekit.sections import Cell, Column, Section, Table

_FIGURES = {"accuracy": "accuracy", "f1": "macro-F1"}
_COLUMNS = (
    Column("Spec"),
    Column("Seeds"),
    Column("Figure"),
    *(Column(name, ".3f", "right") for name in ("Mean", "Deviation", "From", "To")),
)
_NOTE = (
    "From, to: 95% interval of the mean over seeds (Student's t, cut at 0 and 1); it is of training anew, on these "
    "test images. Two or three seeds leave it wide."
)


class Seeds:
    """Mean, standard deviation and interval over the seeds of one spec."""

    order = 14
    Params = NoParams

    def compare(self, runs: ComparedRuns, params: NoParams) -> Section:
        """Group the runs that differ in nothing but the seed and the machine."""
        groups = _groups(list(runs.records.values()))
        rows = tuple(_row(runs, group, figure) for group in groups for figure in _FIGURES)
        return Section(
            title="Seeds of one spec",
            reading=_reading(rows),
            tables=(Table("Mean over the seeds", _COLUMNS, rows, _NOTE),) if rows else (),
            values={"groups": [[record.name for record in group] for group in groups]},
        )


def _reading(rows: Sequence[tuple[Cell, ...]]) -> str:
    if not rows:
        return (
            "Every run here is the only one of its spec, so how far another seed of the same spec would move these "
            "figures isn't known; a difference that holds for other images may not hold for other seeds."
        )
    spec, seeds, figure, mean, deviation = rows[0][:5]
    return (
        f"Over the seeds {seeds} of {spec}, {figure} is {mean:.3f} on average, with a standard deviation of "
        f"{deviation:.3f}: training the same thing again moves it by so much."
    )


def _groups(records: list[RunRecord]) -> list[list[RunRecord]]:
    groups: dict[str, list[RunRecord]] = {}
    for record in records:
        groups.setdefault(record.spec.model_dump_json(exclude={"seed": True, "runtime": True}), []).append(record)
    return [group for group in groups.values() if len({record.spec.seed for record in group}) > 1]


def _row(runs: ComparedRuns, group: list[RunRecord], figure: str) -> tuple[Cell, ...]:
    spread = seed_spread([runs.scores(record.name)[figure] for record in group])
    ends = (max(spread.interval.low, 0.0), min(spread.interval.high, 1.0)) if spread.interval else (None, None)
    spec = group[0].spec
    seeds = ", ".join(str(record.spec.seed) for record in group)
    return f"{spec.model.name}, {spec.recipe}", seeds, _FIGURES[figure], spread.mean, spread.deviation, *ends

"""A small report with everything that renderings have to cope with, and the record of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ahekit.evaluation.record import RunRecord
from ahekit.reporting.build import Missing, Report
from ahekit.sections import Column, Figure, Section, Table
from ahekit.spec import RunSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MplFigure


@pytest.fixture
def make_record() -> Callable[..., RunRecord]:
    """A finished run that left nothing behind, but for what is given."""

    def make(**changes: Any) -> RunRecord:
        values: dict[str, Any] = {
            "name": "run-1",
            "path": Path("runs/run-1"),
            "spec": RunSpec(),
            "manifest": {"data": {"name": "mine", "kind": "folder"}},
            "history": [],
            "predictions": {},
            "state": "finished",
        }
        return RunRecord.of(**{**values, **changes})

    return make


def draw_line(figure: MplFigure) -> None:
    figure.add_subplot().plot([1, 2], [3, 4])


@pytest.fixture
def line_figure() -> Figure:
    """A line."""
    return Figure("line", "A line", "It rises.", draw_line, (3.0, 2.0), {"y": [3, float("nan")]}, "It <rises>.")


@pytest.fixture
def small_report(line_figure: Figure) -> Report:
    """One section with a table and a figure, and one that is missing."""
    columns = (Column("Class | name"), Column("F1", ".2f", "right"), Column("Support", ",d", "right"))
    rows = (("<b>altar</b>", 0.987, 1200), ("a_b|c*d*", None, 0), ("apse", float("nan"), 7))
    section = Section(
        "Classes & more",
        "Altar is best; `ahekit resume` goes on.",
        (Table("By class", columns, rows, "Support: images."),),
        (line_figure,),
        {"best": "altar", "share": float("nan")},
        name="classes",
    )
    missing = (Missing("curves", "no epoch was measured"),)
    return Report("run-1", "Run run-1", "cnn5 · mine", (("Model", "cnn5"),), (section,), missing)

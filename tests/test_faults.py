"""What a plugin returned that no renderer could write is told by table, row and kind."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from ahekit.faults import section_faults, visualization_faults
from ahekit.sections import Animation, Column, Figure, Section, Table, Visualization

replace: Any = dataclasses.replace  # with values that no type checker would let pass

FIGURE = Figure("line", "A line", "It rises.", lambda canvas: None, (3.0, 2.0), {"y": [3, float("nan")]})
COLUMNS = (Column("class"), Column("F1", ".2f", "right"))
ROWS: Any = (("altar", 0.98), ("apse", None), ("vault", np.float32(0.5)), ("column", np.int64(1)))
SECTION = Section("Title", "Reading.", (Table("By class", COLUMNS, ROWS),), (FIGURE,), {"best": np.arange(3)})
SEEN = Visualization(
    {"map": np.zeros((2, 2))},
    (FIGURE,),
    ("a note",),
    SECTION.tables,
    (Animation("a", np.zeros((2, 4, 4, 3), np.uint8)),),
)


def of_rows(*rows: Any) -> Any:
    return replace(SECTION, tables=(Table("By class", COLUMNS, rows),))


def of_values(**values: Any) -> Any:
    return replace(SECTION, values=values)


def of_figure(**changes: Any) -> Any:
    return replace(SECTION, figures=(replace(FIGURE, **changes),))


def endless() -> dict[str, Any]:
    values: dict[str, Any] = {}
    values["self"] = values
    return values


def test_what_every_renderer_can_write_has_no_fault() -> None:
    assert list(section_faults(SECTION)) == []
    assert list(visualization_faults(SEEN)) == []


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        (None, "it returned a NoneType, not a Section"),
        ((n for n in range(2)), "it returned a generator, not a Section"),
        (replace(SECTION, title=3), "its title is an int, not text"),
        (replace(SECTION, reading=None), "its reading is a NoneType, not text"),
        (replace(SECTION, tables=None), "its tables are a NoneType, not a tuple"),
        (replace(SECTION, tables=("t",)), "its tables hold a str, not a Table"),
        (of_rows(("altar",)), "table 'By class': row 1 has 1 cells and the table 2 columns"),
        (of_rows(("altar", 1.0), ("apse", 1.0, 2)), "table 'By class': row 2 has 3 cells and the table 2 columns"),
        (of_rows("ab"), "table 'By class': row 1 is a str, not a tuple of cells"),
        (of_rows(("altar", [1])), "table 'By class': row 1, column 'F1': a list is no cell; cells are text"),
        (of_rows(("altar", torch.ones(2))), "row 1, column 'F1': a Tensor is no cell"),
        (
            replace(SECTION, tables=(Table("T", ["class"], ()),)),  # type: ignore[arg-type]
            "table 'T': its columns are no tuple of Column",
        ),
        (
            replace(SECTION, tables=(Table("T", (Column("n", "q"),), ((1,),)),)),
            "table 'T': row 1, column 'n': 1 can't be written as 'q' (",
        ),
        (replace(SECTION, figures=FIGURE), "its figures are a Figure, not a tuple"),
        (replace(SECTION, figures=[None]), "its figures hold a NoneType, not a Figure"),
        (of_figure(draw=None), "figure 'line': its draw is a NoneType, not a function"),
        (of_figure(size=(3,)), "figure 'line': its size is (3,), not width and height in inches"),
        (of_figure(size=(3, -1)), "figure 'line': its size is (3, -1), not width and height in inches"),
        (of_figure(size=(3, float("inf"))), "figure 'line': its size is (3, inf), not width and height"),
        (of_figure(data=[1]), "figure 'line': its data are a list, not a mapping"),
        (replace(SECTION, values=None), "its values are a NoneType, not a mapping"),
        (of_values(best=object()), "values.best is an object, which JSON doesn't know"),
        (of_values(a={"b": [1, {1, 2}]}), "values.a.b[1] is a set, which JSON doesn't know"),
        (of_values(a=np.array([object()])), "values.a is an array of Python objects, which JSON doesn't know"),
        (replace(SECTION, values=endless()), "nests deeper than 20 levels"),
    ],
)
def test_a_section_that_is_none_is_told_by_place_and_kind(section: Any, fault: str) -> None:
    assert fault in next(section_faults(section))


@pytest.mark.parametrize(
    ("seen", "fault"),
    [
        (np.zeros(3), "it returned a ndarray, not a Visualization"),
        (replace(SEEN, arrays=[np.zeros(3)]), "its arrays are a list, not a mapping of names to arrays"),
        (replace(SEEN, arrays={"map": torch.zeros(3)}), "array 'map' is a Tensor, not a NumPy array"),
        (replace(SEEN, arrays={"map": [1, 2]}), "array 'map' is a list, not a NumPy array"),
        (replace(SEEN, arrays={3: np.zeros(3)}), "an array goes by 3, which is no name"),
        (replace(SEEN, arrays={"map": np.array([None])}), "array 'map' holds Python objects, which no file of arrays"),
        (replace(SEEN, figures=None), "its figures are a NoneType, not a tuple"),
        (replace(SEEN, notes="a note"), "its notes are no tuple of lines"),
        (replace(SEEN, notes=(3,)), "its notes are no tuple of lines"),
        (replace(SEEN, tables=(Table("T", COLUMNS, (("a",),)),)), "row 1 has 1 cells and the table 2 columns"),
        (replace(SEEN, animations=None), "its animations are a NoneType, not a tuple"),
        (replace(SEEN, animations=(Animation("a", np.zeros((2, 4, 4))),)), "animation 'a': its frames are no uint8"),
    ],
)
def test_a_visualization_that_is_none_is_told_by_place_and_kind(seen: Any, fault: str) -> None:
    assert fault in next(visualization_faults(seen))

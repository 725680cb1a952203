"""What is wrong with a section or a visualization that a plugin returned, before anything renders it.

A ragged table or a tensor among the arrays would otherwise come up in the renderer, far from whoever wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from ahekit.sections import (
    Animation,
    Claim,
    ClaimReading,
    Column,
    Exercise,
    Experiment,
    Figure,
    Section,
    Table,
    Visualization,
    Widget,
    format_cell,
)
from ahekit.wording import kind_of

DEEPEST = 20
"""Levels that values may nest; what holds itself has no end."""


def section_faults(section: Any) -> Iterator[str]:
    """Whatever keeps a value from being a section that every renderer can write, a phrase each."""
    if not isinstance(section, Section):
        yield f"it returned {kind_of(section)}, not a Section"
        return
    yield from _no_text(section, "title", "reading", "verdict")
    yield from _tables(section.tables)
    yield from _figures(section.figures)
    yield from _data(section.values, "values")
    yield from _widgets(section.widgets)


def visualization_faults(seen: Any) -> Iterator[str]:
    """Whatever keeps a value from being a visualization that can be saved, a phrase each."""
    if not isinstance(seen, Visualization):
        yield f"it returned {kind_of(seen)}, not a Visualization"
        return
    yield from _arrays(seen.arrays)
    yield from _figures(seen.figures)
    yield from _tables(seen.tables)
    if not _is_list(seen.notes) or not all(isinstance(note, str) for note in seen.notes):
        yield "its notes are no tuple of lines"
    if not _is_list(seen.animations):
        yield f"its animations are {kind_of(seen.animations)}, not a tuple"
        return
    for animation in seen.animations:
        yield from _animation(animation)


def experiment_faults(experiment: Any) -> Iterator[str]:
    """Whatever keeps a value from being a lesson's experiment that can be shown, a phrase each."""
    if not isinstance(experiment, Experiment):
        yield f"it returned {kind_of(experiment)}, not an Experiment"
        return
    yield from _no_text(experiment, "subtitle")
    if not _is_list(experiment.notes) or not all(isinstance(note, str) for note in experiment.notes):
        yield "its notes are no tuple of lines"
    for name, kind in (("sections", Section), ("claims", Claim), ("exercises", Exercise)):
        parts = getattr(experiment, name)
        if not _is_list(parts) or not all(isinstance(part, kind) for part in parts):
            yield f"its {name} are no tuple of {kind.__name__}"
            return
    for section in experiment.sections:
        yield from section_faults(section)
    for claim in experiment.claims:
        yield from _no_text(claim, "text", "because")
        if claim.reading not in get_args(ClaimReading):
            yield f"claim {claim.text!r}: its reading is {claim.reading!r}, none of {', '.join(get_args(ClaimReading))}"
    for exercise in experiment.exercises:
        yield from _no_text(exercise, "name", "question", "hint")
        if isinstance(exercise.answer, bool) or not isinstance(exercise.answer, str | int | float):
            yield f"exercise {exercise.name!r}: its answer is {kind_of(exercise.answer)}, no number and no text"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _no_text(part: Any, *names: str) -> Iterator[str]:
    for name in names:
        if not isinstance(getattr(part, name), str):
            yield f"its {name} is {kind_of(getattr(part, name))}, not text"


def _widgets(widgets: Any) -> Iterator[str]:
    if not _is_list(widgets) or not all(isinstance(widget, Widget) for widget in widgets):
        yield "its widgets are no tuple of Widget"
        return
    for widget in widgets:
        yield from _no_text(widget, "name", "script", "text", "style")
        yield from _data(widget.data, f"data of widget {widget.name!r}")
        for part in ("script", "style"):
            if f"</{part}" in str(getattr(widget, part)).lower():
                yield f"the {part} of widget {widget.name!r} holds '</{part}', which would end it on the page"


def _tables(tables: Any) -> Iterator[str]:
    if not _is_list(tables):
        yield f"its tables are {kind_of(tables)}, not a tuple"
        return
    for table in tables:
        if isinstance(table, Table):
            yield from (f"table {table.title!r}: {fault}" for fault in _table(table))
        else:
            yield f"its tables hold {kind_of(table)}, not a Table"


def _table(table: Table) -> Iterator[str]:
    yield from _no_text(table, "title", "note")
    if not _is_list(table.columns) or not all(isinstance(column, Column) for column in table.columns):
        yield "its columns are no tuple of Column"
        return
    if not _is_list(table.rows):
        yield f"its rows are {kind_of(table.rows)}, not a tuple"
        return
    for number, row in enumerate(table.rows, start=1):
        if not _is_list(row):
            yield f"row {number} is {kind_of(row)}, not a tuple of cells"
        elif len(row) != len(table.columns):
            yield f"row {number} has {len(row)} cells and the table {len(table.columns)} columns"
        else:
            yield from (
                f"row {number}, column {column.name!r}: {fault}"
                for cell, column in zip(row, table.columns, strict=True)
                if (fault := _cell(cell, column))
            )


def _cell(cell: Any, column: Column) -> str:
    if not (cell is None or isinstance(cell, str | int | float) or _is_scalar(cell)):
        return f"{kind_of(cell)} is no cell; cells are text, numbers or None"
    try:
        format_cell(cell, column)
    except (TypeError, ValueError) as error:
        return f"{cell!r} can't be written as {column.format!r} ({error})"
    return ""


def _is_scalar(value: Any) -> bool:
    """Whether it is a number of NumPy's."""
    return hasattr(value, "dtype") and getattr(value, "shape", None) == () and value.dtype.kind in "biuf"


def _figures(figures: Any) -> Iterator[str]:
    if not _is_list(figures):
        yield f"its figures are {kind_of(figures)}, not a tuple"
        return
    for figure in figures:
        if isinstance(figure, Figure):
            yield from (f"figure {figure.name!r}: {fault}" for fault in _figure(figure))
        else:
            yield f"its figures hold {kind_of(figure)}, not a Figure"


def _figure(figure: Figure) -> Iterator[str]:
    yield from _no_text(figure, "name", "title", "alt", "caption")
    if not callable(figure.draw):
        yield f"its draw is {kind_of(figure.draw)}, not a function"
    sides = figure.size if _is_list(figure.size) else ()
    if len(sides) != 2 or not all(isinstance(side, int | float) and 0 < side < math.inf for side in sides):
        yield f"its size is {figure.size!r}, not width and height in inches"
    yield from _data(figure.data, "data")


def _arrays(arrays: Any) -> Iterator[str]:
    import numpy as np

    if not isinstance(arrays, Mapping):
        yield f"its arrays are {kind_of(arrays)}, not a mapping of names to arrays"
        return
    for name, array in arrays.items():
        if not isinstance(name, str) or not name:
            yield f"an array goes by {name!r}, which is no name"
        if not isinstance(array, np.ndarray):
            yield f"array {name!r} is {kind_of(array)}, not a NumPy array"
        elif array.dtype.hasobject:
            yield f"array {name!r} holds Python objects, which no file of arrays can"


def _animation(animation: Any) -> Iterator[str]:
    if not isinstance(animation, Animation):
        yield f"its animations hold {kind_of(animation)}, not an Animation"
        return
    shape: tuple[int, ...] = getattr(animation.frames, "shape", ())
    if len(shape) != 4 or shape[-1] != 3 or not shape[0] or str(getattr(animation.frames, "dtype", "")) != "uint8":
        yield f"animation {animation.name!r}: its frames are no uint8 pictures (T, H, W, 3)"


def _data(values: Any, place: str, depth: int = 0) -> Iterator[str]:
    """What JSON doesn't know; NumPy's numbers and arrays become plain ones when they are written."""
    if depth > DEEPEST:
        yield f"{place} nests deeper than {DEEPEST} levels"
    elif depth == 0 and not isinstance(values, Mapping):
        yield f"its {place} are {kind_of(values)}, not a mapping"
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from _data(value, f"{place}.{key}", depth + 1)
    elif _is_list(values):
        # One fault stands for those of a long list.
        for number, value in enumerate(values):
            if (fault := next(_data(value, f"{place}[{number}]", depth + 1), None)) is not None:
                yield fault
                break
    elif hasattr(values, "tolist"):
        if getattr(getattr(values, "dtype", None), "hasobject", False):
            yield f"{place} is an array of Python objects, which JSON doesn't know"
    elif not (values is None or isinstance(values, str | int | float)):
        yield f"{place} is {kind_of(values)}, which JSON doesn't know"

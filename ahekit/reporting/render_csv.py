"""A report's tables as CSV, and the images it rests on: for spreadsheets and for whoever goes on with the numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ahekit.evaluation.predictions import Predictions
from ahekit.reporting.build import Report
from ahekit.sections import Cell, Section, Table


def table_files(report: Report) -> dict[str, bytes]:
    """Every table as a file by its name: numbers as they are, not rounded as they are shown; an empty cell is empty."""
    files = {}
    for section in report.sections:
        for number, table in enumerate(section.tables, start=1):
            rows = ([_plain(cell) for cell in row] for row in table.rows)
            files[f"{table_name(section, table, number)}.csv"] = _csv(unique(table), rows)
    return files


def prediction_files(predictions: Mapping[str, Predictions]) -> dict[str, bytes]:
    """A file for each split: id, true label (empty where unknown), predicted class, and every class's probability."""
    return {f"predictions-{split}.csv": _predictions(found) for split, found in predictions.items()}


def table_name(section: Section, table: Table, number: int) -> str:
    """File stem of a section's table."""
    words = re.sub(r"[^\w]+", "-", table.title.lower()).strip("-_")[:48].rstrip("-_")
    name = re.sub(r"[^\w.-]+", "_", section.name)
    return f"{name}-{number}-{words}"


def unique(table: Table) -> list[str]:
    """The names of its columns, of which several may be called the same: those say whose they are."""
    names = [column.name for column in table.columns]
    return [
        f"{names[place - 1]} {name}" if names.count(name) > 1 and place else name for place, name in enumerate(names)
    ]


def _predictions(predictions: Predictions) -> bytes:
    names = predictions.class_names
    header = ["id", "label", "predicted", *(f"p({name})" for name in names)]
    parts = zip(
        predictions.ids,
        predictions.labels.tolist(),
        predictions.predicted.tolist(),
        predictions.probabilities.tolist(),
        strict=True,
    )
    rows = (
        [name, names[label] if label >= 0 else "", names[guess], *(f"{share:.6g}" for share in shares)]
        for name, label, guess, shares in parts
    )
    return _csv(header, rows)


def _plain(cell: Cell) -> Any:
    return "" if cell is None or cell != cell else cell


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    # Half a surrogate pair, as in a file name of another encoding, can't be written; it is spelled out.
    return file.getvalue().encode("utf-8", "backslashreplace")

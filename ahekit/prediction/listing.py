"""A survey's photos as a table for spreadsheets and scripts: `predictions.csv`."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ahekit.errors import DataError
from ahekit.files import atomic_file
from ahekit.protocols import PhotoRow

if TYPE_CHECKING:
    from ahekit.prediction.survey import Survey

FILE_NAME = "predictions.csv"
COLUMNS = ("path", "class", "confidence", "runner_up", "runner_up_confidence", "state", "reason")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_ROWS_AT_ONCE = 1_000


def write_predictions_csv(survey: Survey) -> Path:
    """Write `predictions.csv` into a survey's folder: a line for each photo, by path.

    Raises:
        DataError: It can't be written; an earlier one is still there.
    """
    path = survey.folder / FILE_NAME
    write_csv(path, COLUMNS, (prediction_cells(row) for row in survey.rows()))
    return path


def prediction_cells(row: PhotoRow) -> tuple[str, ...]:
    """A photo's cells of `COLUMNS`: what was predicted, whatever a person decided since."""
    return (
        path_cell(row.path),
        text_cell(row.class_name),
        number_cell(row.confidence),
        text_cell(row.runner_up),
        number_cell(row.runner_up_confidence),
        row.state,
        text_cell(row.reason),
    )


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], *, mark_encoding: bool = False) -> int:
    """Write a table whole or not at all, row by row, and return the number of rows.

    Args:
        mark_encoding: Begin with a byte order mark, by which Excel knows UTF-8.

    Raises:
        DataError: It can't be written.
    """
    try:
        with atomic_file(path) as file:
            if mark_encoding:
                file.write(b"\xef\xbb\xbf")
            number = 0
            for block in _blocks(columns, rows):
                number += block[0]
                file.write(block[1])
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror})") from error
    return number


def path_cell(path: str) -> str:
    r"""A path that a spreadsheet takes for no formula, and that still leads to the file: `./` before a `=`, `-` ….

    Bytes that are no UTF-8 are spelled out, as in `caf\xe9.jpg`.
    """
    shown = shown_path(path)
    return f"./{shown}" if shown.startswith(_FORMULA) else shown


def text_cell(text: str | None) -> str:
    """A text that a spreadsheet takes for no formula: with an apostrophe before it; empty where there is none."""
    shown = shown_path(text or "")
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def number_cell(number: float | None) -> str:
    """A share with four digits; empty where there is none."""
    return "" if number is None else f"{number:.4f}"


def shown_path(path: str) -> str:
    r"""A path as text that every program can read; bytes that are no UTF-8 as `\xe9`."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _blocks(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[tuple[int, bytes]]:
    """The table in pieces, each with the number of its rows."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    number = 0
    for row in rows:
        writer.writerow(row)
        number += 1
        if number == _ROWS_AT_ONCE:
            yield number, text.getvalue().encode()
            text.seek(0)
            text.truncate()
            number = 0
    yield number, text.getvalue().encode()

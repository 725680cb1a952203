"""Photos as a CSV table, a line each."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import Field

from ahekit.files import full_path
from ahekit.prediction.listing import COLUMNS, path_cell, prediction_cells, text_cell, write_csv
from ahekit.protocols import Params, PhotoRow, SurveyFacts
from ahekit.wording import counted


class CsvParams(Params):
    """What can be changed about it."""

    out: Path | None = Field(None, description="file to write; none: photos.csv in the survey's folder")
    excel: bool = Field(False, description="begin with a byte order mark, by which Excel knows the letters")


class CsvTable:
    """A table for spreadsheets and scripts: predictions, what people decided, and where each photo is."""

    Params = CsvParams

    def write(self, rows: Iterable[PhotoRow], facts: SurveyFacts, params: CsvParams) -> str:
        """Write it."""
        path = full_path(params.out) if params.out else facts.folder / "photos.csv"
        columns = (*COLUMNS, "decision", "decided_at", "file", "model")
        number = write_csv(path, columns, (_cells(row, facts) for row in rows), mark_encoding=params.excel)
        return f"{counted(number, 'photo')} in {path}"


def _cells(row: PhotoRow, facts: SurveyFacts) -> tuple[str, ...]:
    decision = "none of them" if row.decision == "" else text_cell(row.decision)
    return *prediction_cells(row), decision, row.decided_at or "", path_cell(str(row.file)), text_cell(facts.model)

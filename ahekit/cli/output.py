"""What a command makes: tables that fit a screen, files in the run's folder or in the one that `--out` names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ahekit.errors import RunError
from ahekit.files import write_atomic
from ahekit.model_folder import ModelFolder
from ahekit.run import Run
from ahekit.sections import Table

ROWS = 20
"""Of a table in the terminal."""


def shortened(table: Table, where: str) -> Table:
    """A table's first rows, with a note of how many more there are, and where."""
    left = len(table.rows) - ROWS
    if left <= ROWS // 4:  # for so few it isn't worth looking elsewhere
        return table
    note = f"{left:,d} more rows: {where}. {table.note}".strip()
    return replace(table, rows=table.rows[:ROWS], note=note)


def write_files(files: Mapping[str, bytes], run: Run | ModelFolder, out: Path | None) -> list[Path]:
    """Write files by their relative paths into the run's folder, or into `out`; folders are made as needed.

    Raises:
        RunError: The folder can't be written.
    """
    if out is None:
        assert isinstance(run, Run), "a model folder stays as it was exported"
        return [run.write_bytes(name, content) for name, content in files.items()]
    return write_folder(files, out)


def write_folder(files: Mapping[str, bytes], folder: Path) -> list[Path]:
    """Write files by their relative paths into a folder, which is made as needed.

    Raises:
        RunError: It can't be written.
    """
    paths = []
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content)
            paths.append(path)
    except OSError as error:
        raise RunError(f"{folder}: can't be written ({error.strerror}); choose a folder with --out") from error
    return paths

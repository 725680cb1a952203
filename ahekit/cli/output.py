"""Files that a command makes: in the run's folder, or in the one that `--out` names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ahekit.errors import RunError
from ahekit.files import write_atomic
from ahekit.run import Run


def write_files(files: Mapping[str, bytes], run: Run, out: Path | None) -> list[Path]:
    """Write files by their relative paths into the run's folder, or into `out`; folders are made as needed.

    Raises:
        RunError: The folder can't be written.
    """
    if out is None:
        return [run.write_bytes(name, content) for name, content in files.items()]
    paths = []
    try:
        for name, content in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, content)
            paths.append(path)
    except OSError as error:
        raise RunError(f"{out}: can't be written ({error.strerror}); choose a folder with --out") from error
    return paths

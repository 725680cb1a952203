"""Runs the command line: `ahekit`, `python -m ahekit`, and what torchrun starts."""

from __future__ import annotations

import io
import sys

from ahekit import console
from ahekit.cli import app
from ahekit.errors import AhekitError


def main() -> None:
    """Run the command line; an `AhekitError` becomes its lines on stderr and an exit code, a bug its traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal's encoding can't show is no reason to die in the middle of a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = app(prog_name="ahekit")
    except AhekitError as error:
        console.error(*error.lines)
        code = error.exit_code
    sys.exit(code)


if __name__ == "__main__":
    main()

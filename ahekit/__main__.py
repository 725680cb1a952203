"""Runs the command line: `ahekit`, `python -m ahekit`, and what torchrun starts."""

from __future__ import annotations

import io
import sys

from ahekit import console
from ahekit.cli import app
from ahekit.errors import AhekitError
from ahekit.guard import lets_bugs_through
from ahekit.registry import blame


def main() -> None:
    """Run the command line; an `AhekitError` becomes its lines on stderr and an exit code, a bug its traceback.

    A bug in the code of somebody else's plugin is a line that names it, unless `AHEKIT_TRACEBACK` is set.
    """
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal's encoding can't show is no reason to die in the middle of a run.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with console.telling_logs():
            code = app(prog_name="ahekit")
    except AhekitError as error:
        console.error(*error.lines)
        code = error.exit_code
    except (Exception, SystemExit) as error:
        if lets_bugs_through() or (blamed := blame(error)) is None:
            raise
        console.error(*blamed.lines)
        code = blamed.exit_code
    sys.exit(code)


if __name__ == "__main__":
    main()

"""Runs the command line: `ahekit`, `python -m ahekit`, and what torchrun starts."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

from ahekit import console
from ahekit.cli import app
from ahekit.console.streams import lost_output, sturdy_streams
from ahekit.errors import AhekitError, MachineError, MemoryShortage
from ahekit.guard import lets_bugs_through
from ahekit.registry import blame


def main() -> None:
    """Run the command line; an `AhekitError` becomes its lines on stderr and an exit code, a bug its traceback.

    A bug in the code of somebody else's plugin is a line that names it, unless `AHEKIT_TRACEBACK` is set.
    """
    keep_to_file_backends()
    with sturdy_streams() as (stdout, stderr), console.telling_logs():
        code = run()
        if lost := lost_output(stdout):
            console.error(lost)
        stderr.flush()
        if stdout.failure or stderr.failure:
            code = code or 1
    sys.exit(code)


def keep_to_file_backends() -> None:
    """Keep matplotlib from the user's settings and backend, which it would read, and choke on, when first imported.

    A notebook hands its `!` commands a backend that their environment may lack.
    """
    os.environ["MPLBACKEND"] = "agg"
    library = find_spec("matplotlib")
    for folder in (library.submodule_search_locations or ()) if library else ():
        os.environ["MATPLOTLIBRC"] = os.path.join(folder, "mpl-data", "matplotlibrc")


def run() -> int:
    """Run the command line and say what it fails with; returns the exit code."""
    try:
        return int(app(prog_name="ahekit") or 0)
    except AhekitError as error:
        failure: AhekitError = error
    except KeyboardInterrupt:
        console.error("interrupted")
        return 130
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and isinstance(error.code, int | None) and blame(error) is None:
            raise
        told = MemoryShortage.behind(error) or blame(error) or MachineError.behind(error)
        if told is None or lets_bugs_through():
            raise
        failure = told
    console.error(*failure.lines)
    return failure.exit_code


if __name__ == "__main__":
    main()

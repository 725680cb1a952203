"""`ahekit resume`: go on with an interrupted run, to the same weights as if it had never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ahekit.cli import options, training
from ahekit.errors import RunError
from ahekit.run import Run, find_run, list_runs, runs_root


def resume(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Run by path, name or part of its name. Without it: the newest that was interrupted.",
            autocompletion=options.complete_runs,
        ),
    ] = None,
    *,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            min=1,
            metavar="N",
            help="Train to N epochs in all, also a finished run that kept its optimizer's state "
            "(--set train.keep_optimizer=true).",
        ),
    ] = None,
    data: options.MovedData = None,
    runs: options.Runs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Go on with an interrupted run, to the weights of an unbroken one."""
    training.speak_once(quiet=quiet, json=json)
    root = runs_root(runs)
    training.resume_run(find_run(root, run) if run is not None else _newest(root), epochs=epochs, data=data)


def _newest(root: Path) -> Run:
    """The newest run that was interrupted.

    Raises:
        RunError: There is none.
    """
    runs = list_runs(root)
    newest = next((run for run in runs if run.status.state == "interrupted" and not run.fault), None)
    if newest is not None:
        return newest
    if not runs:
        raise RunError(f"no run in {root}; `ahekit train` makes one")
    first = runs[0]
    raise RunError(f"no run in {root} is interrupted; {first.name}, the newest, is {first.status.state}")

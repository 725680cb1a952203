"""`ahekit write`: a survey in the form that other software reads."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.cli.plugin_options import PluginCommand, parameters
from ahekit.errors import AhekitError, PartlyDone, UsageError
from ahekit.registry import WRITERS

Only = Literal["all", "sure", "reviewed"]


class Command(PluginCommand):
    """Takes a writer's name as an option; its parameters are options."""

    registry = WRITERS


def write(
    context: typer.Context,
    survey: Annotated[
        Path, typer.Argument(metavar="SURVEY", help="Folder that `ahekit predict` made.", show_default=True)
    ] = Path("survey"),
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Writer: csv, jsonl, xmp …", autocompletion=Command.complete),
    ] = None,
    only: Annotated[
        Only,
        typer.Option(
            "--only",
            help="all; sure: accepted, or decided on by a person; reviewed: the latter alone.",
            show_default=True,
        ),
    ] = "all",
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PARAMETER=VALUE",
            help="Set any parameter of the writer; repeatable, and wins over its option.",
        ),
    ] = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Write a survey for other software: lists, or XMP sidecars."""
    console.configure(quiet=quiet, json=json)
    if name is None:
        raise UsageError(f"say what to write: --as NAME, one of {', '.join(WRITERS.names())}")
    values = parameters(context, assignments or ())
    from ahekit.prediction.survey import Survey
    from ahekit.prediction.writing import write_survey

    with closing(Survey.open(survey)) as opened:
        counts = opened.counts()
        total = {"all": counts.total, "reviewed": counts.reviewed, "sure": None}[only]
        problems: tuple[str, ...] = ()
        failure: AhekitError | None = None
        with console.progress(f"writing {name}", total) as advance:
            try:
                told = write_survey(opened, name, values, only=only, advance=advance)
            except PartlyDone as error:
                told, problems, failure = error.done, error.problems, error
    if json:
        console.show_json({"writer": name, "only": only, "told": told, "problems": problems})
    if failure is not None:
        raise failure
    console.say(f"{name}: {told}")

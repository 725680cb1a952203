"""`ahekit explain`: lessons on the ideas behind the tool, on the own network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.cli.output import write_folder
from ahekit.cli.plugin_options import PluginCommand, parameters
from ahekit.cli.report import show
from ahekit.errors import UsageError
from ahekit.protocols import describe
from ahekit.registry import LESSONS
from ahekit.sections import Column, Table

KEPT = "kept"
"""Below a lesson's folder: what it keeps of what took long, so that it goes on there when it is run again."""


class Command(PluginCommand):
    """Takes a lesson's name; its parameters are options."""

    registry = LESSONS

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; the first that is done, for it loads the lesson and with it torch.

        Torch's threads read how to wait when they are loaded. Threads that spin take the cores from whoever they wait
        for: with other programs on the same two cores, a lesson's training took 18 times as long.
        """
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        return super().parse_args(ctx, args)


def explain(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="TOPIC", help="Lesson. Without it: the list of them.", autocompletion=Command.complete),
    ] = "",
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Whose network, by path, name or part of its name. Without it: the newest that serves.",
            autocompletion=options.complete_runs,
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The long experiment, on real data.")] = False,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Check the answers in this file to the exercises.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PARAMETER=VALUE", help="Set any parameter of the lesson; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Where the page goes. Without it: lessons/TOPIC.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="DATA",
            help="What a lesson that trains trains on: a dataset's name, folder or archive. Without it: the embedded "
            "sample, with --full the installed ahe64. For a lesson on a run: where its images are now, if moved.",
        ),
    ] = None,
    seed: options.Seed = None,
    device: options.Device = None,
    runs: options.Runs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Learn an idea by an experiment on your own network.

    A page to read and try, and exercises whose answers `--check` checks.
    """
    console.configure(quiet=quiet, json=json)
    if not name:
        list_lessons(json=json)
        return
    folder = out or Path("lessons") / name
    params = parameters(context, assignments or ())
    if check is not None:
        check_file(name, folder, check, json=json)
        return
    from ahekit.cli.viz import counting
    from ahekit.reporting.files import report_files
    from ahekit.run import runs_root
    from ahekit.teaching import EXERCISES, exercise_file, lesson_report, teach

    lesson = LESSONS.get(name)
    console.say(f"{lesson.title}: takes about {duration(lesson, full=full)}")
    with counting(name) as progress:
        experiment = teach(
            name,
            params=params,
            root=runs_root(runs),
            run=run,
            device=device or "auto",
            seed=seed or 0,
            full=full,
            progress=progress,
            data=data,
            folder=folder / KEPT,
        )
    report, files = report_files(lesson_report(name, experiment), ("html", "md", "json"))
    paths = write_folder({**files, EXERCISES: exercise_file(experiment)}, folder)
    show(report, full=True)
    page = next(path for path in paths if path.suffix == ".html")
    console.say(f"page: {page}")
    if json:
        console.show_json({"lesson": name, "page": str(page), "claims": [vars(each) for each in experiment.claims]})
    if open_page and typer.launch(str(page)):
        console.warn("no browser could be started; open the page by its path")


def list_lessons(*, json: bool) -> None:
    """Show what can be learned, and how long each takes."""
    lessons = {name: LESSONS.get(name) for name in LESSONS.names()}
    if json:
        console.show_json([{"name": name, "about": describe(each)} for name, each in lessons.items()])
        return
    rows = tuple((name, describe(each), duration(each)) for name, each in lessons.items())
    columns = (Column("topic"), Column("experiment"), Column("takes", align="right"))
    console.show_table(Table("Lessons", columns, rows, note="`ahekit explain TOPIC --help` shows the options of one."))


def duration(lesson: Any, *, full: bool = False) -> str:
    """How long a lesson takes on two processor cores, in words."""
    minutes = getattr(lesson, "full_minutes", None) if full else None
    if minutes is not None:
        return f"{minutes:g} min"
    return f"{lesson.seconds:g} s" if lesson.seconds < 100 else f"{lesson.seconds / 60:.0f} min"


def check_file(name: str, folder: Path, file: Path, *, json: bool) -> None:
    """Say which of the answers in a file are right, with a hint for those that aren't.

    Raises:
        UsageError: The file is no table of answers.
        Exit: One of them is wrong (1).
    """
    from ahekit.teaching import check_answers, read_exercises
    from ahekit.validation import read_yaml

    answers = read_yaml(file)
    if not isinstance(answers, dict):
        raise UsageError(f"{file}: write a line for each answer, as in `name: value`")
    checked = check_answers(read_exercises(name, folder), answers)
    words = {True: "right", False: "wrong", None: "no answer"}
    if json:
        console.show_json({exercise.name: words[is_right] for exercise, _, is_right in checked})
    rows = tuple(
        (exercise.name, None if answer is None else str(answer), words[is_right], "" if is_right else exercise.hint)
        for exercise, answer, is_right in checked
    )
    columns = (Column("exercise"), Column("answer"), Column("is"), Column("hint"))
    console.show_table(Table(f"Exercises of {name}", columns, rows))
    if not all(is_right for _, _, is_right in checked):
        raise typer.Exit(1)

"""`ahekit report`: how good a run is, how sure that is, and what it confuses."""

from __future__ import annotations

import json as jsonlib
import shutil
import textwrap
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.cli.named_models import with_path
from ahekit.cli.output import shortened, write_files
from ahekit.errors import UnknownNameError, UsageError
from ahekit.model_folder import CARD, is_model_folder, read_model_folder

if TYPE_CHECKING:
    from ahekit.evaluation.record import Look
    from ahekit.reporting.build import Report
    from ahekit.reporting.files import FileFormat
    from ahekit.run import Run

FORMATS = ("console", "html", "md", "json", "csv", "latex", "svg", "png", "pdf")
_USUAL = ("console", "html", "md", "json")
_LINE_WIDTH = 100  # of prose; tables take the whole terminal
_LONGEST_FOLDER = 100  # characters


def complete_reporters(incomplete: str) -> list[str]:
    """Names of registered reporters, from package metadata."""
    from ahekit.registry import REPORTERS

    return [name for name in REPORTERS.names() if name.startswith(incomplete)]


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Runs by path, name or part of a name; several are compared with the first. Without any: the newest. "
            "Of a model folder: the figures it holds.",
            show_default=False,
            autocompletion=options.complete_runs,
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="LIST",
            help=f"What to make: any of {', '.join(FORMATS)}, separated by commas.",
        ),
    ] = ",".join(_USUAL),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Where the files go. Without it: the run's own report and figures folders."
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="REPORTER",
            help="Only this section, in full, in files of its own; repeatable.",
            autocompletion=complete_reporters,
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            "--skip", metavar="REPORTER", help="Leave this section out; repeatable.", autocompletion=complete_reporters
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="REPORTER.FIELD=VALUE",
            help="Set a reporter's parameter, as in confusion.pairs=20; repeatable.",
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Every section in the terminal, not the first table alone.")
    ] = False,
    data: options.MovedData = None,
    runs: options.Runs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Say how good a run is and how sure that is, or compare several.

    A screen in the terminal; a page, Markdown, JSON and figures as files.
    """
    from ahekit.reporting.build import build_comparison, build_report
    from ahekit.reporting.render_json import render_json
    from ahekit.run import find_run, runs_root, with_data

    console.configure(quiet=quiet, json=json)
    names = [with_path(name) for name in names or ()]
    if any(is_model_folder(name) for name in names):
        report_folders([Path(name) for name in names], json=json)
        return
    chosen = parse_formats(formats)
    if open_page and "html" not in chosen:
        raise UsageError("--open opens the page; have html among the formats of --format")
    params = reporter_params(assignments or ())
    chosen_runs = [
        find_run(runs_root(runs), name, is_fit=has_epochs, fit="has trained an epoch yet") for name in names or (None,)
    ]
    if data is not None:
        chosen_runs = [with_data(run, data) for run in chosen_runs]
    records = [replace(run.record(), look=partial(look_into, run)) for run in chosen_runs]
    if len(records) > 1:
        outcome = build_comparison(records, only=only or (), skip=skip or (), params=params)
    else:
        outcome = build_report(records[0], only=only or (), skip=skip or (), params=params)
    parts = ["comparison" if len(records) > 1 else "", selection(only or (), skip or ())]
    folder = "/".join(filter(None, parts))
    outcome, written = write_report(outcome, chosen_runs[0], chosen, out=out, folder=folder)
    if "console" in chosen:
        show(outcome, full=full or bool(only))
    if json:
        console.show_json(jsonlib.loads(render_json(outcome)))
    for missing in outcome.missing:
        console.warn(f"{missing.section}: {missing.reason}")
    for path in written:
        is_last = path == written[-1]
        console.say(f"{'report' if is_last else path.suffix.removeprefix('.') or path.name}: {path}")
    if open_page and typer.launch(str(next(path for path in written if path.suffix == ".html"))):
        console.warn("no browser could be started; open the page by its path")


def report_folders(paths: list[Path], *, json: bool) -> None:
    """Show what model folders hold of their networks: the figures of their cards.

    Raises:
        UsageError: There are runs among them, which hold more and are compared by it.
    """
    from ahekit.cli.export import as_json, costs_table, figures_table

    other = next((path for path in paths if not is_model_folder(path)), None)
    if other is not None:
        raise UsageError(f"{other}: a run and a model folder can't be compared, which takes the predictions of both")
    for folder in [read_model_folder(path) for path in paths]:
        console.show_table(figures_table(folder))
        if folder.notes.costs:
            console.show_table(costs_table(folder))
        if json:
            console.show_json({"folder": str(folder.path), "fingerprint": folder.fingerprint, **as_json(folder)})
        console.say(f"card: {folder.path / CARD}")
    console.say(
        "Confusions, curves and mistakes need the run itself: a model folder holds neither history nor predictions."
    )


def has_epochs(run: Run) -> bool:
    """Whether there is something to report on."""
    return not run.fault and bool(run.history().epochs or len(run.predictions()))


def look_into(run: Run, name: str, params: Mapping[str, Any]) -> Look:
    """What a visualizer sees in a run's network; torch and the network are loaded where no earlier look was kept.

    Raises:
        AhekitError: The run has no checkpoint, its images are gone, or the visualizer can't do it.
    """
    from ahekit.run import kept_look

    kept = kept_look(run, name, params)
    if kept is not None:
        return kept
    from ahekit.visualizing import look_into

    return look_into(run, name, params)


def reporter_params(assignments: Iterable[str]) -> dict[str, Any]:
    """Parameters by reporter, from assignments as in `confusion.pairs=20`.

    Raises:
        UsageError: One has no `=`, or no field before it.
    """
    from ahekit.registry import REPORTERS
    from ahekit.validation import merge, parse_assignment

    params: dict[str, Any] = {}
    for assignment in assignments:
        if "=" not in assignment:
            raise UsageError(f"--set {assignment}: write REPORTER.FIELD=VALUE, as in --set confusion.pairs=20")
        name, dot, inner = assignment.partition(".")
        if dot and name in REPORTERS.names():
            values = {name: parse_assignment(inner, REPORTERS.get(name).Params)}
        else:
            values = parse_assignment(assignment)  # whatever builds the report says which reporters there are
        params = merge(params, values)
    return params


def parse_formats(text: str) -> tuple[str, ...]:
    """The formats named in a comma-separated list.

    Raises:
        UnknownNameError: One of them is none.
    """
    chosen = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in chosen:
        if name not in FORMATS:
            raise UnknownNameError("report format", name, FORMATS)
    return chosen or _USUAL


def write_report(
    report: Report, run: Run, formats: tuple[str, ...], *, out: Path | None = None, folder: str = ""
) -> tuple[Report, list[Path]]:
    """Write a report's files into the run folder, or into `out`.

    Args:
        folder: Below the run's report folder, for pages and figures that aren't of this run alone.

    Returns:
        The report as it was rendered, and the paths worth telling: each page, and the folder of the figures.

    Raises:
        RunError: The folder can't be written.
    """
    from ahekit.reporting.files import report_files

    wanted = cast("list[FileFormat]", [name for name in formats if name != "console"])
    inside = {"pages": f"report/{folder}", "figures": f"report/{folder}/figures"} if folder else {"pages": "report"}
    report, files = report_files(report, wanted, **({} if out else inside))
    write_files(files, run, out)
    base = out or run.path
    folders = sorted({(base / name).parent for name in files if PurePosixPath(name).stem != "report"})
    pages = [base / name for name in files if PurePosixPath(name).stem == "report"]
    return report, [*folders, *reversed(pages)]


def selection(only: Collection[str], skip: Collection[str] = ()) -> str:
    """A folder name for a report on some sections, whose files don't take the place of the whole one's."""
    chosen = {word: list(dict.fromkeys(names)) for word, names in (("only", only), ("without", skip)) if names}
    name = "-".join("-".join([word, *names]) for word, names in chosen.items())
    if len(name) <= _LONGEST_FOLDER:
        return name
    return "-".join(f"{word}-{len(names)}-sections" for word, names in chosen.items())


def show(report: Report, *, full: bool) -> None:
    """The report in the terminal; its figures are files.

    Args:
        full: Every section with its text and tables; else what it comes to and the first table, on one screen.
    """
    width = min(shutil.get_terminal_size().columns, _LINE_WIDTH)
    console.say(report.title, *_wrapped(report.subtitle, width))
    if report.caveat:
        console.say(*_wrapped(report.caveat, width))
    if report.verdict:
        console.say("", *_wrapped(report.verdict, width))
    console.say("")
    if not full:
        tables = [table for section in report.sections for table in section.tables]
        if tables:
            console.show_table(replace(shortened(tables[0], "--full shows them"), note=""))
        titles = "; ".join(section.title for section in report.sections)
        console.say(*_wrapped(f"Sections of the page, and here with --full: {titles}.", width), "")
        return
    label_width = max((len(label) for label, _ in report.facts), default=0)
    for label, value in report.facts:
        console.say(*_wrapped(value, width, lead=f"  {label:<{label_width}}  "))
    console.say("")
    for section in report.sections:
        console.say(section.title.upper(), *_wrapped(section.reading, width), "")
        for table in section.tables:
            console.show_table(shortened(table, "the other formats have them"))


def _wrapped(text: str, width: int, *, lead: str = "") -> list[str]:
    # A path or id longer than the line stays whole, so that it can be copied.
    return textwrap.wrap(
        text,
        width,
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_long_words=False,
        break_on_hyphens=False,
    )

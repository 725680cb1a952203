"""`ahekit runs`: which runs there are, how far each got, what one is made of; remove some."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.cli.groups import ListByDefault
from ahekit.errors import AhekitError, RunError, UsageError
from ahekit.evaluation import facts
from ahekit.evaluation.record import RunRecord
from ahekit.notes import EpochRow
from ahekit.run import Run, check_removable, find_run, list_runs, remove_run, resume_command, runs_root
from ahekit.run.finding import is_run_path
from ahekit.sections import Column, Table
from ahekit.spec import RunSpec
from ahekit.validation import differences

app = typer.Typer(cls=ListByDefault, help="List runs, show one, remove some.")

METRICS = ("loss", "accuracy", "precision", "recall", "f1")


@dataclass(frozen=True)
class Summary:
    """A run at a glance; what can't be read of it is None, and `problem` says why.

    Attributes:
        state: "running", "interrupted" or "finished".
        epochs_done: Whole epochs trained and measured.
        val_f1: Best validation macro-F1 so far.
    """

    name: str
    state: str
    model: str | None = None
    data: str | None = None
    recipe: str | None = None
    seed: int | None = None
    epochs_done: int | None = None
    epochs: int | None = None
    val_f1: float | None = None
    problem: str = ""


@app.command("list")
def list_all(runs: options.Runs = None, json: options.Json = False) -> None:
    """List runs, newest first."""
    console.configure(json=json)
    root = runs_root(runs)
    summaries = [summarize(run) for run in list_runs(root)]
    if json:
        console.show_json([asdict(summary) for summary in summaries])
        return
    if not summaries:
        console.say(f"No run in {root} yet; `ahekit train` makes one.")
        return
    console.show_table(_list_table(root, summaries))
    for summary in summaries:
        if summary.problem:
            console.warn(f"{summary.name}: {summary.problem}")


@app.command()
def show(run: options.RunArgument = None, runs: options.Runs = None, json: options.Json = False) -> None:
    """Show how far a run got, what it measured last, and where its spec departs from its recipe."""
    console.configure(json=json)
    record = find_run(runs_root(runs), run).record()
    spec = record.spec
    last = record.epochs[-1] if record.epochs else None
    changed = differences(RunSpec(recipe=spec.recipe), spec)
    if json:
        told = {**asdict(summary_of(record)), "path": str(record.path), "reason": record.status.reason}
        changes = {field: {"recipe": recipe, "run": value} for field, (recipe, value) in changed.items()}
        console.show_json({**told, "last_epoch": last.model_dump() if last else None, "changes": changes})
        return
    console.show_table(_facts_table(record))
    if last:
        console.show_table(_epoch_table(record, last))
    words = facts.setting_words
    rows = tuple((field, words(recipe), words(value)) for field, (recipe, value) in changed.items())
    names = tuple(map(Column, ("field", "recipe", "this run")))
    console.show_table(Table(f"What differs from the recipe {spec.recipe}", names, rows))
    for fault in record.faults:
        console.warn(fault)
    if record.state == "interrupted":
        console.say("Go on with:", f"  {resume_command(record.path, record.manifest.processes)}")


@app.command()
def remove(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Runs by path, name or part of a name.",
            autocompletion=options.complete_runs,
        ),
    ],
    runs: options.Runs = None,
    yes: options.Yes = False,
) -> None:
    """Remove runs with all they hold: checkpoints, predictions, figures, reports."""
    root = runs_root(runs)
    doomed = {run.path.absolute(): run for run in (_named(root, name, whole=yes) for name in names)}
    for run in doomed.values():
        check_removable(run)
    listed = ", ".join(str(run.path) for run in doomed.values())
    if not yes and not console.confirm(f"Remove {listed}?", option="--yes"):
        console.say("Nothing removed.")
        return
    for run in doomed.values():
        remove_run(run)
        console.say(f"Removed {run.path}")


def _named(root: Path, name: str, *, whole: bool) -> Run:
    """The run of a name, which has to be the whole one where nobody is asked before it goes."""
    run = find_run(root, name)
    if whole and name != run.path.name and not is_run_path(name):
        raise UsageError(f"--yes takes whole names, so that no other run goes: {name!r} is a part of {run.name}")
    return run


@app.command()
def prune(
    keep: Annotated[
        int | None,
        typer.Option("--keep", min=0, metavar="N", help="Remove finished runs too, but for the N newest."),
    ] = None,
    runs: options.Runs = None,
    yes: options.Yes = False,
) -> None:
    """Remove runs that came to nothing: not running, not finished, and without a single checkpoint to resume from."""
    root = runs_root(runs)
    listed = list_runs(root)
    states = {run.name: run.status.state for run in listed}
    doomed = {run.name: run for run in listed if is_prunable(run)}
    if keep is not None:
        finished = [run for run in listed if states[run.name] == "finished"]
        doomed |= {run.name: run for run in finished[keep:]}
    removable: list[Run] = []
    for run in doomed.values():
        try:
            check_removable(run)
            removable.append(run)
        except RunError as error:
            console.warn(f"left alone: {error}")
    if not removable:
        console.say(f"Nothing to remove in {root}.")
        return
    console.say(*(f"  {run.name}  {states[run.name]}" for run in removable))
    if not yes and not console.confirm(f"Remove these {len(removable)} of {len(listed)} runs?", option="--yes"):
        console.say("Nothing removed.")
        return
    for run in removable:
        remove_run(run)
        console.say(f"Removed {run.path}")


def is_prunable(run: Run) -> bool:
    """Whether nothing can be made of a run: it ended before its first checkpoint."""
    return (
        run.is_readable and run.status.state == "interrupted" and not run.checkpoints() and not len(run.predictions())
    )


def summarize(run: Run) -> Summary:
    """A run at a glance, as far as its files can be read."""
    try:
        return summary_of(run.record())
    except AhekitError as error:
        return Summary(run.name, run.status.state, problem=" ".join(str(error).split()))


def summary_of(record: RunRecord) -> Summary:
    """A run at a glance."""
    scores = [value for row in record.epochs if (value := row.value("val", "f1")) is not None]
    return Summary(
        name=record.name,
        state=record.state,
        model=record.spec.model.name,
        data=record.manifest.data.name,
        recipe=record.spec.recipe,
        seed=record.spec.seed,
        epochs_done=sum(not row.partial for row in record.epochs),
        epochs=record.spec.train.epochs,
        val_f1=max(scores, default=None),
        problem="; ".join(record.faults),
    )


def _list_table(root: Path, summaries: list[Summary]) -> Table:
    columns = (
        *map(Column, ("run", "state", "spec")),
        Column("epochs", align="right"),
        Column("best val macro-F1", ".4f", "right"),
    )
    rows = tuple(
        (
            summary.name,
            summary.state if summary.model else "unreadable",
            f"{summary.model} on {summary.data or 'unknown data'}, {summary.recipe}, seed {summary.seed}"
            if summary.model
            else None,
            None if summary.epochs_done is None else f"{summary.epochs_done}/{summary.epochs}",
            summary.val_f1,
        )
        for summary in summaries
    )
    return Table(f"Runs in {root}, newest first", columns, rows)


def _facts_table(record: RunRecord) -> Table:
    summary = summary_of(record)
    root = record.manifest.data.root
    data = facts.data_words(record)
    told = {
        "folder": str(record.path),
        "model": facts.model_words(record),
        "data": f"{data} ({root})" if data and root else data or None,
        "images": facts.images_words(record.manifest.data) or None,
        "state": f"{record.state}: {record.status.reason}" if record.status.reason else record.state,
        "epochs": f"{summary.epochs_done} of {summary.epochs}",
        "time": facts.time_words(record) or None,
        "weights": facts.weights_words(record) or None,
        "best val macro-F1": None if summary.val_f1 is None else f"{summary.val_f1:.4f}",
        "best epoch": record.status.best.epoch or None,
        "checkpoints": ", ".join(path.name for path in Run(record.path).checkpoints()) or None,
        "predictions": ", ".join(sorted(record.predictions)) or None,
        "machine": record.manifest.hardware.words or None,
        "versions": facts.versions_words(record.manifest) or None,
    }
    return Table(record.name, (Column("what"), Column("value")), tuple(told.items()))


def _epoch_table(record: RunRecord, row: EpochRow) -> Table:
    splits = {"train, online": "train_online", "train": "train", "val": "val", "test": "test"}
    headers = dict(zip(METRICS, ("loss", "accuracy", "macro precision", "macro recall", "macro F1"), strict=True))
    others = {note.name: note.words for note in record.manifest.metrics if note.name not in METRICS}
    # Balanced accuracy is macro recall by another name: columns alike say nothing new.
    known = {tuple(row.value(split, name) for split in ("train", "val", "test")) for name in headers}
    headers |= {
        name: words
        for name, words in others.items()
        if (values := tuple(row.value(split, name) for split in ("train", "val", "test"))) not in known
        and any(value is not None for value in values)
    }
    cells = tuple((label, *(row.value(split, metric) for metric in headers)) for label, split in splits.items())
    columns = (Column("split"), *(Column(header, ".4f", "right") for header in headers.values()))
    note = "train, online: augmented images, dropout on, while the weights change; the others measured after."
    return Table(f"Epoch {row.epoch}, the last measured", columns, cells, note)

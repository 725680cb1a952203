"""`ahekit runs`: which runs there are, how far each got, what one is made of; remove some."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.cli.groups import ListByDefault
from ahekit.errors import RunError
from ahekit.run import Run, find_run, list_runs, runs_root
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
    found = [summarize(run) for run in list_runs(root)]
    if json:
        console.show_json([asdict(summary) for summary in found])
        return
    if not found:
        console.say(f"No run in {root} yet; `ahekit train` makes one.")
        return
    console.show_table(_list_table(root, found))
    for summary in found:
        if summary.problem:
            console.warn(summary.problem)


@app.command()
def show(run: options.RunArgument = None, runs: options.Runs = None, json: options.Json = False) -> None:
    """Show how far a run got, what it measured last, and where its spec departs from its recipe."""
    console.configure(json=json)
    found = find_run(runs_root(runs), run)
    spec, epochs = found.spec, _epoch_rows(found)
    changed = differences(RunSpec(recipe=spec.recipe), spec)
    if json:
        facts = {**asdict(summarize(found)), "path": str(found.path), "reason": found.status["reason"]}
        changes = {field: {"recipe": recipe, "run": value} for field, (recipe, value) in changed.items()}
        console.show_json({**facts, "last_epoch": epochs[-1] if epochs else None, "changes": changes})
        return
    console.show_table(_facts_table(found))
    if epochs:
        console.show_table(_epoch_table(epochs[-1]))
    rows = tuple((field, _text(recipe), _text(value)) for field, (recipe, value) in changed.items())
    names = tuple(map(Column, ("field", "recipe", "this run")))
    console.show_table(Table(f"What differs from the recipe {spec.recipe}", names, rows))
    if found.status["state"] == "interrupted":
        console.say("Go on with:", f"  ahekit resume {shlex.quote(str(found.path))}")


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
    found = {run.path.resolve(): run for run in (find_run(runs_root(runs), name) for name in names)}
    for run in found.values():
        if run.status["state"] == "running":
            raise RunError(f"{run.path}: is being trained; stop it first")
    listed = ", ".join(str(run.path) for run in found.values())
    if not yes and not console.confirm(f"Remove {listed}?", option="--yes"):
        console.say("Nothing removed.")
        return
    for run in found.values():
        run.remove()
        console.say(f"Removed {run.path}")


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
    doomed = {run.name: run for run in list_runs(root) if prunable(run)}
    if keep is not None:
        finished = [run for run in list_runs(root) if run.status["state"] == "finished"]
        doomed |= {run.name: run for run in finished[keep:]}
    if not doomed:
        console.say(f"Nothing to remove in {root}.")
        return
    console.say(*(f"  {run.name}  {run.status['state']}" for run in doomed.values()))
    if not yes and not console.confirm(f"Remove these {len(doomed)} of {len(list_runs(root))} runs?", option="--yes"):
        console.say("Nothing removed.")
        return
    for run in doomed.values():
        run.remove()
        console.say(f"Removed {run.path}")


def prunable(run: Run) -> bool:
    """Whether nothing can be made of a run: it ended before its first checkpoint."""
    return run.status["state"] == "interrupted" and not run.checkpoints() and not len(run.predictions())


def summarize(run: Run) -> Summary:
    """A run at a glance, as far as its files can be read."""
    state = str(run.status["state"])
    try:
        spec, rows = run.spec, _epoch_rows(run)
    except RunError as error:
        return Summary(run.name, state, problem=" ".join(str(error).split()))
    scores = [row["val"]["f1"] for row in rows if "f1" in row.get("val", {})]
    return Summary(
        name=run.name,
        state=state,
        model=spec.model.name,
        data=run.manifest.get("data", {}).get("name"),
        recipe=spec.recipe,
        seed=spec.seed,
        epochs_done=sum(not row.get("partial", False) for row in rows),
        epochs=spec.train.epochs,
        val_f1=max(scores, default=None),
    )


def spec_line(summary: Summary) -> str | None:
    """A spec in a line: model, data, recipe and seed."""
    if summary.model is None:
        return None
    return f"{summary.model} on {summary.data or 'unknown data'}, {summary.recipe}, seed {summary.seed}"


def _epoch_rows(run: Run) -> list[dict[str, Any]]:
    return [row for row in run.history() if row.get("type") == "epoch"]


def _list_table(root: Path, found: list[Summary]) -> Table:
    columns = (
        *map(Column, ("run", "state", "spec")),
        Column("epochs", align="right"),
        Column("best val macro-F1", ".4f", "right"),
    )
    rows = tuple(
        (
            summary.name,
            "unreadable" if summary.problem else summary.state,
            spec_line(summary),
            None if summary.epochs_done is None else f"{summary.epochs_done}/{summary.epochs}",
            summary.val_f1,
        )
        for summary in found
    )
    return Table(f"Runs in {root}, newest first", columns, rows)


def _facts_table(run: Run) -> Table:
    summary, status, data = summarize(run), run.status, run.manifest.get("data", {})
    best = status.get("best") or {}
    facts = {
        "folder": str(run.path),
        "state": f"{status['state']}: {status['reason']}" if status["reason"] else str(status["state"]),
        "model": summary.model,
        "data": f"{data.get('name')} ({data.get('root')})" if data else None,
        "epochs": f"{summary.epochs_done} of {summary.epochs}",
        "best val macro-F1": f"{summary.val_f1:.4f}" if summary.val_f1 is not None else None,
        "best epoch": best.get("epoch"),
        "checkpoints": ", ".join(path.name for path in run.checkpoints()) or None,
        "predictions": ", ".join(sorted(run.predictions())) or None,
    }
    return Table(run.name, (Column("what"), Column("value")), tuple(facts.items()))


def _epoch_table(row: Mapping[str, Any]) -> Table:
    blocks = {"train, online": "train_online", "train": "train", "val": "val", "test": "test"}
    headers = ("loss", "accuracy", "macro precision", "macro recall", "macro F1")
    cells = tuple((label, *(row.get(block, {}).get(metric) for metric in METRICS)) for label, block in blocks.items())
    columns = (Column("split"), *(Column(header, ".4f", "right") for header in headers))
    note = "train, online: augmented images, dropout on, while the weights change; the others measured after."
    return Table(f"Epoch {row['epoch']}, the last measured", columns, cells, note)


def _text(value: Any) -> str:
    return "none" if value is None else str(value)

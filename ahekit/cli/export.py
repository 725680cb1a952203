"""`ahekit export`: a run's network as a folder that it can be used from anywhere."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.errors import UsageError
from ahekit.sections import Column, Table

if TYPE_CHECKING:
    from ahekit.model_folder import ModelFolder

_WHAT = {
    "model.yaml": "classes, preprocessing, thresholds, figures",
    "model.safetensors": "weights",
    "embeddings.safetensors": "compressed training embeddings",
    "validation.json": "labelled images that thresholds are set by",
    "network.json": "the network, to run without its plugin",
    "README.md": "model card",
    "model.onnx": "the network for other software",
    "labels.txt": "its classes, a line each",
}


def export(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Run by path, name or part of its name. Without it: the newest that is finished.",
            autocompletion=options.complete_runs,
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Where the model folder goes. Without it: model/ within the run."),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store weights in 16 bits: half the size; what that costs is measured.")
    ] = False,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", help="Make model.onnx and labels.txt for other software too."),
    ] = False,
    share_weights: Annotated[
        bool,
        typer.Option(
            "--share-weights",
            help="With --onnx: model.onnx takes its weights from model.safetensors, which has to stay beside it.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Put it in the place of another run's model folder.")
    ] = False,
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", metavar="NAME", help="best, last, or a checkpoint's name or part of it.")
    ] = "best",
    data: options.MovedData = None,
    device: options.Device = None,
    runs: options.Runs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Make a model folder of a run, to use its network elsewhere.

    The run's images are looked at once, to set the thresholds by validation and to measure the figures of the card.
    """
    console.configure(quiet=quiet, json=json)
    if share_weights and not onnx:
        raise UsageError("--share-weights is about model.onnx; add --onnx")
    from ahekit.export.export import export_run
    from ahekit.run import find_run, runs_root

    chosen = find_run(runs_root(runs), run, is_fit=lambda each: each.status.state == "finished", fit="is finished yet")
    console.say(f"run: {chosen.name}")
    with console.progress("looking at images", None) as advance:
        before = 0
        earlier = 0

        def report(done: int, total: int) -> None:
            nonlocal before, earlier
            # A second pass over images begins at 0 anew; the bar is that of both.
            if done < before:
                earlier += before
                before = 0
            advance(done - before, total=earlier + total)
            before = done

        folder = export_run(
            *(chosen, to),
            half=half,
            onnx=onnx,
            share_weights=share_weights,
            overwrite=overwrite,
            checkpoint=checkpoint,
            data=data,
            device=device or "auto",
            tell=console.say,
            progress=report,
        )
    console.show_table(files_table(folder))
    if folder.notes.costs:
        console.show_table(costs_table(folder))
    if json:
        console.show_json({"folder": str(folder.path), "fingerprint": folder.fingerprint, **as_json(folder)})
    console.say("Use it on photos with:", f"  ahekit predict PHOTOS --model {quote(str(folder.path))}")


def as_json(folder: ModelFolder) -> dict[str, object]:
    """What a model folder holds, for programs."""
    notes = folder.notes.model_dump(mode="json", exclude={"deciding"})
    return {**notes, "sizes": {name: _size(folder, name) for name in _names(folder)}}


def files_table(folder: ModelFolder) -> Table:
    """The files of a model folder with their sizes."""
    sizes = {name: _size(folder, name) for name in _names(folder)}
    rows = tuple((name, _WHAT.get(name, ""), size_words(size)) for name, size in sizes.items())
    total = ("all", "", size_words(sum(sizes.values())))
    columns = (Column("file"), Column("what it holds"), Column("size", align="right"))
    note = ""
    if folder.notes.onnx is not None:
        onnx = folder.notes.onnx
        note = (
            f"ONNX opset {onnx.opset}; on {onnx.images} real pictures onnxruntime's logits differ from torch's by "
            f"{onnx.difference:.1e} at most."
        )
    return Table(f"Model folder {folder.path}", columns, (*rows, total), note, totals=1)


def costs_table(folder: ModelFolder) -> Table:
    """What storing less costs."""
    columns = (
        Column("stored smaller"),
        Column("figure"),
        Column("before", ".4f", "right"),
        Column("after", ".4f", "right"),
    )
    rows = tuple((cost.what, cost.figure, cost.before, cost.after) for cost in folder.notes.costs)
    return Table("What storing less costs", columns, rows)


def figures_table(folder: ModelFolder) -> Table:
    """The figures that a model folder notes of its network."""
    columns = (
        Column("figure"),
        Column("images"),
        Column("value", ".3f", "right"),
        Column("95%", None, "right"),
    )
    rows = tuple(
        (
            figure.name.replace("macro_f1", "macro-F1").replace("_", " "),
            f"{'validation' if figure.split == 'val' else 'test'}, {figure.images:,d}"
            + ("" if figure.near_copies else " without near-copies"),
            figure.value,
            None if figure.low is None or figure.high is None else f"{figure.low:.3f}–{figure.high:.3f}",
        )
        for figure in folder.notes.figures
    )
    return Table(f"Model {folder.name}", columns, rows, "In one view of each picture.")


def size_words(size: int) -> str:
    """A file's size as people say it."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def _names(folder: ModelFolder) -> list[str]:
    return ["model.yaml", *sorted(folder.notes.files)]


def _size(folder: ModelFolder, name: str) -> int:
    return (folder.path / name).stat().st_size

"""`ahekit viz`: look inside a trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.cli.named_models import with_path
from ahekit.cli.output import shortened, write_files
from ahekit.cli.plugin_options import PluginCommand, parameters
from ahekit.registry import VISUALIZERS

if TYPE_CHECKING:
    from ahekit.sections import Table
    from ahekit.trained import Trained
    from ahekit.visualizing import FileForm, Pictures


class Command(PluginCommand):
    """Takes a visualizer's name; its parameters are options."""

    registry = VISUALIZERS
    default = "activations"


def viz(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Visualizer.", autocompletion=Command.complete),
    ] = Command.default,
    layers: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            "-l",
            metavar="LAYER",
            help="Layer by alias (conv3) or dotted module name; repeatable. Without it the visualizer chooses.",
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--image", metavar="PATH", help="Picture to look at; repeatable. Without it: a test image of each class."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="Run by path, name or part of its name, or model folder. Without it: the newest that has the layers.",
            autocompletion=options.complete_runs,
        ),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", metavar="NAME", help="best, last, or a checkpoint's name or part of it.")
    ] = "best",
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PARAMETER=VALUE",
            help="Set any parameter of the visualizer; repeatable, and wins over its option.",
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="RUN",
            help="A second run or model folder whose network says what it sees in synthesized images.",
            autocompletion=options.complete_runs,
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Tables with all their rows.")] = False,
    data: options.MovedData = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="LIST",
            help="Any of png, svg, pdf (figures), csv and tex (tables, and as csv predictions), separated by commas.",
        ),
    ] = "png",
    plain_title: Annotated[
        bool, typer.Option("--plain-title", help="Head figures by their titles alone, without the run's name.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Where files go. Without it: the run's figures folder; of a model folder, NAME-figures here.",
        ),
    ] = None,
    seed: options.Seed = None,
    device: options.Device = None,
    runs: options.Runs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Look inside a trained network: figures and their arrays."""
    console.configure(quiet=quiet, json=json)
    params = parameters(context, assignments or ())
    from ahekit.model_folder import ModelFolder
    from ahekit.run import runs_root
    from ahekit.trained import find_trained
    from ahekit.visualizing import look, visualization_files

    forms = parse_forms(formats)
    root = runs_root(runs)
    compute = device or "auto"
    run = with_path(run) if run else run
    trained, passed = find_trained(root, run=run, checkpoint=checkpoint, layers=layers or (), device=compute, data=data)
    for note in passed:
        console.say(note)
    is_folder = isinstance(trained.run, ModelFolder)
    console.say(f"{'model' if is_folder else 'run'}: {trained.origin}")
    pictures = choose_pictures(trained, name, images or [], seed=seed or 0)
    second = find_trained(root, run=with_path(judge), device=compute)[0] if judge else None
    with counting(name) as progress:
        view = look(
            *(trained, name, pictures),
            layers=layers or (),
            params=params,
            seed=seed or 0,
            progress=progress,
            judge=second,
        )
    for table in view.tables:
        console.show_table(table if full else shortened(table, "--full shows them, --json lists them"))
    for note in (*(pictures.notes if pictures else ()), *view.notes):
        console.say(note)
    files = visualization_files(
        *(view, trained, pictures),
        name=name,
        layers=layers or (),
        formats=forms,
        plain_title=plain_title,
        tell=console.say,
    )
    if out is None and isinstance(trained.run, ModelFolder):
        out = Path(f"{trained.run.name}-figures")  # a model folder stays as it was exported
    folder = "" if out else "figures/"
    paths = write_files({folder + file: content for file, content in files.items()}, trained.run, out)
    for path in paths:
        console.say(f"{path.suffix.removeprefix('.')}: {path}")
    if json:
        console.show_json(
            {
                "run": trained.run.name,
                "checkpoint": None if is_folder else trained.checkpoint.name,
                "visualizer": name,
                "files": list(map(str, paths)),
                "notes": list(view.notes),
                "tables": [as_json(table) for table in view.tables],
            }
        )


def parse_forms(text: str) -> tuple[FileForm, ...]:
    """The formats named in a comma-separated list.

    Raises:
        UnknownNameError: One of them isn't written.
    """
    from typing import get_args

    from ahekit.errors import UnknownNameError
    from ahekit.visualizing import FileForm

    forms = {form.strip() for form in text.split(",") if form.strip()}
    for form in sorted(forms):
        if form not in get_args(FileForm):
            raise UnknownNameError("format", form, get_args(FileForm), listed=get_args(FileForm))
    return tuple(form for form in get_args(FileForm) if form in forms)


def as_json(table: Table) -> dict[str, Any]:
    """A table as JSON-serialisable values."""
    return {"title": table.title, "columns": [column.name for column in table.columns], "rows": table.rows}


@contextmanager
def counting(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that appears with the first step it is told of: most visualizers are done at once."""
    with ExitStack() as stack:
        bars: list[Callable[..., None]] = []
        shown = 0

        def progress(done: int, total: int) -> None:
            nonlocal shown
            if not bars:
                bars.append(stack.enter_context(console.progress(name, total)))
            bars[0](done - shown)
            shown = done

        yield progress


def choose_pictures(trained: Trained, name: str, images: list[Path], *, seed: int) -> Pictures | None:
    """The pictures that were named, else a test image of each class; None for a visualizer that takes none.

    Raises:
        UsageError: Pictures were named for a visualizer that takes none.
        AhekitError: They can't be read.
    """
    from ahekit.errors import UsageError
    from ahekit.visualizing import needs_pictures, one_per_class, read_pictures

    if not needs_pictures(name):
        if images:
            raise UsageError(f"{name} looks at no pictures; leave out --image")
        return None
    if images:
        return read_pictures(images, trained.built.preprocessing)
    return one_per_class(trained, seed=seed)

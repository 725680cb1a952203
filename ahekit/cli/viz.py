"""`ahekit viz`: look inside a trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ahekit import console
from ahekit.cli import options

if TYPE_CHECKING:
    from ahekit.sections import Table
    from ahekit.trained import Trained
    from ahekit.visualizing import Pictures

OWN = "Parameters of the visualizer"


def complete_visualizers(incomplete: str) -> list[str]:
    """Names of registered visualizers, from package metadata."""
    from ahekit.registry import VISUALIZERS

    return [name for name in VISUALIZERS.names() if name.startswith(incomplete)]


def viz(
    name: Annotated[
        str,
        typer.Argument(help="Visualizer; `ahekit plugins` lists them.", autocompletion=complete_visualizers),
    ] = "activations",
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
            help="Run by path, name or part of its name. Without it: the newest that has the layers.",
            autocompletion=options.complete_runs,
        ),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option("--checkpoint", metavar="NAME", help="best, last, or a checkpoint's name or part of it.")
    ] = "best",
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="CLASS",
            help="What to explain: a class by its name, predicted, true, or vs:CLASS.",
            rich_help_panel=OWN,
        ),
    ] = None,
    filter: Annotated[
        str | None, typer.Option("--filter", metavar="N|all", help="Filter of the layer.", rich_help_panel=OWN)
    ] = None,
    scalar: Annotated[
        str | None,
        typer.Option(
            "--scalar", metavar="NAME", help="What is propagated back: filter-mean or logit.", rich_help_panel=OWN
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", metavar="NAME", help="Way to go about it.", rich_help_panel=OWN)
    ] = None,
    unit: Annotated[int | None, typer.Option("--unit", metavar="N", help="Unit of the layer.", rich_help_panel=OWN)] = (
        None
    ),
    init: Annotated[
        Path | None, typer.Option("--init", metavar="IMAGE", help="Picture to start from.", rich_help_panel=OWN)
    ] = None,
    images_per_class: Annotated[
        int | None,
        typer.Option("--images-per-class", metavar="N", help="Images for each class.", rich_help_panel=OWN),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option("--every", metavar="N", help="Animate, with a frame every so many steps.", rich_help_panel=OWN),
    ] = None,
    show_units: Annotated[
        int | None, typer.Option("--show-units", metavar="N", help="Units a figure shows.", rich_help_panel=OWN)
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PARAMETER=VALUE",
            help="Set any parameter of the visualizer; repeatable. `ahekit plugins show NAME` lists them.",
            rich_help_panel=OWN,
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="RUN",
            help="A second run whose network says what it sees in synthesized images.",
            autocompletion=options.complete_runs,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Sanity checks of the maps beside the picture: weights randomized, deletion and insertion, in place.",
            rich_help_panel=OWN,
        ),
    ] = False,
    svg: Annotated[bool, typer.Option("--svg", help="Write each figure as SVG too.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where files go. Without it: the run's own figures folder."),
    ] = None,
    seed: options.Seed = None,
    device: options.Device = None,
    runs: options.Runs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Look inside a trained network: write figures and arrays, and say where they are."""
    from ahekit.run import runs_root
    from ahekit.trained import find_trained
    from ahekit.visualizing import look, visualization_files

    console.configure(quiet=quiet, json=json)
    flags = {"target": target, "filter": filter, "scalar": scalar, "method": method, "unit": unit}
    more = {
        "show_units": show_units,
        "init": init,
        "images_per_class": images_per_class,
        "every": every,
        "check": check or None,
    }
    params = parameters({**flags, **more}, assignments or [])
    trained, passed = find_trained(
        runs_root(runs), run=run, checkpoint=checkpoint, layers=layers or (), device=device or "auto"
    )
    for note in passed:
        console.say(note)
    console.say(f"run: {trained.run.name}, {trained.checkpoint.name}")
    pictures = choose_pictures(trained, name, images or [], seed=seed or 0)
    asked = find_trained(runs_root(runs), run=judge, device=device or "auto")[0] if judge else None
    with counting(name) as progress:
        seen = look(
            *(trained, name, pictures),
            layers=layers or (),
            params=params,
            seed=seed or 0,
            progress=progress,
            judge=asked,
        )
    for table in seen.tables:
        console.show_table(table)
    for note in (*(pictures.notes if pictures else ()), *seen.notes):
        console.say(note)
    files = visualization_files(seen, trained, pictures, name=name, layers=layers or (), svg=svg)
    paths = write_files(files, trained, out)
    for path in paths:
        console.say(f"{path.suffix.removeprefix('.')}: {path}")
    if json:
        console.show_json(
            {"run": trained.run.name, "checkpoint": trained.checkpoint.name, "visualizer": name}
            | {"files": list(map(str, paths)), "notes": list(seen.notes)}
            | {"tables": [as_json(table) for table in seen.tables]}
        )


def as_json(table: Table) -> dict[str, Any]:
    """A table as JSON-serialisable values."""
    return {"title": table.title, "columns": [column.name for column in table.columns], "rows": table.rows}


@contextmanager
def counting(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar that appears with the first step it is told of: most visualizers are done at once."""
    with ExitStack() as stack:
        bars: list[Callable[..., None]] = []

        def progress(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(console.progress(name, total)))
            bars[0](1)

        yield progress


def parameters(flags: Mapping[str, Any], assignments: list[str]) -> dict[str, Any]:
    """A visualizer's parameters from flags (those given) and assignments, which win.

    Raises:
        UsageError: An assignment has no `=`.
    """
    from ahekit.validation import merge, parse_assignment

    params = {name: value for name, value in flags.items() if value is not None}
    for assignment in assignments:
        params = merge(params, parse_assignment(assignment))
    return params


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


def write_files(files: Mapping[str, bytes], trained: Trained, out: Path | None) -> list[Path]:
    """Write files into the run's figures folder, or into `out`.

    Raises:
        RunError: The folder can't be written.
    """
    from ahekit.errors import RunError
    from ahekit.files import write_atomic

    if out is None:
        return [trained.run.write_bytes(f"figures/{name}", content) for name, content in files.items()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomic(out / name, content)
    except OSError as error:
        raise RunError(f"{out}: can't be written ({error.strerror}); choose a folder with --out") from error
    return [out / name for name in files]

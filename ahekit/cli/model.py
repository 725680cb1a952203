"""`ahekit model`: what networks are made of."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ahekit import console
from ahekit.cli import options
from ahekit.protocols import stage_names
from ahekit.sections import Column, Table
from ahekit.validation import parse_assignments

if TYPE_CHECKING:
    from ahekit.inspection.summary import Layer, ModelSummary

app = typer.Typer(no_args_is_help=True, help="Look at networks before training them.")

_COLUMNS = (
    Column("layer"),
    Column("type"),
    Column("output shape", align="right"),
    Column("parameters", ",d", "right"),
    Column("multiply adds", align="right"),
    Column("receptive field", align="right"),
)

_POWERS = ("", "k", "M", "G", "T")


@app.callback()
def model() -> None:
    """Look at networks before training them."""


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(help="Model; `ahekit plugins` lists them.", autocompletion=options.complete_models)
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PARAMETER=VALUE",
            help="Set a parameter of the model, as in pool=avg; may be given several times. "
            "`ahekit plugins show NAME` lists them.",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", min=8, max=1024, help="Side length in pixels. Without it: the model's own."),
    ] = None,
    classes: Annotated[int, typer.Option("--classes", min=2, help="Number of classes.")] = 10,
    json: options.Json = False,
) -> None:
    """Show a network's layers: output shapes, parameters, multiply-adds and receptive fields."""
    console.configure(json=json)
    from ahekit.inspection.summary import summarize
    from ahekit.models import build_component
    from ahekit.registry import MODELS

    values = parse_assignments(assignments or (), MODELS.get(name).Params)
    built = build_component(name, values, num_classes=classes, image_size=image_size).built
    summary = summarize(built)
    size = built.preprocessing.size
    if json:
        facts = {"name": name, "params": values, "image_size": size, "classes": classes}
        console.show_json({**facts, **asdict(summary), "aliases": dict(built.layers)})
        return
    changes = "".join(f", {assignment}" for assignment in assignments or ())
    console.show_table(layer_table(summary, f"{name}{changes}: {size} × {size} pixels, {classes} classes"))


def layer_table(summary: ModelSummary, title: str) -> Table:
    """A network's layers and their totals as a table."""
    rows = [
        (
            layer.name,
            layer.kind,
            "×".join(map(str, layer.shape)) if layer.shape else None,
            layer.parameters or None,
            _short(layer.multiply_adds) if layer.multiply_adds else None,
            _receptive_field(layer),
        )
        for layer in summary.layers
    ]
    total = ("total", "", "", summary.parameters, _short(summary.multiply_adds), "")
    return Table(title, _COLUMNS, (*rows, total), _note(summary))


def _receptive_field(layer: Layer) -> str | None:
    if layer.receptive_field is None or layer.receptive_field == "all":
        return layer.receptive_field
    height, width = layer.receptive_field
    return str(height) if height == width else f"{height}×{width}"


def _short(count: int) -> str:
    """Three digits and a power of a thousand: `18.9 M`."""
    value, power = float(count), 0
    while value >= 999.5 and power < len(_POWERS) - 1:
        value, power = value / 1000, power + 1
    return f"{value:#.3g}".rstrip(".") + f" {_POWERS[power]}" if power else str(count)


def _note(summary: ModelSummary) -> str:
    lines = [f"Stages, from input to head: {stage_names(summary.stages)}."]
    lines += ["Shapes: channels × height × width. Multiply-adds: for one image. Receptive fields: pixels a side."]
    if summary.unlisted:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(summary.unlisted.items()))
        lines += [f"Not listed, for they have no parameters and change no shape: {kinds}."]
    return "\n".join(lines)

"""`ahekit prove`: measure what the tool claims."""

from __future__ import annotations

import typer

from ahekit import console
from ahekit.cli import options, training
from ahekit.spec import resolve_spec

app = typer.Typer(help="Measure what the tool claims.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Measure what the tool claims."""


@app.command()
def accum(
    *,
    model: options.Model = None,
    data: options.Data = None,
    batch_size: options.BatchSize = None,
    accum: options.Accumulation = None,
    precision: options.Precision = None,
    seed: options.Seed = None,
    spec: options.Spec = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Compare accumulated gradients with those of one large batch; exit 1 when they differ."""
    console.configure(json=json)
    flags = options.training_flags(locals(), model="model.name")
    training.prove(resolve_spec(file=spec, flags=flags, assignments=assignments or ()), json=json)

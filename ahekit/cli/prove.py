"""`ahekit prove`: measure what the tool claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from ahekit import console
from ahekit.cli import options, training
from ahekit.spec import resolve_spec

app = typer.Typer(help="Measure what the tool claims.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Measure what the tool claims."""


@app.command()
@options.sets_fields((options.MODEL, *options.training("data", "batch_size", "accum", "precision", "seed")))
def accum(
    *,
    flags: Mapping[str, Any],
    spec: options.Spec = None,
    assignments: options.Assignments = None,
    json: options.Json = False,
) -> None:
    """Compare accumulated gradients with those of one large batch; exit 1 when they differ."""
    console.configure(json=json)
    training.prove(resolve_spec(file=spec, flags=flags, assignments=assignments or ()), json=json)

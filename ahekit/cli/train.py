"""`ahekit train`: train a network from a recipe, a spec file and flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from ahekit.cli import options, training
from ahekit.errors import UsageError
from ahekit.run import runs_root
from ahekit.spec import resolve_spec

RECIPE = options.Flag("recipe", "recipe", metavar="NAME", complete=options.complete_recipes)


@options.sets_fields((options.MODEL, RECIPE, *options.TRAINING))
def train(
    *,
    flags: Mapping[str, Any],
    spec: options.Spec = None,
    assignments: options.Assignments = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="RUN",
            help="Start from the best weights of another run or of a model folder, whose network is built again.",
            autocompletion=options.complete_runs,
        ),
    ] = None,
    lr_find: Annotated[
        bool, typer.Option("--lr-find", help="Measure which learning rate suits, print it, and don't train.")
    ] = False,
    prove_accum: Annotated[
        bool, typer.Option("--prove-accum", help="Measure how exact accumulation is, and don't train.")
    ] = False,
    runs: options.Runs = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Train a network, and keep the weights that do best on validation.

    Ctrl-C finishes the optimizer step, saves, and says how to go on. Any field of the run spec can be set with --set.
    """
    if weights is not None:
        flags = training.start_from(flags, training.source_of_weights(weights, runs_root(runs)), spec=spec)
    flags = training.with_teacher(flags, runs_root(runs))
    resolved = resolve_spec(file=spec, flags=flags, assignments=assignments or ())
    if resolved.distill.teacher is not None and (lr_find or prove_accum):
        raise UsageError("--lr-find and --prove-accum measure on the labels alone; leave the teacher out")
    training.speak_once(quiet=quiet, json=json)
    if prove_accum:
        training.prove(resolved, json=json)
    elif lr_find:
        training.find_rate(resolved, json=json)
    else:
        training.train_new(resolved, runs)

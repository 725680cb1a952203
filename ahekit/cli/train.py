"""`ahekit train`: train a network from a recipe, a spec file and flags."""

from __future__ import annotations

from typing import Annotated

import typer

from ahekit.cli import options, training
from ahekit.spec import resolve_spec


def train(
    *,
    model: options.Model = None,
    data: options.Data = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="Preset to start from: strong (default) or assignment.")
    ] = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    accum: options.Accumulation = None,
    lr: options.LearningRate = None,
    optimizer: options.Optimizer = None,
    schedule: options.Schedule = None,
    weight_decay: options.WeightDecay = None,
    label_smoothing: options.LabelSmoothing = None,
    class_weights: options.ClassWeights = None,
    sampling: options.Sampling = None,
    mix: options.Mix = None,
    average_decay: options.AverageDecay = None,
    patience: options.Patience = None,
    monitor: options.Monitor = None,
    max_minutes: options.MaxMinutes = None,
    image_size: options.ImageSize = None,
    precision: options.Precision = None,
    channels_last: options.ChannelsLast = None,
    device: options.Device = None,
    seed: options.Seed = None,
    spec: options.Spec = None,
    assignments: options.Assignments = None,
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
    flags = options.training_flags(locals(), model="model.name", recipe="recipe")
    resolved = resolve_spec(file=spec, flags=flags, assignments=assignments or ())
    training.speak_once(quiet=quiet, json=json)
    if prove_accum:
        training.prove(resolved, json=json)
    elif lr_find:
        training.find_rate(resolved, json=json)
    else:
        training.train_new(resolved, runs)

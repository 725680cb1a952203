"""Gradient accumulation: one window of images trained in 1, 2, 4 … micro-batches, and what becomes of each figure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from pydantic import Field

from ahekit import protocols
from ahekit.errors import UsageError
from ahekit.models import parameter_counts
from ahekit.protocols import LessonInput
from ahekit.sections import Experiment
from ahekit.spec import RunSpec
from ahekit.training.experiments import data_of
from ahekit.training.setup import Setup, prepare
from ahekit.validation import validate
from ahekit.wording import counted

from ...models.cnn5 import Cnn5Params
from ..pooling.variants import scaled
from .page import sections
from .readings import claims, exercises
from .trial import Measured, Plan

_NARROW = {"channels": scaled(Cnn5Params().channels, 0.25), "hidden": scaled(Cnn5Params().hidden, 0.25)}


class Accumulation:
    """One window of images in 1, 2, 4, 8 and 16 micro-batches: memory, time, gradient, weights, BatchNorm, mistakes."""

    title = "Gradient accumulation"
    seconds = 40.0
    full_minutes = 8.0
    uses_run = False

    class Params(protocols.Params):
        """Parameters of `Accumulation`."""

        model: str = Field("cnn5", min_length=1, description="network to train, by its registered name")
        model_params: dict[str, Any] | None = Field(
            None, description="parameters of the network; none: its own, of cnn5 without --full a quarter of its widths"
        )
        image_size: int | None = Field(None, ge=8, le=1024, description="side of the images; none: the network's own")
        window: int | None = Field(
            None, ge=16, le=1024, description="images of an optimizer step; none: 32, with --full 256"
        )
        accumulation: tuple[int, ...] = Field(
            (1, 2, 4, 8, 16), min_length=2, description="numbers of micro-batches to cut the window into, 1 first"
        )
        steps: int | None = Field(
            None, ge=1, le=1000, description="optimizer steps of each training; none: 2, with --full 4"
        )
        seeds: int = Field(3, ge=1, le=20, description="trainings of each kind, with weights of their own")

    def teach(self, request: LessonInput, params: Params) -> Experiment:
        """Train, measure, and read the claims off."""
        with torch.random.fork_rng(devices=()):
            plan, setup = planned(request, params)
            return told(plan, setup, Measured.of(plan, setup, request))


def planned(request: LessonInput, params: Accumulation.Params) -> tuple[Plan, Setup]:
    """The plan, and its data and network.

    Raises:
        UsageError: The window can't be cut so, or there are fewer images.
        AhekitError: Data or network can't be had.
    """
    counts = params.accumulation
    window = params.window or (256 if request.full else 32)
    if counts[0] != 1 or any(after <= before for before, after in pairwise(counts)):
        raise UsageError(f"accumulation: {', '.join(map(str, counts))} has to rise from 1, the window in one piece")
    uneven = [count for count in counts if window % count or window // count < 2]
    if uneven:
        raise UsageError(
            f"window: {window} images can't be cut into {uneven[0]} micro-batches of one size and two images at least; "
            f"ask for a multiple of {2 * uneven[0]} with --window"
        )
    model_params = params.model_params
    if model_params is None:
        model_params = {} if request.full or params.model != "cnn5" else _NARROW
    spec = validate(
        RunSpec,
        {
            "recipe": "assignment",
            "seed": request.seed,
            "model": {"name": params.model, "params": model_params},
            "data": {
                "source": data_of(request),
                "image_size": params.image_size,
                "group_by": "none",
            },
            "optim": {"batch_size": window, "accumulation_steps": 1},
            "runtime": {"device": request.device, "precision": "fp32"},
        },
    )
    setup = prepare(spec, pretrained=False)
    if window > len(setup.splits.train):
        raise UsageError(
            f"window: {window} images are more than the {len(setup.splits.train)} that {setup.source.name} trains on; "
            "ask for fewer with --window"
        )
    steps = params.steps or (4 if request.full else 2)
    return Plan(window, counts, steps, tuple(range(request.seed, request.seed + params.seeds))), setup


def told(plan: Plan, setup: Setup, measured: Measured) -> Experiment:
    """What was measured, as an experiment."""
    images = len(setup.splits.train)
    notes = [setup.source.notice]
    if not measured.batch:
        notes.append(f"{setup.spec.model.name} has no BatchNorm: what that does can't be seen on it")
    return Experiment(
        sections=sections(plan, measured),
        claims=tuple(claims(plan, measured)),
        exercises=exercises(plan, measured, images),
        subtitle=(
            f"{setup.spec.model.name} of {parameter_counts(setup.built)['total']:,d} parameters at "
            f"{setup.dataset.preprocessing.size} px on {images:,d} training images of "
            f"{setup.source.name}; windows of {plan.window} images, {counted(plan.steps, 'optimizer step')}, "
            f"{counted(len(plan.seeds), 'seed')}"
        ),
        notes=tuple(notes),
    )

"""Hidden units: is one that is excited by one class alone likelier in the fourth layer than in the first?"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ahekit import protocols
from ahekit.errors import UsageError
from ahekit.inspection.layers import convolutions, resolve_layer
from ahekit.inspection.splits import Split, normalized_batches, open_images
from ahekit.inspection.units import find_unit_layers, measure_units
from ahekit.protocols import LessonInput, SplitImages, VisualizerInput
from ahekit.sections import Experiment
from ahekit.wording import counted
from ahekit_plugins.visualizers.units.summary import LATE
from ahekit_plugins.visualizers.units.visualizer import Units, UnitsParams

from .page import sections
from .readings import Facts, claims, exercises

BATCH = 64
STEPS = 128
"""Of each synthesized image, which the long way makes."""


class HiddenUnits:
    """What excites the hidden units of your own network: is one for a single class likelier in layer 4 than in 1?"""

    title = "What hidden units respond to"
    seconds = 40.0
    full_minutes = 2.0

    class Params(protocols.Params):
        """Parameters of `HiddenUnits`."""

        early: str | None = Field(
            None, description="convolution that the question starts from; none: the network's first"
        )
        late: str | None = Field(
            None, description="convolution that it is compared with; none: the one three quarters of the way"
        )
        split: Split = Field("test", description="images to measure on: test, val or train")
        top: int = Field(9, ge=3, le=100, description="strongest images of each unit whose classes are counted")
        permutations: int = Field(40, ge=20, description="times the labels are permuted at random, for the baseline")

    def teach(self, request: LessonInput, params: Params) -> Experiment:
        """Measure every unit, beside chance and beside shuffled weights, and silence the best ones."""
        view = request.network([layer for layer in (params.early, params.late) if layer])
        with torch.random.fork_rng(devices=()):
            return look(view, params, request)


def look(view: VisualizerInput, params: HiddenUnits.Params, request: LessonInput) -> Experiment:
    """The experiment on a network with its pictures."""
    layers = convolutions(view.model)
    early, late = choose(view, layers, params)
    images = open_images(view, params.split, least=2)
    settings = UnitsParams(
        split=params.split,
        top=params.top,
        permutations=params.permutations,
        steps=STEPS if request.full else 0,
        batch_size=BATCH,
    )
    # Two passes and the steps of the visualizer; two passes with shuffled weights.
    total = 4 * math.ceil(len(images) / BATCH) + settings.steps
    numbers = iter(range(1, total + 1))

    def tick(*_: int) -> None:
        request.progress(next(numbers, total), total)

    view = replace(view, layers=layers, progress=tick)
    seen = Units().visualize(view, settings)
    facts = Facts(
        layers=tuple(layers),
        early=early,
        late=late,
        top=min(params.top, len(images)),
        class_names=view.class_names,
        seen=seen,
        shuffled=shuffled_shares(view, images, params.top, tick),
    )
    return Experiment(
        sections=sections(facts, images),
        claims=tuple(claims(facts)),
        exercises=exercises(facts),
        subtitle=(
            f"{counted(len(layers), 'convolution')} on the {params.split} split, {counted(len(images), 'image')}; "
            f"{late} beside {early}"
        ),
        notes=tuple(note for note in seen.notes if note.startswith("FAILED")),
    )


def choose(view: VisualizerInput, layers: dict[str, str], params: HiddenUnits.Params) -> tuple[str, str]:
    """The two layers of the question, by name.

    Raises:
        UsageError: One is no convolution, or the second isn't deeper than the first.
    """
    names = list(layers)
    if len(names) < 2:
        raise UsageError("the network has a single convolution; the question compares two, choose another with --run")
    places = [0, max(1, round(LATE * (len(names) - 1)))]
    for place, asked in enumerate((params.early, params.late)):
        if asked is None:
            continue
        path = resolve_layer(view.model, asked)
        if path not in layers.values():
            some = ", ".join(names[:8])
            raise UsageError(f"layer {asked} is no convolution; choose one of {some} with --early and --late")
        places[place] = list(layers.values()).index(path)
    first, second = places
    if first >= second:
        raise UsageError(f"{names[second]} isn't deeper than {names[first]}; choose others with --early and --late")
    return names[first], names[second]


def shuffled_shares(
    view: VisualizerInput, images: SplitImages, top: int, tick: Callable[[], None]
) -> dict[str, NDArray[np.float64]]:
    """The majority's share of each unit `(U,)` by layer, of the network with the weights of each tensor shuffled.

    Shuffled weights are those of a network that has learned nothing, at the learned ones' scale; BatchNorm's statistics
    are measured anew for them.
    """
    module = copy.deepcopy(view.model.module)
    shuffle(module, seed=view.seed)
    renew_statistics(module, (batch for _, batch in normalized_batches(view, images, BATCH, tick=tick)))
    size = view.model.preprocessing.size
    layers = find_unit_layers(module, view.layers, torch.zeros(1, 3, size, size, device=view.images.device))
    measures = measure_units(
        module,
        layers,
        normalized_batches(view, images, BATCH, tick=tick),
        images.labels,
        num_classes=len(view.class_names),
        size=size,
        top=min(top, len(images)),
        permutations=1,
        seed=view.seed,
    )
    return {name: measured.majority_share for name, measured in measures.items()}


def shuffle(module: nn.Module, *, seed: int) -> None:
    """Put the numbers of each parameter into a random order."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            order = torch.randperm(parameter.numel(), generator=random).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))


def renew_statistics(module: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Measure BatchNorm's statistics on these images, and leave the module in eval mode."""
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    for part in norms:
        part.reset_running_stats()
        part.momentum = None  # the mean over all batches, not a moving one
        part.train()
    with torch.no_grad():
        for batch in batches:
            module(batch)
    module.eval()

"""Images made by optimization: parameters are rendered, transformed, shown to the network and improved.

The parts are callables that anybody can bring: a parameterization (`parameterizations`) is a tensor and a function
that renders it; a transform (`transforms`) maps images to images; an `Objective` (`objectives`) says of each image
how good it is. Objectives add up and scale:

    wanted = class_odds(targets) - 0.5 * total_variation()
    synthesize(module, parameters, render, wanted, transforms=[random_affine(rotation=0.1), to_input], steps=200)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ahekit.hooks import evaluating, find_module, observing

Render = Callable[[Tensor], Tensor]
Watch = Callable[[int, Tensor], None]


@dataclass(frozen=True)
class Moment:
    """When a transform is applied.

    Attributes:
        random: What it draws from.
        share: Of the steps that are done, in [0, 1); 1 for a finished image.
    """

    random: torch.Generator
    share: float = 1.0


Transform = Callable[[Tensor, Moment], Tensor]


@dataclass(frozen=True)
class View:
    """One look of the network at the images of this step.

    Attributes:
        images: As rendered, before any transform, `(B, 3, H, W)`.
        shown: What the network was given, `(B, 3, H, W)`.
        logits: `(B, C)`.
        inputs: What went into the modules whose inputs the objective asked for, by path.
        outputs: What came out of those whose outputs it asked for.
    """

    images: Tensor
    shown: Tensor
    logits: Tensor
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    outputs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """What to maximize.

    Attributes:
        value: A number for each image of a view, `(B,)`.
        inputs: Dotted paths of modules whose inputs it needs.
        outputs: Of modules whose outputs it needs.
    """

    value: Callable[[View], Tensor]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def __add__(self, other: Objective) -> Objective:
        return Objective(
            lambda view: self.value(view) + other.value(view),
            self.inputs + other.inputs,
            self.outputs + other.outputs,
        )

    def __rmul__(self, weight: float) -> Objective:
        return Objective(lambda view: weight * self.value(view), self.inputs, self.outputs)

    def __sub__(self, other: Objective) -> Objective:
        return self + (-1.0) * other


def synthesize(
    module: nn.Module,
    parameters: Tensor,
    render: Render,
    objective: Objective,
    *,
    steps: int,
    lr: float | Callable[[float], float],
    transforms: Sequence[Transform] = (),
    views: int = 1,
    random: torch.Generator | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    watch: Watch = lambda done, images: None,
) -> Tensor:
    """Improve parameters by Adam until their images please the objective; no parameter of the network is touched.

    All images are optimized side by side. Adam's steps are made number by number, so as long as the objective's value
    of an image depends on that image alone, each ends as it would alone.

    Args:
        parameters: Where to start; left as it is.
        lr: Adam's learning rate, or a function of the share of the steps that are done (`annealed`).
        transforms: Applied to the rendered images, in order, anew at each step; the last has to make them the
            network's input.
        views: Times that images are transformed and shown at each step; what the objective says is averaged.
        random: What transforms draw from; None: from a source of seed 0.
        progress: Called with the steps done and their number.
        watch: Called with the steps done and the images after so many, before any transform: from 0, the start, to
            the last.

    Returns:
        The parameters found.
    """
    parameters = parameters.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([parameters])
    rate = lr if callable(lr) else lambda share: lr
    random = random or torch.Generator().manual_seed(0)
    seen_inputs: dict[str, Tensor] = {}
    seen_outputs: dict[str, Tensor] = {}

    def observe(name: str, part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if name in objective.inputs:
            seen_inputs[name] = inputs[0]
        if name in objective.outputs:
            # A copy: what follows may work in place.
            seen_outputs[name] = output.clone()

    watched = {path: find_module(module, path) for path in {*objective.inputs, *objective.outputs}}
    with evaluating(module), torch.enable_grad(), observing(watched, observe):
        for step in range(steps):
            images = render(parameters)
            watch(step, images.detach())
            moment = Moment(random, step / steps)
            optimizer.param_groups[0]["lr"] = rate(moment.share)
            values = []
            for _ in range(views):
                shown = images
                for transform in transforms:
                    shown = transform(shown, moment)
                # The layout in which convolutions on a processor are quickest.
                shown = shown.contiguous(memory_format=torch.channels_last)
                logits = module(shown)
                values.append(objective.value(View(images, shown, logits, dict(seen_inputs), dict(seen_outputs))))
            # Only the image's gradient: the network's parameters cost nothing on the way back.
            (parameters.grad,) = torch.autograd.grad(-torch.stack(values).mean(0).sum(), parameters)
            optimizer.step()
            progress(step + 1, steps)
    found = parameters.detach()
    watch(steps, render(found))
    return found


def annealed(lr: float, *, least: float = 0.1) -> Callable[[float], float]:
    """A learning rate that falls along half a cosine to a share of itself, so that images settle."""
    return lambda share: lr * (least + (1 - least) * (1 + math.cos(math.pi * share)) / 2)

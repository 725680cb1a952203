"""Images made by optimization: parameters are rendered, transformed, shown to the network and improved.

The parts are callables that anybody can bring: a parameterization (`parameterizations`) is a tensor and a function
that renders it; a transform (`transforms`) maps images to images; an `Objective` (`objectives`) says of each image
how good it is. Objectives add up and scale:

    objective = class_odds(targets) - 0.5 * total_variation()
    parameters = synthesize(module, start, render, objective, transforms=[random_affine(), to_input], steps=200, lr=0.1)
    pixels = as_pixels(render(parameters))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahekit.hooks import find_module, observing

Render = Callable[[Tensor], Tensor]
Watch = Callable[[int, Tensor], None]


@dataclass(frozen=True)
class Step:
    """The step of the optimization that a transform is applied at.

    Attributes:
        random: What it draws from.
        share: Of the steps that are done, in [0, 1); 1 for a finished image.
    """

    random: torch.Generator
    share: float = 1.0


Transform = Callable[[Tensor, Step], Tensor]


@dataclass(frozen=True)
class ForwardPass:
    """One pass of this step's images through the network.

    Attributes:
        images: As rendered, before any transform, `(B, 3, H, W)`.
        network_input: What the transforms made of them, `(B, 3, H, W)`.
        logits: `(B, C)`.
        inputs: What went into the modules whose inputs the objective asked for, by path.
        outputs: What came out of those whose outputs it asked for.
    """

    images: Tensor
    network_input: Tensor
    logits: Tensor
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    outputs: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Objective:
    """What to maximize.

    Attributes:
        value: A number for each image of a forward pass, `(B,)`.
        inputs: Dotted paths of modules whose inputs it needs.
        outputs: Of modules whose outputs it needs.
    """

    value: Callable[[ForwardPass], Tensor]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def __add__(self, other: Objective) -> Objective:
        return Objective(
            lambda forward: self.value(forward) + other.value(forward),
            self.inputs + other.inputs,
            self.outputs + other.outputs,
        )

    def __rmul__(self, weight: float) -> Objective:
        return Objective(lambda forward: weight * self.value(forward), self.inputs, self.outputs)

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
        module: In eval mode.
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
        The improved parameters.
    """
    parameters = parameters.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([parameters])
    rate = lr if callable(lr) else lambda share: lr
    random = random or torch.Generator().manual_seed(0)
    module_inputs: dict[str, Tensor] = {}
    module_outputs: dict[str, Tensor] = {}

    def observe(name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if name in objective.inputs:
            module_inputs[name] = inputs[0]
        if name in objective.outputs:
            # A copy: what follows may work in place.
            module_outputs[name] = output.clone()

    modules = {path: find_module(module, path) for path in {*objective.inputs, *objective.outputs}}
    with torch.enable_grad(), observing(modules, observe):
        for number in range(steps):
            images = render(parameters)
            watch(number, images.detach())
            step = Step(random, number / steps)
            optimizer.param_groups[0]["lr"] = rate(step.share)
            values = []
            for _ in range(views):
                network_input = images
                for transform in transforms:
                    network_input = transform(network_input, step)
                # The layout in which convolutions on a processor are quickest.
                network_input = network_input.contiguous(memory_format=torch.channels_last)
                logits = module(network_input)
                forward = ForwardPass(images, network_input, logits, dict(module_inputs), dict(module_outputs))
                values.append(objective.value(forward))
            # Only the image's gradient: the network's parameters cost nothing on the way back.
            (parameters.grad,) = torch.autograd.grad(-torch.stack(values).mean(0).sum(), parameters)
            optimizer.step()
            progress(number + 1, steps)
    improved = parameters.detach()
    watch(steps, render(improved))
    return improved


def as_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Images `(B, 3, H, W)` in [0, 1] as pictures `(B, H, W, 3)`: times 255, clipped and rounded down."""
    scaled = images.detach().float().cpu().permute(0, 2, 3, 1).numpy() * 255
    pixels: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
    return pixels


def annealed(lr: float, *, least: float = 0.1) -> Callable[[float], float]:
    """A learning rate that falls along half a cosine to a share of itself, so that images settle."""
    return lambda share: lr * (least + (1 - least) * (1 + math.cos(math.pi * share)) / 2)

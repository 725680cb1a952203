"""Gradients of a score: with respect to pixels, along the way from a baseline, and to a layer's output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ahekit.hooks import capture, evaluating
from ahekit.inspection.layers import check_maps
from ahekit.inspection.targets import Target
from ahekit.protocols import VisualizerInput

BASELINES = {"black": 0.0, "gray": 0.5, "white": 1.0}


def integrated_gradients(given: VisualizerInput, target: Target, start: Tensor, *, steps: int) -> Tensor:
    """The mean gradient of the score on the way from `start` to each image, times that way, `(B, 3, H, W)`."""
    module, images = given.model.module, given.images
    total = torch.zeros_like(images)
    with evaluating(module):
        for step in range(steps):
            total += input_gradient(module, start + (step + 0.5) / steps * (images - start), target.score)
    return total / steps * (images - start)


def plain_image(given: VisualizerInput, name: str) -> Tensor:
    """An image of one colour as the network gets it, `(1, 3, 1, 1)`."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in _scales(given))
    return ((BASELINES[name] - mean) / std).to(given.images)


def _scales(given: VisualizerInput) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return given.model.preprocessing.mean, given.model.preprocessing.std


def size_of(gradient: Tensor) -> Tensor:
    """The largest size over the colours, `(B, H, W)` from `(B, 3, H, W)`."""
    return gradient.abs().amax(1)


def input_gradient(module: Callable[[Tensor], Tensor], images: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Gradient of each image's score with respect to its pixels, `(B, 3, H, W)`; no parameter's gradient is made."""
    images = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(score(module(images)).sum(), images)[0].detach()


def activation_and_gradient(given: VisualizerInput, name: str, path: str, target: Target) -> tuple[Tensor, Tensor]:
    """A layer's output and the gradient of the images' scores with respect to it, each `(B, C, H, W)`.

    Raises:
        UsageError: The layer returns no maps.
    """
    module = given.model.module
    with evaluating(module), torch.enable_grad(), capture(module, {name: path}, gradients=True) as seen:
        seen.backward(target.score(module(given.images)).sum())
    activation, gradient = seen[name].activation, seen[name].gradient
    assert gradient is not None, "backward has run"
    check_maps(activation, name, given.model)
    return activation, gradient

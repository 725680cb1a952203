"""What a layer gives for images, and gradients of a score: at the layer, at the pixels, along the way from a baseline.

The network is in eval mode, as a visualizer gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ahekit.hooks import capture
from ahekit.inspection.layers import NamedLayer, check_maps
from ahekit.inspection.targets import Target
from ahekit.protocols import VisualizerInput

BASELINES: dict[str, float] = {"black": 0.0, "gray": 0.5, "white": 1.0}
"""Images of one colour that stand for nothing seen, by what their pixels are in [0, 1]."""


def activations(request: VisualizerInput, layers: Mapping[str, str]) -> dict[str, Tensor]:
    """Outputs of layers for the images, `(B, C, H, W)` each, by the names that their paths are given under.

    Raises:
        UsageError: One of them returns no maps.
    """
    module = request.model.module
    with torch.no_grad(), capture(module, layers) as outputs:
        module(request.images)
    for name in layers:
        check_maps(outputs[name].activation, name, request.model)
    return {name: outputs[name].activation for name in layers}


def activation(request: VisualizerInput, layer: NamedLayer) -> Tensor:
    """A layer's output for the images, `(B, C, H, W)`.

    Raises:
        UsageError: The layer returns no maps.
    """
    return activations(request, {layer.name: layer.path})[layer.name]


def activation_and_gradient(request: VisualizerInput, layer: NamedLayer, target: Target) -> tuple[Tensor, Tensor]:
    """A layer's output and the gradient of the images' scores with respect to it, each `(B, C, H, W)`.

    Raises:
        UsageError: The layer returns no maps.
    """
    module = request.model.module
    with torch.enable_grad(), capture(module, {layer.name: layer.path}, gradients=True) as outputs:
        outputs.backward(target.score(module(request.images)).sum())
    output = outputs[layer.name]
    assert output.gradient is not None, "backward has run"
    check_maps(output.activation, layer.name, request.model)
    return output.activation, output.gradient


def input_gradient(module: Callable[[Tensor], Tensor], images: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Gradient of each image's score with respect to its pixels, `(B, 3, H, W)`; no parameter's gradient is made."""
    images = images.detach().clone().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(score(module(images)).sum(), images)[0].detach()


def gradient_size(gradient: Tensor) -> Tensor:
    """The largest size over the colours, `(B, H, W)` from `(B, 3, H, W)`."""
    return gradient.abs().amax(1)


def integrated_gradients(request: VisualizerInput, target: Target, baseline: Tensor, *, steps: int) -> Tensor:
    """The mean gradient of the score on the way from the baseline to each image, times that way, `(B, 3, H, W)`.

    Axiomatic Attribution for Deep Networks, https://arxiv.org/abs/1703.01365.
    """
    images = request.images
    way = images - baseline
    total = torch.zeros_like(images)
    for step in range(steps):
        # The middle of each step: by the left or right end, as in the paper's sum, the shares would miss the rise of
        # the score by an error of the first order, so by the midpoint rule of the second.
        total += input_gradient(request.model.module, baseline + (step + 0.5) / steps * way, target.score)
    return total / steps * way


def plain_image(request: VisualizerInput, name: str) -> Tensor:
    """An image of one of the `BASELINES` as the network gets it, `(1, 3, 1, 1)`."""
    preprocessing = request.model.preprocessing
    mean = torch.tensor(preprocessing.mean).view(1, 3, 1, 1)
    std = torch.tensor(preprocessing.std).view(1, 3, 1, 1)
    return ((BASELINES[name] - mean) / std).to(request.images)

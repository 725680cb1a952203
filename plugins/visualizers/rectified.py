"""Gradients whose way back through each ReLU is changed: `guided-backprop` and `deconvnet`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from ahekit.errors import UsageError
from ahekit.hooks import capture, evaluating, observing
from ahekit.protocols import Visualization, VisualizerInput
from ahekit.reporting.sections import Figure

from ._draw import Tile, Tiles, image_label, image_tile, named
from ._layers import check_maps, check_unit, one_layer
from ._target import DESCRIPTION, choose_target, input_gradient


class GuidedBackpropParams(BaseModel):
    """What can be set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = Field("predicted", description=DESCRIPTION)


class DeconvnetParams(BaseModel):
    """What can be set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    filter: int | None = Field(None, ge=0, description="number of the filter; none: each image's most active")


class _GuidedRelu(torch.autograd.Function):
    """ReLU that lets only positive gradients back, and only where its input was positive."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values > 0)
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (positive,) = ctx.saved_tensors
        passed: Tensor = gradients[0].clamp(min=0) * positive
        return passed


class _DeconvRelu(torch.autograd.Function):
    """ReLU that rectifies the gradient instead of masking it by its input."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].clamp(min=0)


class GuidedBackprop:
    """Gradient of a score at the pixels, with negative gradients stopped at each ReLU: the edges that speak for it.

    Striving for Simplicity: The All Convolutional Net, https://arxiv.org/abs/1412.6806. It shows what the network
    reacts to more than what tells classes apart: https://arxiv.org/abs/1810.03292 finds it nearly unchanged when
    weights are randomised.
    """

    Params = GuidedBackpropParams

    def visualize(self, given: VisualizerInput, params: GuidedBackpropParams) -> Visualization:
        """Show each image's gradient in colour; the array `gradient` is `(B, 3, H, W)`."""
        module = given.model.module
        target = choose_target(given, params.target)
        with evaluating(module), relu_as(module, _GuidedRelu.apply):
            gradient = input_gradient(module, given.images, target.score)
        labels = [image_label(given, index, *target.label(index)) for index in range(len(gradient))]
        title = f"Guided backpropagation to the pixels, {named(given.image_ids)}"
        figure = _figure(given, gradient, labels, name="pixels", title=title)
        note = "nearly the same for random weights: a picture of edges, no evidence of what the network learnt"
        return Visualization({"gradient": gradient.cpu().numpy()}, (figure,), (note,))


class Deconvnet:
    """What in an image made a filter respond most: its strongest place projected back to the pixels.

    Visualizing and Understanding Convolutional Networks, https://arxiv.org/abs/1311.2901: transposed convolutions,
    pooling's switches, gradients rectified at each ReLU. Normalisation layers, which the paper's network has not, are
    passed as the linear maps they are in eval mode.
    """

    Params = DeconvnetParams

    def visualize(self, given: VisualizerInput, params: DeconvnetParams) -> Visualization:
        """Show each image's projection in colour; arrays `projection` `(B, 3, H, W)`, `filters` and `places`."""
        module = given.model.module
        name, path = one_layer(given)
        images = given.images.detach().clone().requires_grad_()
        with (
            evaluating(module),
            torch.enable_grad(),
            capture(module, {name: path}, gradients=True) as seen,
            relu_as(module, _DeconvRelu.apply),
        ):
            module(images)
            output = seen[name].output
            check_maps(output, name, given.model)
            strongest = output.flatten(2).max(2)
            filters = _filters(params, strongest.values, name)
            rows = torch.arange(len(output), device=output.device)
            projection = torch.autograd.grad(strongest.values[rows, filters].sum(), images)[0]
        labels = [image_label(given, index, f"filter {filters[index]}") for index in range(len(output))]
        which = "each image's strongest filter" if params.filter is None else f"filter {params.filter}"
        title = f"Deconvnet: {which} of {name} at its strongest place, {named(given.image_ids)}"
        figure = _figure(given, projection, labels, name=name, title=title)
        places = strongest.indices[rows, filters]
        arrays = {
            "projection": projection.cpu().numpy(),
            "filters": filters.cpu().numpy(),
            "places": np.stack(np.unravel_index(places.cpu().numpy(), output.shape[2:]), axis=1),
        }
        return Visualization(arrays, (figure,))


@contextmanager
def relu_as(module: nn.Module, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Let every `nn.ReLU` compute `function` of its input inside; afterwards all is as before.

    Raises:
        UsageError: The network has no `nn.ReLU`.
    """
    relus: dict[str, nn.Module] = {name: part for name, part in module.named_modules() if isinstance(part, nn.ReLU)}
    if not relus:
        raise UsageError("the network has no ReLU module, which this method is defined by; saliency works without")
    inplace: list[tuple[Any, bool]] = [(part, bool(part.inplace)) for part in relus.values()]

    def replace(name: str, part: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor:
        return function(inputs[0])

    try:
        # In place, a ReLU would have overwritten the input that the function is to see.
        for part, _ in inplace:
            part.inplace = False
        with observing(relus, replace):
            yield
    finally:
        for part, was in inplace:
            part.inplace = was


def _filters(params: DeconvnetParams, peaks: Tensor, name: str) -> Tensor:
    if params.filter is None:
        return peaks.argmax(1)
    check_unit(params.filter, peaks.shape[1], name)
    return torch.full((len(peaks),), params.filter, device=peaks.device)


def _figure(given: VisualizerInput, gradient: Tensor, labels: list[str], *, name: str, title: str) -> Figure:
    rows = tuple((image_tile(given, index), Tile(as_colours(one), "picture")) for index, one in enumerate(gradient))
    table = Tiles(tuple(labels), ("image", "at the pixels"), rows)
    alt = "A row for each image: the image, and the gradient at its pixels in colour, gray where it is zero."
    return Figure(name=name, title=title, alt=alt, draw=table.draw, size=table.size)


def as_colours(gradient: Tensor) -> np.ndarray[Any, Any]:
    """A gradient `(3, H, W)` as a picture `(H, W, 3)` in [0, 1]: gray is zero, full colour its 99.5th percentile."""
    values = gradient.detach().float().cpu().numpy().transpose(1, 2, 0)
    high = float(np.percentile(np.abs(values), 99.5)) or float(np.abs(values).max()) or 1.0
    return np.clip(0.5 + 0.5 * values / high, 0, 1)

"""Gradients whose way back through each ReLU is changed: `guided-backprop` and `deconvnet`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ahekit.errors import UsageError
from ahekit.figures.tiles import Tile, Tiles, image_label, image_tile, named
from ahekit.hooks import capture
from ahekit.inspection.attribution import gradient_size, input_gradient
from ahekit.inspection.heat_map import ALIKE_SIGNED, alike_note
from ahekit.inspection.layers import NamedLayer, check_maps, check_unit, target_convolution
from ahekit.inspection.sanity_checks import CheckedParams, Explanation, TargetParams, checked
from ahekit.inspection.targets import choose_target
from ahekit.protocols import VisualizerInput
from ahekit.sections import Figure, Visualization


class DeconvnetParams(CheckedParams):
    """What can be set."""

    filter: int | None = Field(None, ge=0, description="number of the filter; none: each image's most active")


class _GuidedRelu(torch.autograd.Function):
    """ReLU that lets only positive gradients back, and only where it is not level; `top` is where it ends (ReLU6)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, top: float) -> Tensor:
        ctx.save_for_backward((values > 0) & (values < top))
        return values.clamp(0, top)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (steep,) = ctx.saved_tensors
        return gradients[0].clamp(min=0) * steep, None


class _DeconvRelu(torch.autograd.Function):
    """ReLU that rectifies the gradient instead of masking it by its input."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, top: float) -> Tensor:
        return values.clamp(0, top)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].clamp(min=0), None


_IN_PLACE = {torch.relu_, Tensor.relu_, F.relu_}
_RELUS = {F.relu, torch.relu, Tensor.relu, *_IN_PLACE}


class _ReluAs(TorchFunctionMode):
    """Lets every ReLU and `nn.ReLU6`, a module's or a function's, compute something else of its input."""

    def __init__(self, function: Callable[[Tensor, float], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # What nn.ReLU6 calls. F.relu6 itself is mostly a part of hard gates, which are no rectifiers.
        relu6 = func is F.hardtanh and kwargs.get("min_val") == 0
        if func not in _RELUS and not relu6:
            return func(*args, **kwargs)
        self.count += 1
        values = args[0] if args else kwargs["input"]
        rectified = self.function(values, kwargs["max_val"] if relu6 else math.inf)
        # Code may go on with the tensor it has overwritten rather than with the result.
        return values.copy_(rectified) if func in _IN_PLACE or kwargs.get("inplace") else rectified


class GuidedBackprop:
    """Gradient of a score at the pixels, with negative gradients stopped at each ReLU: the edges that speak for it.

    Striving for Simplicity: The All Convolutional Net, https://arxiv.org/abs/1412.6806. It shows what the network
    reacts to more than what tells classes apart: https://arxiv.org/abs/1810.03292 finds it nearly unchanged when
    weights are randomized.
    """

    Params = TargetParams

    def visualize(self, request: VisualizerInput, params: TargetParams) -> Visualization:
        """Show each image's gradient in colour; the array `gradient` is `(B, 3, H, W)`, `map` its size `(B, H, W)`."""
        target = choose_target(request, params.target)

        def guided(request: VisualizerInput) -> Tensor:
            module = request.model.module
            with relu_as(_GuidedRelu.apply):
                return input_gradient(module, request.images, target.score)

        gradient = guided(request)
        labels = [image_label(request, index, *target.label(index)) for index in range(len(gradient))]
        title = f"Guided backpropagation to the pixels: {target.title}, {named(request.image_ids)}"
        arrays = {"gradient": gradient.cpu().numpy(), "map": gradient_size(gradient).cpu().numpy()}
        alike = alike_note(arrays["gradient"], request, limit=ALIKE_SIGNED)
        figure = _figure(request, gradient, labels, name="pixels", title=title, alike=alike)
        note = "nearly the same for random weights: a picture of edges, no evidence of what the network learnt"
        explanation = Explanation.of_class(target, lambda request: gradient_size(guided(request)))
        notes = (note, *([alike] if alike else []))
        return checked(Visualization(arrays, (figure,), notes), request, params, explanation)


class Deconvnet:
    """What in an image made a filter respond most: its strongest place projected back to the pixels.

    Visualizing and Understanding Convolutional Networks, https://arxiv.org/abs/1311.2901: transposed convolutions,
    pooling's switches, gradients rectified at each ReLU. Normalization layers, which the paper's network has not, are
    passed as the linear maps they are in eval mode.
    """

    Params = DeconvnetParams

    def visualize(self, request: VisualizerInput, params: DeconvnetParams) -> Visualization:
        """Show each image's projection in colour.

        Returns:
            Arrays `projection` `(B, 3, H, W)`, its size `map` `(B, H, W)`, `filters` `(B,)`, and `places` `(B, 2)`, row
            and column of the strongest place.
        """
        layer = target_convolution(request)

        def choose(peaks: Tensor) -> Tensor:
            if params.filter is None:
                return peaks.argmax(1)
            check_unit(params.filter, peaks.shape[1], layer.name)
            return torch.full((len(peaks),), params.filter, device=peaks.device)

        projection, filters, places = project(request, layer, choose)
        labels = [image_label(request, index, f"filter {number}") for index, number in enumerate(filters.tolist())]
        which = "each image's strongest filter" if params.filter is None else f"filter {params.filter}"
        title = f"Deconvnet: {which} of {layer.name} at its strongest place, {named(request.image_ids)}"
        arrays = {
            "projection": projection.cpu().numpy(),
            "map": gradient_size(projection).cpu().numpy(),
            "filters": filters.cpu().numpy(),
            "places": places,
        }
        alike = alike_note(arrays["projection"], request, limit=ALIKE_SIGNED)
        figure = _figure(request, projection, labels, name=layer.name, title=title, alike=alike)
        notes = tuple(note for note in (layer.note, alike) if note)

        def maps(request: VisualizerInput) -> Tensor:
            return gradient_size(project(request, layer, lambda peaks: filters)[0])

        def peak(module: nn.Module, images: Tensor, index: Tensor) -> Tensor:
            with capture(module, [layer.path]) as outputs:
                module(images)
            peaks = outputs[layer.path].activation.amax((2, 3))
            return peaks.gather(1, filters[index, None])[:, 0]

        explanation = Explanation(maps, peak, "filter's largest activation")
        return checked(Visualization(arrays, (figure,), notes), request, params, explanation)


def project(
    request: VisualizerInput, layer: NamedLayer, choose: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, np.ndarray[Any, Any]]:
    """A filter's activation at its strongest place, back at the pixels.

    Args:
        choose: From each filter's largest activation `(B, C)` to the filter of each image `(B,)`.

    Returns:
        The projection `(B, 3, H, W)`, the filters `(B,)`, and row and column of the places `(B, 2)`.

    Raises:
        UsageError: The layer returns no maps, or the network has no ReLU.
    """
    module = request.model.module
    images = request.images.detach().clone().requires_grad_()
    with (
        torch.enable_grad(),
        capture(module, [layer.path], gradients=True) as outputs,
        relu_as(_DeconvRelu.apply),
    ):
        module(images)
        output = outputs[layer.path].output
        check_maps(output, layer.name, request.model)
        strongest = output.flatten(2).max(2)
        filters = choose(strongest.values)
        rows = torch.arange(len(output), device=output.device)
        projection = torch.autograd.grad(strongest.values[rows, filters].sum(), images)[0]
    places = np.unravel_index(strongest.indices[rows, filters].cpu().numpy(), output.shape[2:])
    return projection, filters, np.stack(places, axis=1)


@contextmanager
def relu_as(function: Callable[[Tensor, float], Tensor]) -> Iterator[None]:
    """Let every ReLU compute `function` of its input and the value it ends at (infinity; 6 for ReLU6) inside.

    Raises:
        UsageError: No ReLU was met.
    """
    with _ReluAs(function) as relus:
        yield
    if not relus.count:
        raise UsageError("the network has no ReLU, which this method is defined by; saliency works without")


def _figure(
    request: VisualizerInput, gradient: Tensor, labels: list[str], *, name: str, title: str, alike: str
) -> Figure:
    rows = tuple((image_tile(request, index), Tile(as_colours(one), "picture")) for index, one in enumerate(gradient))
    caption = "Colour: which way a pixel would have to change. Gray: it has no say. Each has a scale of its own."
    if alike:
        caption = f"{alike}. {caption}"
    table = Tiles(tuple(labels), ("image", "at the pixels"), rows, tile=1.4, caption=caption)
    alt = "A row for each image: the image, and the gradient at its pixels in colour, gray where it is zero."
    return Figure(name=name, title=title, alt=alt, draw=table.draw, size=table.size)


def as_colours(gradient: Tensor) -> np.ndarray[Any, Any]:
    """A gradient `(3, H, W)` as a picture `(H, W, 3)` in [0, 1]: gray is zero, full colour its 99.5th percentile."""
    values = gradient.detach().float().cpu().numpy().transpose(1, 2, 0)
    # A few pixels outshine all others, and would leave them gray; of a gradient with few others all count.
    high = float(np.percentile(np.abs(values), 99.5)) or float(np.abs(values).max()) or 1.0
    return np.clip(0.5 + 0.5 * values / high, 0, 1)

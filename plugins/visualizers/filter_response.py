"""One filter's response to an image: its maps weighted by the pooled gradient of a scalar.

The mean of a filter's own activation has, at the filter's own layer, a gradient that is known beforehand:
1 / (H W) everywhere on that filter, zero on all others. There the weighting can only scale the filter's map. What
carries information is the gradient of that mean further back, at earlier layers and at the pixels, or another
scalar, such as a class's logit; this visualizer shows these beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from ahekit.figures.tiles import Kind, Tile, Tiles, image_label, image_tile, named, original
from ahekit.hooks import Capture, capture
from ahekit.inspection.attribution import gradient_size
from ahekit.inspection.layers import NamedLayer, check_maps, check_unit, convolutions, resolve_layer, target_convolution
from ahekit.inspection.sanity_checks import CheckedParams, Explanation, checked
from ahekit.inspection.targets import DESCRIPTION, Target, choose_target
from ahekit.protocols import VisualizerInput
from ahekit.sections import Figure, Visualization

CONSTANT = (
    "The mean of a filter's own activation has a constant gradient on that filter, 1 / (height x width), and none on "
    "the others: at its own layer the weighting only scales the filter's map. The gradient at {back} and at the pixels "
    "tells what the response depends on; so does --scalar logit."
)


class FilterResponseParams(CheckedParams):
    """What can be set."""

    filter: int | Literal["all"] | None = Field(
        None, description="number of the filter, or all; none: the one with the largest mean activation on each image"
    )
    scalar: Literal["filter-mean", "logit"] = Field(
        "filter-mean", description="what is propagated back: the filter's mean activation, or the target's logit"
    )
    at: str | None = Field(
        None, description="earlier layer whose maps are weighted too; none: the convolution before the layer"
    )
    target: str = Field("predicted", description=f"with the scalar logit, {DESCRIPTION}")
    show_units: int = Field(
        12,
        ge=1,
        description="filters shown of all: the most active, or those with the largest share of the logit, first",
    )

    @field_validator("filter")
    @classmethod
    def _counts_from_zero(cls, value: int | str | None) -> int | str | None:
        if isinstance(value, int) and value < 0:
            raise ValueError("must be 0 or more, or all")
        return value


@dataclass(frozen=True)
class Response:
    """What came back from a scalar.

    Attributes:
        filters: Filter looked at on each image, `(B,)`; -1: all of them.
        weights: Gradient at the layer, averaged over the image's places, `(B, C)`.
        maps: Weighted activation maps of the layer, `(B, C, H, W)`.
        earlier: The same of an earlier layer, summed over its channels, `(B, h, w)`; None where there is none.
        pixels: Gradient at the pixels, the largest size over the colours, `(B, H, W)`.
    """

    filters: Tensor
    weights: Tensor
    maps: Tensor
    earlier: Tensor | None
    pixels: Tensor


class FilterResponse:
    """A filter's activation weighted by the pooled gradient of its mean (or of a logit), beside what it depends on.

    Activations and gradients are kept by hooks; each channel's gradient is averaged over the places to one weight; the
    maps are multiplied by their weights and averaged over channels to the feature map. Each image is a batch of its
    own, so that its gradient doesn't depend on what else is looked at.
    """

    Params = FilterResponseParams

    def visualize(self, request: VisualizerInput, params: FilterResponseParams) -> Visualization:
        """Propagate the scalar back and draw image, feature map, overlay, and the gradients further back.

        Returns:
            Arrays `filters`, `weights`, `maps` and `pixel_gradient` as in `Response`, `map` `(B, H, W)`, the mean of
            `maps` over channels, and `earlier` where there is an earlier layer.

        Raises:
            UsageError: There is no such filter, or the layer returns no maps.
            UnknownNameError: There is no such class or layer.
        """
        layer = target_convolution(request)
        earlier = _earlier_layer(request, layer, params.at)
        target = choose_target(request, params.target if params.scalar == "logit" else "predicted")
        response = respond(request, layer, earlier, params, target)
        arrays = {
            "filters": response.filters,
            "weights": response.weights,
            "maps": response.maps,
            "map": response.maps.mean(1),
            "pixel_gradient": response.pixels,
        } | ({} if response.earlier is None else {"earlier": response.earlier})
        names = layer.name, earlier.name if earlier else ""
        draw = _grid if params.filter == "all" else _figure
        figure = draw(request, *names, response, target, params)
        notes = tuple(
            note for note in (layer.note, _reading(params, names[1]) if params.scalar == "filter-mean" else "") if note
        )
        visualization = Visualization({key: value.cpu().numpy() for key, value in arrays.items()}, (figure,), notes)

        def maps(request: VisualizerInput) -> Tensor:
            return respond(request, layer, earlier, params, target, filters=response.filters).maps.mean(1)

        def mean_activation(module: nn.Module, images: Tensor, index: Tensor) -> Tensor:
            """Mean over places of each image's filter, or of all filters, `(B,)`."""
            with torch.no_grad(), capture(module, [layer.path]) as outputs:
                module(images)
            means = outputs[layer.path].activation.mean((2, 3))
            filters = response.filters[index]
            return torch.where(filters < 0, means.mean(1), _pick(means, filters))

        if params.scalar == "logit":
            explanation = Explanation.of_class(target, maps, signed=True)
        else:
            explanation = Explanation(maps, mean_activation, "filter's mean activation")
        return checked(visualization, request, params, explanation)


def respond(
    request: VisualizerInput,
    layer: NamedLayer,
    earlier: NamedLayer | None,
    params: FilterResponseParams,
    target: Target,
    *,
    filters: Tensor | None = None,
) -> Response:
    """Propagate the scalar back to the layer, to an earlier one and to the pixels.

    Args:
        layer: The layer.
        earlier: The one whose maps are weighted too; None: there is none.
        filters: Filter of each image as in `Response`; None: those that `params` ask for.
    """
    module = request.model.module
    images = request.images.detach().clone().requires_grad_()
    # The layer last, and once where it stands for the earlier one too.
    layers = {each.name: each.path for each in (earlier, layer) if each}
    with torch.enable_grad(), capture(module, layers, gradients=True) as outputs:
        logits = module(images)
        activation = outputs[layer.name].activation
        check_maps(activation, layer.name, request.model)
        filters = _filters(activation, params, layer.name) if filters is None else filters
        if params.scalar == "logit":
            scalar = target.score(logits).sum()
        elif params.filter == "all":
            # All means at once: their gradients meet at no common element of this layer.
            scalar = outputs[layer.name].output.mean((2, 3)).sum()
        else:
            scalar = _pick(outputs[layer.name].output, filters).mean((1, 2)).sum()
        # The graph is gone through twice: from the scalar to the layers, and to the pixels.
        outputs.backward(scalar, keep_graph=True)
        pixels = gradient_size(torch.autograd.grad(scalar, images)[0])
    weights = _gradient(outputs, layer.name).mean((2, 3))
    maps = weights[:, :, None, None] * activation
    if params.scalar == "logit" and isinstance(params.filter, int):
        filter_only = torch.nn.functional.one_hot(filters, activation.shape[1]).bool()
        maps = maps * filter_only[:, :, None, None]
    if earlier is None or outputs[earlier.name].activation.ndim != 4:
        return Response(filters, weights, maps, None, pixels)
    earlier_weights = _gradient(outputs, earlier.name).mean((2, 3), keepdim=True)
    earlier_maps = (earlier_weights * outputs[earlier.name].activation).sum(1)
    return Response(filters, weights, maps, earlier_maps, pixels)


def _filters(activation: Tensor, params: FilterResponseParams, name: str) -> Tensor:
    if isinstance(params.filter, int):
        check_unit(params.filter, activation.shape[1], name)
        return torch.full((len(activation),), params.filter, device=activation.device)
    if params.filter == "all" or params.scalar == "logit":
        return torch.full((len(activation),), -1, device=activation.device)
    return activation.mean((2, 3)).argmax(1)


def _pick(maps: Tensor, filters: Tensor) -> Tensor:
    return maps[torch.arange(len(maps), device=maps.device), filters]


def _gradient(outputs: Capture, name: str) -> Tensor:
    gradient = outputs[name].gradient
    assert gradient is not None, "backward has run"
    return gradient


def _earlier_layer(request: VisualizerInput, layer: NamedLayer, name: str | None) -> NamedLayer | None:
    """The layer of that name, else the convolution before the layer; None when that is the first convolution."""
    if name is not None:
        return NamedLayer(name, resolve_layer(request.model, name))
    layers = [NamedLayer(name, path) for name, path in convolutions(request.model).items()]
    paths = [other.path for other in layers]
    place = paths.index(layer.path) if layer.path in paths else 0
    return layers[place - 1] if place else None


def _label(request: VisualizerInput, target: Target, params: FilterResponseParams, index: int, *more: str) -> str:
    """Words before an image's row; what is explained only where that is a logit."""
    return image_label(request, index, *target.label(index)[: 2 if params.scalar == "logit" else 1], *more)


def _reading(params: FilterResponseParams, back: str) -> str:
    """How to read the figure."""
    if params.scalar == "filter-mean":
        return CONSTANT.format(back=back or "earlier layers")
    return "Red speaks for the logit, blue against it; each map has a colour scale of its own."


def _kind(params: FilterResponseParams) -> Kind:
    return "signed" if params.scalar == "logit" else "map"


def _figure(
    request: VisualizerInput, name: str, back: str, response: Response, target: Target, params: FilterResponseParams
) -> Figure:
    rows, labels = [], []
    for index, filter in enumerate(response.filters.tolist()):
        feature = response.maps[index].mean(0).cpu().numpy()
        on = original(request, index)
        tiles = [
            image_tile(request, index),
            Tile(feature, _kind(params), on=on),
            Tile(feature, "overlay", on=on),
            Tile(response.pixels[index].cpu().numpy(), on=on),
        ]
        if response.earlier is not None:
            tiles.insert(3, Tile(response.earlier[index].cpu().numpy(), _kind(params), on=on))
        rows.append(tuple(tiles))
        which = () if filter < 0 else (f"filter {filter}",)
        labels.append(_label(request, target, params, index, *which))
    places = " x ".join(map(str, response.maps.shape[2:]))
    columns = ["Initial image", f"Feature map\n{places}", "Overlay", "gradient at\nthe pixels"]
    if response.earlier is not None:
        columns.insert(3, f"weighted maps\nof {back}")
    table = Tiles(tuple(labels), tuple(columns), tuple(rows), caption=_reading(params, back))
    default = name if params.scalar == "logit" else f"the most active filter of {name}"
    which_filter = f"filter {params.filter} of {name}" if isinstance(params.filter, int) else default
    scalar = "class logit" if params.scalar == "logit" else "filter's mean"
    return Figure(
        name=name + (f"-filter{params.filter}" if isinstance(params.filter, int) else ""),
        title=f"Response of {which_filter} by the gradient of the {scalar}, {named(request.image_ids)}",
        alt=f"A row for each image: {', '.join(columns)}.".replace("\n", " "),
        draw=table.draw,
        size=table.size,
    )


def _grid(
    request: VisualizerInput, name: str, back: str, response: Response, target: Target, params: FilterResponseParams
) -> Figure:
    # A filter's own mean ranks by activity, as the default filter is chosen; a share of a logit may be negative.
    ranked = response.maps if params.scalar == "filter-mean" else response.maps.abs()
    sizes = ranked.mean((0, 2, 3))
    units = sizes.argsort(descending=True, stable=True)[: params.show_units].tolist()
    rows = []
    for index in range(len(response.maps)):
        maps = response.maps[index].cpu().numpy()
        rows.append((image_tile(request, index), *(Tile(maps[unit], _kind(params)) for unit in units)))
    labels = tuple(_label(request, target, params, index) for index in range(len(response.maps)))
    columns = ("Initial image", *(f"filter {unit}" for unit in units))
    table = Tiles(labels, columns, tuple(rows), tile=0.85, caption=_reading(params, back))
    scalar = "class logit" if params.scalar == "logit" else "filter's mean"
    return Figure(
        name=f"{name}-all",
        title=f"Responses of {len(units)} of {response.maps.shape[1]} filters of {name} by the gradient of the "
        f"{scalar}, {named(request.image_ids)}",
        alt=f"A row for each image, a column for each of the filters {', '.join(map(str, units))}.",
        draw=table.draw,
        size=table.size,
        data={"filters": units},
    )

"""A convolution's own weights as pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ahekit.figures.tiles import Tile, Tiles
from ahekit.inspection.layers import NamedLayer, convolution, convolutions
from ahekit.protocols import Params, VisualizerInput
from ahekit.sections import Figure, Visualization

Weights = NDArray[np.float32]


class KernelsParams(Params):
    """What can be set."""

    show_units: int = Field(16, ge=1, description="filters shown, those with the largest weights first")
    show_inputs: int = Field(12, ge=1, description="input channels shown of each filter of a deeper layer")


class Kernels:
    """Filters of a convolution: of the first as colour tiles, of deeper ones input channel by input channel.

    Filters come in the order of their weights' Euclidean norm. A colour tile has gray where weights are zero and is
    scaled by its own largest weight; single channels share their filter's scale, from blue (negative) to red.
    """

    Params = KernelsParams
    needs_images = False

    def visualize(self, request: VisualizerInput, params: KernelsParams) -> Visualization:
        """Draw the weights of the named convolutions, or of the first.

        Returns:
            Arrays `<layer>`, `(filters, input channels, height, width)`.

        Raises:
            UsageError: A layer is no convolution, or there is none.
        """
        layers = [NamedLayer(name, path) for name, path in (request.layers or convolutions(request.model)).items()]
        if not request.layers:
            layers = layers[:1]
        arrays: dict[str, Weights] = {}
        figures = []
        for layer in layers:
            weights = convolution(request.model, layer).weight.detach().float().cpu().numpy().copy()
            arrays[layer.name] = weights
            # Filters over three channels can be drawn as what they are, colours.
            figure = _colour_figure if weights.shape[1] == 3 else _channel_figure
            figures.append(figure(layer.name, weights, params))
        return Visualization(arrays, tuple(figures))


def by_norm(weights: Weights) -> list[int]:
    """Filters by the Euclidean norm of their weights, the largest first."""
    norms: list[int] = np.argsort(-np.sqrt((weights**2).sum(axis=(1, 2, 3))), kind="stable").tolist()
    return norms


def as_colours(kernel: Weights) -> Weights:
    """Weights `(3, H, W)` as a picture `(H, W, 3)` in [0, 1], with zero at 0.5."""
    return np.asarray(0.5 + 0.5 * kernel.transpose(1, 2, 0) / (np.abs(kernel).max() or 1.0), dtype=np.float32)


def _colour_figure(name: str, weights: Weights, params: KernelsParams) -> Figure:
    units = by_norm(weights)[: params.show_units]
    across = 8
    tiles = [Tile(as_colours(weights[unit]), "picture", text=f"filter {unit}") for unit in units]
    rows = [tuple(tiles[start : start + across]) for start in range(0, len(tiles), across)]
    width = min(across, len(tiles))
    filled = tuple((*row, *(None,) * (width - len(row))) for row in rows)
    caption = (
        "The colour that a filter weighs most. Gray: a weight of zero; each filter is scaled by its largest weight."
    )
    table = Tiles(("",) * len(rows), ("",) * width, filled, tile=0.8, caption=caption)
    return Figure(
        name=name,
        title=f"Kernels of {name}: {len(units)} of {len(weights)} filters, {_side(weights)}, in colour",
        alt=f"Tiles of the filters {', '.join(map(str, units))}; gray is a weight of zero.",
        draw=table.draw,
        size=table.size,
        data={"units": units},
    )


def _channel_figure(name: str, weights: Weights, params: KernelsParams) -> Figure:
    units = by_norm(weights)[: params.show_units]
    rows = []
    for unit in units:
        high = float(np.abs(weights[unit]).max())
        inputs = by_norm(weights[unit][:, None])[: params.show_inputs]
        rows.append(tuple(Tile(weights[unit, place], "signed", high=high, text=f"input {place}") for place in inputs))
    columns = ("strongest", *("",) * (len(rows[0]) - 1))
    caption = "Red: positive weights, blue: negative ones, gray: zero. Each filter is scaled by its largest weight."
    table = Tiles(tuple(f"filter {unit}" for unit in units), columns, tuple(rows), tile=0.62, caption=caption)
    return Figure(
        name=name,
        title=f"Kernels of {name}: {len(units)} of {len(weights)} filters, {len(rows[0])} of {weights.shape[1]} "
        f"input channels, {_side(weights)}",
        alt="A row for each filter, a tile for each of its strongest input channels.",
        draw=table.draw,
        size=table.size,
        data={"units": units},
    )


def _side(weights: Weights) -> str:
    return " x ".join(map(str, weights.shape[2:]))

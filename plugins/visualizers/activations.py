"""Feature maps: what each layer, or each unit of one layer, makes of an image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ahekit.figures.tiles import Tile, Tiles, image_label, image_tile, named, original
from ahekit.inspection.attribution import activations
from ahekit.inspection.layers import convolutions
from ahekit.protocols import Params, VisualizerInput
from ahekit.sections import Figure, Visualization

Maps = NDArray[np.float32]


class ActivationsParams(Params):
    """What can be set."""

    show_units: int = Field(10, ge=1, description="units a layer's figure shows, the strongest on these images first")
    show_layers: int = Field(16, ge=1, description="layers shown when none is named, spread evenly over the depth")


class Activations:
    """Feature maps of a layer, or the strongest one of every layer.

    A unit's strength is the mean of its positive part over the images and places. In a layer's figure a column is a
    unit and has one colour scale, from its least to its largest value, so that its images can be compared.
    """

    Params = ActivationsParams

    def visualize(self, request: VisualizerInput, params: ActivationsParams) -> Visualization:
        """Keep the layers' outputs and draw them.

        Returns:
            Arrays `<layer>`, `(B, C, H, W)`, whole, and `<layer>.units`, `(C,)`, all units, the strongest first.

        Raises:
            UsageError: A layer returns no maps, or the network has no convolution.
        """
        layers = request.layers or convolutions(request.model)
        names = list(layers)
        if not request.layers and len(names) > params.show_layers:
            places = np.linspace(0, len(layers) - 1, params.show_layers).round().astype(int)
            names = [names[place] for place in places]
        outputs = activations(request, {name: layers[name] for name in names})
        maps = {name: output.float().cpu().numpy() for name, output in outputs.items()}
        orders = {name: strongest(layer_maps) for name, layer_maps in maps.items()}
        arrays: dict[str, NDArray[np.generic]] = {}
        for name in maps:
            arrays[name] = maps[name]
            arrays[f"{name}.units"] = orders[name]
        if request.layers:
            figures = [_layer_figure(request, name, maps[name], orders[name], params) for name in maps]
            return Visualization(arrays, tuple(figures))
        notes = ["the strongest unit of each layer on each image; --layer LAYER shows one layer's units"]
        if len(names) < len(layers):
            notes.append(f"{len(names)} of {len(layers)} layers looked at, evenly over the depth (--set show_layers=N)")
        return Visualization(arrays, (_depth_figure(request, maps),), tuple(notes))


def strongest(maps: Maps) -> NDArray[np.int64]:
    """Units `(C,)` by the mean of their positive part over images and places, the strongest first."""
    strength = np.maximum(maps, 0).mean(axis=(0, 2, 3))
    return np.argsort(-strength, kind="stable")


def _layer_figure(
    request: VisualizerInput, name: str, maps: Maps, order: NDArray[np.int64], params: ActivationsParams
) -> Figure:
    units = order[: params.show_units].tolist()
    # One scale a column, over all images.
    scales = {unit: (float(maps[:, unit].min()), float(maps[:, unit].max())) for unit in units}
    rows = []
    for index in range(len(maps)):
        on = original(request, index)
        tiles = [Tile(maps[index, unit], low=low, high=high, on=on) for unit, (low, high) in scales.items()]
        rows.append((image_tile(request, index), *tiles))
    labels = tuple(image_label(request, index) for index in range(len(maps)))
    caption = "Units from left to right from the strongest. Dark to bright: from a unit's least value to its largest."
    columns = ("image", *(f"unit {unit}" for unit in units))
    table = Tiles(labels, columns, tuple(rows), tile=0.85, caption=caption)
    side = " x ".join(map(str, maps.shape[2:]))
    return Figure(
        name=name,
        title=f"Activations of {name}: {len(units)} of {maps.shape[1]} units, {side}, {named(request.image_ids)}",
        alt=f"A row for each image, a column for each of the units {', '.join(map(str, units))} of {name}.",
        draw=table.draw,
        size=table.size,
        data={"units": units},
    )


def _depth_figure(request: VisualizerInput, maps: Mapping[str, Maps]) -> Figure:
    rows = []
    for index in range(len(request.image_ids)):
        tiles = []
        for layer_maps in maps.values():
            unit = int(np.maximum(layer_maps[index], 0).mean(axis=(1, 2)).argmax())
            places = " x ".join(map(str, layer_maps.shape[2:]))
            tiles.append(Tile(layer_maps[index, unit], on=original(request, index), text=f"unit {unit}\n{places}"))
        rows.append((image_tile(request, index), *tiles))
    labels = tuple(image_label(request, index) for index in range(len(request.image_ids)))
    caption = "Dark to bright: from a map's least value to its largest."
    table = Tiles(labels, ("image", *maps), tuple(rows), tile=0.95, caption=caption)
    return Figure(
        name="layers",
        title=f"Activations: the strongest unit of every layer, {named(request.image_ids)}",
        alt=f"A row for each image, a column for each of the layers {', '.join(maps)}.",
        draw=table.draw,
        size=table.size,
    )

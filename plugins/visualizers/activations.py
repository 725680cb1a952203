"""Feature maps: what each layer, or each unit of one layer, makes of an image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from ahekit.figures.tiles import Tile, Tiles, image_label, image_tile, named
from ahekit.hooks import capture, evaluating
from ahekit.inspection.layers import check_maps, convolutions
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

    def visualize(self, given: VisualizerInput, params: ActivationsParams) -> Visualization:
        """Keep the layers' outputs and draw them.

        Returns:
            Arrays `<layer>`, `(B, C, H, W)`, whole, and `<layer>.units`, `(C,)`, all units, the strongest first.

        Raises:
            UsageError: A layer returns no maps, or the network has no convolution.
        """
        every = given.layers or convolutions(given.model)
        picked = list(every) if given.layers else _spread(list(every), params.show_layers)
        maps = activations(given, {name: every[name] for name in picked})
        orders = {name: strongest(found) for name, found in maps.items()}
        arrays: dict[str, NDArray[np.generic]] = {}
        for name in maps:
            arrays |= {name: maps[name], f"{name}.units": orders[name]}
        if given.layers:
            shown = [_layer_figure(given, name, maps[name], orders[name], params) for name in maps]
            return Visualization(arrays, tuple(shown))
        notes = ["the strongest unit of each layer on each image; --layer LAYER shows one layer's units"]
        if len(picked) < len(every):
            notes.append(f"{len(picked)} of {len(every)} layers looked at, evenly over the depth (--set show_layers=N)")
        return Visualization(arrays, (_depth_figure(given, maps),), tuple(notes))


def activations(given: VisualizerInput, layers: Mapping[str, str]) -> dict[str, Maps]:
    """The layers' outputs `(B, C, H, W)` by name.

    Raises:
        UsageError: One of them returns no maps.
    """
    module = given.model.module
    with evaluating(module), torch.no_grad(), capture(module, layers) as seen:
        module(given.images)
    for name in layers:
        check_maps(seen[name].activation, name, given.model)
    return {name: seen[name].activation.float().cpu().numpy() for name in layers}


def strongest(maps: Maps) -> NDArray[np.int64]:
    """Units `(C,)` by the mean of their positive part over images and places, the strongest first."""
    strength = np.maximum(maps, 0).mean(axis=(0, 2, 3))
    return np.argsort(-strength, kind="stable")


def _layer_figure(
    given: VisualizerInput, name: str, maps: Maps, order: NDArray[np.int64], params: ActivationsParams
) -> Figure:
    units = order[: params.show_units].tolist()
    rows = tuple(
        (
            image_tile(given, index),
            *(
                Tile(maps[index, unit], low=float(maps[:, unit].min()), high=float(maps[:, unit].max()))
                for unit in units
            ),
        )
        for index in range(len(maps))
    )
    labels = tuple(image_label(given, index) for index in range(len(maps)))
    caption = "Units from left to right from the strongest. Dark to bright: from a unit's least value to its largest."
    tiles = Tiles(labels, ("image", *(f"unit {unit}" for unit in units)), rows, tile=0.85, caption=caption)
    side = " x ".join(map(str, maps.shape[2:]))
    return Figure(
        name=name,
        title=f"Activations of {name}: {len(units)} of {maps.shape[1]} units, {side}, {named(given.image_ids)}",
        alt=f"A row for each image, a column for each of the units {', '.join(map(str, units))} of {name}.",
        draw=tiles.draw,
        size=tiles.size,
        data={"units": units},
    )


def _depth_figure(given: VisualizerInput, maps: Mapping[str, Maps]) -> Figure:
    rows = []
    for index in range(len(given.image_ids)):
        units = {name: int(np.maximum(found[index], 0).mean(axis=(1, 2)).argmax()) for name, found in maps.items()}
        tiles = [Tile(maps[name][index, unit], text=f"unit {unit}") for name, unit in units.items()]
        rows.append((image_tile(given, index), *tiles))
    labels = tuple(image_label(given, index) for index in range(len(given.image_ids)))
    caption = "Dark to bright: from a map's least value to its largest."
    table = Tiles(labels, ("image", *maps), tuple(rows), tile=0.95, caption=caption)
    return Figure(
        name="layers",
        title=f"Activations: the strongest unit of every layer, {named(given.image_ids)}",
        alt=f"A row for each image, a column for each of the layers {', '.join(maps)}.",
        draw=table.draw,
        size=table.size,
    )


def _spread(names: list[str], count: int) -> list[str]:
    if len(names) <= count:
        return names
    return [names[place] for place in np.linspace(0, len(names) - 1, count).round().astype(int)]

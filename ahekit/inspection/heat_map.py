"""Maps over images: their figure, the same for every method that makes one map of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ahekit.figures.tiles import TILE, Kind, Tile, Tiles, image_label, image_tile, named
from ahekit.inspection.targets import Target
from ahekit.protocols import VisualizerInput
from ahekit.sections import Figure, Visualization

READING: dict[Kind, str] = {
    "map": "Bright: much of it, dark: none. Each map has a colour scale of its own.",
    "signed": "Red speaks for the score, blue against it, gray neither. Each map has a colour scale of its own.",
}
"""How to read a map's colours."""

Arrays = dict[str, NDArray[np.generic]]


def enlarge(maps: Tensor, request: VisualizerInput) -> Tensor:
    """Maps `(B, h, w)` at the images' size, bilinearly."""
    size = request.images.shape[2:]
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def bright(values: NDArray[Any]) -> float | None:
    """Where the colours of a map of pixels end, the 99.5th percentile: single ones outshine it. None: all is zero."""
    return float(np.percentile(np.abs(values), 99.5)) or None


def heat_map(
    request: VisualizerInput,
    target: Target,
    maps: Tensor,
    *,
    method: str,
    name: str,
    where: str,
    kind: Kind = "map",
    overlay: bool = True,
    raw: Tensor | None = None,
    notes: Sequence[str] = (),
    arrays: Arrays | None = None,
) -> Visualization:
    """One map of each image, beside it and (with `overlay`) over it.

    Args:
        maps: `(B, H, W)` at the images' size.
        method: As a title names it.
        name: Of the figure.
        where: What the maps are of: a layer's name, or the pixels.
        raw: The maps before they were enlarged.
        arrays: More arrays to return.

    Returns:
        Arrays `map` (the raw ones where there are), `enlarged`, `logits`, and `arrays`.
    """
    enlarged = maps.float().cpu().numpy()
    rows, labels = [], []
    for index, values in enumerate(enlarged):
        tiles = [image_tile(request, index), Tile(values, kind, high=None if overlay else bright(values))]
        if overlay:
            tiles.append(Tile(values, "overlay", under=request.pixels[index]))
        rows.append(tuple(tiles))
        labels.append(image_label(request, index, *target.label(index)))
    columns = ("image", method, "overlay")[: 3 if overlay else 2]
    table = Tiles(tuple(labels), columns, tuple(rows), tile=TILE if overlay else 1.4, caption=READING[kind])
    figure = Figure(
        name=name,
        title=f"{method} of {where}: {target.title}, {named(request.image_ids)}",
        alt=f"A row for each image: {', '.join(columns)}.",
        draw=table.draw,
        size=table.size,
    )
    own: Arrays = {"map": (maps if raw is None else raw).float().cpu().numpy(), "logits": target.logits.cpu().numpy()}
    if raw is not None:
        own["enlarged"] = enlarged
    return Visualization(own | (arrays or {}), (figure,), tuple(notes))

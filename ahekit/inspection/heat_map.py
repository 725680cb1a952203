"""Maps over images: their figure, the same for every method that makes one map of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ahekit.figures.tiles import TILE, Bar, Kind, Tile, Tiles, image_label, image_tile, named, original
from ahekit.inspection.map_quality import likeness
from ahekit.inspection.targets import Target
from ahekit.protocols import VisualizerInput
from ahekit.sections import Figure, Visualization

READING: dict[Kind, str] = {
    "map": "Bright: much of it, dark: none. Each map has a colour scale of its own.",
    "signed": "Red speaks for the score, blue against it, gray neither. Each map has a colour scale of its own.",
}
"""How to read a map's colours."""
READING_SHARED: dict[Kind, str] = {
    "map": "Bright: much of it, dark: none. All maps share one colour scale.",
    "signed": "Red speaks for the score, blue against it, gray neither. All maps share one colour scale.",
}
"""The same where maps have a unit."""

ALIKE = 0.9
"""Mean correlation of the maps of different images from which they show the network or the method, not the image.

So large because maps of few places, and those of objects in the middle, are somewhat alike for good reasons."""
ALIKE_SIGNED = 0.3
"""The same of signed gradients at the pixels, whose signs have no such reason: those of good maps correlate by 0.1."""
DIFFERENT = 0.7
"""The same of the images themselves, up to which they are different images."""
FEWEST = 3
"""Images of which it can be told."""

Arrays = dict[str, NDArray[np.generic]]


def enlarge(maps: Tensor, request: VisualizerInput) -> Tensor:
    """Maps `(B, h, w)` at the images' size, bilinearly."""
    size = request.images.shape[2:]
    return F.interpolate(maps[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def bright(values: NDArray[Any]) -> float | None:
    """Where the colours of a map of pixels end, the 99.5th percentile: single ones outshine it. None: all is zero."""
    return float(np.percentile(np.abs(values), 99.5)) or None


def alike_note(maps: NDArray[Any], request: VisualizerInput, *, limit: float = ALIKE) -> str:
    """What to say of maps `(B, ...)` that are one and the same whatever the image; nothing of others."""
    if len(maps) < FEWEST or likeness(request.pixels.mean(axis=3)) > DIFFERENT:
        return ""
    alike = likeness(maps)
    if not alike >= limit:
        return ""
    return (
        f"FAILED A CHECK: the maps of {len(maps)} different images are alike (mean correlation {alike:.2f}); they show "
        "the network or the method, not what is in an image"
    )


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
    unit: str = "",
    gradient: Tensor | None = None,
    notes: Sequence[str] = (),
    arrays: Arrays | None = None,
) -> Visualization:
    """One map of each image, beside it and (with `overlay`) over it.

    Args:
        maps: `(B, H, W)` at the images' size.
        method: As a title names it.
        name: Of the figure.
        where: What the maps are of: a layer's name, or the pixels.
        raw: The maps before they were enlarged; the figure shows these.
        unit: Of the maps, where they have one: then all share one scale, with a colour bar. Else each has its own.
        gradient: Signed, at the pixels, `(B, 3, H, W)`, where the maps are made of one: finer than they are to tell
            whether the maps of different images are alike.
        arrays: More arrays to return.

    Returns:
        Arrays `map` (the raw ones where there are), `enlarged`, `logits`, and `arrays`.
    """
    enlarged = maps.float().cpu().numpy()
    grid = enlarged if raw is None else raw.float().cpu().numpy()
    # Single pixels outshine a map of pixels; the places of a layer are few, and all count.
    high = bright(enlarged) if unit else None
    rows = []
    labels = []
    for index, values in enumerate(grid):
        on = original(request, index)
        own_high = high if unit else None if overlay else bright(values)
        tiles = [
            image_tile(request, index),
            Tile(values, kind, high=own_high, low=0.0 if kind == "map" else None, on=on),
        ]
        if overlay:
            tiles.append(Tile(enlarged[index], "overlay", low=0.0, on=on))
        rows.append(tuple(tiles))
        labels.append(image_label(request, index, *target.label(index)))
    places = f"{grid.shape[1]} x {grid.shape[2]}"
    reading = [READING_SHARED[kind] if unit else READING[kind]]
    if raw is not None:
        reading.append(f"The layer has {places} places; over the picture they are enlarged bilinearly.")
    if gradient is None:
        alike = alike_note(grid, request)
    else:
        alike = alike_note(gradient.float().cpu().numpy(), request, limit=ALIKE_SIGNED)
    notes = (*notes, *([alike] if alike else []))
    columns = ("image", method if raw is None else f"{method}\n{places}", "overlay")[: 3 if overlay else 2]
    table = Tiles(
        tuple(labels),
        columns,
        tuple(rows),
        tile=TILE if overlay else 1.4,
        caption=" ".join([alike + "."] * bool(alike) + reading),
        bar=Bar("signed" if kind == "signed" else "map", -high if kind == "signed" else 0.0, high, unit)
        if unit and high
        else None,
    )
    figure = Figure(
        name=name,
        title=f"{method} of {where}: {target.title}, {named(request.image_ids)}",
        alt=f"A row for each image: {', '.join(columns)}.".replace("\n", " "),
        draw=table.draw,
        size=table.size,
    )
    own: Arrays = {"map": (maps if raw is None else raw).float().cpu().numpy(), "logits": target.logits.cpu().numpy()}
    if raw is not None:
        own["enlarged"] = enlarged
    return Visualization(own | (arrays or {}), (figure,), tuple(notes))

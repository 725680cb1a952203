"""The networks that the lesson compares: cnn5 with each way of pooling, and pooled more or less often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...models.cnn5 import GRID_SHARE, Cnn5Params

WAYS: Mapping[str, dict[str, Any]] = {
    "max": {"pool": "max"},
    "average": {"pool": "avg"},
    "strided convolution": {"pool": "stride"},
    "blur": {"pool": "blur"},
}
"""After every convolution but the last: networks of the same parameters."""

PLACES: Mapping[str, dict[str, Any]] = {
    "max, every second": {"pool": "max", "pool_every": 2},
    "no pooling": {"pool": "none"},
}
"""Compared with "max" at the same multiply-adds: maps that stay large leave less for their number."""

VARIANTS = (*WAYS, *PLACES)

HIDDEN = 512


def variant_params(*, width: float, image_size: int, num_classes: int) -> dict[str, Cnn5Params]:
    """Each variant's parameters of cnn5.

    All have one fully connected layer before the last and no dropout: so they learn within few epochs.

    Args:
        width: Share of cnn5's own channels, and of 512 hidden units.
    """
    shared: dict[str, Any] = {
        "channels": scaled(Cnn5Params().channels, width),
        "hidden": scaled((HIDDEN,), width),
        "dropout": 0.0,
    }
    made = {name: Cnn5Params(**shared, **way) for name, way in WAYS.items()}
    budget = multiply_adds(made["max"], image_size=image_size, num_classes=num_classes)
    for name, place in PLACES.items():
        whole = Cnn5Params(**shared, **place)
        made[name] = thinned(whole, budget, image_size=image_size, num_classes=num_classes)
    return made


def scaled(widths: Sequence[int], share: float) -> tuple[int, ...]:
    """Widths times a share, at least 1 each."""
    return tuple(max(1, round(share * width)) for width in widths)


def thinned(whole: Cnn5Params, budget: int, *, image_size: int, num_classes: int) -> Cnn5Params:
    """The network with all its channels reduced by one factor, so that its multiply-adds come nearest to a budget."""
    candidates = [whole.model_copy(update={"channels": scaled(whole.channels, step / 200)}) for step in range(1, 201)]
    return min(
        candidates,
        key=lambda each: abs(multiply_adds(each, image_size=image_size, num_classes=num_classes) - budget),
    )


def multiply_adds(params: Cnn5Params, *, image_size: int, num_classes: int) -> int:
    """Of one image's way through cnn5: a convolution's products at each place of its output, and the linear layers'."""
    side = image_size
    width = 3
    total = 0
    for channels, pooled in zip(params.channels, params.pools, strict=True):
        if pooled and params.pool == "stride":
            side = -(-side // 2)
        total += side * side * 9 * width * channels
        width = channels
        if pooled and params.pool not in ("stride", "dilate"):
            side //= 2
    grid = min(side, max(1, image_size // GRID_SHARE))
    width *= grid * grid
    for hidden in (*params.hidden, num_classes):
        total += width * hidden
        width = hidden
    return total

"""A split of the run's dataset, for visualizers that look at more than single pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from torch import Tensor

from ahekit.data.augment import normalize
from ahekit.errors import UsageError
from ahekit.protocols import SplitImages, VisualizerInput

Split = Literal["test", "val", "train"]


def open_images(request: VisualizerInput, name: Split, *, least: int) -> SplitImages:
    """The split's images.

    Raises:
        UsageError: The network comes without a dataset, or the split has fewer than `least` images.
        RunError: The dataset isn't where it was.
    """
    if request.split is None:
        raise UsageError("this looks at a split of the run's dataset, and the network comes without one")
    images = request.split(name)
    if len(images) < least:
        raise UsageError(
            f"the {name} split has {len(images)} image(s) and at least {least} are needed;"
            " choose another with --set split=test|val|train"
        )
    return images


def normalized_batches(
    request: VisualizerInput, images: SplitImages, size: int, *, tick: Callable[[], None] = lambda: None
) -> Iterator[tuple[slice, Tensor]]:
    """All images in order: their numbers, and the network's input `(B, 3, S, S)`; `tick` is called after each batch."""
    for numbers, pixels in images.batches(size):
        yield numbers, normalize(pixels, request.model.preprocessing).to(request.images.device)
        tick()

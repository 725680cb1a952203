"""What a visualizer plugin provides, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel

from ahekit.protocols.models import BuiltModel
from ahekit.sections import Visualization

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class SplitImages:
    """The images of one of a run's splits, to be streamed: no more of them are in memory than are asked for at a time.

    Attributes:
        name: "train", "val" or "test".
        pixels: `(M, S, S, 3)` uint8 of the whole dataset, as the network's preprocessing made them; mapped from disk.
        places: `(N,)`, where in `pixels` the split's images are.
        ids: N sample ids.
        labels: `(N,)` class indices.
    """

    name: str
    pixels: np.ndarray
    places: np.ndarray
    ids: tuple[str, ...]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, numbers: Any) -> np.ndarray:
        """Pixels of the images of those numbers within the split, `(B, S, S, 3)` uint8."""
        pixels: np.ndarray = self.pixels[self.places[numbers]]
        return pixels

    def batches(self, size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """All images in order: their numbers within the split, and their pixels `(B, S, S, 3)` uint8."""
        for start in range(0, len(self), size):
            part = slice(start, min(start + size, len(self)))
            yield part, self.take(part)


@dataclass(frozen=True)
class Original:
    """A picture as it was before it became the network's square input.

    Attributes:
        pixels: `(H, W, 3)` uint8, at most a few hundred pixels a side.
        box: What of it the input covers: left, top, right and bottom, in its pixels; beyond them where it was padded.
    """

    pixels: np.ndarray
    box: tuple[float, float, float, float]

    @classmethod
    def whole(cls, pixels: np.ndarray) -> Original:
        """Of an input whose picture isn't known: the input itself."""
        height, width = pixels.shape[:2]
        return cls(pixels, (0.0, 0.0, float(width), float(height)))


@dataclass(frozen=True)
class VisualizerInput:
    """What a visualizer gets: a model in eval mode and the images to look at.

    Attributes:
        images: Normalized, `(B, 3, H, W)` float.
        pixels: The same before normalization, `(B, H, W, 3)` uint8.
        image_ids: A name for each image.
        labels: True class index of each, -1 where unknown.
        layers: Layers asked for, as dotted paths by the alias the user wrote.
        progress: For long work: to be called with the steps done and their number.
        judge: A second network that had no part in what is looked at: pictures `(B, H, W, 3)` uint8 to probabilities
            `(B, C)` of this network's classes. None: nobody is asked.
        split: Opens a split of the run's dataset by name, when a visualizer looks at more than single images; raises
            `RunError` where the dataset is gone. None: there is no dataset.
        originals: The pictures that figures show, one for each image, where they are known.
    """

    model: BuiltModel
    class_names: tuple[str, ...]
    images: Tensor
    pixels: np.ndarray
    image_ids: tuple[str, ...]
    labels: tuple[int, ...]
    layers: Mapping[str, str]
    seed: int = 0
    progress: Callable[[int, int], None] = lambda done, total: None
    judge: Callable[[np.ndarray], np.ndarray] | None = None
    split: Callable[[str], SplitImages] | None = None
    originals: tuple[Original, ...] = ()


class VisualizerPlugin(Protocol):
    """Looks inside a model. Entry-point group `ahekit.visualizers`.

    Never writes a file and never leaves a hook, a changed train flag, gradient or parameter behind. One that looks at
    no images says so with an attribute `needs_images = False` and is given none.
    """

    @property
    def Params(self) -> type[BaseModel]:
        """What can be set; a class attribute does."""
        ...

    def visualize(self, request: VisualizerInput, params: Any) -> Visualization:
        """Compute arrays and describe the figures that show them."""
        ...

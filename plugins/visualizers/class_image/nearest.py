"""What a run's training images say of synthesized ones, streamed: what is typical of a class, and the nearest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahekit.data.augment import normalize
from ahekit.data.near_copies import thumbnail_directions
from ahekit.protocols import SplitImages, VisualizerInput

BATCH = 128
PER_CLASS = 128


@dataclass(frozen=True)
class Nearest:
    """The training image nearest to each of B pictures.

    Attributes:
        ids: Of the image with the nearest embedding.
        labels: Its class, `(B,)`.
        cosine: Between the two embeddings, `(B,)`.
        pixels: The image, `(B, S, S, 3)` uint8.
        copy_ids: Of the image that is most alike in pixels, or in those of its mirror image.
        copy_correlation: Of the two's 16 x 16 gray thumbnails, `(B,)`; from 0.98 on ahekit speaks of near-copies.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    cosine: NDArray[np.float32]
    pixels: NDArray[np.uint8]
    copy_ids: tuple[str, ...]
    copy_correlation: NDArray[np.float32]


def find_nearest(
    request: VisualizerInput,
    images: SplitImages,
    pictures: NDArray[np.uint8],
    *,
    tick: Callable[[], None] = lambda: None,
) -> Nearest:
    """The nearest of a split's images to each picture `(B, S, S, 3)`, by embedding and by pixels; one pass.

    Args:
        tick: Called after each batch of `BATCH` images.
    """
    count = len(pictures)
    embedding_directions = _directions(_embed(request, pictures))
    # Training mirrors images, so a copy may be mirrored too.
    pixel_directions = thumbnail_directions(np.concatenate([pictures, pictures[:, :, ::-1]]))
    by_embedding = _Best(count)
    by_pixels = _Best(count)
    for numbers, pixels in images.batches(BATCH):
        by_embedding.update(embedding_directions @ _directions(_embed(request, pixels)).T, numbers.start)
        correlations = pixel_directions @ thumbnail_directions(pixels).T
        by_pixels.update(np.maximum(correlations[:count], correlations[count:]), numbers.start)
        tick()
    return Nearest(
        ids=tuple(images.ids[place] for place in by_embedding.places),
        labels=images.labels[by_embedding.places],
        cosine=by_embedding.values,
        pixels=images.take(by_embedding.places),
        copy_ids=tuple(images.ids[place] for place in by_pixels.places),
        copy_correlation=by_pixels.values,
    )


def class_moments(
    request: VisualizerInput, images: SplitImages, *, tick: Callable[[], None] = lambda: None
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the embeddings of each class's images, `(C, D)` each; one pass over a sample of them.

    The sample is up to `PER_CLASS` images of each class, evenly spread over it. A class without images has means and
    variances of zero.

    Args:
        tick: Called after each batch of `BATCH` images.
    """
    classes = len(request.class_names)
    numbers = sample(images)
    sums = torch.zeros(())
    for start in range(0, len(numbers), BATCH):
        batch = numbers[start : start + BATCH]
        member = torch.nn.functional.one_hot(torch.from_numpy(images.labels[batch]), classes).double().T
        # In double precision: the variance is a small difference of two large sums.
        embeddings = torch.from_numpy(_embed(request, images.take(batch))).double()
        sums = sums + torch.stack([member @ embeddings, member @ embeddings.square()])
        tick()
    counts = torch.from_numpy(np.bincount(images.labels[numbers], minlength=classes)).clamp(min=1).view(-1, 1)
    means, squares = (sums / counts).to(request.images.device)
    return means.float(), (squares - means.square()).clamp(min=0).float()


def sample(images: SplitImages) -> NDArray[np.int64]:
    """Numbers of up to `PER_CLASS` images of each class, evenly spread over it."""
    parts = [np.zeros(0, np.int64)]
    for label in np.unique(images.labels):
        of_class = np.flatnonzero(images.labels == label)
        places = np.linspace(0, len(of_class) - 1, min(len(of_class), PER_CLASS)).astype(np.int64)
        parts.append(of_class[places])
    return np.concatenate(parts)


def batch_count(images: int) -> int:
    """How often a pass over so many images tells that it goes on."""
    return -(-images // BATCH)


def _embed(request: VisualizerInput, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    inputs = normalize(pixels, request.model.preprocessing).to(request.images.device)
    with torch.inference_mode():
        embeddings: NDArray[np.float32] = request.model.embed(inputs).float().cpu().numpy()
    return embeddings


def _directions(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    directions: NDArray[np.float32] = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True).clip(1e-12)
    return directions


class _Best:
    """For each picture the largest of the values met so far, and where it was."""

    def __init__(self, count: int) -> None:
        self.values = np.full(count, -np.inf, np.float32)
        self.places = np.zeros(count, np.int64)

    def update(self, values: NDArray[np.float32], start: int) -> None:
        """Take over, row by row, the largest of the new values `(count, N)` where it beats the best so far."""
        at = values.argmax(1)
        largest = values[np.arange(len(values)), at]
        better = largest > self.values
        self.values[better] = largest[better]
        self.places[better] = at[better] + start

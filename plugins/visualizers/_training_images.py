"""What a run's training images say of synthesised ones, streamed: each class's embeddings, and the nearest images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahekit.data.augment import normalise
from ahekit.data.near_copies import thumbnail_directions
from ahekit.hooks import evaluating
from ahekit.protocols import SplitImages, VisualizerInput

BATCH = 128


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
    given: VisualizerInput, images: SplitImages, pictures: NDArray[np.uint8], *, told: Callable[[], None] = lambda: None
) -> Nearest:
    """The nearest of a split's images to each picture `(B, S, S, 3)`, by embedding and by pixels; one pass.

    Args:
        told: Called after each batch of `BATCH` images.
    """
    wanted = _directions(_embed(given, pictures))
    drawn = thumbnail_directions(np.concatenate([pictures, pictures[:, :, ::-1]]))
    count = len(pictures)
    near, copied = np.zeros(count, np.int64), np.zeros(count, np.int64)
    cosine, correlation = np.full(count, -np.inf, np.float32), np.full(count, -np.inf, np.float32)
    for part, pixels in images.batches(BATCH):
        _keep_best(wanted @ _directions(_embed(given, pixels)).T, part.start, cosine, near)
        alike = drawn @ thumbnail_directions(pixels).T
        _keep_best(np.maximum(alike[:count], alike[count:]), part.start, correlation, copied)
        told()
    return Nearest(
        ids=tuple(images.ids[place] for place in near),
        labels=images.labels[near],
        cosine=cosine,
        pixels=images.take(near),
        copy_ids=tuple(images.ids[place] for place in copied),
        copy_correlation=correlation,
    )


def class_statistics(
    given: VisualizerInput, images: SplitImages, *, told: Callable[[], None] = lambda: None
) -> tuple[Tensor, Tensor]:
    """Mean and variance of the embeddings of each class's images, `(C, D)` each; one pass.

    A class without images has means and variances of zero.

    Args:
        told: Called after each batch of `BATCH` images.
    """
    classes = len(given.class_names)
    counts, sums, squares = torch.zeros(classes, 1, dtype=torch.float64), torch.zeros(()), torch.zeros(())
    for part, pixels in images.batches(BATCH):
        embeddings = torch.from_numpy(_embed(given, pixels)).double()
        member = torch.nn.functional.one_hot(torch.from_numpy(images.labels[part]), classes).double().T
        counts = counts + member.sum(1, keepdim=True)
        sums, squares = sums + member @ embeddings, squares + member @ embeddings.square()
        told()
    means = sums / counts.clamp(min=1)
    variances = (squares / counts.clamp(min=1) - means.square()).clamp(min=0)
    device = given.images.device
    return means.float().to(device), variances.float().to(device)


def batch_count(images: SplitImages) -> int:
    """How often a pass over the images tells that it goes on."""
    return -(-len(images) // BATCH)


def _embed(given: VisualizerInput, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    inputs = normalise(pixels, given.model.preprocessing).to(given.images.device)
    with evaluating(given.model.module), torch.inference_mode():
        embeddings: NDArray[np.float32] = given.model.embed(inputs).float().cpu().numpy()
    return embeddings


def _directions(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    directions: NDArray[np.float32] = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True).clip(1e-12)
    return directions


def _keep_best(values: NDArray[np.float32], start: int, best: NDArray[np.float32], places: NDArray[np.int64]) -> None:
    """Take over, row by row, the largest of the new values and its place where it beats the best so far."""
    at = values.argmax(1)
    new = values[np.arange(len(values)), at]
    better = new > best
    best[better], places[better] = new[better], at[better] + start

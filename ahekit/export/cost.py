"""What storing less costs: figures of what stands on the stored numbers, before and after."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.predictions import softmax
from ahekit.evaluation.unknown import NEIGHBOURS, OUTSIDE, Neighbours, auroc, unit
from ahekit.export.outputs import Outputs
from ahekit.model_folder import CostNote
from ahekit.prediction.deciding import Reference

_MOST_IMAGES = 2000  # whose distances to all training images are measured

Floats32 = NDArray[np.float32]


def compression_costs(outputs: Mapping[str, Outputs], reference: Reference) -> list[CostNote]:
    """What compressing the training embeddings costs what stands on them.

    Measured on validation: whether the nearest training image is of an image's own class, by whole embeddings and by
    the compressed ones; and how well the unknown score tells the images of a class whose training images are left out,
    by the main components as they are and in 8 bits.
    """
    train = outputs["train"]
    chosen = np.linspace(0, len(outputs["val"].ids) - 1, min(_MOST_IMAGES, len(outputs["val"].ids))).astype(np.int64)
    labels = outputs["val"].labels[chosen]
    embeddings = outputs["val"].embeddings[chosen]
    compressed = Neighbours.from_arrays(reference.arrays)
    centred = unit(embeddings) - compressed.mean
    inside = np.asarray(centred @ compressed.components.T, dtype=np.float32)
    outside = np.maximum((centred**2).sum(axis=1) - (inside**2).sum(axis=1), 0)
    exact = np.asarray((unit(train.embeddings) - compressed.mean) @ compressed.components.T, dtype=np.float32)
    whole = np.asarray(2 - 2 * unit(embeddings) @ unit(train.embeddings).T, dtype=np.float32)
    after = _squares(inside, compressed.places)
    notes = [
        CostNote(
            what="training embeddings",
            figure="accuracy of the nearest training image's class, validation",
            before=_share(whole, train.labels, labels),
            after=_share(after, compressed.labels, labels),
            images=len(labels),
        )
    ]
    areas = (
        _left_out(_squares(inside, exact), outside, train.labels, labels),
        _left_out(after, outside, compressed.labels, labels),
    )
    if not np.isnan(areas).any():
        notes.append(
            CostNote(
                what="training embeddings",
                figure="AUROC of a class left out, mean of the classes, validation",
                before=_digits(areas[0]),
                after=_digits(areas[1]),
                images=len(labels),
            )
        )
    return notes


def rounding_costs(before: Mapping[str, Outputs], after: Mapping[str, Outputs]) -> list[CostNote]:
    """What weights of 16 bits cost, by split: accuracy and log loss."""
    notes = []
    for split, words in (("val", "validation"), ("test", "test")):
        images = len(before[split].ids)
        if not images:
            continue
        for figure, measure in (("accuracy", _accuracy), ("log loss", _log_loss)):
            notes.append(
                CostNote(
                    what="weights in 16 bits",
                    figure=f"{figure}, {words}",
                    before=measure(before[split]),
                    after=measure(after[split]),
                    images=images,
                )
            )
    return notes


def _accuracy(outputs: Outputs) -> float:
    return _digits((outputs.logits.argmax(axis=1) == outputs.labels).mean())


def _log_loss(outputs: Outputs) -> float:
    probabilities = softmax(outputs.logits.astype(np.float64))
    true = probabilities[np.arange(len(outputs.labels)), outputs.labels]
    return _digits(-np.log(np.maximum(true, 1e-300)).mean())


def _squares(inside: Floats32, places: Floats32) -> Floats32:
    """Squared distances `(M, N)` within the components."""
    products = inside @ places.T
    return np.asarray((inside**2).sum(axis=1)[:, None] + (places**2).sum(axis=1) - 2 * products, dtype=np.float32)


def _share(squares: Floats32, train_labels: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    return _digits((train_labels[squares.argmin(axis=1)] == labels).mean())


def _left_out(
    squares: Floats32, outside: Floats32, train_labels: NDArray[np.int64], labels: NDArray[np.int64]
) -> float:
    """How well the unknown score tells the images of a class that was left out, mean of the classes."""
    areas = []
    for left_out in np.unique(labels):
        kept = np.flatnonzero(train_labels != left_out)
        nearest = min(NEIGHBOURS, len(kept)) - 1
        if nearest < 0:
            continue
        closest = np.partition(squares[:, kept], nearest, axis=1)[:, nearest]
        areas.append(auroc((closest + OUTSIDE * outside).astype(np.float64), labels == left_out))
    return float(np.mean(areas)) if areas else float("nan")


def _digits(value: float) -> float:
    return float(f"{float(value):.6g}")

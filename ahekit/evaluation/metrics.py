"""Metrics of a classifier, from its logits or streamed while it trains.

All but the loss come from the confusion matrix. Macro averages go over the classes that have images (support > 0). A
ratio without a denominator, such as the precision of a class that was never predicted, counts as 0, as
`zero_division=0` does in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ahekit.evaluation.predictions import Predictions

METRIC_NAMES = ("loss", "accuracy", "precision", "recall", "f1")


@dataclass(frozen=True)
class ClassScores:
    """One class's scores, each in [0, 1]; all 0 when its support is 0, where they mean nothing."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


class OnlineMetrics:
    """Metrics of a stream of batches, in constant memory.

    Attributes:
        counts: `(C, C)` int64 confusion counts so far, rows by true class; sum them over processes to merge.
        loss_sum: Sum of the per-sample losses so far.

    Example:
        >>> online = OnlineMetrics(2)
        >>> online.update([0, 1], [0, 1], loss_sum=0.6)
        >>> online.update([0, 1], [1, 1], loss_sum=1.0)
        >>> online.result()["accuracy"], online.result()["loss"]
        (0.75, 0.4)
    """

    def __init__(self, num_classes: int) -> None:
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), dtype=np.int64)
        self.loss_sum = 0.0

    def update(self, predicted: ArrayLike, labels: ArrayLike, loss_sum: float) -> None:
        """Add a batch: class indices `(B,)` predicted and true, and the sum of its per-sample losses."""
        self.counts += confusion_counts(labels, predicted, len(self.counts))
        self.loss_sum += float(loss_sum)

    def result(self) -> dict[str, float]:
        """The five metrics over everything added.

        Raises:
            ValueError: Nothing was added.
        """
        return {"loss": self.loss_sum / _total(self.counts), **macro_scores(self.counts)}

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here, as JSON-serialisable values."""
        return {"counts": self.counts.tolist(), "loss_sum": self.loss_sum}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.counts = np.asarray(state["counts"], dtype=np.int64)
        self.loss_sum = float(state["loss_sum"])


def summarize(logits: ArrayLike, labels: ArrayLike, *, class_names: Sequence[str]) -> dict[str, float]:
    """Loss, accuracy, and macro precision, recall and F1.

    Args:
        logits: `(N, C)`; the logarithm of probabilities will do, since softmax gives those back. Not probabilities.
        labels: `(N,)`, true class indices; images of unknown class (-1) are left out.
        class_names: C names.

    Returns:
        "loss" (mean negative log-likelihood, in nats, of the true class), "accuracy", "precision", "recall", "f1".

    Raises:
        ValueError: The shapes don't fit, or no image has a known class.
    """
    scores = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(labels)
    if scores.shape != (len(truth), len(class_names)):
        raise ValueError(f"logits {scores.shape} don't fit {len(truth)} labels, {len(class_names)} classes")
    is_labelled = truth >= 0
    macros = macro_scores(confusion_counts(truth, scores.argmax(axis=1), len(class_names)))
    return {"loss": float(log_losses(scores[is_labelled], truth[is_labelled]).mean()), **macros}


def log_losses(logits: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Negative log-likelihood of each image's true class, in nats, `(N,)`; logits `(N, C)`, labels `(N,)` >= 0."""
    scores = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.int64)
    # A row's largest logit becomes 0, so that no exponential overflows and no logarithm is of 0.
    shifted = scores - scores.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(truth)), truth]
    return np.asarray(losses, dtype=np.float64)


def confusion_counts(labels: ArrayLike, predicted: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """How often each class (row) was predicted as each (column), `(C, C)`; images of unknown class (-1) are left out.

    Raises:
        ValueError: A class index is not below `num_classes`, or the lengths differ.
    """
    truth = np.asarray(labels, dtype=np.int64)
    guess = np.asarray(predicted, dtype=np.int64)
    if truth.shape != guess.shape:
        raise ValueError(f"{truth.shape} labels, but {guess.shape} predictions")
    is_labelled = truth >= 0
    if truth.max(initial=-1) >= num_classes or guess[is_labelled].max(initial=0) >= num_classes:
        raise ValueError(f"a class index is not below the number of classes, {num_classes}")
    # One count over cell numbers, row by row, is many times faster than adding to a matrix image by image.
    cells = truth[is_labelled] * num_classes + guess[is_labelled]
    flat = np.bincount(cells, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.int64)


def class_scores(counts: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Precision, recall and F1 of every class, each `(..., C)`, from confusion counts `(..., C, C)`."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    support = counts.sum(axis=-1)
    predicted = counts.sum(axis=-2)
    # 2 PR / (P + R) with both written out: no division of 0 by 0 where precision and recall are 0.
    f1 = _ratio(2 * hits, support + predicted)
    return _ratio(hits, predicted), _ratio(hits, support), f1


def macro_f1(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Mean F1 over the classes with support, `(...)`, from confusion counts `(..., C, C)`."""
    return _macro(class_scores(counts)[2], counts)


def macro_scores(counts: NDArray[Any]) -> dict[str, float]:
    """Accuracy, and macro precision, recall and F1, of one confusion matrix `(C, C)`.

    Raises:
        ValueError: It counts no image.
    """
    accuracy = np.trace(counts) / _total(counts)
    macros = (_macro(scores, counts) for scores in class_scores(counts))
    return dict(zip(METRIC_NAMES[1:], map(float, (accuracy, *macros)), strict=True))


def weighted_scores(counts: NDArray[Any]) -> dict[str, float]:
    """Precision, recall and F1 averaged over the classes by their support, of one confusion matrix `(C, C)`."""
    weights = counts.sum(axis=-1)
    means = (np.average(scores, weights=weights) for scores in class_scores(counts))
    return dict(zip(METRIC_NAMES[2:], map(float, means), strict=True))


def per_class(predictions: Predictions) -> list[ClassScores]:
    """Scores of every class, in the order of the class names; a class without images has support 0."""
    counts = confusion_counts(predictions.labels, predictions.predicted, len(predictions.class_names))
    columns = (*class_scores(counts), counts.sum(axis=-1))
    return [
        ClassScores(name, float(precision), float(recall), float(f1), int(support))
        for name, precision, recall, f1, support in zip(predictions.class_names, *columns, strict=True)
    ]


def _macro(scores: NDArray[np.float64], counts: NDArray[Any]) -> NDArray[np.float64]:
    has_images = counts.sum(axis=-1) > 0
    return _ratio((scores * has_images).sum(axis=-1), has_images.sum(axis=-1))


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    numerator = np.asarray(part, dtype=np.float64)
    ratio: NDArray[np.float64] = np.divide(numerator, whole, out=np.zeros_like(numerator), where=np.asarray(whole) > 0)
    return ratio


def _total(counts: NDArray[Any]) -> int:
    total = int(counts.sum())
    if total == 0:
        raise ValueError("no image of known class to measure")
    return total

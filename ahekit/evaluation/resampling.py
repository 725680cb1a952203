"""Every figure of a classifier with its interval; what rests on the confusion matrix rests on one resampling of it.

The images of each true class are drawn anew, as many as there are, from their row of the confusion matrix, smoothed so
that what never happened may. Every figure is computed on the same draws: intervals of one run are paired with each
other. Shares of images (accuracy, top-3, recall) have Wilson's interval, the log loss Student's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.intervals import (
    Interval,
    affordable_samples,
    bootstrap,
    centred_interval,
    confusion_prior,
    mean_interval,
    percentile_interval,
    wilson_interval,
)
from ahekit.evaluation.metrics import class_scores, confusion_counts, log_losses
from ahekit.evaluation.predictions import Predictions

Floats = NDArray[np.float64]

TOP = 3
FIGURES = ("accuracy", "balanced_accuracy", "top3", "macro_f1", "kappa", "log_loss")
CLASS_FIGURES = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Resampled:
    """Figures on all images, and on resamples those of the confusion matrix.

    Attributes:
        values: By figure: a number, or `(C,)` for a figure by class. "top3" is left out up to three classes.
        draws: By figure: `(B,)` or `(B, C)`.
        counts: `(C, C)` confusion counts.
        losses: Of each image, `(N,)`, in nats.
    """

    values: Mapping[str, Floats]
    draws: Mapping[str, Floats]
    counts: NDArray[np.int64]
    losses: Floats

    @property
    def samples(self) -> int:
        """How many resamples were drawn."""
        return len(self.draws["accuracy"])

    def interval(self, figure: str) -> Interval | None:
        """A figure's 95 % interval; None where it has none, such as kappa where chance alone agrees always."""
        if figure in ("accuracy", "top3"):
            total = int(self.counts.sum())
            return wilson_interval(round(float(self.values[figure]) * total), total)
        if figure == "log_loss":
            return mean_interval(self.losses)
        value = float(self.values[figure])
        if not np.isfinite(value):
            return None
        return centred_interval(self.draws[figure], value, lowest=-1.0 if figure == "kappa" else 0.0)

    def class_interval(self, figure: str, index: int) -> Interval:
        """The 95 % interval of one of `CLASS_FIGURES` of one class; from 0 to 1 for a class without images."""
        support = int(self.counts[index].sum())
        if not support:
            return Interval(0.0, 1.0, "no images")
        if figure == "recall":
            return wilson_interval(int(self.counts[index, index]), support)
        return percentile_interval(self.draws[figure][:, index], float(self.values[figure][index]))


def resample(predictions: Predictions, *, samples: int = 10_000, seed: int = 0) -> Resampled:
    """Figures of a split with their bootstrap distribution; images of unknown class are left out.

    Args:
        samples: Resamples; fewer beyond 200 classes.

    Raises:
        ValueError: No image has a known class.
    """
    is_labelled = predictions.labels >= 0
    if not is_labelled.any():
        raise ValueError("no image of known class to measure")
    labels = predictions.labels[is_labelled]
    logits = predictions.logits[is_labelled]
    num_classes = len(predictions.class_names)
    counts = confusion_counts(labels, predictions.predicted[is_labelled], num_classes)
    losses = log_losses(logits, labels)

    def stacked(draws: NDArray[np.int64]) -> Floats:
        return np.column_stack(list(_figures(draws).values()))

    samples = affordable_samples(samples, num_classes)
    columns = bootstrap(counts, confusion_prior(num_classes), stacked, samples=samples, seed=seed)
    values = {name: figure[0] for name, figure in _figures(counts[None]).items()}
    draws = {}
    start = 0
    for name, value in values.items():
        width = np.size(value)
        draws[name] = columns[:, start : start + width] if np.ndim(value) else columns[:, start]
        start += width
    if num_classes > TOP:
        values["top3"] = np.mean(in_top(logits, labels), dtype=np.float64)
    values["log_loss"] = losses.mean()
    return Resampled(values, draws, counts, losses)


def in_top(logits: NDArray[np.float32], labels: NDArray[np.int64], top: int = TOP) -> NDArray[np.bool_]:
    """Whether each image's true class is among the `top` largest logits `(N, C)`; of equal ones the first counts."""
    own = logits[np.arange(len(labels)), labels][:, None]
    comes_first = np.arange(logits.shape[1]) < labels[:, None]
    is_above = (logits > own) | ((logits == own) & comes_first)
    hits: NDArray[np.bool_] = is_above.sum(axis=1) < top
    return hits


def kappa(counts: NDArray[Any]) -> Floats:
    """Cohen's kappa, `(...)`, from confusion counts `(..., C, C)`; NaN where chance alone agrees always.

    Source: J. Cohen, A Coefficient of Agreement for Nominal Scales (1960), https://doi.org/10.1177/001316446002000104.
    """
    total = counts.sum(axis=(-2, -1)).astype(np.float64)
    agreement = np.trace(counts, axis1=-2, axis2=-1) / total
    true_shares = counts.sum(axis=-1) / total[..., None]
    predicted_shares = counts.sum(axis=-2) / total[..., None]
    chance = (true_shares * predicted_shares).sum(axis=-1)
    room = 1 - chance
    value: Floats = np.divide(agreement - chance, room, out=np.full_like(room, np.nan), where=room > 0)
    return value


def _figures(counts: NDArray[np.int64]) -> dict[str, Floats]:
    """What rests on confusion counts `(B, C, C)` alone: `(B,)`, and `(B, C)` of the figures by class."""
    precision, recall, f1 = class_scores(counts)
    has_images = counts[0].sum(axis=1) > 0
    return {
        "accuracy": np.trace(counts, axis1=1, axis2=2) / counts[0].sum(),
        "balanced_accuracy": recall[:, has_images].mean(axis=1),
        "macro_f1": f1[:, has_images].mean(axis=1),
        "kappa": kappa(counts),
        "precision": precision,
        "recall": recall,
        "f1": f1,
    }

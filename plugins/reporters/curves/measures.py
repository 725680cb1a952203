"""What is measured of every run at each epoch's end, from the field's usual metrics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.metrics import confusion_counts, log_losses, macro_scores
from ahekit.evaluation.predictions import Predictions
from ahekit.protocols import Metric


def kappa(counts: NDArray[np.int64]) -> float:
    """Cohen's kappa of a confusion matrix `(C, C)`: 1 is perfect, 0 what guessing by the same shares would reach.

    J. Cohen, A Coefficient of Agreement for Nominal Scales (1960), https://doi.org/10.1177/001316446002000104. NaN
    where all images are of one class and predicted as that class: chance can't do worse.
    """
    images = counts.sum()
    agreed = np.trace(counts) / images
    by_chance = (counts.sum(axis=0) * counts.sum(axis=1)).sum() / images**2
    return float((agreed - by_chance) / (1 - by_chance)) if by_chance < 1 else float("nan")


def _counts(predictions: Predictions) -> NDArray[np.int64]:
    return confusion_counts(predictions.labels, predictions.predicted, len(predictions.class_names))


def _score(name: str) -> Callable[[Predictions], float]:
    return lambda predictions: macro_scores(_counts(predictions))[name]


def _log_loss(predictions: Predictions) -> float:
    return float(log_losses(predictions.logits, predictions.labels).mean())


METRICS = (
    Metric("loss", "lower", _log_loss, "log loss"),
    Metric("accuracy", "higher", _score("accuracy"), "accuracy"),
    Metric("precision", "higher", _score("precision"), "macro precision"),
    Metric("recall", "higher", _score("recall"), "macro recall"),
    Metric("f1", "higher", _score("f1"), "macro-F1"),
    # The mean over the classes of the share that is predicted rightly: macro recall by the name it has elsewhere.
    Metric("balanced-accuracy", "higher", _score("recall"), "balanced accuracy"),
    Metric("kappa", "higher", lambda predictions: kappa(_counts(predictions)), "Cohen's kappa"),
)

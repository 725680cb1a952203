"""Whether confidence can be trusted: calibration error, temperature scaling, and answering only when sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.metrics import log_losses
from ahekit.evaluation.predictions import Predictions

Floats = NDArray[np.float64]

BINS = 15
_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy in bins of equal width over (0, 1].

    Attributes:
        ece: Expected calibration error: |accuracy - confidence|, averaged over the images.
        confidence: Mean of each bin, `(BINS,)`; NaN where it is empty; `accuracy` likewise.
        images: In each bin, `(BINS,)`.
    """

    ece: float
    confidence: Floats
    accuracy: Floats
    images: NDArray[np.int64]


@dataclass(frozen=True)
class Confidences:
    """Confidence in the named class, and whether it is right, for the images of known class, both `(N,)`."""

    confidence: Floats
    correct: NDArray[np.bool_]


def confidences(predictions: Predictions, *, temperature: float = 1.0) -> Confidences:
    """Largest probability of each image of known class, with logits divided by a temperature."""
    known = predictions.labels >= 0
    logits = predictions.logits[known].astype(np.float64) / temperature
    largest = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    return Confidences(largest, predictions.predicted[known] == predictions.labels[known])


def reliability(found: Confidences, *, bins: int = BINS) -> Reliability:
    """Calibration of the named class in `bins` bins of equal width.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On Calibration of Modern Neural Networks (2017),
    https://arxiv.org/abs/1706.04599.
    """
    place = np.clip(np.ceil(found.confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    images = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (found.confidence, found.correct)]
    confidence, accuracy = (np.divide(total, images, out=np.full(bins, np.nan), where=images > 0) for total in sums)
    ece = float(np.abs(sums[0] - sums[1]).sum() / max(len(found.correct), 1))
    return Reliability(ece, confidence, accuracy, images)


def fit_temperature(predictions: Predictions) -> float:
    """The temperature, between 0.05 and 20, under which a split's log loss is least; above 1 it lowers confidence."""
    from scipy.optimize import minimize_scalar

    known = predictions.labels >= 0
    logits, labels = predictions.logits[known].astype(np.float64), predictions.labels[known]
    low, high = np.log(_TEMPERATURES)
    found = minimize_scalar(
        lambda log: float(log_losses(logits / np.exp(log), labels).mean()), bounds=(low, high), method="bounded"
    )
    return float(np.exp(found.x))


def risk_coverage(found: Confidences) -> tuple[Floats, Floats, Floats]:
    """Threshold, share answered and accuracy among these, each `(T,)`, from the surest image to all of them."""
    order = np.argsort(-found.confidence, kind="stable")
    thresholds = found.confidence[order]
    ends = np.append(np.flatnonzero(np.diff(thresholds)), len(order) - 1)
    answered = ends + 1.0
    right = np.cumsum(found.correct[order])[ends]
    return thresholds[ends], answered / len(order), right / answered


def abstention_threshold(found: Confidences, accuracy: float) -> float | None:
    """Least confidence from which on the answers reach an accuracy; None when not even the surest ones do."""
    thresholds, _, accuracies = risk_coverage(found)
    enough = np.flatnonzero(accuracies >= accuracy)
    return float(thresholds[enough[-1]]) if len(enough) else None


def answered(found: Confidences, threshold: float) -> tuple[int, int]:
    """How many images have at least the threshold's confidence, and how many of these are right."""
    sure = found.confidence >= threshold
    return int(sure.sum()), int(found.correct[sure].sum())

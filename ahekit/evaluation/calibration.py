"""Whether confidence can be trusted: calibration error, temperature scaling, and answering only when confident."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.predictions import Predictions, softmax

Floats = NDArray[np.float64]

BINS = 15
_TEMPERATURES = (0.05, 20.0)
_PRECISION = 1e-9
_MOST_STEPS = 100  # each half at least: far more than the precision takes


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
    """Confidence in the predicted class, and whether it is right, for the images of known class, both `(N,)`."""

    confidence: Floats
    correct: NDArray[np.bool_]


def confidences(predictions: Predictions, *, temperature: float = 1.0) -> Confidences:
    """Largest probability of each image of known class, with logits divided by a temperature."""
    is_labelled = predictions.labels >= 0
    logits = predictions.logits[is_labelled].astype(np.float64) / temperature
    # The largest logit becomes 0, and its exponential 1: the largest of the softmax's probabilities is 1 / their sum.
    largest = 1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)
    return Confidences(largest, predictions.predicted[is_labelled] == predictions.labels[is_labelled])


def reliability(answers: Confidences, *, bins: int = BINS) -> Reliability:
    """Calibration of the predicted class in `bins` bins of equal width.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, On Calibration of Modern Neural Networks (2017),
    https://arxiv.org/abs/1706.04599.
    """
    # Bins are open below and closed above, so that a confidence of 1 lies in the last one; 0 lies in the first.
    places = np.clip(np.ceil(answers.confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    images = np.bincount(places, minlength=bins)
    confidence_sums = np.bincount(places, weights=answers.confidence, minlength=bins)
    correct_sums = np.bincount(places, weights=answers.correct, minlength=bins)
    # A bin's share of the images times its gap is the gap of its sums over all images.
    ece = float(np.abs(confidence_sums - correct_sums).sum() / max(len(answers.correct), 1))
    return Reliability(ece, _bin_means(confidence_sums, images), _bin_means(correct_sums, images), images)


def _bin_means(sums: NDArray[Any], images: NDArray[np.int64]) -> Floats:
    means: Floats = np.divide(sums, images, out=np.full(len(sums), np.nan), where=images > 0)
    return means


def fit_temperature(predictions: Predictions) -> float:
    """The temperature, between 0.05 and 20, under which a split's log loss is least; above 1 it lowers confidence.

    The loss is convex in the temperature's inverse: Newton's steps, and halves of what is left (on a scale of ratios)
    where one would leave it. SciPy has such a search; importing it takes longer than all temperatures of a report.

    Args:
        predictions: Finite logits, and an image of known class at least.
    """
    is_labelled = predictions.labels >= 0
    logits = predictions.logits[is_labelled].astype(np.float64)
    truth = np.take_along_axis(logits, predictions.labels[is_labelled][:, None], axis=1)
    margins = logits - truth
    low, high = (1 / temperature for temperature in reversed(_TEMPERATURES))
    inverse = 1.0
    for _ in range(_MOST_STEPS):
        probabilities = softmax(inverse * margins)
        means = (probabilities * margins).sum(axis=1)
        slope = float(means.mean())
        curvature = float(((probabilities * margins**2).sum(axis=1) - means**2).mean())
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        following = inverse - slope / curvature if curvature > 0 else 0.0
        if not low < following < high:
            following = float(np.sqrt(low * high))
        is_found = abs(following - inverse) <= _PRECISION * inverse
        inverse = following
        if is_found:
            break
    return 1 / inverse


def risk_coverage(answers: Confidences) -> tuple[Floats, Floats, Floats]:
    """Threshold, share answered and accuracy among these, each `(T,)`, from the most confident image to all of them."""
    order = np.argsort(-answers.confidence, kind="stable")
    thresholds = answers.confidence[order]
    # A threshold lets all images of one confidence in together: only the last place of each run of equals is a point.
    ends = np.append(np.flatnonzero(np.diff(thresholds)), len(order) - 1)
    images = ends + 1.0
    correct = np.cumsum(answers.correct[order])[ends]
    return thresholds[ends], images / len(order), correct / images


def abstention_threshold(answers: Confidences, accuracy: float) -> float | None:
    """Least confidence from which on the answers reach an accuracy; None when not even the most confident ones do."""
    thresholds, _, accuracies = risk_coverage(answers)
    reaching = np.flatnonzero(accuracies >= accuracy)
    return float(thresholds[reaching[-1]]) if len(reaching) else None


def answered(answers: Confidences, threshold: float) -> tuple[int, int]:
    """How many images have at least the threshold's confidence, and how many of these are right."""
    is_answered = answers.confidence >= threshold
    return int(is_answered.sum()), int(answers.correct[is_answered].sum())

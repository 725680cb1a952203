"""How well probabilities rank the images of a class above the others: ROC-AUC and average precision.

Both are macro averages, one class against the rest, over the classes that have images and are not all there is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.intervals import Interval
from ahekit.evaluation.predictions import Predictions

Floats = NDArray[np.float64]

_Z = 1.959964  # of a two-sided 95 % interval
_MAX_SAMPLES = 1_000
_CELLS = 200_000_000  # images x classes x resamples of the average precision: about 5 seconds
_CHUNK_CELLS = 4_000_000


@dataclass(frozen=True)
class Ranked:
    """A figure with its interval.

    Attributes:
        by_class: `(C,)`; NaN for a class without images, or without any other.
        interval: None where no class can be ranked.
    """

    value: float
    by_class: Floats
    interval: Interval | None


def roc_auc(predictions: Predictions) -> Ranked:
    """Area under the ROC curve, with DeLong's interval extended to the macro average.

    Each image's part in the average's variance is summed over the classes before it is squared, since one image
    stands in every class's curve.

    Source: E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Comparing the Areas under Two or More Correlated Receiver
    Operating Characteristic Curves (1988), https://doi.org/10.2307/2531595. Ranks as in X. Sun, W. Xu, Fast
    Implementation of DeLong's Algorithm (2014), https://doi.org/10.1109/LSP.2014.2337313.
    """
    scores, labels = _known(predictions)
    areas = np.full(scores.shape[1], np.nan)
    parts = np.zeros(len(labels))
    for index in _rankable(labels, scores.shape[1]):
        areas[index], part = _delong(scores[:, index], labels == index)
        parts += part
    ranked = np.isfinite(areas)
    if not ranked.any():
        return Ranked(np.nan, areas, None)
    value, error = float(areas[ranked].mean()), float(np.sqrt((parts**2).sum()) / ranked.sum())
    return Ranked(value, areas, Interval(max(0.0, value - _Z * error), min(1.0, value + _Z * error), "DeLong"))


def average_precision(predictions: Predictions, *, samples: int = _MAX_SAMPLES, seed: int = 0) -> Ranked:
    """Average precision as scikit-learn defines it, with a stratified bootstrap of at most 1,000 resamples.

    Each resample sums over all images again, so there are fewer than of the figures that add up: from 1,000 on 20,000
    images of ten classes down to 50.
    """
    scores, labels = _known(predictions)
    classes = _rankable(labels, scores.shape[1])
    values = np.full(scores.shape[1], np.nan)
    if not len(classes):
        return Ranked(np.nan, values, None)
    generator = np.random.default_rng(seed)
    samples = max(50, min(samples, _MAX_SAMPLES, _CELLS // scores.size))
    orders = {index: _Order.of(scores[:, index], labels == index) for index in classes.tolist()}
    ones = np.ones((1, len(labels)))
    for index, order in orders.items():
        values[index] = order.average_precision(ones)[0]
    drawn, chunk = [], max(1, _CHUNK_CELLS // len(labels))
    for start in range(0, samples, chunk):
        weights = _draw(generator, labels, min(chunk, samples - start))
        drawn.append(np.mean([order.average_precision(weights) for order in orders.values()], axis=0))
    low, high = np.quantile(np.concatenate(drawn), [0.025, 0.975])
    interval = Interval(float(low), float(high), f"stratified bootstrap, {samples:,d} resamples")
    return Ranked(float(np.nanmean(values)), values, interval)


@dataclass(frozen=True)
class _Order:
    """Images from the highest score down, which of them are of the class, and where runs of equal scores end."""

    images: NDArray[np.int64]
    hits: Floats
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, scores: Floats, positive: NDArray[np.bool_]) -> _Order:
        images = np.argsort(-scores, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(scores[images])), len(scores) - 1)
        return cls(images, positive[images].astype(np.float64), ends)

    def average_precision(self, weights: Floats) -> Floats:
        """For weights `(B, N)` of the images, `(B,)`."""
        taken = weights[:, self.images]
        found = np.cumsum(taken * self.hits, axis=1)[:, self.ends]
        seen = np.cumsum(taken, axis=1)[:, self.ends]
        gained = np.diff(found, axis=1, prepend=0.0)
        precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
        values: Floats = (gained * precision).sum(axis=1) / found[:, -1]
        return values


def _known(predictions: Predictions) -> tuple[Floats, NDArray[np.int64]]:
    known = predictions.labels >= 0
    return predictions.probabilities[known], predictions.labels[known]


def _rankable(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    support = np.bincount(labels, minlength=num_classes)
    return np.flatnonzero((support > 0) & (support < len(labels)))


def _delong(scores: Floats, positive: NDArray[np.bool_]) -> tuple[float, Floats]:
    """The area, and each image's part in its deviation, `(N,)`: their squares add up to the variance."""
    from scipy.stats import rankdata

    ours, others = scores[positive], scores[~positive]
    count, rest = len(ours), len(others)
    ranks = rankdata(scores)
    above = (ranks[positive] - rankdata(ours)) / rest
    below = 1 - (ranks[~positive] - rankdata(others)) / count
    area = float(above.mean())
    parts = np.empty(len(scores))
    # One image alone has no variance to estimate; its part is 0 and the other side's stays.
    parts[positive] = (above - area) / np.sqrt(count * max(count - 1, 1))
    parts[~positive] = (below - area) / np.sqrt(rest * max(rest - 1, 1))
    return area, parts


def _draw(generator: np.random.Generator, labels: NDArray[np.int64], samples: int) -> Floats:
    weights = np.zeros((samples, len(labels)))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        picked = generator.integers(0, len(own), size=(samples, len(own)))
        flat = (picked + np.arange(samples)[:, None] * len(own)).ravel()
        weights[:, own] = np.bincount(flat, minlength=samples * len(own)).reshape(samples, len(own))
    return weights

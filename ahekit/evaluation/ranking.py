"""How well probabilities rank the images of a class above the others: ROC-AUC and average precision.

Both are macro averages, one class against the rest, over the classes that have images and are not all there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.intervals import Interval, Z, wilson_interval
from ahekit.evaluation.predictions import Predictions

Floats = NDArray[np.float64]

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
    scores, labels = _labelled(predictions)
    areas = np.full(scores.shape[1], np.nan)
    parts = np.zeros(len(labels))
    for index in _rankable(labels, scores.shape[1]):
        areas[index], class_parts = _delong(scores[:, index], labels == index)
        parts += class_parts
    has_area = np.isfinite(areas)
    if not has_area.any():
        return Ranked(np.nan, areas, None)
    value = float(areas[has_area].mean())
    # Summed over the classes before they are squared: parts of one image vary together.
    half = Z * float(np.sqrt((parts**2).sum()) / has_area.sum())
    return Ranked(value, areas, _widened(areas, labels, half, half, _perfect_area, "DeLong"))


def average_precision(predictions: Predictions, *, samples: int = _MAX_SAMPLES, seed: int = 0) -> Ranked:
    """Average precision as scikit-learn defines it, with a stratified bootstrap of at most 1,000 resamples.

    Each resample sums over all images again, so there are fewer than of the figures that add up: from 1,000 on 20,000
    images of ten classes down to 50.
    """
    scores, labels = _labelled(predictions)
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
    chunk = max(1, _CHUNK_CELLS // len(labels))
    means = []
    for start in range(0, samples, chunk):
        weights = _draw(generator, labels, min(chunk, samples - start))
        means.append(np.mean([order.average_precision(weights) for order in orders.values()], axis=0))
    value = float(np.nanmean(values))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975]).tolist()
    method = f"stratified bootstrap, {samples:,d} resamples"
    return Ranked(value, values, _widened(values, labels, value - low, high - value, _perfect_precision, method))


def _widened(
    by_class: Floats,
    labels: NDArray[np.int64],
    below: float,
    above: float,
    lowest: Callable[[int, int], float],
    method: str,
) -> Interval:
    """An interval of the mean over the classes, from its distances below and above it, that allows for perfect classes.

    Where every image of a class ranks above all others, the images themselves hold nothing to estimate a variance from,
    and the class adds none to the mean's. What it adds below comes from a bound made for that case; the distances of
    single figures add up to that of their mean as squares (the method of variance estimates recovery).

    Args:
        lowest: Lower bound of a perfect class's figure, from its number of images and that of the others.

    Source: G. Y. Zou, A. Donner, Construction of Confidence Limits about Effect Measures: A General Approach (2008),
    https://doi.org/10.1002/sim.3095.
    """
    ranked = np.flatnonzero(np.isfinite(by_class))
    value = float(by_class[ranked].mean())
    support = np.bincount(labels, minlength=len(by_class))
    perfect = [index for index in ranked.tolist() if by_class[index] >= 1]
    room = [1 - lowest(int(support[index]), int(len(labels) - support[index])) for index in perfect]
    if room:
        method += ", widened for perfect classes"
    low = value - float(np.sqrt(max(below, 0.0) ** 2 + (np.array(room) ** 2).sum() / len(ranked) ** 2))
    return Interval(max(0.0, low), min(1.0, max(value, value + above)), method)


def _perfect_area(images: int, others: int) -> float:
    """Lower bound of an area under the ROC curve that is 1 on so many images.

    Source: R. G. Newcombe, Confidence Intervals for an Effect Size Measure Based on the Mann-Whitney Statistic, part 2
    (2006), https://doi.org/10.1002/sim.2256 (method 5): the variance is taken at the bound and not at the estimate.
    """
    extra = (images + others) / 2 - 1

    def is_below(area: float) -> bool:
        """Whether an area lies farther from 1 than its own deviation allows; both sides divided by `1 - area`."""
        spread = area * (1 + extra * ((1 - area) / (2 - area) + area / (1 + area))) / (images * others)
        return 1 - area > Z**2 * spread

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return low


def _perfect_precision(images: int, others: int) -> float:
    """Lower bound of an average precision that is 1 on so many images: Wilson's of a share.

    Source: K. Boyd, K. H. Eng, C. D. Page, Area under the Precision-Recall Curve (2013),
    https://doi.org/10.1007/978-3-642-40994-3_29, where a binomial interval holds best.
    """
    return wilson_interval(images, images).low


@dataclass(frozen=True)
class _Order:
    """Images from the highest score down, in runs of equal scores, of which those with an image of the class matter.

    Attributes:
        images: Places of the images.
        hits: Places of the images of the class.
        starts: Of the runs with such an image, among `hits`.
        ends: Of the same runs, among `images`.
    """

    images: NDArray[np.int64]
    hits: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, scores: Floats, positive: NDArray[np.bool_]) -> _Order:
        images = np.argsort(-scores, kind="stable")
        ends = np.append(np.flatnonzero(np.diff(scores[images])), len(scores) - 1)
        hits = np.flatnonzero(positive[images])
        runs, starts = np.unique(np.searchsorted(ends, hits), return_index=True)
        return cls(images, images[hits], starts, ends[runs])

    def average_precision(self, weights: Floats) -> Floats:
        """For weights `(B, N)` of the images, `(B,)`."""
        # A resample changes how often each image counts and never the order of the scores: weights in place of images
        # spare sorting anew for every draw.
        # Recall grows where a run has images of the class; precision is asked for there alone.
        gains = np.add.reduceat(weights[:, self.hits], self.starts, axis=1)
        hits = np.cumsum(gains, axis=1)
        images = np.cumsum(weights[:, self.images], axis=1)[:, self.ends]
        # Before a resample's first image the precision has no denominator; it gains nothing there, so 0 will do.
        precision = np.divide(hits, images, out=np.zeros_like(hits), where=images > 0)
        values: Floats = (gains * precision).sum(axis=1) / hits[:, -1]
        return values


def _labelled(predictions: Predictions) -> tuple[Floats, NDArray[np.int64]]:
    is_labelled = predictions.labels >= 0
    return predictions.probabilities[is_labelled], predictions.labels[is_labelled]


def _rankable(labels: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    support = np.bincount(labels, minlength=num_classes)
    return np.flatnonzero((support > 0) & (support < len(labels)))


def _delong(scores: Floats, positive: NDArray[np.bool_]) -> tuple[float, Floats]:
    """The area, and each image's part in its deviation, `(N,)`: their squares add up to the variance."""
    own = scores[positive]
    others = scores[~positive]
    # An image's rank among all minus its rank among its own kind counts the others below it (ties half): the share of
    # pairs it wins, for n log n in place of all pairs.
    ranks = _ranks(scores)
    above = (ranks[positive] - _ranks(own)) / len(others)
    below = 1 - (ranks[~positive] - _ranks(others)) / len(own)
    area = float(above.mean())
    parts = np.empty(len(scores))
    # One image alone has no variance to estimate; its part is 0 and the other side's stays.
    parts[positive] = (above - area) / np.sqrt(len(own) * max(len(own) - 1, 1))
    parts[~positive] = (below - area) / np.sqrt(len(others) * max(len(others) - 1, 1))
    return area, parts


def _ranks(scores: Floats) -> Floats:
    """Ranks from 1, `(N,)`, equal scores sharing the mean of theirs, as `scipy.stats.rankdata` gives them."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks: Floats = (counts.cumsum() - (counts - 1) / 2)[inverse]
    return ranks


def _draw(generator: np.random.Generator, labels: NDArray[np.int64], samples: int) -> Floats:
    """How often each image is drawn in each resample, `(samples, N)`, as many of each class as there are."""
    weights = np.zeros((samples, len(labels)))
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        draws = generator.integers(0, len(own), size=(samples, len(own)))
        # Each resample counts in a range of its own, so that one count serves them all.
        places = (draws + np.arange(samples)[:, None] * len(own)).ravel()
        weights[:, own] = np.bincount(places, minlength=samples * len(own)).reshape(samples, len(own))
    return weights

"""A threshold with a guarantee: from it on at most so many answers in a hundred are wrong, with so much surety.

The answers of labelled images are ordered by a score. Thresholds are tested one after the other, in an order that is
fixed before the labels are looked at, by an exact binomial test of "more answers than asked are wrong from here on";
the first that can't be rejected ends it, and the one before it stands. Tested in a fixed order, all of them together
err with the probability that each one is tested at.

Sources: Y. Geifman, R. El-Yaniv, Selective Classification for Deep Neural Networks (2017),
https://arxiv.org/abs/1705.08500 (selection with guaranteed risk); A. N. Angelopoulos, S. Bates, E. J. Candès,
M. I. Jordan, L. Lei, Learn then Test: Calibrating Predictive Algorithms to Achieve Risk Control (2021),
https://arxiv.org/abs/2110.01052 (fixed-sequence testing); C. J. Clopper, E. S. Pearson, The Use of Confidence or
Fiducial Limits Illustrated in the Case of the Binomial (1934), https://doi.org/10.1093/biomet/26.4.404 (the bound).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MOST_IMAGES = 1_000_000
"""Labelled images beyond which nobody is told to label more."""

_STEPS = 20


@dataclass(frozen=True)
class Guarantee:
    """A threshold that holds what was asked.

    Attributes:
        threshold: Least score that is accepted.
        images: Labelled images with at least that score.
        mistakes: How many of these are wrong.
        bound: Upper bound of the share of wrong answers, at the surety asked.
    """

    threshold: float
    images: int
    mistakes: int
    bound: float


@dataclass(frozen=True)
class Shortage:
    """Why no threshold holds.

    Attributes:
        images: The surest labelled images, as many as were tested first; all, where they are too few to test.
        mistakes: How many of these are wrong.
        needed: Labelled images that it would take in all if they went on as these do; None: no number would do.
    """

    images: int
    mistakes: int
    needed: int | None


def binomial_tail(mistakes: int, images: int, rate: float) -> float:
    """Probability of so many mistakes or fewer among images that are each wrong with a rate.

    Example:
        >>> round(binomial_tail(0, 149, 0.02), 4), round(binomial_tail(1, 2, 0.5), 4)
        (0.0493, 0.75)
    """
    if mistakes >= images or rate <= 0:
        return 1.0
    if mistakes < 0 or rate >= 1:
        return 0.0
    if mistakes > images * rate:
        return 1.0 - binomial_tail(images - mistakes - 1, images, 1.0 - rate)
    # The largest term first; the others are ratios to it, so that nothing underflows.
    top = math.lgamma(images + 1) - math.lgamma(mistakes + 1) - math.lgamma(images - mistakes + 1)
    top += mistakes * math.log(rate) + (images - mistakes) * math.log1p(-rate)
    counts = np.arange(mistakes, 0, -1)
    ratios = np.cumprod(counts / (images - counts + 1) * ((1 - rate) / rate))
    return float(min(1.0, math.exp(top) * (1 + ratios.sum())))


def binomial_bound(mistakes: int, images: int, surety: float) -> float:
    """Upper bound of a rate of mistakes that holds with `surety`, by Clopper and Pearson; 1 where all are mistakes.

    Example:
        >>> round(binomial_bound(0, 149, 0.95), 4)
        0.0199
    """
    if mistakes >= images:
        return 1.0
    low = mistakes / images
    high = 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if binomial_tail(mistakes, images, middle) > 1 - surety:
            low = middle
        else:
            high = middle
    return high


@cache
def images_needed(max_error: float, surety: float, *, mistakes: int = 0, rate: float = 0.0) -> int:
    """The fewest accepted labelled images that carry the promise, and more than `MOST_IMAGES` where it takes those.

    Args:
        mistakes: Among them.
        rate: Mistakes among them as a share instead.

    Example:
        >>> images_needed(0.02, 0.95), images_needed(0.02, 0.95, mistakes=1), images_needed(0.02, 0.95, rate=0.01)
        (149, 236, 719)
    """

    def is_enough(images: int) -> bool:
        return binomial_tail(max(mistakes, math.ceil(rate * images)), images, max_error) <= 1 - surety

    low = mistakes
    high = mistakes + 1
    while not is_enough(high):
        low = high
        high *= 2
        if high > MOST_IMAGES:
            return high
    while high - low > 1:
        middle = (low + high) // 2
        if is_enough(middle):
            high = middle
        else:
            low = middle
    return high


def guaranteed_threshold(scores: Floats, is_right: Bools, *, max_error: float, surety: float) -> Guarantee | Shortage:
    """The lowest threshold from which on at most `max_error` of the answers are wrong, with probability `surety`.

    Args:
        scores: `(N,)` of labelled images that neither the network nor the scores were fitted on.
        is_right: `(N,)`, whether the answer to each is right.

    Returns:
        The threshold; or why there is none.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    mistakes: NDArray[np.int64] = np.cumsum(~is_right[order], dtype=np.int64)
    fewest = images_needed(max_error, surety)
    if len(ranked) < fewest:
        return Shortage(len(ranked), int((~is_right).sum()), _needed(mistakes, max_error, surety))
    accepted = 0
    for images in _test_order(len(ranked), fewest):
        # A threshold lets all images of one score in together.
        images = int(np.searchsorted(-ranked, -ranked[images - 1], side="right"))
        wrong = int(mistakes[images - 1])
        if binomial_tail(wrong, images, max_error) > 1 - surety:
            if not accepted:
                return Shortage(images, wrong, _needed(mistakes, max_error, surety))
            break
        accepted = images
    wrong = int(mistakes[accepted - 1])
    return Guarantee(float(ranked[accepted - 1]), accepted, wrong, binomial_bound(wrong, accepted, surety))


def _test_order(images: int, fewest: int) -> list[int]:
    """How many of the surest images each test takes in, in the order of the tests."""
    start = max(fewest, images // 2)
    return sorted(set(np.linspace(start, images, _STEPS).astype(int).tolist()))


def _needed(mistakes: NDArray[np.int64], max_error: float, surety: float) -> int | None:
    """Labelled images in all that would do if more of them were as these; None: no number would.

    Args:
        mistakes: Among the surest 1, 2 … N images.
    """
    enough = [images_needed(max_error, surety)] if not len(mistakes) else []
    for share in np.linspace(0.5, 1.0, 11):
        images = int(len(mistakes) * share)
        if images and mistakes[images - 1] < max_error * images:
            accepted = images_needed(max_error, surety, rate=float(mistakes[images - 1] / images))
            enough.append(math.ceil(accepted * len(mistakes) / images))
    return min((count for count in enough if count <= MOST_IMAGES), default=None)

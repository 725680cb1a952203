"""Intervals: how far a figure would move with another draw of as many test images.

They say nothing of what another training run (another seed) would give. All of them have a width where everything or
nothing is right: 19 of 19 is not certainty. How often they hold is measured by `tests/benchmarks/coverage.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
Z = 1.959964
"""Of a two-sided 95 % interval of a normal distribution."""

_CHUNK_CELLS = 4_000_000  # cells of confusion matrices held at once: 32 MB
_MAX_CELLS = 400_000_000  # cells drawn in all: about 6 seconds


@dataclass(frozen=True)
class Interval:
    """A two-sided interval and how it was made."""

    low: float
    high: float
    method: str

    def __str__(self) -> str:
        return f"{self.low:.3f}–{self.high:.3f}"


def wilson_interval(correct: float, total: float) -> Interval:
    """The score interval of a share, such as accuracy; holds for small counts and for shares of 0 and 1 too.

    Args:
        correct: Need not be whole, for a figure that is nearly a share: an area under a curve of so many images.

    Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927),
    https://doi.org/10.1080/01621459.1927.10502953.

    Raises:
        ValueError: `total` is 0, or `correct` is not between 0 and `total`.
    """
    if not 0 <= correct <= total or not total:
        raise ValueError(f"{correct} of {total} is no share")
    share = correct / total
    centre = share + Z**2 / (2 * total)
    half = Z * math.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2))
    scale = 1 + Z**2 / total
    # Rounding would leave a share of 0 or 1 a hair outside.
    low = 0.0 if correct == 0 else (centre - half) / scale
    high = 1.0 if correct == total else (centre + half) / scale
    return Interval(low, high, "Wilson score")


def mean_interval(values: Floats) -> Interval | None:
    """Student's t interval of the mean of values `(N,)` that are never negative; None for fewer than two."""
    if len(values) < 2:
        return None
    half = student_quantile(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    return Interval(max(0.0, mean - half), mean + half, "Student's t")


def student_quantile(freedom: float) -> float:
    """How many standard errors a two-sided 95 % interval reaches to either side, by Student's t."""
    from scipy.special import stdtrit  # scipy.stats has it too, and takes a second to import

    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))


def paired_share_interval(only_first: int, only_second: int, total: int) -> Interval:
    """Of the second's share minus the first's on the same images, with an image added to either kind that differs.

    Args:
        only_first: Images that the first alone has right; `only_second` likewise.
        total: All images.

    Source: D. G. Bonett, R. M. Price, Adjusted Wald Confidence Interval for a Difference of Binomial Proportions Based
    on Paired Data (2012), https://doi.org/10.3102/1076998611411915.
    """
    first = (only_first + 1) / (total + 2)
    second = (only_second + 1) / (total + 2)
    half = Z * math.sqrt((first + second - (second - first) ** 2) / (total + 2))
    middle = second - first
    return Interval(max(-1.0, middle - half), min(1.0, middle + half), "paired, Bonett and Price")


def bootstrap(
    counts: NDArray[Any], prior: Floats, statistic: Callable[[NDArray[np.int64]], Floats], *, samples: int, seed: int
) -> Floats:
    """A statistic of tables drawn anew, stratified by true class: `(samples, ...)`.

    Of each true class as many images are drawn as there are, a cell of its row with the share that it has in the row
    once the prior is added to it. Without the prior a class that is always right would be right in every resample, and
    its interval a point. Drawing rows of counts takes a time independent of the number of images. Every class keeps its
    support. One seed draws the same resamples for every statistic.

    Args:
        counts: `(C, cells)`, rows by true class.
        prior: Images added to each cell, likewise; `confusion_prior` for a confusion matrix.
        statistic: Maps counts `(B, C, cells)` to `(B, ...)`.

    Source: B. Efron, Bootstrap Methods: Another Look at the Jackknife (1979),
    https://doi.org/10.1214/aos/1176344552 (section 3 smooths as well).
    """
    support = counts.sum(axis=1)
    smoothed = counts + prior
    shares = smoothed / smoothed.sum(axis=1, keepdims=True)
    generator = np.random.default_rng(seed)
    # Drawn and measured a part at a time: all tables at once would be gigabytes where there are many classes.
    chunk = max(1, _CHUNK_CELLS // counts.size)
    parts = []
    for start in range(0, samples, chunk):
        draws = generator.multinomial(support, shares, size=(min(chunk, samples - start), len(counts)))
        parts.append(statistic(draws))
    return np.concatenate(parts)


def confusion_prior(num_classes: int) -> Floats:
    """Half an image on the diagonal of each row and half beside it, `(C, C)`: the prior of Jeffreys for its recall."""
    if num_classes == 1:
        return np.ones((1, 1))
    prior = np.full((num_classes, num_classes), 0.5 / (num_classes - 1))
    np.fill_diagonal(prior, 0.5)
    return prior


def affordable_samples(samples: int, num_classes: int) -> int:
    """Fewer resamples where many classes would make them a matter of minutes; 10,000 are fine up to 200 classes."""
    return max(min(samples, _MAX_CELLS // num_classes**2), 1)


def percentile_interval(draws: Floats, value: float) -> Interval:
    """The middle 95 % of bootstrapped values `(samples,)`, and the value itself, for a figure of one class."""
    low, high = _middle(draws)
    return Interval(min(low, value), max(high, value), _method(draws))


def centred_interval(draws: Floats, value: float, *, lowest: float = 0.0) -> Interval:
    """The middle 95 % of bootstrapped values `(samples,)` moved to lie around the value, for a figure of all classes.

    What the prior takes from each class by a little, it would take from their mean for certain: it is given back.

    Args:
        lowest: Least value that the figure can have; the largest is 1.
    """
    low, high = _middle(draws)
    shift = value - float(np.nanmean(draws)) if np.isfinite(draws).any() else 0.0
    low = max(min(low + shift, value), lowest)
    high = min(max(high + shift, value), 1.0)
    return Interval(low, high, _method(draws))


def _middle(draws: Floats) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return math.nan, math.nan
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)


def _method(draws: Floats) -> str:
    return f"smoothed bootstrap, {len(draws):,d} resamples"

"""Intervals: how far a figure would move with another draw of as many test images.

They say nothing of what another training run (another seed) would give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
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


def wilson_interval(correct: int, total: int, *, confidence: float = CONFIDENCE) -> Interval:
    """The score interval of a share, such as accuracy; holds for small counts and for shares of 0 and 1 too.

    Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927),
    https://doi.org/10.1080/01621459.1927.10502953.

    Raises:
        ValueError: `total` is 0, or `correct` is not between 0 and `total`.
    """
    from scipy.stats import binomtest

    bounds = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return Interval(float(bounds.low), float(bounds.high), "Wilson score")


def bootstrap(
    counts: NDArray[Any],
    statistic: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    *,
    samples: int = 10_000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """A statistic of bootstrap resamples of the images, stratified by true class: `(samples, ...)`.

    Drawing a class's images with replacement is drawing its row of the confusion matrix from a multinomial
    distribution, which takes a time independent of the number of images. Every class keeps its support. One seed draws
    the same resamples for every statistic.

    Args:
        counts: `(C, C)`, rows by true class.
        statistic: Maps confusion counts `(B, C, C)` to `(B, ...)`.

    Source: B. Efron, Bootstrap Methods: Another Look at the Jackknife (1979),
    https://doi.org/10.1214/aos/1176344552.
    """
    support = counts.sum(axis=1)
    shares = counts / np.maximum(support, 1)[:, None]  # a class without images draws none, whatever its shares
    generator = np.random.default_rng(seed)
    # Drawn and measured a part at a time: all tables at once would be gigabytes where there are many classes.
    chunk = max(1, _CHUNK_CELLS // counts.size)
    parts = []
    for start in range(0, samples, chunk):
        draws = generator.multinomial(support, shares, size=(min(chunk, samples - start), len(counts)))
        parts.append(statistic(draws))
    return np.concatenate(parts)


def affordable_samples(samples: int, num_classes: int) -> int:
    """Fewer resamples where many classes would make them a matter of minutes; 10,000 are fine up to 200 classes."""
    return max(min(samples, _MAX_CELLS // num_classes**2), 1)


def percentile_interval(values: NDArray[np.float64], *, confidence: float = CONFIDENCE) -> Interval:
    """The middle share `confidence` of bootstrapped values `(samples,)`."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(low), float(high), f"stratified bootstrap, {len(values):,d} resamples")

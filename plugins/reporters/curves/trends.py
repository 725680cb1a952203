"""What learning curves say: where they stop improving, how far train and test part, how much they fluctuate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ahekit.evaluation.record import RunRecord
from ahekit.notes import EpochRow

Curve = NDArray[np.float64]
Fit = Literal["overfitting", "gap", "none"]

LAST_EPOCHS = 5
_LOSS_RISE = 0.05  # relative rise of the test loss above its lowest point that counts as overfitting
_GAP = 0.03  # smallest accuracy gap worth a word; larger where the test set is small
_END = 0.15  # share of the epochs that is the end: what settles only there is still improving
_DEFAULT_ERROR = 0.01  # standard error of an accuracy on a test set of unknown size


@dataclass(frozen=True)
class Trend:
    """How one metric went on the judged split.

    Attributes:
        best: Its best value, and `best_epoch`, the first epoch that has it.
        plateau_epoch: First epoch from which the smoothed curve gets no better by more than the tolerance; None when
            that is only within the last two epochs or the last 15 % of them.
        gap: Re-measured train minus judged split at the last epoch; None where train wasn't measured.
        swing: Highest minus lowest over the last epochs, whose mean step from one to the next is `step`.
    """

    best: float
    best_epoch: int
    last: float
    plateau_epoch: int | None
    gap: float | None
    swing: float
    step: float


def curve(epochs: Sequence[EpochRow], split: str, metric: str) -> Curve:
    """A metric over the epochs, `(E,)`; NaN where it wasn't measured."""
    values = (row.value(split, metric) for row in epochs)
    return np.array([math.nan if value is None else value for value in values])


def trend(
    numbers: Sequence[int], values: Curve, train: Curve, *, lower_is_better: bool, tolerance: float
) -> Trend | None:
    """Read one metric's curve; None when it was never measured.

    Args:
        numbers: Epoch numbers `(E,)`.
        values: The judged split's curve, `(E,)`.
        train: The re-measured train curve, `(E,)`.
        tolerance: Difference that doesn't count as better.
    """
    known = np.isfinite(values)
    if not known.any():
        return None
    places = np.array(numbers)[known]
    values = values[known]
    train = train[known]
    sign = -1.0 if lower_is_better else 1.0
    smooth = smoothed(sign * values)
    settled = int(np.argmax(smooth >= smooth.max() - tolerance))
    tail = values[-LAST_EPOCHS:]
    best = int(np.argmax(sign * values))
    return Trend(
        best=float(values[best]),
        best_epoch=int(places[best]),
        last=float(values[-1]),
        plateau_epoch=int(places[settled]) if settled < len(values) - max(2, _END * len(values)) else None,
        gap=float(train[-1] - values[-1]) if np.isfinite(train[-1]) else None,
        swing=float(tail.max() - tail.min()),
        step=float(np.abs(np.diff(tail)).mean()) if len(tail) > 1 else 0.0,
    )


def smoothed(values: Curve) -> Curve:
    """Mean over each epoch and its two neighbours (one at the ends), so that a single lucky epoch decides nothing."""
    if len(values) < 3:
        return values
    sums = np.convolve(values, np.ones(3), mode="same")
    widths = np.convolve(np.ones(len(values)), np.ones(3), mode="same")
    means: Curve = sums / widths
    return means


def overfit(train_loss: Curve, test_loss: Curve, gap: float | None, *, error: float) -> Fit:
    """Whether the network overfits, from the loss curves `(E,)` and the final accuracy gap.

    "overfitting": since its lowest point the smoothed test loss has risen by more than 5 % while the train loss fell.
    "gap": it hasn't, but train accuracy is above test by more than 0.03 and more than two standard errors `error`.
    """
    known = np.isfinite(train_loss) & np.isfinite(test_loss)
    train = smoothed(train_loss[known])
    test = smoothed(test_loss[known])
    if len(test):
        lowest = int(test.argmin())
        if test[-1] > test[lowest] * (1 + _LOSS_RISE) and train[-1] < train[lowest]:
            return "overfitting"
    return "gap" if gap is not None and gap > max(_GAP, 2 * error) else "none"


def standard_error(record: RunRecord, split: str, accuracy: float) -> float:
    """Standard error of an accuracy on the split's images (0.01 when their number isn't known)."""
    images = record.manifest.data.images(split)
    return math.sqrt(max(accuracy * (1 - accuracy), 0.0) / images) if images else _DEFAULT_ERROR

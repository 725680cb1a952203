"""How much a unit prefers one class: from its mean activity by class, and from the classes of its strongest images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]


def class_selectivity(means: NDArray[Any]) -> tuple[Floats, Classes]:
    """Selectivity index of each unit, in [0, 1], and the class that it is most selective for.

    The index is `(m - r) / (m + r)` with m the unit's largest mean activity over a class, and r the mean of its means
    over the other classes, so that a class counts the same however many images it has: 0 when it is as active for
    every class, 1 when it is active for one alone. On the importance of single directions for generalization,
    https://arxiv.org/abs/1803.06959. It says how activity is shared out, not how reliably the unit tells the class:
    one that is active for a single image has index 1.

    Args:
        means: Mean activity of each unit by class, `(..., C)`, at least 0; NaN for a class without images.

    Returns:
        Index and class `(...)`; NaN and -1 for a unit that was never active.

    Example:
        >>> class_selectivity(np.array([[3.0, 1.0, 1.0], [2.0, 2.0, 2.0], [0.0, 0.0, 0.0]]))
        (array([0.5, 0. , nan]), array([ 0,  0, -1]))
    """
    # Classes without images can't be best; argmax would take their NaN for the largest.
    best = np.where(np.isnan(means), -np.inf, means).argmax(axis=-1)
    index = own_selectivity(means, best)
    return index, np.where(np.isnan(index), -1, best)


def own_selectivity(means: NDArray[Any], classes: NDArray[Any]) -> Floats:
    """The same index for one class of each unit, in [-1, 1]; negative when others excite the unit more.

    Args:
        means: As in `class_selectivity`.
        classes: Class index for each unit, `(...)`.

    Returns:
        `(...)`; NaN for a unit that was never active, and for a class that has no images or is the only one that has.
    """
    means = np.asarray(means, dtype=np.float64)
    own = np.take_along_axis(means, np.asarray(classes)[..., None], axis=-1)[..., 0]
    others = (~np.isnan(means)).sum(axis=-1) - 1
    # NaN where there is no other class, and never a warning.
    rest = _divide(np.nansum(means, axis=-1) - own, np.asarray(others, dtype=np.float64))
    return _divide(own - rest, own + rest)


def majority(labels: NDArray[Any], num_classes: int) -> tuple[Classes, Floats]:
    """The class that most of a unit's strongest images are of, and its share among them.

    Args:
        labels: Class indices `(..., k)`; -1 where the unit was active for fewer than k images, which counts for no
            class: a unit that was active for one image only has a share of 1 / k.

    Returns:
        Class (the first of several that are level; -1 where there is none) and share `(...)`.

    Example:
        >>> majority(np.array([[2, 2, 0, 2], [1, -1, -1, -1], [-1, -1, -1, -1]]), 3)
        (array([ 2,  1, -1]), array([0.75, 0.25, 0.  ]))
    """
    counts = np.stack([(labels == number).sum(axis=-1) for number in range(num_classes)], axis=-1)
    share = counts.max(axis=-1) / labels.shape[-1]
    return np.where(share > 0, counts.argmax(axis=-1), -1), share


def quantile_95(permuted: NDArray[Any]) -> Floats:
    """The value that at most one in twenty of a unit's values under permuted labels exceeds, `(...)` of `(R, ...)`."""
    # A value that occurs, not one between two: "exceeds" then means what it says.
    level: Floats = np.quantile(permuted, 0.95, axis=0, method="higher")
    return level


def _divide(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)

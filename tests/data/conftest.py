"""Which images have a near-copy on the other side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Places = NDArray[np.int64]


def copies_among(pairs: NDArray[Any], members: Places, others: Places) -> Places:
    """Those of `members` that have a near-copy among `others`, e.g. test images that were seen in training."""
    linked = np.concatenate(
        [
            pairs["first"][np.isin(pairs["second"], others)],
            pairs["second"][np.isin(pairs["first"], others)],
        ]
    )
    return members[np.isin(members, linked)]


@pytest.fixture(scope="session")
def copied_in() -> Callable[..., Places]:
    """Members with a near-copy among others, by the pairs that were found."""
    return copies_among

"""Exact binomial bounds and the threshold that they allow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta, binom

from ahekit.evaluation.guarantee import (
    Guarantee,
    Shortage,
    binomial_bound,
    binomial_tail,
    guaranteed_threshold,
    images_needed,
)


@pytest.mark.parametrize(("mistakes", "images"), [(0, 1), (0, 149), (3, 400), (30, 40), (39, 40), (700, 20_000)])
@pytest.mark.parametrize("rate", [1e-6, 0.02, 0.5, 0.97])
def test_the_tail_is_scipys(mistakes: int, images: int, rate: float) -> None:
    assert binomial_tail(mistakes, images, rate) == pytest.approx(
        binom.cdf(mistakes, images, rate), rel=1e-8, abs=1e-12
    )


@pytest.mark.parametrize(("mistakes", "images"), [(0, 1), (0, 149), (3, 400), (39, 40), (40, 40)])
def test_the_bound_is_clopper_and_pearsons(mistakes: int, images: int) -> None:
    expected = beta.ppf(0.95, mistakes + 1, images - mistakes) if mistakes < images else 1.0

    assert binomial_bound(mistakes, images, 0.95) == pytest.approx(expected)


def test_two_in_a_hundred_without_a_mistake_takes_149_images() -> None:
    assert images_needed(0.02, 0.95) == 149
    assert guaranteed_threshold(np.arange(148.0), np.ones(148, dtype=bool), max_error=0.02, surety=0.95) == Shortage(
        148, 0, 149
    )
    result = guaranteed_threshold(np.arange(149.0), np.ones(149, dtype=bool), max_error=0.02, surety=0.95)
    assert isinstance(result, Guarantee)
    assert (result.threshold, result.images, result.mistakes) == (0.0, 149, 0)
    assert result.bound == pytest.approx(0.0199, abs=1e-4)


def test_the_threshold_leaves_out_the_part_where_mistakes_are() -> None:
    scores = np.arange(1_000.0)
    is_right = (scores >= 400) | (scores % 2 == 0)  # of the 400 least sure every other is wrong

    result = guaranteed_threshold(scores, is_right, max_error=0.02, surety=0.95)

    assert isinstance(result, Guarantee)
    assert result.threshold > 380
    assert result.images == (scores >= result.threshold).sum()
    assert result.mistakes == (~is_right[scores >= result.threshold]).sum()
    assert result.bound <= 0.02


def test_answers_of_one_score_are_accepted_together_or_not_at_all() -> None:
    scores = np.repeat([2.0, 1.0], [300, 700])
    is_right = np.concatenate([np.ones(300, dtype=bool), np.arange(700) % 10 > 0])

    result = guaranteed_threshold(scores, is_right, max_error=0.02, surety=0.95)

    assert not isinstance(result, Guarantee) or (result.threshold, result.images) == (2.0, 300)


def test_refusal_tells_how_many_images_would_do() -> None:
    is_right = np.ones(200, dtype=bool)
    is_right[[60, 61]] = False  # the surer half holds no mistake, but 100 images are too few
    scores = np.arange(200.0)

    result = guaranteed_threshold(scores, is_right, max_error=0.02, surety=0.95)

    assert isinstance(result, Shortage)
    assert result.needed is not None
    repeats = -(-result.needed // 200)
    enough = guaranteed_threshold(np.tile(scores, repeats), np.tile(is_right, repeats), max_error=0.02, surety=0.95)
    assert isinstance(enough, Guarantee)


def test_more_mistakes_than_asked_are_no_matter_of_more_images() -> None:
    result = guaranteed_threshold(np.arange(500.0), np.arange(500) % 20 > 0, max_error=0.02, surety=0.95)

    assert isinstance(result, Shortage)
    assert result.needed is None

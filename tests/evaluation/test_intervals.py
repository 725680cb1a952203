"""Intervals: by hand, and by how often they hold on simulated data."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from ahekit.evaluation.intervals import affordable_samples, bootstrap, percentile_interval, wilson_interval
from ahekit.evaluation.metrics import class_scores, macro_f1

COUNTS = np.array([[18, 2, 0], [1, 9, 2], [0, 3, 25]])


def accuracies(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(np.trace(counts, axis1=1, axis2=2) / counts.sum(axis=(1, 2)))


def test_wilson_interval_of_8_in_10_by_hand() -> None:
    # Centre (p + z²/2n) / (1 + z²/n) and half width z √(p(1-p)/n + z²/4n²) / (1 + z²/n), with p 0.8, n 10, z 1.959964.
    interval = wilson_interval(8, 10)

    assert (interval.low, interval.high) == pytest.approx((0.49016, 0.94331), abs=1e-5)
    assert str(interval) == "0.490–0.943"


def test_wilson_interval_of_a_perfect_score_has_width() -> None:
    interval = wilson_interval(20, 20)

    assert interval.high == pytest.approx(1.0)
    assert interval.low == pytest.approx(20 / (20 + 1.959964**2), abs=1e-6)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.95])
def test_wilson_interval_holds_in_about_95_of_100_draws(share: float) -> None:
    images = 100
    holds = [
        interval.low <= share <= interval.high
        for interval in (wilson_interval(correct, images) for correct in range(images + 1))
    ]

    coverage = float(binom.pmf(np.arange(images + 1), images, share) @ np.array(holds))

    assert 0.93 < coverage < 0.98


def test_bootstrap_draws_images_within_their_class() -> None:
    supports = bootstrap(COUNTS, lambda drawn: drawn.sum(axis=2).astype(float), samples=50)

    assert (supports == COUNTS.sum(axis=1)).all()


def test_bootstrap_of_counts_is_a_bootstrap_of_images() -> None:
    rng = np.random.default_rng(1)
    images = [np.repeat(np.arange(3), row) for row in COUNTS]
    by_image = [
        sum(int((rng.choice(named, len(named)) == true).sum()) for true, named in enumerate(images)) / COUNTS.sum()
        for _ in range(4000)
    ]

    by_counts = bootstrap(COUNTS, accuracies, samples=4000)

    assert by_counts.mean() == pytest.approx(np.mean(by_image), abs=0.004)
    assert by_counts.std() == pytest.approx(np.std(by_image), rel=0.06)


def test_one_seed_draws_the_same_resamples_for_every_statistic() -> None:
    macro = bootstrap(COUNTS, macro_f1, samples=200, seed=4)
    by_class = bootstrap(COUNTS, lambda drawn: class_scores(drawn)[2], samples=200, seed=4)

    assert by_class.shape == (200, 3)
    assert macro == pytest.approx(by_class.mean(axis=1))
    assert not np.array_equal(macro, bootstrap(COUNTS, macro_f1, samples=200, seed=5))


def test_resamples_beyond_one_chunk_are_all_drawn() -> None:
    counts = np.eye(250, dtype=int) * 3

    assert bootstrap(counts, accuracies, samples=130).shape == (130,)


def test_macro_f1_interval_holds_in_about_95_of_100_draws() -> None:
    rng = np.random.default_rng(0)
    support = np.array([70, 35, 120, 25])
    shares = np.array([[0.9, 0.05, 0.03, 0.02], [0.1, 0.8, 0.05, 0.05], [0.02, 0.02, 0.95, 0.01], [0.1, 0.1, 0.1, 0.7]])
    truth = float(macro_f1(shares * support[:, None]))
    held = 0
    for draw in range(300):
        interval = percentile_interval(bootstrap(rng.multinomial(support, shares), macro_f1, samples=400, seed=draw))
        held += interval.low <= truth <= interval.high

    assert 0.91 < held / 300 < 0.985


def test_class_without_images_stays_without() -> None:
    counts = np.array([[4, 1, 0], [0, 0, 0], [0, 1, 5]])

    drawn = bootstrap(counts, lambda drawn: drawn.sum(axis=2).astype(float), samples=20)

    assert (drawn[:, 1] == 0).all()


def test_interval_says_how_many_resamples_it_rests_on() -> None:
    assert percentile_interval(np.linspace(0, 1, 2001)).method == "stratified bootstrap, 2,001 resamples"
    assert percentile_interval(np.linspace(0, 1, 2001)).low == pytest.approx(0.025)


@pytest.mark.parametrize(("classes", "samples"), [(10, 10_000), (200, 10_000), (1000, 400), (100_000, 1)])
def test_many_classes_get_fewer_resamples(classes: int, samples: int) -> None:
    assert affordable_samples(10_000, classes) == samples

"""ROC-AUC and average precision: scikit-learn's values, and intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ahekit.evaluation import ranking
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.ranking import average_precision, roc_auc


def made(count: int = 150, classes: int = 4, *, seed: int = 0, decimals: int = 9) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), labels] += 1.2
    ids = tuple(map(str, range(count)))
    return Predictions(ids, labels, logits.round(decimals).astype(np.float32), tuple("abcd"[:classes]))


@pytest.mark.parametrize("decimals", [9, 0])
def test_values_are_those_of_scikit_learn_with_ties_too(decimals: int) -> None:
    given = made(decimals=decimals)
    one_hot = np.eye(4)[given.labels]

    area, precision = roc_auc(given), average_precision(given, samples=50)

    assert area.value == pytest.approx(roc_auc_score(given.labels, given.probabilities, multi_class="ovr"))
    assert precision.value == pytest.approx(average_precision_score(one_hot, given.probabilities))
    assert precision.by_class == pytest.approx(average_precision_score(one_hot, given.probabilities, average=None))


def test_delong_by_hand() -> None:
    # Positives 0.9, 0.4; others 0.5, 0.1. Above the others: 1 and 1/2, so the area is 3/4. Variance
    # ((1/4)² + (1/4)²) / 1 / 2 for the positives, and the same for the others: 1/8.
    probabilities = np.array([0.9, 0.4, 0.5, 0.1])
    logits = np.stack([np.log(1 - probabilities), np.log(probabilities)], axis=1).astype(np.float32)
    found = roc_auc(Predictions(tuple("abcd"), np.array([1, 1, 0, 0]), logits, ("no", "yes")))

    assert found.by_class == pytest.approx([0.75, 0.75])
    assert found.interval is not None
    assert found.interval.low == pytest.approx(0.75 - 1.959964 * np.sqrt(1 / 8))
    assert found.interval.high == 1.0


def test_intervals_hold_in_about_95_of_100_draws() -> None:
    large = made(40_000, seed=77)
    areas, precisions = roc_auc(large).value, average_precision(large, samples=50).value
    held = [0, 0]
    for seed in range(200):
        given = made(200, seed=seed)
        for place, (found, truth) in enumerate(
            ((roc_auc(given), areas), (average_precision(given, samples=150), precisions))
        ):
            assert found.interval is not None
            held[place] += found.interval.low <= truth <= found.interval.high

    # Average precision is biased upward in small samples, and its bootstrap with it.
    assert 0.9 < held[0] / 200 < 0.99
    assert 0.86 < held[1] / 200 < 0.99


def test_perfect_rankings_have_intervals_with_a_width() -> None:
    labels = np.repeat(np.arange(3), [19, 19, 80])
    perfect = Predictions(tuple(map(str, range(118))), labels, np.eye(3, dtype=np.float32)[labels] * 9, ("a", "b", "c"))

    for ranked in (roc_auc(perfect), average_precision(perfect, samples=50)):
        assert ranked.value == 1
        assert ranked.interval is not None
        assert ranked.interval.low < 0.99
        assert ranked.interval.high == 1
        assert ranked.interval.method.endswith("widened for perfect classes")


def test_bound_of_a_perfect_area_solves_newcombes_equation() -> None:
    low = ranking._perfect_area(19, 99)
    spread = low * (1 - low) * (1 + 58 * ((1 - low) / (2 - low) + low / (1 + low))) / (19 * 99)

    assert 1 - low == pytest.approx(1.959964 * np.sqrt(spread))
    assert 0.9 < low < 0.99


def test_one_class_alone_cannot_be_ranked() -> None:
    given = Predictions(("a", "b"), np.zeros(2, dtype=np.int64), np.ones((2, 2), dtype=np.float32), ("x", "y"))

    assert roc_auc(given).interval is None
    assert average_precision(given).interval is None
    assert np.isnan(roc_auc(given).value)


def test_large_tables_get_fewer_resamples() -> None:
    found = average_precision(made(30_000), samples=10_000)

    assert found.interval is not None
    assert found.interval.method == "stratified bootstrap, 1,000 resamples"

"""Figures with their intervals: scikit-learn's values, one draw for all, and intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)

from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.resampling import CLASS_FIGURES, in_top, kappa, resample


def made(count: int = 120, classes: int = 5, *, seed: int = 0, strength: float = 1.5) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.integers(0, classes, count))
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += strength
    ids = tuple(f"{number}.jpg" for number in range(count))
    return Predictions(ids, labels, logits, tuple("abcdefgh"[:classes]))


def test_figures_are_those_of_scikit_learn() -> None:
    given = made()
    values = resample(given, samples=100).values
    truth, named = given.labels, given.predicted

    assert values["accuracy"] == pytest.approx(accuracy_score(truth, named))
    assert values["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, named))
    assert values["macro_f1"] == pytest.approx(f1_score(truth, named, average="macro"))
    assert values["kappa"] == pytest.approx(cohen_kappa_score(truth, named))
    assert values["top3"] == pytest.approx(top_k_accuracy_score(truth, given.logits, k=3))
    assert values["log_loss"] == pytest.approx(log_loss(truth, given.probabilities))
    assert values["f1"] == pytest.approx(f1_score(truth, named, average=None))


def test_every_figure_rests_on_the_same_draw() -> None:
    draws = resample(made(), samples=300).draws

    assert draws["macro_f1"] == pytest.approx(draws["f1"].mean(axis=1))
    assert draws["balanced_accuracy"] == pytest.approx(draws["recall"].mean(axis=1))


def test_intervals_have_a_width_where_everything_is_right() -> None:
    labels = np.repeat(np.arange(3), 19)
    perfect = Predictions(tuple(map(str, range(57))), labels, np.eye(3, dtype=np.float32)[labels] * 9, ("a", "b", "c"))

    resampled = resample(perfect, samples=2000)

    for figure in ("accuracy", "balanced_accuracy", "macro_f1", "kappa"):
        interval = resampled.interval(figure)
        assert interval is not None
        assert interval.low < 0.97
        assert interval.high == 1
    for figure in CLASS_FIGURES:
        interval = resampled.class_interval(figure, 0)
        assert interval.low < 0.92
        assert interval.high == 1
    # 19 of 19 by Wilson: 19 / (19 + z²).
    assert resampled.class_interval("recall", 0).low == pytest.approx(19 / (19 + 1.959964**2))


def test_intervals_have_a_width_where_one_class_is_always_predicted() -> None:
    labels = np.repeat(np.arange(3), 10)
    constant = np.tile(np.array([1, 0, 0], dtype=np.float32), (30, 1))

    resampled = resample(Predictions(tuple(map(str, range(30))), labels, constant, ("a", "b", "c")), samples=2000)

    for figure in ("accuracy", "balanced_accuracy", "macro_f1", "kappa"):
        interval = resampled.interval(figure)
        assert interval is not None
        assert interval.high - interval.low > 0.04
    assert resampled.class_interval("f1", 1).low == 0
    assert resampled.class_interval("f1", 1).high > 0.1


def test_a_class_without_images_may_be_anything() -> None:
    resampled = resample(Predictions(("1",), np.array([0]), np.eye(2, dtype=np.float32)[:1], ("a", "b")), samples=100)

    assert (resampled.class_interval("f1", 1).low, resampled.class_interval("f1", 1).high) == (0, 1)
    # One class alone agrees by chance, and one image has no spread.
    assert resampled.interval("kappa") is None
    assert resampled.interval("log_loss") is None


def test_intervals_of_log_loss_and_kappa_hold_in_about_95_of_100_draws() -> None:
    whole = resample(made(60_000, seed=99), samples=100).values
    held = dict.fromkeys(("log_loss", "kappa", "top3"), 0)
    for seed in range(200):
        found = resample(made(200, seed=seed), samples=300)
        for figure in held:
            interval = found.interval(figure)
            assert interval is not None
            held[figure] += int(interval.low <= whole[figure] <= interval.high)

    for figure, count in held.items():
        assert 0.89 < count / 200 < 0.99, figure


def test_class_without_images_is_left_out_of_the_averages() -> None:
    given = made(classes=3)
    wider = Predictions(
        given.ids, given.labels, np.pad(given.logits, ((0, 0), (0, 1)), constant_values=-9), ("a", "b", "c", "d")
    )

    assert resample(wider, samples=10).values["macro_f1"] == pytest.approx(
        resample(given, samples=10).values["macro_f1"]
    )


def test_images_of_unknown_class_are_left_out() -> None:
    given = made()
    labels = given.labels.copy()
    labels[:60] = -1
    half = Predictions(given.ids, labels, given.logits, given.class_names)
    expected = (given.predicted[60:] == given.labels[60:]).mean()

    assert resample(half, samples=10).values["accuracy"] == pytest.approx(expected)


def test_kappa_of_two_by_two_by_hand() -> None:
    # Observed 35/50; by chance (25 x 30 + 25 x 20) / 50² = 0.5.
    assert kappa(np.array([[20, 5], [10, 15]])) == pytest.approx((0.7 - 0.5) / 0.5)


def test_of_equal_logits_the_first_class_ranks_higher() -> None:
    logits = np.zeros((2, 4), dtype=np.float32)

    assert in_top(logits, np.array([2, 3])).tolist() == [True, False]

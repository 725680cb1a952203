"""Calibration error, temperature and thresholds, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from ahekit.evaluation.calibration import (
    Confidences,
    abstention_threshold,
    answered,
    confidences,
    fit_temperature,
    reliability,
    risk_coverage,
)
from ahekit.evaluation.metrics import log_losses
from ahekit.evaluation.predictions import Predictions

FOUND = Confidences(np.array([0.95, 0.9, 0.62, 0.61, 0.3]), np.array([True, True, True, False, False]))


def test_calibration_error_by_hand() -> None:
    # Ten bins: (0.8, 0.9] holds 0.9, (0.9, 1] 0.95, (0.6, 0.7] two, (0.2, 0.3] one.
    bins = reliability(FOUND, bins=10)

    assert bins.images.tolist() == [0, 0, 1, 0, 0, 0, 2, 0, 1, 1]
    assert bins.ece == pytest.approx((0.05 + 0.1 + abs(1.23 - 1) + 0.3) / 5)
    assert bins.accuracy[6] == 0.5
    assert np.isnan(bins.confidence[0])


def test_fitted_temperature_is_the_one_the_logits_were_sharpened_with() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    given = Predictions(("x",) * 20_000, labels, (logits * 3).astype(np.float32), tuple("abcd"))

    temperature = fit_temperature(given)

    assert temperature == pytest.approx(3.0, rel=0.05)
    assert reliability(confidences(given)).ece > 0.15
    assert reliability(confidences(given, temperature=temperature)).ece < 0.02


@pytest.mark.parametrize("seed", range(20))
def test_fitted_temperature_is_that_of_a_search_for_the_least_loss(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images, classes = int(rng.integers(1, 300)), int(rng.integers(2, 12))
    labels = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes)) * 10.0 ** rng.integers(-2, 3)
    logits[np.arange(images), labels] += 10.0 ** rng.integers(-1, 2)
    given = Predictions(("x",) * images, labels, logits.astype(np.float32), tuple(map(str, range(classes))))

    temperature = fit_temperature(given)

    def loss(log_temperature: float) -> float:
        return float(log_losses(given.logits.astype(np.float64) / np.exp(log_temperature), labels).mean())

    # Where all are right, or none, the least loss lies at an end of the range.
    ends = np.log((0.05, 20.0))
    least = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-9}).fun
    assert temperature * (1 + 1e-9) >= 0.05
    assert temperature * (1 - 1e-9) <= 20
    assert loss(np.log(temperature)) <= least + 1e-9


def test_confidence_is_the_largest_probability_of_images_of_known_class() -> None:
    logits = np.array([[2, 0, 0], [0, 1, 0]], dtype=np.float32)
    given = Predictions(("a", "b"), np.array([0, -1]), logits, tuple("xyz"))

    found = confidences(given, temperature=2.0)

    assert found.confidence == pytest.approx([np.e / (np.e + 2)])
    assert found.correct.tolist() == [True]


def test_coverage_grows_from_the_surest_image() -> None:
    thresholds, coverage, accuracy = risk_coverage(FOUND)

    assert thresholds.tolist() == [0.95, 0.9, 0.62, 0.61, 0.3]
    assert coverage == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert accuracy == pytest.approx([1, 1, 1, 0.75, 0.6])


@pytest.mark.parametrize(("accuracy", "threshold"), [(1.0, 0.62), (0.7, 0.61), (0.5, 0.3)])
def test_threshold_is_the_lowest_that_reaches_the_accuracy(accuracy: float, threshold: float) -> None:
    assert abstention_threshold(FOUND, accuracy) == threshold


def test_images_of_one_confidence_are_answered_together() -> None:
    found = Confidences(np.array([0.9, 0.9, 0.5]), np.array([True, False, True]))

    assert abstention_threshold(found, 0.95) is None
    assert answered(found, 0.9) == (2, 1)

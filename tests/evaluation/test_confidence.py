"""Scores, the area under risk-coverage and calibration, by hand where it can be."""

from __future__ import annotations

import numpy as np
import pytest

from ahekit.evaluation.confidence import (
    SCORE_NAMES,
    Score,
    are_log_probabilities,
    area_interval,
    compare_scores,
    fit_calibration,
    risk_coverage_area,
    runner_up_confidence,
)

LOGITS = np.array([[3.0, 1.0, -4.0], [0.5, 0.4, 0.3]])


def test_scores_by_hand() -> None:
    e = np.exp

    assert Score("probability")(LOGITS)[0] == pytest.approx(np.log(e(3.0) / (e(1.0) + e(-4.0))))
    assert Score("probability", temperature=2.0)(LOGITS)[0] == pytest.approx(np.log(e(1.5) / (e(0.5) + e(-2.0))))
    assert Score("energy")(LOGITS)[0] == pytest.approx(np.log(e(3.0) + e(1.0) + e(-4.0)))
    # Their mean is 0: 3 over the root of 9 + 1 + 16.
    assert Score("logit_norm", norm=2.0)(LOGITS)[0] == pytest.approx(3 / np.sqrt(26))
    assert Score("margin")(LOGITS).tolist() == pytest.approx([2.0, 0.1])


@pytest.mark.parametrize("name", SCORE_NAMES)
def test_scores_of_extreme_logits_are_numbers(name: str) -> None:
    extreme = np.array([[0.0, -np.inf, -np.inf], [1e30, -1e30, 0.0], [0.0, 0.0, 0.0]])

    assert np.isfinite(Score(name)(extreme)).all()  # type: ignore[arg-type]


def test_the_score_of_surest_right_answers_resolves_what_rounds_to_one() -> None:
    sure = np.array([[60.0, 0.0], [50.0, 0.0]], dtype=np.float32)

    first, second = Score("probability")(sure)

    assert first > second


def test_equal_scores_share_their_mistakes() -> None:
    is_right = np.array([True, False, True, False])

    # 0, then a half and a half again of the two in the middle, then 1: (0 + 1/4 + 1/3 + 1/2) / 4.
    area = risk_coverage_area(np.array([3.0, 2.0, 2.0, 1.0]), is_right)

    assert area == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4)
    assert risk_coverage_area(np.zeros(4), is_right) == 0.5


def test_the_interval_holds_the_area_and_narrows_with_images() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=2_000)
    is_right = rng.random(2_000) < 1 / (1 + np.exp(-scores - 2))
    few = area_interval(scores[:200], is_right[:200])
    many = area_interval(scores, is_right)

    assert many.low < risk_coverage_area(scores, is_right) < many.high
    assert many.high - many.low < (few.high - few.low) / 2


def test_the_score_that_ranks_best_is_chosen() -> None:
    # The largest logit less the second says whether it is right. The third one's size is noise that misleads the norm,
    # a shift of all logits is noise that misleads the energy.
    rng = np.random.default_rng(0)
    gap = rng.exponential(2.0, 600)
    noise = -rng.exponential(30.0, 600)
    is_right = rng.random(600) < 1 - 0.5 * np.exp(-gap)
    logits = np.stack([gap, np.zeros(600), noise], axis=1) + rng.normal(size=(600, 1), scale=10.0)
    labels = np.where(is_right, 0, 1)

    trials = compare_scores(logits, labels)

    assert {trial.score.name for trial in trials} == set(SCORE_NAMES)
    assert trials[0].score.name in ("probability", "margin")
    assert trials[-1].area > 1.2 * trials[0].area
    assert trials == compare_scores(logits, labels)


def test_logarithms_of_probabilities_have_no_energy() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [1.0, 0.0, 0.0]] * 10)
    with np.errstate(divide="ignore"):
        logits = np.log(probabilities)

    assert are_log_probabilities(logits)
    assert not are_log_probabilities(LOGITS)
    assert "energy" not in {trial.score.name for trial in compare_scores(logits, np.array([0, 0] * 10))}


def test_calibration_finds_the_curve_it_was_drawn_from() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(2.0, 2.0, 50_000)
    truth = 1 / (1 + np.exp(-0.8 * scores - 0.5))

    calibration = fit_calibration(scores, rng.random(50_000) < truth)

    assert np.abs(calibration(scores) - truth).max() < 0.02


@pytest.mark.parametrize("is_right", [np.ones(20, dtype=bool), np.zeros(20, dtype=bool), np.arange(20) < 10])
def test_confidence_rises_with_the_score_and_claims_no_more_than_the_images_carry(is_right: np.ndarray) -> None:
    confidence = fit_calibration(np.arange(20.0), is_right)(np.linspace(-30, 30, 50))

    assert (np.diff(confidence) > 0).all()
    assert confidence.min() > 1 / 22 - 1e-9
    assert confidence.max() < 21 / 22 + 1e-9


def test_the_runner_up_gets_its_part_of_what_is_left() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])

    result = runner_up_confidence(np.array([0.8, 0.4, 0.9]), probabilities)

    assert result.tolist() == pytest.approx([0.2 * 0.75, 0.4, 0.0])

"""From outputs to decisions: classes as clouds in a small space, a linear head, and pictures of no class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ahekit.errors import AhekitError, DataError, UsageError
from ahekit.prediction.deciding import Decider, Deciding, Reference, Rule, fit_deciding

CLASSES = ("altar", "apse", "vault")
WIDTH = 24
CENTRES = 3 * np.eye(len(CLASSES), WIDTH)


def outputs(images: int, seed: int, *, noise: float = 0.8) -> dict[str, np.ndarray]:
    """Logits, embeddings and labels of images of the classes."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), images)
    embeddings = CENTRES[labels] + noise * rng.normal(size=(images, WIDTH))
    return {"logits": (embeddings @ CENTRES.T).astype(np.float32), "embeddings": embeddings, "labels": labels}


def named(prefix: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{prefix}_{name}": array for name, array in values.items()}


def fit(images: int = 600, /, **arrays: Any) -> tuple[Deciding, Reference]:
    parts: dict[str, Any] = {**named("val", outputs(images, 1)), **named("train", outputs(900, 2)), **arrays}
    return fit_deciding(**parts, class_names=CLASSES)


@pytest.fixture(scope="module")
def decider() -> Decider:
    return Decider(*fit(), CLASSES)


def test_what_is_fitted_is_plain_numbers_and_the_same_each_time() -> None:
    deciding, reference = fit()
    again, same = fit()

    assert Deciding.model_validate_json(deciding.model_dump_json()) == deciding == again
    assert all((same.arrays[name] == array).all() for name, array in reference.arrays.items())


def test_decisions_stand_side_by_side(decider: Decider) -> None:
    test = outputs(400, 3)
    decisions = decider.decide(test["logits"], test["embeddings"], decider.accept(Rule()))

    is_right = decisions.class_index == test["labels"]
    assert set(decisions.state.tolist()) <= {"sure", "review", "unknown"}
    assert decisions.confidence.mean() == pytest.approx(is_right.mean(), abs=0.03)
    assert (decisions.runner_up_confidence <= decisions.confidence).all()
    assert (decisions.runner_up_confidence + decisions.confidence <= 1 + 1e-9).all()
    assert (decisions.runner_up_index != decisions.class_index).all()
    assert [not reason for reason in decisions.reason] == (decisions.state == "sure").tolist()
    assert is_right[decisions.state == "sure"].mean() > is_right.mean()


def test_decisions_do_not_depend_on_who_else_is_decided_on(decider: Decider) -> None:
    test = outputs(50, 3)
    acceptance = decider.accept(Rule())
    whole = decider.decide(test["logits"], test["embeddings"], acceptance)
    last = decider.decide(test["logits"][-1:], test["embeddings"][-1:], acceptance)

    assert whole.confidence[-1] == last.confidence[0]
    assert whole.unknown_score[-1] == pytest.approx(last.unknown_score[0], rel=1e-4)


def test_strange_pictures_are_unknown_however_sure_the_network_is(decider: Decider) -> None:
    rng = np.random.default_rng(4)
    strange = 6 * rng.normal(size=(60, WIDTH))
    strange[:, : len(CLASSES)] = 0
    logits = np.tile(np.array([[30.0, 0.0, 0.0]], dtype=np.float32), (60, 1))

    decisions = decider.decide(logits, strange, decider.accept(Rule()))

    assert (decisions.state == "unknown").all()
    assert (decider.decide(logits, strange, decider.accept(Rule(known_kept=1))).state == "sure").all()


def test_known_pictures_are_kept_as_often_as_asked(decider: Decider) -> None:
    test = outputs(3_000, 5)

    for share in (0.95, 0.8):
        states = decider.decide(test["logits"], test["embeddings"], decider.accept(Rule(known_kept=share))).state
        assert (states != "unknown").mean() == pytest.approx(share, abs=0.03)


def test_least_confidence_is_what_sure_ones_have(decider: Decider) -> None:
    test = outputs(400, 3)
    acceptance = decider.accept(Rule(min_confidence=0.9, known_kept=1))
    decisions = decider.decide(test["logits"], test["embeddings"], acceptance)

    assert ((decisions.state == "sure") == (decisions.confidence >= 0.9)).all()
    assert "below 0.900" in next(reason for reason in decisions.reason if reason)
    for bound, state in ((0.0, "sure"), (1.0, "review")):
        acceptance = decider.accept(Rule(min_confidence=bound, known_kept=1))
        assert set(decider.decide(test["logits"], test["embeddings"], acceptance).state.tolist()) == {state}


def test_a_guarantee_says_what_it_stands_on(decider: Decider) -> None:
    acceptance = decider.accept(Rule(max_error=0.01, surety=0.9, known_kept=1))

    spoken = " ".join(acceptance.sentences)
    assert "a reviewed random sample of your own photos" in spoken
    assert acceptance.min_score > decider.accept(Rule(max_error=0.05, surety=0.9, known_kept=1)).min_score


def test_a_promise_stands_beside_what_test_gave() -> None:
    decider = Decider(*fit(**named("test", outputs(500, 7))), CLASSES)
    acceptance = decider.accept(Rule(max_error=0.05))
    test = outputs(500, 7)
    decisions = decider.decide(test["logits"], test["embeddings"], acceptance)

    is_sure = decisions.state == "sure"
    wrong = int((decisions.class_index != test["labels"])[is_sure].sum())
    spoken = " ".join(acceptance.sentences)
    assert f"On 500 test pictures, which had no part in this, {is_sure.sum()} were sure" in spoken
    assert f"wrong ({wrong})" in spoken
    assert f"that was {(decisions.state == 'unknown').mean():.1%}" in spoken


def test_what_the_labelled_images_cannot_carry_is_refused_with_their_number() -> None:
    decider = Decider(*fit(100), CLASSES)

    with pytest.raises(AhekitError, match="it takes 149 even without a mistake; it would take about"):
        decider.accept(Rule(max_error=0.02, known_kept=1))
    # Nobody asked for a guarantee: a confidence is asked instead, and that is told.
    assert any("No guarantee" in sentence for sentence in decider.accept(Rule()).sentences)


def test_too_few_images_to_tell_unknown_pictures_set_none_apart() -> None:
    decider = Decider(*fit(12), CLASSES)
    acceptance = decider.accept(Rule(min_confidence=0.5))

    assert acceptance.most_unknown == float("inf")
    assert "takes 19 validation images" in " ".join(acceptance.sentences)


def test_an_output_that_is_no_number_is_for_a_person_to_look_at(decider: Decider) -> None:
    test = outputs(3, 3)
    test["logits"][1] = np.nan
    test["embeddings"][2] = np.inf

    decisions = decider.decide(test["logits"], test["embeddings"], decider.accept(Rule(min_confidence=0)))

    assert decisions.state.tolist()[1:] == ["review", "review"]
    assert decisions.reason[1] == "the network's output is not a number"
    assert np.isfinite(decisions.confidence).all()


@pytest.mark.parametrize(
    "values",
    [
        {"max_error": 0.0},
        {"max_error": 1.0},
        {"surety": 1.0},
        {"min_confidence": 1.2},
        {"known_kept": 0.0},
        {"max_error": 0.02, "min_confidence": 0.9},
    ],
)
def test_rules_that_ask_for_what_cannot_be_are_usage_errors(values: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Rule(**values)


@pytest.mark.parametrize(
    "part",
    [
        {"val_logits": np.full((600, 3), np.nan)},
        {"train_embeddings": np.full((900, WIDTH), np.inf)},
        {name: array[:1] for name, array in named("val", outputs(2, 1)).items()},
    ],
)
def test_outputs_that_nothing_can_be_fitted_on_are_one_line(part: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataError):
        fit(**part)


def test_a_reference_that_is_none_is_one_line() -> None:
    deciding, reference = fit()

    with pytest.raises(DataError, match="export the model again"):
        Decider(deciding, Reference({**reference.arrays, "codes": np.zeros((3, 3), dtype=np.uint8)}), CLASSES)

"""Two runs on the same images: by hand, and by how often the intervals hold."""

from __future__ import annotations

import numpy as np
import pytest

from ahekit.errors import RunError
from ahekit.evaluation.comparison import compare, seed_spread, shared_images
from ahekit.evaluation.predictions import Predictions

NAMES = ("a", "b", "c")


def made(labels: list[int], named: list[int], *, ids: list[str] | None = None) -> Predictions:
    logits = np.eye(3, dtype=np.float32)[named]
    return Predictions(tuple(ids or map(str, range(len(labels)))), np.array(labels), logits, NAMES)


LABELS = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
FIRST = made(LABELS, [0, 0, 1, 1, 1, 1, 1, 2, 2, 0])  # 7 right
SECOND = made(LABELS, [0, 0, 0, 0, 1, 0, 1, 2, 2, 2])  # 9 right: 2, 3 and 9 gained, 5 lost


def test_differences_and_exact_mcnemar_by_hand() -> None:
    found = compare(FIRST, SECOND, samples=500)

    assert found.figures["accuracy"].value == pytest.approx(0.2)
    assert found.figures["balanced_accuracy"].value == pytest.approx((1 + 2 / 3 + 1) / 3 - (0.5 + 1 + 2 / 3) / 3)
    assert found.only_first.tolist() == [5]
    assert found.only_second.tolist() == [2, 3, 9]
    # Of 4 discordant images at most 1 on the rarer side: 2 x (1 + 4) / 16.
    assert found.p_value == pytest.approx(10 / 16)
    assert found.f1[1] is not None
    assert found.f1[1].first == pytest.approx(2 * 3 / (3 + 5))


def test_a_run_differs_from_itself_by_nothing() -> None:
    found = compare(FIRST, FIRST, samples=200)

    assert found.figures["macro_f1"].value == 0
    assert found.p_value == 1


def test_a_difference_where_all_images_of_a_class_agree_has_a_width() -> None:
    labels = [0] * 19 + [1] * 19
    found = compare(made(labels, labels), made(labels, [0] * 19 + [2] * 19), samples=1000)

    assert found.f1[1] is not None
    assert found.f1[1].value == -1
    assert found.f1[1].interval.low == -1
    assert found.f1[1].interval.high > -0.99
    for difference in found.figures.values():
        assert difference.interval.high - difference.interval.low > 0.02
        assert difference.interval.low <= difference.value <= difference.interval.high


def test_pairing_narrows_the_interval_of_runs_that_err_alike() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    named = np.where(rng.random(600) < 0.3, (labels + 1) % 3, labels)
    better = named.copy()
    better[np.flatnonzero(named != labels)[:12]] = labels[np.flatnonzero(named != labels)[:12]]

    interval = (
        compare(made(labels.tolist(), named.tolist()), made(labels.tolist(), better.tolist()))
        .figures["accuracy"]
        .interval
    )

    assert 0 < interval.low < 12 / 600 < interval.high < 0.04
    assert interval.method == "paired, Bonett and Price"


def test_interval_of_the_difference_holds_in_about_95_of_100_draws() -> None:
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(3), 70)
        hard = rng.random(210) < 0.3
        first = np.where(hard & (rng.random(210) < 0.8), (labels + 1) % 3, labels)
        second = np.where(hard & (rng.random(210) < 0.6), (labels + 1) % 3, labels)
        found = compare(made(labels.tolist(), first.tolist()), made(labels.tolist(), second.tolist()), samples=400)
        interval = found.figures["accuracy"].interval
        held += interval.low <= 0.3 * 0.2 <= interval.high

    assert 0.9 < held / 200 < 0.99


def test_only_shared_images_are_compared_whatever_the_order_of_images_and_classes() -> None:
    other = Predictions(("9", "x", "0"), np.array([0, 1, 2]), np.eye(3, dtype=np.float32), ("c", "b", "a"))

    shared = shared_images({"one": FIRST, "two": other})

    assert shared["two"].ids == shared["one"].ids == ("0", "9")
    assert shared["two"].labels.tolist() == shared["one"].labels.tolist() == [0, 2]
    assert shared["two"].predicted.tolist() == [0, 2]
    assert shared["two"].class_names == NAMES


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (made([0], [0], ids=["elsewhere"]), "no test image is common"),
        (Predictions(("0",), np.array([0]), np.eye(1, dtype=np.float32), ("a",)), "know different classes .b, c."),
        (made([1], [1], ids=["0"]), "have different true labels for 1 images, 0 first"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(other: Predictions, message: str) -> None:
    with pytest.raises(RunError, match=message):
        shared_images({"one": FIRST, "two": other})


def test_seeds_by_hand() -> None:
    # t of 0.975 with 2 degrees of freedom: 4.302653.
    found = seed_spread([0.8, 0.9, 1.0])

    assert found.mean == pytest.approx(0.9)
    assert found.deviation == pytest.approx(0.1)
    assert found.interval is not None
    assert found.interval.high == pytest.approx(0.9 + 4.302653 * 0.1 / np.sqrt(3))
    assert seed_spread([0.8]).interval is None

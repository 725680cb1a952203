"""The selectivity index and the majority among a unit's strongest images, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ahekit.inspection.selectivity import class_selectivity, majority, own_selectivity, quantile_95

NAN = float("nan")


@pytest.mark.parametrize(
    ("means", "index", "best"),
    [
        # The others' mean is (1 + 0 + 2) / 3 = 1.
        ([1.0, 3.0, 0.0, 2.0], (3 - 1) / (3 + 1), 1),
        ([0.0, 0.0, 5.0, 0.0], 1.0, 2),
        ([2.0, 2.0, 2.0, 2.0], 0.0, 0),
        ([0.0, 0.0, 0.0, 0.0], NAN, -1),
        # A class without images counts for nothing: the others' mean is 1.
        ([NAN, 1.0, NAN, 4.0], (4 - 1) / (4 + 1), 3),
        # Where only one class has images, there is nothing to prefer it to.
        ([NAN, 1.0, NAN, NAN], NAN, -1),
    ],
)
def test_index_compares_the_most_exciting_class_with_the_mean_of_the_others(
    means: list[float], index: float, best: int
) -> None:
    found, number = class_selectivity(np.array([means]))
    np.testing.assert_allclose(found, [index])
    assert number.tolist() == [best]


def test_index_of_a_given_class_is_negative_where_others_excite_the_unit_more() -> None:
    means = np.array([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]])
    # Class 0: 1 against (3 + 2) / 2; class 1: 3 against (1 + 2) / 2.
    np.testing.assert_allclose(own_selectivity(means, np.array([0, 1])), [-1.5 / 3.5, 1.5 / 4.5])


def test_a_stack_of_shuffled_means_is_measured_at_once() -> None:
    means = np.random.default_rng(0).random((4, 5, 3))
    index, best = class_selectivity(means)
    for row, numbers, classes in zip(means, index, best, strict=True):
        np.testing.assert_array_equal(class_selectivity(row)[0], numbers)
        np.testing.assert_array_equal(class_selectivity(row)[1], classes)


def test_images_that_leave_a_unit_inactive_count_for_no_class() -> None:
    number, share = majority(np.array([[1, 1, 0, 2], [2, -1, -1, -1], [-1, -1, -1, -1], [0, 1, 1, 0]]), 3)
    assert number.tolist() == [1, 2, -1, 0]
    assert share.tolist() == [0.5, 0.25, 0.0, 0.5]


def test_at_most_one_in_twenty_shuffled_values_exceeds_the_quantile() -> None:
    values = np.random.default_rng(0).permutation(np.arange(40.0))[:, None].repeat(2, axis=1)
    values[:, 1] += 100
    level = quantile_95(values)
    assert ((values > level).sum(axis=0) <= 2).all()
    assert level.tolist() == [38.0, 138.0]

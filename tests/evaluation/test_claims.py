"""What becomes of a claim, by the interval of a difference over seeds."""

from __future__ import annotations

import pytest

from ahekit.evaluation.claims import best_by_seed, differences, read_difference, read_interval, share_ends
from ahekit.evaluation.comparison import seed_spread
from ahekit.evaluation.intervals import Interval


@pytest.mark.parametrize(
    ("by_seed", "reading"),
    [
        ([0.02, 0.03, 0.04], "supported"),
        ([-0.02, -0.03, -0.04], "not supported"),
        ([0.02, -0.03, 0.04], "undecided"),
        ([0.02], "undecided"),
        ([0.02, 0.02], "undecided"),
    ],
)
def test_a_difference_is_read_by_its_interval(by_seed: list[float], reading: str) -> None:
    assert read_difference(by_seed)[0] == reading


def test_the_interval_is_student_s_over_seeds() -> None:
    # Mean 0.03, standard error 0.01 / sqrt(3), 4.303 of them to either side.
    assert read_difference([0.02, 0.03, 0.04])[1] == "+0.030, 95 % interval over 3 seeds +0.005 to +0.055"
    assert read_difference([0.02])[1] == "+0.020; one seed tells nothing of others"


def test_more_than_nothing_can_be_asked_for() -> None:
    assert read_interval(Interval(0.02, 0.04, ""), least=0.01) == "supported"
    assert read_interval(Interval(0.02, 0.04, ""), least=0.03) == "undecided"
    assert read_interval(Interval(0.02, 0.04, ""), least=0.05) == "not supported"


def test_figures_are_compared_seed_by_seed_and_their_ends_stay_shares() -> None:
    assert differences([0.5, 0.25], [0.25, 0.5]) == [0.25, -0.25]
    # The mean is 0.5; half the interval is 12.7 times 0.5.
    assert share_ends(seed_spread([0.0, 1.0])) == (0.0, 1.0)
    assert share_ends(seed_spread([0.5])) == (None, None)


def test_the_best_is_named_with_those_that_it_is_not_shown_to_beat() -> None:
    # Differences 0 and 0.1: Student's t of one degree of freedom, 12.7, makes the interval hold 0; 0.5 and 0.49 don't.
    figures = {"max": [0.7, 0.8], "average": [0.7, 0.7], "none": [0.2, 0.31]}
    assert best_by_seed(figures, "F1") == "max has the largest mean F1, 0.750; not shown to be worse: average."
    del figures["average"]
    assert best_by_seed(figures, "F1") == "max has the largest mean F1, 0.750, and the others are worse."

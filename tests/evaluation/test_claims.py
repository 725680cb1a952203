"""What becomes of a claim, by the interval of a difference over seeds."""

from __future__ import annotations

import pytest

from ahekit.evaluation.claims import read_difference, read_interval
from ahekit.evaluation.intervals import Interval


@pytest.mark.parametrize(
    ("differences", "reading"),
    [
        ([0.02, 0.03, 0.04], "supported"),
        ([-0.02, -0.03, -0.04], "not supported"),
        ([0.02, -0.03, 0.04], "undecided"),
        ([0.02], "undecided"),
        ([0.02, 0.02], "undecided"),
    ],
)
def test_a_difference_is_read_by_its_interval(differences: list[float], reading: str) -> None:
    assert read_difference(differences)[0] == reading


def test_the_interval_is_student_s_over_seeds() -> None:
    # Mean 0.03, standard error 0.01 / sqrt(3), 4.303 of them to either side.
    assert read_difference([0.02, 0.03, 0.04])[1] == "+0.030, 95 % interval over 3 seeds +0.005 to +0.055"
    assert read_difference([0.02])[1] == "+0.020; one seed tells nothing of others"


def test_more_than_nothing_can_be_asked_for() -> None:
    assert read_interval(Interval(0.02, 0.04, ""), least=0.01) == "supported"
    assert read_interval(Interval(0.02, 0.04, ""), least=0.03) == "undecided"
    assert read_interval(Interval(0.02, 0.04, ""), least=0.05) == "not supported"

"""A short walk of `tests/kill_points.py`: a run killed at any event of its life ends as the unbroken one, resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kill_points import try_points


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("case", "points"), [("early-stop", 4), ("prefix", 2)])
def test_a_run_killed_anywhere_and_resumed_ends_as_the_unbroken_one(case: str, points: int, tmp_path: Path) -> None:
    assert try_points(case, tmp_path, points=points) == []

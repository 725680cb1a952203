"""Several runs side by side: the sections of a comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ahekit.errors import RunError
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import RunRecord
from ahekit.reporting.comparison import build_comparison
from ahekit.reporting.files import report_files
from ahekit.reporting.sections import Section
from ahekit.spec import RunSpec

Make = Callable[..., RunRecord]
LABELS = np.arange(12) % 3


def predictions(wrong: list[int], *, ids: range = range(12)) -> Predictions:
    named = [(label + 1) % 3 if place in wrong else label for place, label in enumerate(LABELS)]
    return Predictions(tuple(f"{n}.jpg" for n in ids), LABELS, np.eye(3, dtype=np.float32)[named], ("a", "b", "c"))


def epochs(accuracy: float) -> list[dict[str, Any]]:
    block = {"loss": 1.0, "accuracy": accuracy, "f1": accuracy}
    return [{"type": "epoch", "epoch": number, "test": block} for number in (1, 2)]


def section(sections: tuple[Section, ...], name: str) -> Section:
    return next(found for found in sections if found.name == name)


@pytest.fixture
def one(make_record: Make) -> RunRecord:
    return make_record(name="one", predictions={"test": predictions([0, 1, 2, 3])}, history=epochs(8 / 12))


@pytest.fixture
def two(make_record: Make) -> RunRecord:
    return make_record(
        name="two", spec=RunSpec(seed=1), predictions={"test": predictions([0, 5])}, history=epochs(10 / 12)
    )


def test_difference_of_two_runs_with_mcnemar_and_images(one: RunRecord, two: RunRecord) -> None:
    report = build_comparison([one, two], samples=200)

    table = section(report.sections, "differences").tables[1]
    assert table.rows[0][:2] == ("B", "accuracy")
    assert table.rows[0][2] == pytest.approx(2 / 12)
    assert table.rows[0][5] == pytest.approx(10 / 16)
    assert [(row[0], row[4], row[5]) for row in section(report.sections, "disagreements").tables[0].rows] == [
        ("5.jpg", "B", "A"),
        ("1.jpg", "B", "B"),
        ("2.jpg", "B", "B"),
        ("3.jpg", "B", "B"),
    ]
    assert "B (two) is better than A (one): accuracy 0.833 against 0.667" in report.sections[0].reading
    assert "within what the choice of test images explains" in report.sections[0].reading
    assert "All runs were tested on the same images." in report.sections[0].reading


def test_seeds_of_one_spec_are_grouped(one: RunRecord, two: RunRecord, make_record: Make) -> None:
    other = make_record(name="three", spec=RunSpec(recipe="assignment"), predictions=one.predictions)

    table = section(build_comparison([one, two, other], samples=100).sections, "seeds").tables[0]

    assert [row[1] for row in table.rows] == ["0, 1", "0, 1"]
    assert table.rows[0][3] == pytest.approx(9 / 12)
    assert table.rows[0][4] == pytest.approx(np.sqrt(2) / 12)


def test_runs_on_different_images_are_compared_on_those_they_share(one: RunRecord, make_record: Make) -> None:
    other = make_record(name="two", predictions={"test": predictions([], ids=range(3, 15))})

    report = build_comparison([one, other], samples=100)

    assert report.subtitle == "on the 9 test images they share"
    assert "tested on different images: only those that all of them were tested on count" in report.sections[0].reading


def test_run_without_test_predictions_is_missing_and_said_so(one: RunRecord, two: RunRecord, make_record: Make) -> None:
    broken = make_record(name="broken", state="interrupted")

    assert build_comparison([one, two, broken], samples=100).missing[0].section == "broken"
    with pytest.raises(RunError, match=r"takes two different runs .*broken: no predictions on test"):
        build_comparison([one, broken])
    with pytest.raises(RunError, match="one run was named twice"):
        build_comparison([one, one])


def test_curves_are_overlaid_and_every_format_is_written(one: RunRecord, two: RunRecord) -> None:
    report = build_comparison([one, two], samples=100)

    assert section(report.sections, "curves").figures[0].data.keys() == {"A: one", "B: two"}
    _, files = report_files(report, ["html", "md", "json"])
    assert {"report.html", "report.md", "report.json", "figures/curves-loss_overlaid.png"} <= files.keys()


def test_long_lists_of_disagreements_keep_both_sides(
    one: RunRecord, two: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ahekit.reporting.comparison._LISTED", 2)

    table = section(build_comparison([one, two], samples=50).sections, "disagreements").tables[0]

    assert [row[0] for row in table.rows] == ["5.jpg", "1.jpg"]
    assert table.note == "2 of 4: at most 1 of each kind."

"""Several runs side by side: the sections of a comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ttest_ind

from ahekit.errors import RunError, UsageError
from ahekit.evaluation.compared import ComparedRuns
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import RunRecord
from ahekit.notes import Manifest
from ahekit.protocols import NoParams
from ahekit.registry import REPORTERS
from ahekit.reporting.build import Missing, Report, build_comparison
from ahekit.reporting.files import report_files
from ahekit.reporting.style import render_figure
from ahekit.sections import Section
from ahekit.spec import RunSpec

Make = Callable[..., RunRecord]
LABELS = np.arange(12) % 3


def predictions(wrong: list[int], *, ids: range = range(12)) -> Predictions:
    named = [(label + 1) % 3 if place in wrong else label for place, label in enumerate(LABELS)]
    return Predictions(tuple(f"{n}.jpg" for n in ids), LABELS, np.eye(3, dtype=np.float32)[named], ("a", "b", "c"))


def epochs(accuracy: float) -> list[dict[str, Any]]:
    block = {"loss": 1.0, "accuracy": accuracy, "f1": accuracy}
    return [{"type": "epoch", "epoch": number, "test": block} for number in (1, 2)]


FEW = {name: {"resamples": 200} for name in ("differences", "classes")}


def compared(records: list[RunRecord]) -> Report:
    return build_comparison(records, params=FEW)


def section(sections: tuple[Section, ...], name: str) -> Section:
    return next(found for found in sections if found.name == name)


def reading(report: Report) -> str:
    return section(report.sections, "differences").reading


@pytest.fixture
def one(make_record: Make) -> RunRecord:
    return make_record(name="one", predictions={"test": predictions([0, 1, 2, 3])}, history=epochs(8 / 12))


@pytest.fixture
def two(make_record: Make) -> RunRecord:
    return make_record(
        name="two", spec=RunSpec(seed=1), predictions={"test": predictions([0, 5])}, history=epochs(10 / 12)
    )


def test_difference_of_two_runs_with_mcnemar_and_images(one: RunRecord, two: RunRecord) -> None:
    report = compared([one, two])

    table = section(report.sections, "differences").tables[-1]
    assert table.rows[0][:2] == ("B", "accuracy")
    assert table.rows[0][2] == pytest.approx(2 / 12)
    assert table.rows[0][5] == pytest.approx(10 / 16)
    assert [(row[0], row[4], row[5]) for row in section(report.sections, "disagreements").tables[0].rows] == [
        ("5.jpg", "B", "A"),
        ("1.jpg", "B", "B"),
        ("2.jpg", "B", "B"),
        ("3.jpg", "B", "B"),
    ]
    assert (
        "B (two) is better than A (one): accuracy 0.833 against 0.667"
        in section(report.sections, "differences").reading
    )
    assert "within what the choice of test images explains" in reading(report)
    assert "All runs were tested on the same images." in reading(report)


def test_seeds_of_one_spec_are_grouped(one: RunRecord, two: RunRecord, make_record: Make) -> None:
    other = make_record(name="three", spec=RunSpec(recipe="assignment"), predictions=one.predictions)

    table = section(compared([one, two, other]).sections, "seeds").tables[0]

    assert [row[:3] for row in table.rows[::2]] == [("recipe strong", "A, B", "0, 1"), ("recipe assignment", "C", "0")]
    assert table.rows[0][4] == pytest.approx(9 / 12)
    assert table.rows[0][5] == pytest.approx(np.sqrt(2) / 12)


def test_specs_are_named_by_what_differs_and_compared_over_their_seeds(make_record: Make) -> None:
    wrong = {"low": ([0, 1, 2], [0, 1, 2, 3], [1, 2]), "high": ([0], [5], [])}
    records = [
        make_record(
            name=f"{kind}-{seed}",
            spec=RunSpec.model_validate({"seed": seed, "optim": {"lr": 0.001 if kind == "low" else 0.01}}),
            predictions={"test": predictions(images)},
        )
        for kind, by_seed in wrong.items()
        for seed, images in enumerate(by_seed)
    ]

    report = compared(records)
    runs, fields, _ = section(report.sections, "differences").tables
    means, against = section(report.sections, "seeds").tables

    assert [row[2] for row in runs.rows] == ["lr 0.001"] * 3 + ["lr 0.01"] * 3
    assert fields.rows == (("optim.lr", *["0.001"] * 3, *["0.01"] * 3),)
    assert [row[0] for row in means.rows] == ["lr 0.001"] * 2 + ["lr 0.01"] * 2
    expected = ttest_ind([11 / 12, 11 / 12, 1], [9 / 12, 8 / 12, 10 / 12], equal_var=False)
    assert against.rows[0][:3] == ("lr 0.01", "lr 0.001", "accuracy")
    assert against.rows[0][3] == pytest.approx((34 - 27) / 36)
    assert against.rows[0][4:6] == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert against.rows[0][6] == pytest.approx(expected.pvalue)
    # The best of six seeds is not crowned.
    assert report.verdict.startswith("6 runs of 2 specs. lr 0.01 is better than lr 0.001 by +0.194 (")


def test_seeds_that_agree_to_the_last_image_have_no_spread_to_go_by(make_record: Make) -> None:
    records = [
        make_record(name=str(seed), spec=RunSpec(seed=seed), predictions={"test": predictions([0])}) for seed in (0, 1)
    ]

    table = section(compared(records).sections, "seeds").tables[0]

    assert table.rows[0][5:] == (0.0, None, None)


def test_words_follow_test_and_interval_together(one: RunRecord, make_record: Make) -> None:
    # Six images that one run alone has right, none the other way: p = 2 / 64 is significant, and the interval from
    # (7 - 1) / 14 down by 1.96 √((8 - 36 / 14) / 14 / 14) is above 0; with five, p is 1 / 16 and they don't agree.
    words = {}
    for count in (5, 6):
        first = make_record(name="first", predictions={"test": predictions(list(range(count)))})
        second = make_record(name="second", predictions={"test": predictions([])})
        words[count] = compared([first, second]).verdict

    assert words[6].endswith("more than the choice of test images explains.")
    assert words[5].endswith("on the border of what the choice of test images explains: test and interval disagree.")


def test_runs_on_different_images_are_compared_on_those_they_share(one: RunRecord, make_record: Make) -> None:
    other = make_record(name="two", predictions={"test": predictions([], ids=range(3, 15))})

    report = compared([one, other])

    assert report.subtitle == "on the 9 test images they share"
    assert (
        "tested on different images: only those that all of them were tested on count"
        in section(report.sections, "differences").reading
    )


def test_run_without_test_predictions_is_missing_and_said_so(one: RunRecord, two: RunRecord, make_record: Make) -> None:
    broken = make_record(name="broken", state="interrupted")

    assert compared([one, two, broken]).missing[0].section == "broken"
    with pytest.raises(RunError, match=r"takes two different runs .*broken: no predictions on test"):
        build_comparison([one, broken])
    with pytest.raises(RunError, match="one run was given twice"):
        build_comparison([one, one])


def test_curves_are_overlaid_and_every_format_is_written(one: RunRecord, two: RunRecord) -> None:
    report = compared([one, two])

    curves = section(report.sections, "curves")
    assert curves.figures[0].data.keys() == {"A: one", "B: two"}
    assert curves.reading.endswith("Accuracy ends at 0.667 (A) and 0.833 (B).")
    _, files = report_files(report, ["html", "md", "json"])
    assert {"report.html", "report.md", "report.json", "figures/curves-loss_overlaid.svg"} <= files.keys()


def test_long_lists_of_disagreements_keep_both_sides(one: RunRecord, two: RunRecord) -> None:
    report = build_comparison([one, two], params={"disagreements": {"listed": 2}})

    table = section(report.sections, "disagreements").tables[0]

    assert [row[0] for row in table.rows] == ["5.jpg", "1.jpg"]
    assert table.note == "2 of 4: at most 1 of each kind."


def test_images_that_one_run_alone_names_rightly_are_shown(
    one: RunRecord, two: RunRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunRecord, "images_root", tmp_path)
    for number in range(12):
        Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(tmp_path / f"{number}.jpg")

    shown = section(compared([one, two]).sections, "disagreements").figures

    assert [figure.title for figure in shown] == [
        "Correct by A, misclassified by B",
        "Correct by B, misclassified by A",
    ]
    assert [figure.data["ids"] for figure in shown] == [["5.jpg"], ["1.jpg", "2.jpg", "3.jpg"]]
    assert shown[1].data["lines"][0] == ["true: b", "A: c"]
    assert render_figure(shown[1], form="svg").startswith(b"<?xml")


def test_verdict_of_two_runs_is_how_they_differ_and_of_more_which_is_best(
    one: RunRecord, two: RunRecord, make_record: Make
) -> None:
    narrower = RunSpec.model_validate({"model": {"params": {"dropout": 0.5}}})
    wider = RunSpec.model_validate({"model": {"params": {"dropout": 0.1}}})
    worst = make_record(name="three", spec=narrower, predictions={"test": predictions(list(range(8)))})
    perfect = make_record(name="four", spec=wider, predictions={"test": predictions([])})

    assert compared([one, two]).verdict.startswith("B (two) is better than A (one): accuracy 0.833")
    assert compared([worst, one, perfect]).verdict == (
        "Most accurate of the 3 runs is C (four), with 100.0% of 12 images right. Better than A by more than the "
        "choice of test images explains: C."
    )


def test_runs_of_different_specs_have_no_spread_over_seeds(one: RunRecord, make_record: Make) -> None:
    other = make_record(name="other", spec=RunSpec(recipe="assignment"), predictions=one.predictions)

    found = section(compared([one, other]).sections, "seeds")

    assert found.tables == ()
    assert "Every run here is the only one of its spec" in found.reading


def test_a_comparison_has_the_sections_that_were_chosen_with_their_parameters(one: RunRecord, two: RunRecord) -> None:
    only = build_comparison([one, two], only=["classes"], params={"classes": {"resamples": 123}})
    skip = build_comparison([one, two], skip=["differences", "classes", "seeds"])

    assert [found.name for found in only.sections] == ["classes"]
    assert [found.name for found in skip.sections] == ["curves", "disagreements"]
    with pytest.raises(UsageError, match="leaks: this section is of the report on one run; name one"):
        build_comparison([one, two], only=["leaks"])


@pytest.mark.usefixtures("no_plugin_files")
def test_a_stranger_s_reporter_compares_too(one: RunRecord, two: RunRecord) -> None:
    @REPORTERS.register("letters")
    class Letters:
        """Names of runs."""

        Params, order = NoParams, 1

        def compare(self, runs: ComparedRuns, params: NoParams) -> Section:
            return Section("Letters", " ".join(f"{runs.letter(name)}={name}" for name in runs.names))

    found = compared([one, two]).sections[0]

    assert (found.name, found.reading) == ("letters", "A=one B=two")


def test_comparison_on_drawings_says_so(one: RunRecord, two: RunRecord) -> None:
    drawn = replace(two, manifest=Manifest.of({"data": {"name": "sample", "kind": "sample"}}))

    report = compared([one, drawn])

    assert report.title == "2 runs compared (sample of drawings)"
    assert report.caveat.startswith("Measured on the embedded sample")


def test_what_a_compared_run_lacks_stands_under_its_name(one: RunRecord, two: RunRecord) -> None:
    report = compared([one, replace(two, faults=("history.jsonl, line 1: not a row",))])

    assert report.missing == (Missing("two", "history.jsonl, line 1: not a row"),)
    assert report.facts[1] == ("B: two", "cnn5 on mine, recipe strong, seed 1, finished")

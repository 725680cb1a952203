"""The first-party reporters, on runs small enough to count by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ahekit.evaluation.metrics import summarize
from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import MissingRecord, RunRecord
from ahekit.evaluation.stored import StoredPredictions
from ahekit.registry import REPORTERS
from ahekit.reporting.style import DARK, render_figure
from ahekit.sections import Section, Table
from ahekit.spec import RunSpec
from ahekit.validation import validate
from ahekit_plugins.reporters.curves.drawing import spread
from ahekit_plugins.reporters.curves.trends import overfit, smoothed, trend

NAMES = ("altar", "dome_inner", "vault")
# True and predicted class; 6 of 10 right.
NAMED = ((0, 0), (0, 0), (0, 0), (0, 2), (1, 1), (1, 2), (1, 2), (2, 2), (2, 2), (2, 1))


def make_predictions(named: Sequence[tuple[int, int]] = NAMED, names: tuple[str, ...] = NAMES) -> Predictions:
    logits = np.zeros((len(named), len(names)), dtype=np.float32)
    for row, (_, guess) in enumerate(named):
        logits[row, guess] = 3.0
    ids = tuple(f"test/{number}.jpg" for number in range(len(named)))
    return Predictions(ids, np.array([true for true, _ in named]), logits, names)


def block(accuracy: float, loss: float) -> dict[str, float]:
    return {"loss": loss, "accuracy": accuracy, "precision": accuracy, "recall": accuracy, "f1": accuracy}


def make_history(
    test: Sequence[float], train: Sequence[float], *, test_loss: Sequence[float], train_loss: Sequence[float]
) -> list[dict[str, Any]]:
    return [
        {
            "type": "epoch",
            "epoch": number,
            "train_online": block(train[number - 1] - 0.1, train_loss[number - 1] + 0.5),
            "train": block(train[number - 1], train_loss[number - 1]),
            "val": block(test[number - 1] + 0.01, test_loss[number - 1]),
            "test": block(test[number - 1], test_loss[number - 1]),
        }
        for number in range(1, len(test) + 1)
    ]


RISING = make_history(
    [0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7],
    [0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9, 0.9],
    test_loss=[1.0, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8],
    train_loss=[1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1],
)


def make_record(**changes: Any) -> RunRecord:
    counts = {"altar": 40, "dome_inner": 30, "vault": 30}
    values: dict[str, Any] = {
        "name": "run-1",
        "path": Path("run-1"),
        "spec": RunSpec(),
        "manifest": {"data": {"name": "ahe64", "kind": "installed", "counts": {"test": counts, "val": counts}}},
        "history": RISING,
        "predictions": {split: make_predictions() for split in ("train", "val", "test")},
        "state": "finished",
        "status": {"best": {"epoch": 5, "step": 180, "val_f1": 0.71}},
    }
    return RunRecord.of(**{**values, **changes})


def report(name: str, record: RunRecord, **params: Any) -> Section:
    reporter: Any = REPORTERS.get(name)
    section: Section = reporter.report(record, validate(reporter.Params, params))
    return section


def column(table: Table, name: str) -> list[Any]:
    place = [found.name for found in table.columns].index(name)
    return [row[place] for row in table.rows]


ALL = pytest.mark.parametrize("name", ["metrics", "classes", "curves", "confusion"])


@ALL
def test_reporter_says_something_and_draws_in_both_themes(name: str) -> None:
    section = report(name, make_record())

    assert section.title
    assert section.reading.endswith(".")
    assert section.tables or section.figures
    for figure in section.figures:
        assert figure.alt
        assert render_figure(figure, form="svg") != render_figure(figure, theme=DARK, form="svg")


@ALL
def test_run_that_left_nothing_is_missing_a_section(name: str) -> None:
    with pytest.raises(MissingRecord):
        report(name, make_record(history=[], predictions={}, manifest={}, state="interrupted", status={}))


@ALL
def test_run_of_one_epoch_is_reported(name: str) -> None:
    section = report(name, make_record(history=RISING[:1], status={"best": {"epoch": 1}}))

    for figure in section.figures:
        assert render_figure(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["metrics", "classes", "confusion"])
@pytest.mark.parametrize("classes", [2, 60])
def test_any_number_of_classes_is_reported(name: str, classes: int) -> None:
    predictions = make_predictions([(n, n * 7 % classes) for n in range(classes)], tuple(map(str, range(classes))))

    section = report(name, make_record(predictions={"test": predictions}))

    for figure in section.figures:
        assert render_figure(figure).startswith(b"\x89PNG")


def test_final_metrics_by_split() -> None:
    table = report("metrics", make_record()).tables[0]

    assert column(table, "Split") == ["train (online)", "train (re-measured)", "validation", "test"]
    assert column(table, "Images") == [None, 10, 10, 10]
    # Online comes from the chosen epoch, 5, the others from the stored predictions.
    assert column(table, "Accuracy") == pytest.approx([0.8, 0.6, 0.6, 0.6])
    expected = summarize(make_predictions().logits, make_predictions().labels, class_names=NAMES)
    assert table.rows[3][2:] == pytest.approx(tuple(expected.values()))


def test_verdict_says_how_good_how_sure_and_chosen_on_what() -> None:
    section = report("metrics", make_record())

    assert section.reading.startswith(
        "The run predicts 6 of 10 test images correctly: accuracy 0.600, with 95% confidence between 0.313 and 0.832. "
    )
    assert "Always answering altar would reach an accuracy of 0.400." in section.reading
    assert section.reading.endswith(
        "The weights are those of epoch 5, chosen for their validation log loss of 0.800 (of the images as they are, "
        "as in the curves); the test images had no part in that choice."
    )


def test_a_run_chosen_by_its_macro_f1_says_so() -> None:
    spec = RunSpec.model_validate({"train": {"monitor": "f1"}})
    assert "chosen for their validation macro-F1 of 0.710 " in report("metrics", make_record(spec=spec)).reading


def test_intervals_hold_their_value_and_name_their_method() -> None:
    table = report("metrics", make_record(), resamples=500).tables[1]

    for _, value, low, high, _ in table.rows:
        assert low < value < high  # type: ignore[operator]
    assert column(table, "Method") == ["Wilson score", "smoothed bootstrap, 500 resamples"]
    assert column(table, "From")[0] == pytest.approx(0.31267, abs=1e-5)


def test_interrupted_run_shows_its_best_epoch_so_far() -> None:
    section = report("metrics", make_record(predictions={}, state="interrupted", status={}))

    assert len(section.tables) == 1
    assert column(section.tables[0], "Accuracy") == pytest.approx([0.6, 0.7, 0.71, 0.7])
    assert "figures as measured after epoch 3" in section.tables[0].note
    assert section.reading.startswith("There are no final predictions yet; after epoch 3")


def test_torn_predictions_fall_back_on_the_history_and_say_so(tmp_path: Path) -> None:
    (tmp_path / "test.safetensors").write_bytes(make_predictions().to_bytes())
    (tmp_path / "train.safetensors").write_bytes(b"torn")

    section = report("metrics", make_record(predictions=StoredPredictions(tmp_path)))

    note = section.tables[0].note
    assert "No final predictions on train (re-measured) and validation: figures as measured after epoch 5." in note
    assert "train.safetensors: not a readable predictions file" in note
    assert column(section.tables[0], "Images") == [None, None, None, 10]


def test_without_test_predictions_validation_judges_with_a_warning() -> None:
    section = report("metrics", make_record(predictions={"val": make_predictions()}))

    assert "6 of 10 validation images" in section.reading
    assert "These images also chose the weights" in section.reading
    assert "had no part" not in section.reading


@pytest.mark.parametrize("flips", [True, False])
def test_averaging_over_mirror_images_is_told(flips: bool) -> None:
    spec = validate(RunSpec, {"evaluation": {"flip_average": flips}})

    assert ("mirror image" in report("metrics", make_record(spec=spec)).tables[0].note) is flips


def test_what_sets_online_and_re_measured_figures_apart_is_told() -> None:
    plain = validate(RunSpec, {"recipe": "assignment"})

    assert "re-measured: the chosen, averaged weights" in report("metrics", make_record()).tables[0].note
    assert "re-measured: the chosen weights" in report("metrics", make_record(spec=plain)).tables[0].note
    assert "and before they are averaged" in report("curves", make_record()).reading
    assert "averaged" not in report("curves", make_record(spec=plain)).reading

    assert "(its loss includes label smoothing and mixing)" in report("metrics", make_record()).tables[0].note
    assert "its loss includes" not in report("metrics", make_record(spec=plain)).tables[0].note


def test_class_scores_by_hand() -> None:
    table = report("classes", make_record()).tables[0]

    assert column(table, "Class") == ["altar", "inner dome", "vault", "macro average", "weighted average"]
    assert column(table, "Precision")[:3] == pytest.approx([1, 1 / 2, 2 / 5])
    assert column(table, "Recall")[:3] == pytest.approx([3 / 4, 1 / 3, 2 / 3])
    assert column(table, "Support") == [4, 3, 3, 10, 10]
    assert column(table, "Recall")[3:] == pytest.approx([(3 / 4 + 1 / 3 + 2 / 3) / 3, 0.6])


def test_weakest_class_is_named_with_what_is_wrong() -> None:
    reading = report("classes", make_record()).reading

    assert reading.startswith("The weakest class is inner dome: F1 0.400, with 95% confidence between 0.000 and ")
    assert "on its 3 images. It is missed in 2 of 3, and 50% of the images predicted as it are" in reading
    assert "The strongest is altar with F1 0.857." in reading


def test_class_without_test_images_is_a_row_of_dashes_with_a_note() -> None:
    section = report("classes", make_record(predictions={"test": make_predictions([(0, 0), (1, 1), (1, 2)])}))
    table = section.tables[0]

    assert table.rows[2] == ("vault", None, None, None, None, None, None, 0)
    assert column(table, "Recall")[3] == pytest.approx((1 + 1 / 2) / 2)
    assert "No images of vault: nothing to measure, left out of the averages." in table.note
    assert "There are no images of vault" in section.reading
    assert section.figures[0].data["class"] == ["altar", "dome_inner"]


def test_faultless_classes_are_not_called_faulty() -> None:
    reading = report("classes", make_record(predictions={"test": make_predictions([(0, 0), (1, 1), (2, 2)])})).reading

    assert "It is without a fault all the same." in reading


def test_classes_and_metrics_share_one_resampling() -> None:
    record = make_record()
    first = report("classes", record, resamples=400, seed=3).values["classes"]
    again = report("classes", record, resamples=400, seed=3).values["classes"]
    other = report("classes", record, resamples=400, seed=4).values["classes"]

    assert first == again
    assert first != other


def test_confused_pairs_come_most_frequent_first() -> None:
    section = report("confusion", make_record())

    assert section.tables[0].rows == (
        ("inner dome", "vault", 2, 2 / 3, 2 / 4),
        ("vault", "inner dome", 1, 1 / 3, 1 / 4),
        ("altar", "vault", 1, 1 / 4, 1 / 4),
    )
    assert section.reading == (
        "4 of 10 images are misclassified. Most often inner dome is predicted as vault: 2 of 3 (66.7%), "
        "and 1 the other way round."
    )
    assert section.values["counts"] == [[3, 0, 1], [0, 1, 2], [0, 1, 2]]
    assert section.figures[0].data["row_shares"][0] == [0.75, 0, 0.25]


def test_number_of_pairs_is_a_parameter() -> None:
    assert len(report("confusion", make_record(), pairs=1).tables[0].rows) == 1


def test_run_without_errors_confuses_nothing() -> None:
    section = report("confusion", make_record(predictions={"test": make_predictions([(0, 0), (1, 1)])}))

    assert section.reading == "All 2 images are predicted correctly, so nothing is confused."
    assert section.tables == ()


def test_curves_show_the_five_metrics_on_all_splits() -> None:
    figures = report("curves", make_record()).figures

    assert [figure.name for figure in figures] == ["loss", "accuracy", "precision", "recall", "f1"]
    assert figures[1].data["epoch"] == list(range(1, 9))
    assert figures[1].data["test"] == [0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
    assert figures[1].data.keys() == {"epoch", "train_online", "train", "val", "test"}
    settled = "over the last 5 epochs it spans 0.000."
    assert figures[1].caption == (
        f"Test: best 0.700 at epoch 3, 0.700 at the end, 0.200 below train. It settles around epoch 3; {settled}"
    )
    assert figures[0].caption == (
        f"Test: lowest 0.800 at epoch 3, 0.800 at the end, 0.700 above train. It settles around epoch 4; {settled}"
    )


def test_plateau_and_harmless_gap_are_read() -> None:
    section = report("curves", make_record())

    # One standard error of 0.7 on 100 images is 0.046; the mean of epochs 2 to 4 is within it of 0.7.
    assert "Test accuracy stops improving around epoch 3 of 8" in section.reading
    assert "gains less than 0.046, one standard error" in section.reading
    assert "a gap of 0.200: it knows its training images better than new ones" in section.reading
    assert "spans 0.000 and changes by 0.000" in section.reading
    assert "at epoch 5 it is 0.800 against 0.900 re-measured" in section.reading
    assert section.values["chosen_epoch"] == 5
    assert section.values["fit"] == "gap"


def test_overfitting_is_called_by_its_name() -> None:
    history = make_history(
        [0.5, 0.6, 0.6, 0.6, 0.55],
        [0.5, 0.7, 0.8, 0.9, 0.99],
        test_loss=[1.0, 0.8, 0.9, 1.1, 1.3],
        train_loss=[1.0, 0.7, 0.5, 0.3, 0.1],
    )

    section = report("curves", make_record(history=history))

    assert section.values["fit"] == "overfitting"
    assert "It is overfitting: since epoch 2 the test loss has gone from 0.800 up to 1.300" in section.reading


def test_curve_that_still_rises_is_not_called_settled() -> None:
    rising = [0.1, 0.25, 0.4, 0.55, 0.7, 0.85]
    losses = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
    history = make_history(rising, rising, test_loss=losses, train_loss=losses)

    section = report("curves", make_record(history=history))

    assert "Test accuracy is still improving at epoch 6, the last one (0.850)." in section.reading
    assert "no sign of overfitting" in section.reading
    assert column(section.tables[0], "Settled") == [None] * 5


def test_swinging_end_is_told() -> None:
    swinging = [0.5, 0.7, 0.6, 0.75, 0.6, 0.75]
    losses = [1.0] * 6
    history = make_history(swinging, swinging, test_loss=losses, train_loss=losses)

    section = report("curves", make_record(history=history))

    assert "Over the last 5 epochs test accuracy spans 0.150 and changes by 0.138" in section.reading
    assert "more than one standard error: single epochs mean little" in section.reading


def test_three_epochs_are_too_few_to_read() -> None:
    assert "too few to read a trend from" in report("curves", make_record(history=RISING[:3])).reading


def test_unmeasured_splits_and_epochs_leave_gaps() -> None:
    history = [{**row, "test": None} for row in RISING]
    history[2] = {"type": "epoch", "epoch": 3}

    section = report("curves", make_record(history=history))

    assert section.values["judged_on"] == "val"
    assert section.figures[1].data["val"][2] is None
    assert "test" not in section.figures[1].data
    assert render_figure(section.figures[0]).startswith(b"\x89PNG")


def test_smoothing_takes_the_neighbours_that_are_there() -> None:
    assert smoothed(np.array([0.0, 3.0, 6.0, 0.0])).tolist() == [1.5, 3.0, 3.0, 3.0]
    assert smoothed(np.array([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_trend_of_a_loss_looks_for_the_lowest() -> None:
    values = np.array([1.0, 0.5, 0.6, 0.6, 0.7])

    found = trend([1, 2, 3, 4, 5], values, values - 0.2, lower_is_better=True, tolerance=0.01)

    assert found is not None
    assert (found.best, found.best_epoch, found.last) == (0.5, 2, 0.7)
    assert found.gap == pytest.approx(-0.2)
    assert found.swing == pytest.approx(0.5)
    assert found.step == pytest.approx((0.5 + 0.1 + 0.0 + 0.1) / 4)


def test_trend_of_nothing_is_none() -> None:
    nothing = np.array([np.nan, np.nan])

    assert trend([1, 2], nothing, nothing, lower_is_better=False, tolerance=0.01) is None


@pytest.mark.parametrize(
    ("train", "test", "gap", "expected"),
    [
        ([1.0, 0.5, 0.4, 0.1], [1.0, 0.8, 0.9, 1.2], 0.3, "overfitting"),
        ([1.0, 0.5, 0.4, 0.1], [1.0, 0.8, 0.8, 0.8], 0.3, "gap"),
        ([1.0, 0.5, 0.4, 0.4], [1.0, 0.8, 0.8, 0.8], 0.02, "none"),
        # Both losses rise: training diverges, which is no overfitting.
        ([1.0, 0.5, 0.9, 1.5], [1.0, 0.8, 0.9, 1.5], 0.0, "none"),
        ([np.nan] * 4, [1.0, 0.8, 0.9, 1.2], None, "none"),
    ],
)
def test_overfitting_is_a_rising_test_loss_under_a_falling_train_loss(
    train: list[float], test: list[float], gap: float | None, expected: str
) -> None:
    assert overfit(np.array(train), np.array(test), gap, error=0.01) == expected


def test_gap_has_to_exceed_what_a_small_test_set_explains() -> None:
    losses = np.array([1.0, 0.5, 0.5, 0.5])

    assert overfit(losses, losses, 0.08, error=0.05) == "none"
    assert overfit(losses, losses, 0.12, error=0.05) == "gap"


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([0.2, 0.5, 0.9], [0.2, 0.5, 0.9]),
        ([0.5, 0.5, 0.5], [0.5, 0.6, 0.7]),
        ([0.95, 0.98, 1.0], [0.8, 0.9, 1.0]),
        ([], []),
    ],
)
def test_names_of_lines_are_moved_apart_and_stay_within(places: list[float], expected: list[float]) -> None:
    assert spread(places, gap=0.1) == pytest.approx(expected)


def test_a_class_that_is_never_recognized_has_an_interval_with_a_width() -> None:
    never = make_predictions([(0, 0), (0, 0), (0, 1), (1, 1), (1, 0), *[(2, 0)] * 5])

    section = report("classes", make_record(predictions={"test": never}))
    vault = section.tables[0].rows[2]

    assert section.reading.startswith("The weakest class is vault: F1 0.000, with 95% confidence between 0.000 and 0.")
    # Wilson's upper end of 0 in 5: z^2 / (5 + z^2), z = 1.959964.
    assert vault[3:5] == (0.0, "0.000–0.434")


def test_headline_figure_has_every_split_and_the_intervals_of_test() -> None:
    section = report("metrics", make_record())
    data = section.figures[0].data

    assert data["values"]["accuracy"] == {"train_online": pytest.approx(0.8), "train": 0.6, "val": 0.6, "test": 0.6}
    assert data["intervals"]["accuracy"] == section.values["verdict"]["accuracy_interval"]


def test_run_without_predictions_says_that_there_is_no_verdict_yet() -> None:
    section = report("metrics", make_record(predictions={}, state="running", status={}))

    assert section.verdict == (
        "There is no verdict yet: the run is running and has no final predictions; macro-F1 on validation is 0.710 so "
        "far."
    )

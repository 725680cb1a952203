"""A run as reporters see it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ahekit.evaluation.predictions import Predictions
from ahekit.evaluation.record import MissingRecord, RunRecord
from ahekit.evaluation.stored import StoredPredictions
from ahekit.notes import EpochRow
from ahekit.spec import RunSpec

EPOCHS = [
    {"type": "epoch", "epoch": number, "val": {"f1": f1, "loss": 1 - f1}}
    for number, f1 in ((1, 0.4), (2, 0.7), (3, 0.6))
]


def make_record(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "name": "run-1",
        "path": Path("run-1"),
        "spec": RunSpec(),
        "manifest": {},
        "history": [{"type": "step", "step": 1}, *EPOCHS],
        "predictions": {},
        "state": "finished",
    }
    return RunRecord.of(**{**values, **changes})


def chosen(record: RunRecord) -> int | None:
    row = record.chosen_epoch
    return row.epoch if row else None


def test_epochs_are_the_epoch_rows() -> None:
    assert [row.value("val", "f1") for row in make_record().epochs] == [0.4, 0.7, 0.6]


def test_chosen_epoch_is_the_one_the_trainer_noted() -> None:
    assert chosen(make_record(status={"best": {"epoch": 3}})) == 3


@pytest.mark.parametrize("status", [{}, {"best": None}, {"best": {"epoch": 0}}])
def test_without_a_note_the_best_epoch_on_validation_counts(status: dict[str, Any]) -> None:
    assert chosen(make_record(status=status)) == 2


def test_the_best_is_what_the_spec_says_by_default_the_lowest_loss() -> None:
    rows = [
        {"type": "epoch", "epoch": n, "val": {"f1": n / 10, "loss": loss}} for n, loss in ((1, 0.4), (2, 0.3), (3, 0.5))
    ]
    record = make_record(history=rows)
    assert chosen(record) == 2
    assert record.monitored == ("log loss", 0.3)
    spec = RunSpec.model_validate({"train": {"monitor": "f1"}})
    assert make_record(history=rows, spec=spec).monitored == ("macro-F1", 0.3)
    assert make_record(history=[]).monitored is None


def test_run_without_a_measured_epoch_has_no_chosen_one() -> None:
    assert make_record(history=[{"type": "epoch", "epoch": 1, "val": None}]).chosen_epoch is None


@pytest.mark.parametrize("row", [{}, {"val": None}, {"val": {}}, {"val": {"f1": None}}, {"val": {"f1": "high"}}])
def test_figure_that_was_not_measured_is_none(row: dict[str, Any]) -> None:
    assert EpochRow.of(row).value("val", "f1") is None


@pytest.mark.parametrize(("manifest", "expected"), [({"data": {"kind": "sample"}}, True), ({}, False)])
def test_record_knows_the_sample(manifest: dict[str, Any], expected: bool) -> None:
    assert make_record(manifest=manifest).is_sample is expected


def test_missing_predictions_are_named_with_the_runs_state() -> None:
    with pytest.raises(MissingRecord, match=r"no predictions on test are stored \(the run is interrupted\)"):
        make_record(state="interrupted").need_predictions("test")


def test_torn_predictions_are_missing_ones(tmp_path: Path) -> None:
    (tmp_path / "test.safetensors").write_bytes(b"torn")

    with pytest.raises(MissingRecord, match=r"test\.safetensors: not a readable predictions file"):
        make_record(predictions=StoredPredictions(tmp_path)).need_predictions("test")


def test_predictions_of_unknown_images_alone_judge_nothing() -> None:
    unknown = Predictions(("a.jpg",), np.array([-1]), np.zeros((1, 2), dtype=np.float32), ("altar", "apse"))

    with pytest.raises(MissingRecord, match="hold no image of known class"):
        make_record(predictions={"test": unknown}).need_predictions("test")

"""What a run notes of itself, whatever became of the files: unknown where it can't be read, and never an exception."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ahekit.notes import BestNote, EpochRow, History, Manifest, MetricNote, Status, StepRow, chosen_epoch
from ahekit.spec import RunSpec, TrainSpec

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def fields_of(note: type[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.sampled_from([*note.model_fields, "val_f1", "other"]), json_values)


@settings(max_examples=150, deadline=None)
@given(fields_of(Manifest), fields_of(Status), st.lists(fields_of(EpochRow) | fields_of(StepRow) | json_values))
def test_nothing_that_json_can_hold_is_too_much(manifest: Any, status: Any, rows: list[Any]) -> None:
    faults: list[str] = []
    known = Manifest.of(manifest, where="manifest.json", faults=faults)
    state = Status.of(status, where="status.json", faults=faults)
    history = History.of(rows, faults=faults)
    chosen = chosen_epoch(history, state, known, RunSpec())
    assert chosen is None or chosen in history.epochs
    assert known.hardware.words is not None
    assert all("\n" not in fault and len(fault) < 600 for fault in faults)


def test_what_is_of_the_wrong_type_is_unknown_and_told_and_the_rest_is_kept() -> None:
    values = {
        "ahekit": 3,
        "class_names": ["apse", "vault"],
        "data": {"name": "mine", "root": None, "counts": {"train": {"apse": 4, "vault": "many"}, "test": 7}},
        "hardware": ["?"],
        "versions": {"torch": "2.5", "numpy": 1.26},
        "splits": {"train": ["a.png"], "test": ["b.png", 5]},
        "who knows": 1,
    }
    faults: list[str] = []
    manifest = Manifest.of(values, where="manifest.json", faults=faults)
    assert (manifest.ahekit, manifest.class_names, manifest.data.name) == (None, ("apse", "vault"), "mine")
    assert manifest.data.counts == {"train": {"apse": 4}}
    assert manifest.versions == {"torch": "2.5"}
    # Of a list the whole goes: an order with a hole in it is another order.
    assert (manifest.splits.train, manifest.splits.test) == (("a.png",), ())
    (fault,) = faults
    assert fault.startswith("manifest.json: taken as unknown: ")
    assert fault.endswith("and 3 more")


def test_a_blank_note_is_told_from_one_that_says_something() -> None:
    assert Manifest.of({}).is_blank
    assert Manifest.of({"class_names": "apse"}).is_blank
    assert not Manifest.of({"class_names": ["apse"]}).is_blank


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"3",
        b'"x"',
        b"\xff\xfe{}",
        b'{"state": "running", "reason": "\\ud800"}',
        b"[" * 100_000,
        b'{"seconds": ' + b"9" * 5000 + b"}",
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_a_file_that_holds_no_note_is_a_blank_one_and_a_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(content)
    faults: list[str] = []
    status = Status.read(path, faults=faults)
    assert status == Status()
    (fault,) = faults
    assert fault.startswith("status.json: ")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path), lambda path: None])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "status.json")
    faults: list[str] = []
    assert Status.read(tmp_path / "status.json", faults=faults) == Status()
    assert len(faults) == 1


def test_the_best_epoch_of_before_metrics_were_open_is_read_as_today_s() -> None:
    old = BestNote.of({"epoch": 3, "step": 12, "val_f1": 0.75, "val_loss": 0.5, "checkpoint": "step-1"})
    assert old == BestNote(epoch=3, step=12, checkpoint="step-1", val={"f1": 0.75, "loss": 0.5})
    assert BestNote.of(json.loads(old.model_dump_json())) == old


@pytest.mark.parametrize(
    ("direction", "value", "than", "expected"),
    [
        ("higher", 0.7, 0.6, True),
        ("higher", 0.6, 0.6, False),
        ("lower", 0.7, 0.6, False),
        ("lower", 0.5, 0.6, True),
        ("higher", 0.0, None, True),
        ("lower", 9.0, math.nan, True),
        ("higher", None, None, False),
        ("lower", math.nan, 0.5, False),
    ],
)
def test_which_of_two_values_is_better(direction: Any, value: Any, than: Any, expected: bool) -> None:
    assert MetricNote(name="x", direction=direction).is_better(value, than) is expected


def test_a_run_of_before_metrics_were_noted_is_chosen_by_the_two_there_were() -> None:
    assert Manifest().metric("loss").direction == "lower"
    assert Manifest().metric("f1").words == "macro-F1"
    assert Manifest.of({"metrics": [{"name": "rmse", "direction": "lower"}]}).metric("rmse").words == "rmse"


def test_the_chosen_epoch_is_the_noted_one_else_the_first_best_by_what_is_monitored() -> None:
    rows = [
        {"type": "epoch", "epoch": number, "val": {"f1": f1, "loss": loss}}
        for number, f1, loss in ((1, 0.5, 0.4), (2, 0.7, 0.3), (3, 0.7, 0.2), (4, None, 0.9))
    ]
    history = History.of(rows)

    def chosen(monitor: str, noted: int = 0) -> int:
        spec = RunSpec(train=TrainSpec(monitor=monitor))
        row = chosen_epoch(history, Status.of({"best": {"epoch": noted}}), Manifest(), spec)
        return row.epoch if row else 0

    assert (chosen("f1"), chosen("loss"), chosen("f1", noted=4), chosen("f1", noted=9)) == (2, 3, 4, 2)
    assert chosen("unheard-of") == 0


def test_rows_that_say_nothing_are_left_out_and_many_faults_are_summed_up() -> None:
    faults: list[str] = []
    history = History.of([3, None, {"type": "epoch"}, {"type": "epoch", "epoch": "2"}, [], {}], faults=faults)
    assert history == History()
    assert faults[-1] == "history.jsonl: 4 more rows are not what they should be"

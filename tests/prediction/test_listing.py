"""`predictions.csv`, as a script reads it and a spreadsheet takes it."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ahekit.errors import DataError
from ahekit.prediction.listing import COLUMNS, path_cell, text_cell, write_predictions_csv
from ahekit.prediction.survey import Survey
from ahekit.protocols import PhotoRow

Photo = Callable[..., PhotoRow]


def test_every_photo_is_a_line_in_the_order_of_the_paths(photo: Photo, survey_of: Callable[..., Path]) -> None:
    rows = [
        photo("b/2.jpg", state="review", confidence=0.51237, reason='less, than "0.9"'),
        photo("a/1.jpg", decision="apse"),
        photo("c.jpg", state="unreadable", class_name=None, confidence=None, runner_up=None, runner_up_confidence=None),
    ]
    with Survey.open(survey_of(*rows)) as survey:
        path = write_predictions_csv(survey)
    assert path == survey.folder / "predictions.csv"
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "class", "confidence", "runner_up", "runner_up_confidence", "state", "reason"],
            ["a/1.jpg", "altar", "0.9700", "apse", "0.0200", "sure", ""],
            ["b/2.jpg", "altar", "0.5124", "apse", "0.0200", "review", 'less, than "0.9"'],
            ["c.jpg", "", "", "", "", "unreadable", ""],
        ]
    assert len(COLUMNS) == 7


@pytest.mark.parametrize("first", "=+-@\t\r\uff1d")
def test_nothing_is_taken_for_a_formula(first: str) -> None:
    assert path_cell(f"{first}cmd.jpg") == f"./{first}cmd.jpg"
    assert text_cell(f"{first}cmd") == f"'{first}cmd"


def test_bytes_that_are_no_utf_8_are_spelled_out() -> None:
    assert path_cell(os.fsdecode(b"caf\xe9/\xc3\xa9.jpg")) == "caf\\xe9/\u00e9.jpg"


def test_a_list_that_cannot_be_written_leaves_the_earlier_one(
    photo: Photo, survey_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Survey.open(survey_of(photo("1.jpg"))) as survey:
        path = write_predictions_csv(survey)
        before = path.read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"predictions\.csv: can't be written \(No space left on device\)"):
            write_predictions_csv(survey)
    assert path.read_bytes() == before
    assert not [name for name in os.listdir(path.parent) if name.startswith(".")]

"""A survey keeps what it is told, whatever photos are called, and says in a line what is wrong with it."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from ahekit.errors import DataError
from ahekit.prediction.survey import FILE_NAME, Counts, PhotoRecord, Survey, SurveyModel, now
from tests.prediction.networks import MODEL, NAMES


def record(path: str, state: str = "sure", class_name: str | None = "arch") -> PhotoRecord:
    return PhotoRecord(
        path=path,
        file=Path("/photos") / path,
        state=state,  # type: ignore[arg-type]  # one of the four words
        class_name=class_name,
        confidence=0.75,
        predicted_at=now(),
    )


def test_names_of_any_bytes_come_back_as_they_are_in_the_order_of_their_bytes(survey: Survey) -> None:
    names = [os.fsdecode(name) for name in (b"-x.jpg", b"a 'b' \"c\".jpg", b"a\nb.jpg", b"a\xffb.jpg", b"z" * 255)]
    survey.record([record(name) for name in reversed(names)])
    rows = list(survey.rows())
    assert [row.path for row in rows] == sorted(names, key=os.fsencode)
    assert rows[0].file == Path("/photos/-x.jpg")


def test_the_newest_decision_counts_and_none_of_them_is_one(survey: Survey) -> None:
    survey.record([record("a.jpg", "review"), record("b.jpg"), record("c.jpg", "review")])
    survey.add_decision("a.jpg", "arch")
    survey.add_decision("a.jpg", "")
    assert [(row.path, row.decision, row.best_name) for row in survey.rows("reviewed")] == [("a.jpg", "", None)]
    assert [row.path for row in survey.rows("sure")] == ["a.jpg", "b.jpg"]
    with pytest.raises(DataError, match=r"no photo x\.jpg"):
        survey.add_decision("x.jpg", "arch")


def test_counts_are_by_class_and_a_photo_looked_at_again_is_one(survey: Survey) -> None:
    survey.record([record("a.jpg"), record("b.jpg", "review", "beam"), record("c.jpg", "unreadable", None)])
    survey.record([record("a.jpg", "unknown")])
    survey.add_decision("b.jpg", "arch")
    counts = survey.counts()
    assert counts == Counts(
        dict.fromkeys(NAMES, 0), {"arch": 0, "beam": 1, "crypt": 0}, unknown=1, unreadable=1, reviewed=1
    )
    assert counts.total == 3


def test_nothing_of_a_transaction_that_fails_is_kept(survey: Survey) -> None:
    survey.record([record("a.jpg")])

    def fail() -> None:
        with survey.transaction():
            survey.set_meta(model="x")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert survey.model == MODEL
    assert [row.path for row in survey.rows()] == ["a.jpg"]


def test_a_survey_stays_with_its_model(survey: Survey) -> None:
    with Survey.create(survey.folder, MODEL) as again:
        assert again.model == MODEL
    with pytest.raises(DataError, match=r"another model.*--out.*--fresh"):
        Survey.create(survey.folder, SurveyModel("other", "cd34", ("arch", "beam")))


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_what_is_no_survey_is_told_in_a_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataError, match="no survey"):
        Survey.open(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(DataError, match=r"interrupted before the first photo|no survey, or damaged"):
        Survey.open(tmp_path)


def test_a_newer_survey_is_left_alone(survey: Survey) -> None:
    survey.set_meta(schema_version="99")
    with pytest.raises(DataError, match="newer version"):
        Survey.open(survey.folder)


def test_a_survey_never_lies_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(DataError, match="holds other files"):
        Survey.create(tmp_path, MODEL)
    assert os.listdir(tmp_path) == ["photo.jpg"]


def test_a_survey_that_cannot_be_written_can_be_read(survey: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    survey.record([record("a.jpg")])
    survey.close()
    connect = sqlite3.connect

    def refuse(place: str, **options: object) -> sqlite3.Connection:
        # Rights don't bind the user that tests may run as.
        if "immutable" not in place:
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return connect(place, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(sqlite3, "connect", refuse)
    with Survey.open(survey.folder) as read_only:
        assert [row.path for row in read_only.rows()] == ["a.jpg"]
    with pytest.raises(DataError, match=r"can't be written.*--out"):
        Survey.create(survey.folder, MODEL)

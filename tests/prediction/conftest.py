"""Small surveys of photos that hold a few bytes: what is done with a survey opens none of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ahekit.prediction.survey import PhotoRecord, Survey, SurveyModel
from ahekit.protocols import PhotoRow
from tests.prediction.networks import MODEL

CLASSES = ("altar", "apse", "dome_outer")


@pytest.fixture
def photo(tmp_path: Path) -> Callable[..., PhotoRow]:
    """Writes a file below `photos`, and gives its row: an altar, surely, unless told otherwise."""

    def make(path: str | bytes, content: bytes = b"", **columns: object) -> PhotoRow:
        name = os.fsdecode(path)
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content or os.fsencode(name))
        row = PhotoRow(name, file, "sure", "altar", 0.97, "apse", 0.02)
        return replace(row, **columns)  # type: ignore[arg-type]

    return make


@pytest.fixture
def survey_of(tmp_path: Path) -> Callable[..., Path]:
    """Makes the survey `survey` of rows, with the decisions that they hold."""

    def make(*rows: PhotoRow) -> Path:
        folder = tmp_path / "survey"
        model = SurveyModel("small 1", "ab" * 32, CLASSES)
        with Survey.create(folder, model) as survey:
            survey.record(
                PhotoRecord(
                    row.path,
                    row.file,
                    state=row.state,
                    reason=row.reason,
                    class_name=row.class_name,
                    confidence=row.confidence,
                    runner_up=row.runner_up,
                    runner_up_confidence=row.runner_up_confidence,
                    predicted_at="2026-05-01T10:00:00+00:00",
                )
                for row in rows
            )
            for row in rows:
                if row.decision is not None:
                    survey.add_decision(row.path, row.decision, decided_at=row.decided_at or "")
        return folder

    return make


@pytest.fixture
def survey(tmp_path: Path) -> Iterator[Survey]:
    """An empty one, open."""
    with Survey.create(tmp_path / "survey", MODEL) as made:
        yield made

"""`ahekit sort` as people type it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ahekit.prediction.survey import PhotoRecord, Survey, SurveyModel
from ahekit.protocols import PhotoState

Cli = Callable[..., Any]


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """Four photos: an altar, one to look at, an unknown one, and one that couldn't be read."""
    states: tuple[PhotoState, ...] = ("sure", "review", "unknown", "unreadable")
    with Survey.create(tmp_path / "survey", SurveyModel("small 1", "ab" * 32, ("altar", "apse"))) as made:
        for number, state in enumerate(states):
            file = tmp_path / "photos" / f"{number}.jpg"
            file.parent.mkdir(exist_ok=True)
            file.write_text(state)
            is_read = state != "unreadable"
            class_name = "altar" if is_read else None
            made.record(
                [PhotoRecord(file.name, file, state=state, class_name=class_name, reason="" if is_read else "damaged")]
            )
    return tmp_path / "survey"


def test_a_dry_run_counts_and_changes_nothing(cli: Cli, survey: Path, tmp_path: Path) -> None:
    done = cli("sort", survey, "--into", tmp_path / "sorted", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert [line.split() for line in done.out.splitlines()[3:7]] == [
        ["altar/", "1", "0"], ["review/", "1", "0"], ["unknown/", "1", "0"], ["together", "3", "0"],
    ]  # fmt: skip
    assert "3.jpg: damaged" in done.out
    assert not (tmp_path / "sorted").exists()


def test_links_and_their_undo(cli: Cli, survey: Path, tmp_path: Path) -> None:
    into = tmp_path / "with space"
    done = cli("sort", survey, "--into", into)
    assert done.code == 0
    assert os.readlink(into / "altar" / "0.jpg") == "../../photos/0.jpg"
    assert done.out.splitlines()[-1] == f"To take it back: ahekit sort --into '{into}' --undo"
    done = cli("sort", "--into", into, "--undo")
    assert (done.code, done.out, into.exists()) == (0, "Undone: 3 links removed.\n", False)
    done = cli("sort", "--into", into, "--undo")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"ahekit: {into}: nothing was sorted into it")


def test_moving_asks_and_where_nobody_answers_needs_yes(cli: Cli, survey: Path, tmp_path: Path) -> None:
    into = tmp_path / "sorted"
    done = cli("sort", survey, "--into", into, "--move")
    assert done.code == 2
    assert f"Move 3 photos into {into}?" in done.err
    assert "--yes" in done.err
    assert not into.exists()
    done = cli("sort", survey, "--into", into, "--move", "--yes", "--json")
    assert json.loads(done.out)["sorted"] == {"altar": 1, "review": 1, "unknown": 1}
    assert sorted(os.listdir(tmp_path / "photos")) == ["3.jpg"]


def test_what_could_not_be_sorted_is_told_and_the_rest_is_sorted(cli: Cli, survey: Path, tmp_path: Path) -> None:
    (tmp_path / "photos" / "1.jpg").unlink()
    done = cli("sort", survey, "--into", tmp_path / "sorted")
    assert done.code == 1
    assert done.err.splitlines() == [
        f"ahekit: {tmp_path}/photos/1.jpg: is gone",
        "ahekit: 2 linked; 1 photo could not be, for the reasons above",
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "say where to: --into FOLDER"),
        (["--into", "x", "--copy", "--move"], "exclude each other"),
        (["--into", "x", "--undo", "--move"], "--undo takes back whatever was done"),
        (["--into", "x", "--copy", "--absolute"], "--absolute is about links"),
    ],
)
def test_wrong_command_lines_are_a_line(options: list[str], words: str, cli: Cli, survey: Path) -> None:
    done = cli("sort", survey, *options)
    assert (done.code, done.out, words in done.err) == (2, "", True)

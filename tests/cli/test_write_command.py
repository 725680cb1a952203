"""`ahekit write` as people type it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ahekit.prediction.survey import PhotoRecord, Survey, SurveyModel

Cli = Callable[..., Any]


@pytest.fixture
def survey(tmp_path: Path) -> Path:
    """Three photos: an altar, surely; one that a person called an apse; one that is to be looked at."""
    with Survey.create(tmp_path / "survey", SurveyModel("small 1", "ab" * 32, ("altar", "apse"))) as made:
        for number, state in enumerate(("sure", "review", "review")):
            file = tmp_path / f"{number}.jpg"
            file.write_text("photo")
            made.record([PhotoRecord(file.name, file, state=state, class_name="altar", confidence=0.5)])  # type: ignore[arg-type]
        made.add_decision("1.jpg", "apse")
    return tmp_path / "survey"


@pytest.mark.parametrize(("only", "number"), [("all", 3), ("sure", 2), ("reviewed", 1)])
def test_a_part_of_the_survey_is_written(only: str, number: int, cli: Cli, survey: Path, tmp_path: Path) -> None:
    done = cli("write", survey, "--as", "jsonl", "--only", only, "--out", tmp_path / "x.jsonl")
    assert (done.code, done.err) == (0, "")
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == number
    assert done.out == f"jsonl: {number} photo{'s' * (number > 1)} in {tmp_path}/x.jsonl\n"


def test_what_could_not_be_written_is_told_and_the_rest_is_there(cli: Cli, survey: Path, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").unlink()
    done = cli("write", survey, "--as", "xmp", "--json")
    assert done.code == 1
    assert json.loads(done.out)["problems"] == [f"{tmp_path}/0.jpg.xmp: its photo is gone; no sidecar written"]
    assert done.err.splitlines()[-1] == "ahekit: sidecars: 2 new; 1 sidecar not, for the reasons above"
    assert sorted(path.name for path in tmp_path.glob("*.xmp")) == ["1.jpg.xmp", "2.jpg.xmp"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say what to write: --as NAME, one of csv, jsonl, xmp"),
        (["--as", "xml"], "no writer named 'xml'; did you mean xmp?"),
        (["--as", "xmp", "--langauge", "de"], "no option --langauge; did you mean --language?"),
        (["--as", "csv", "--set", "ex=1"], "csv.ex: no field named 'ex'"),
        (["--as", "csv", "--only", "some"], "--only"),
    ],
)
def test_wrong_command_lines_are_a_line(arguments: list[str], words: str, cli: Cli, survey: Path) -> None:
    done = cli("write", survey, *arguments)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert words in done.err


def test_help_shows_the_options_of_the_named_writer(cli: Cli) -> None:
    assert "`ahekit write --as NAME --help` shows the options of one." in cli("write", "--help").out
    assert "--vocabulary" in cli("write", "--as", "xmp", "--help").out
    assert "--vocabulary" not in cli("write", "--as", "csv", "--help").out


def test_a_folder_that_is_no_survey_is_a_line(cli: Cli, tmp_path: Path) -> None:
    done = cli("write", tmp_path, "--as", "csv")
    assert (done.code, done.out) == (1, "")
    assert f"{tmp_path}: no survey" in done.err


def test_a_broken_writer_is_a_line_that_names_it(cli: Cli, survey: Path, install: Callable[..., None]) -> None:
    lines = ("class W:", "    'Writes.'", "    from ahekit.protocols import NoParams as Params")
    source = "\n".join([*lines, "    def write(self, rows, facts, params):", "        1 / 0"])
    install("others", {"ahekit.writers": {"broken": "others_writer:W"}}, others_writer=source)
    done = cli("write", survey, "--as", "broken")
    assert (done.code, done.out) == (1, "")
    assert done.err == "ahekit: writer 'broken' of others 1.0 is broken: ZeroDivisionError: division by zero\n"

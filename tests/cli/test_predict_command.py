"""`ahekit predict` and `ahekit survey`: what people see, what is kept, and how they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ahekit.cli.survey import parse_share, rule_from
from ahekit.errors import AhekitError, DataError, UsageError
from ahekit.prediction.deciding import Rule
from ahekit.prediction.survey import Survey
from tests.prediction.networks import NAMES, ColourNetwork, Softmax, make_photos


@dataclass
class Predictor(ColourNetwork):
    fingerprint: str = "c0105"
    name: str = "colours 1"
    decider: Any = field(default_factory=Softmax)
    deciding_text: str = "{}"
    engine: str = "means, cpu"


@pytest.fixture
def ahekit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs a command line in a folder of photos `p`; the network is one of colours."""
    from ahekit import opening
    from ahekit.cli import app

    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "p", 20)
    predictor = Predictor()
    monkeypatch.setattr(opening, "open_predictor", lambda *args, **options: predictor)
    monkeypatch.setattr(opening, "find_model", lambda *args, **options: SimpleNamespace(fingerprint="c0105", name="c"))
    monkeypatch.setattr(opening, "open_decider", lambda folder: Softmax())

    def run(*line: str) -> Any:
        code = app(list(line), prog_name="ahekit")
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code or 0, out=out, err=err, predictor=predictor)

    return run


def test_a_folder_becomes_a_survey_and_the_next_steps_are_told(ahekit: Callable[..., Any]) -> None:
    shown = ahekit("predict", "p")
    for words in (
        "20 photos looked at",
        "Sure from 0.9 on.",
        "all classes",
        "ahekit sort survey",
        "ahekit write survey",
    ):
        assert words in shown.out
    with Survey.open(Path("survey")) as survey:
        assert survey.counts().total == 20
        assert survey.model.class_names == NAMES
    assert Path("survey/predictions.csv").is_file()
    again = ahekit("predict", "p")
    assert "0 photos looked at, 20 known from before" in again.out


def test_other_thresholds_run_no_network(ahekit: Callable[..., Any]) -> None:
    ahekit("predict", "p", "--min-confidence", "99%")
    shown = ahekit("predict", "p", "--min-confidence", "0.5", "--json")
    assert len(shown.predictor.batches) == 2  # of the first time
    told = json.loads(shown.out)
    assert (told["rule"]["min_confidence"], told["looked_at"], told["known"], told["photos"]) == (0.5, 0, 20, 20)
    # Without a word about thresholds the survey keeps its own.
    assert json.loads(ahekit("predict", "p", "--json").out)["rule"]["min_confidence"] == 0.5
    decided = json.loads(ahekit("survey", "decide", "--min-confidence", "0.6", "--json").out)
    assert decided["rule"]["min_confidence"] == 0.6
    assert json.loads(ahekit("survey", "info", "--json").out) == decided


def test_shards_are_merged_to_the_same_survey(ahekit: Callable[..., Any]) -> None:
    ahekit("predict", "p", "--out", "whole")
    ahekit("predict", "p", "--shard", "1/2")
    with pytest.raises(DataError, match="2/2"):
        ahekit("survey", "merge")
    assert "ahekit survey merge survey" in ahekit("predict", "p", "--shard", "2/2").out
    assert json.loads(ahekit("survey", "merge", "--json").out)["merged"] == 20
    with Survey.open(Path("survey")) as merged, Survey.open(Path("whole")) as whole:
        assert list(merged.rows()) == list(whole.rows())


def test_slurm_divides_by_itself(ahekit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    assert "part 1/2 of the survey, as SLURM's array divides it" in ahekit("predict", "p").out


def test_another_model_is_refused_and_fresh_keeps_what_people_decided(ahekit: Callable[..., Any]) -> None:
    shown = ahekit("predict", "p")
    with Survey.open(Path("survey")) as survey:
        survey.add_decision("a/0000.png", "beam")
    shown.predictor.fingerprint = "other"
    with pytest.raises(DataError, match=r"another model.*--fresh"):
        ahekit("predict", "p")
    assert "decisions kept: 1" in ahekit("predict", "p", "--fresh").out
    with Survey.open(Path("survey")) as survey:
        assert [row.decision for row in survey.rows("reviewed")] == ["beam"]
    assert len(list(Path("survey").glob("survey-before-*.sqlite"))) == 1


def test_what_cannot_be_is_one_line(ahekit: Callable[..., Any]) -> None:
    for line, words in {
        ("predict", "gone"): "no such file",
        ("predict", "p", "--max-error", "x"): "--max-error: takes a share",
        ("predict", "p", "--max-error", "2%", "--min-confidence", "3%"): "can't both",
        ("predict", "p", "--max-error", "0"): "--max-error: must be between",
        ("predict", "p", "--known-kept", "0%"): "--known-kept: must be above 0",
        ("predict", "p", "--shard", "3/2"): "--shard",
        ("predict", "p", "--shard", "1/2", "--fresh"): "--fresh",
        ("predict", "p", "--out", "p"): "holds other files",
        ("predict", "p", "--out", "p/a/0000.png"): "a file, not a folder",
        ("survey", "info", "p"): "no survey",
    }.items():
        with pytest.raises(AhekitError, match=words.replace("(", r"\(")):
            ahekit(*line)


def test_shares_are_read_as_people_write_them() -> None:
    assert [parse_share(text, "surety") for text in ("2%", " 2 %", "0.02", "0,02")] == [0.02] * 4
    asked = rule_from(max_error="2%", surety="90%", min_confidence=None, known_kept=None)
    assert asked == Rule(max_error=0.02, surety=0.9)
    with pytest.raises(UsageError):
        parse_share("two", "surety")


INTERRUPTED = """
import os, signal, sys, threading
sys.path.insert(0, {root!r})
from ahekit import opening
from tests.cli.test_predict_command import Predictor
opening.open_predictor = lambda *args, **options: Predictor(seconds=0.3)
from ahekit.prediction import engine
record = engine.Survey.record
def stop(survey, records):
    record(survey, records)
    os.kill(os.getpid(), {number})
engine.Survey.record = stop
from ahekit.__main__ import main
sys.argv = ["ahekit", "predict", "p", "--workers", "1"]
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path, number: int, code: int) -> None:
    make_photos(tmp_path / "p", 100)
    root = str(Path(__file__).parents[2])
    program = INTERRUPTED.format(root=root, number=int(number))
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "what is done is kept" in done.stderr
    assert "ahekit predict p --workers 1" in done.stderr
    assert "Traceback" not in done.stderr
    with Survey.open(tmp_path / "survey") as survey:
        assert 0 < survey.counts().total < 100


@pytest.mark.skipif(os.geteuid() == 0, reason="rights don't bind root")
def test_a_folder_that_cannot_be_written_is_one_line(ahekit: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(DataError, match="can't be written"):
        ahekit("predict", "p", "--out", "locked/survey")

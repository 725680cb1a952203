"""`ahekit match`, with a network that sees a picture's mean colour."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ahekit.prediction.predictor import Predictor
from ahekit.prediction.survey import PhotoRecord, Survey, SurveyModel
from ahekit.preprocessing import Preprocessing

Cli = Callable[..., Any]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two identities of three pictures each, and pictures to ask about."""

    def colours(pixels: Any) -> Any:
        return np.zeros((len(pixels), 2), np.float32), (pixels.mean(axis=(1, 2)) - 128).astype(np.float16)

    def opened(model: object, **options: Any) -> Predictor:
        return Predictor(("a", "b"), Preprocessing(8), "0" * 64, "colours", None, "", "numpy", colours)  # type: ignore[arg-type]

    monkeypatch.setattr("ahekit.opening.open_predictor", opened)
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        for name, colour in (("red", (250, 10 + 30 * number, 10)), ("blue", (10, 10 + 30 * number, 250))):
            path = tmp_path / "people" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 10), colour).save(path)
    Image.new("RGB", (12, 10), (240, 20, 20)).save(tmp_path / "crimson.png")
    Image.new("RGB", (12, 10), (10, 250, 10)).save(tmp_path / "green.png")
    return tmp_path


def colour_of(path: Path) -> bytes:
    """A picture's embedding, as a survey keeps it."""
    pixels = np.asarray(Image.open(path).resize((8, 8)), dtype=np.float32)
    content: bytes = (pixels.mean(axis=(0, 1)) - 128).astype(np.float16).tobytes()
    return content


def make_survey(folder: Path, *, fingerprint: str = "0" * 64, decisions: Mapping[str, str] | None = None) -> Path:
    """A survey of the people, made by the network that sees colours."""
    photos = sorted(folder.rglob("people/*/*.png"))
    records = [
        PhotoRecord(
            path=photo.relative_to(folder / "people").as_posix(), file=photo, state="sure", embedding=colour_of(photo)
        )
        for photo in photos
    ]
    place = folder / f"survey-{fingerprint[:2]}"
    with Survey.create(place, SurveyModel("colours 1", fingerprint, ("a", "b"))) as survey:
        survey.record([*records, PhotoRecord(path="red/broken.png", file=folder / "broken.png")])
        for path, name in (decisions or {}).items():
            survey.add_decision(path, name)
    return place


def test_survey_serves_as_a_gallery_without_a_photo_being_opened(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = json.loads(cli("match", "eval", "people", "--json").out)
    survey = make_survey(folder)

    def nobody(*_: object, **__: object) -> None:
        raise AssertionError("the survey's own embeddings are there")

    monkeypatch.setattr("ahekit.opening.open_predictor", nobody)
    outcome = cli("match", "eval", survey, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == own
    assert "Matching by colours 1" in (folder / "match" / "report.html").read_text(encoding="utf-8")
    # Every photo of it among all others: itself would tell nothing.
    outcome = cli("match", "identify", survey, "--gallery", survey, "--top", "1", "--json")
    answers = [json.loads(line) for line in outcome.out.splitlines()]
    assert [Path(answer["picture"]).parent.name for answer in answers] == [answer["identity"] for answer in answers]
    assert len(answers) == 6
    assert all(answer["best"][0]["similarity"] < 1 for answer in answers)


def test_pictures_are_looked_for_in_a_survey(cli: Cli, folder: Path) -> None:
    survey = make_survey(folder)
    outcome = cli("match", "identify", "crimson.png", "green.png", "--gallery", survey, "--json")
    assert [json.loads(line)["identity"] for line in outcome.out.splitlines()] == ["red", None]
    outcome = cli("match", "identify", survey, "--gallery", "people", "--json")
    assert [json.loads(line)["identity"] for line in outcome.out.splitlines()] == ["blue"] * 3 + ["red"] * 3
    same = cli("match", "verify", "crimson.png", "people/red/0.png", "--pairs", survey, "--json")
    assert json.loads(same.out)["same"] is True


def test_decisions_of_a_survey_are_identities(cli: Cli, folder: Path) -> None:
    decisions = {"red/0.png": "vault", "red/1.png": "vault", "red/2.png": "", "blue/0.png": "altar"}
    survey = make_survey(folder, decisions=decisions)
    outcome = cli("match", "identify", "crimson.png", "--gallery", survey, "--by", "decision", "--top", "9", "--json")
    answer = json.loads(outcome.out)
    assert [each["identity"] for each in answer["best"]] == ["vault", "altar"]
    outcome = cli("match", "eval", survey, "--by", "decision")
    assert (outcome.code, len(outcome.err.splitlines())) == (2, 1)
    assert "identities with two pictures or more: 1" in outcome.err


def test_what_a_survey_can_not_be_matched_with_is_one_line(cli: Cli, folder: Path) -> None:
    survey = make_survey(folder)
    other = make_survey(folder, fingerprint="1" * 64)
    for line, message in (
        (("eval", survey, "--by", "decision"), "no photo that a person decided on"),
        (("eval", "people", "--by", "decision"), "--by tells the identities of a survey"),
        (("identify", "crimson.png", "--gallery", other), "a survey of colours 1"),
        (("eval", other, "--model", "mine"), "name its model with --model"),
        (("identify", survey, "--gallery", other), "predict one of them again"),
    ):
        outcome = cli("match", *line)
        assert outcome.code in (1, 2)
        assert message in outcome.err
        assert len(outcome.err.splitlines()) == 1


def test_two_pictures_are_compared(cli: Cli) -> None:
    alone = cli("match", "verify", "crimson.png", "people/red/0.png")
    assert alone.out.startswith("similarity: 1.000")
    assert "--pairs" in alone.out
    same = cli("match", "verify", "crimson.png", "people/red/0.png", "--pairs", "people", "--json")
    assert json.loads(same.out)["same"] is True
    other = cli("match", "verify", "crimson.png", "people/blue/0.png", "--pairs", "people")
    assert other.out.splitlines()[-1] == "not the same one"


def test_pictures_are_named_or_none_of_these(cli: Cli) -> None:
    outcome = cli("match", "identify", "crimson.png", "green.png", "--gallery", "people", "--json")
    assert outcome.code == 0
    assert [json.loads(line)["identity"] for line in outcome.out.splitlines()] == ["red", None]
    outcome = cli("match", "identify", "green.png", "--gallery", "people", "--threshold", "-1", "--json")
    assert json.loads(outcome.out)["identity"] is not None


def test_gallery_of_single_pictures_is_warned_of(cli: Cli, folder: Path) -> None:
    for name, colour in (("red", (250, 9, 9)), ("blue", (9, 9, 250))):
        (folder / "single").mkdir(exist_ok=True)
        Image.new("RGB", (12, 10), colour).save(folder / "single" / f"{name}.png")
    outcome = cli("match", "identify", "crimson.png", "--gallery", "single")
    assert outcome.code == 0
    assert "2 of 2 identities have a single picture" in outcome.err
    assert "whether it is none of these can't be told" in outcome.err
    assert "red" in outcome.out


def test_evaluation_is_shown_and_written(cli: Cli, folder: Path) -> None:
    outcome = cli("match", "eval", "people")
    assert outcome.code == 0
    assert "equal error rate" in outcome.out
    assert outcome.out.splitlines()[-1] == "page: match/report.html"
    assert (folder / "match" / "figures" / "match-roc.svg").is_file()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("verify", "crimson.png", "nothing.png"), "nothing.png"),
        (("verify", "crimson.png", "green.png", "--far", "0.1"), "name their folder with --pairs"),
        (("identify", "crimson.png", "--gallery", "nowhere"), "nowhere"),
        (("identify", "nowhere.png", "--gallery", "people"), "nowhere.png"),
        (("identify", "crimson.png", "--gallery", "people", "--far", "0.001"), "takes 1,000 searches"),
        (("verify", "crimson.png", "green.png", "--pairs", "people", "--far", "0.001"), "takes 1,000 pairs"),
        (("verify", "crimson.png", "green.png", "--pairs", "people", "--far", "0"), "more than any number of"),
        (("identify", "crimson.png", "--gallery", "people", "--far", "0.1", "--threshold", "0"), "can't both be asked"),
        (("eval", "people/red"), "it takes two"),
    ],
)
def test_what_can_not_be_matched_is_one_line(cli: Cli, line: tuple[str, ...], message: str) -> None:
    outcome = cli("match", *line)
    assert outcome.code in (1, 2)
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1

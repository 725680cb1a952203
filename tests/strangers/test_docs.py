"""The plugins of the documentation, as somebody who copies them would have them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ahekit.prediction.survey import PhotoRecord, Survey, SurveyModel

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "how-to" / "plugins").glob("*.md"))
GUIDE = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r'^```\w+ title="(.+?)"\n(.*?)^```$', GUIDE, re.MULTILINE | re.DOTALL))
SCORE_CAM = ROOT / "tests" / "strangers" / "score_cam" / "somebodys_score_cam.py"

Cli = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("no_plugin_files")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Thirty pictures of three colours."""
    rng = np.random.default_rng(0)
    for number in range(30):
        pixels = rng.integers(0, 140, (16, 16, 3)).astype(np.uint8)
        pixels[:, :, number % 3] += 60
        file = tmp_path / "pictures" / ("arch", "beam", "crypt")[number % 3] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return tmp_path / "pictures"


@pytest.fixture
def package(install: Callable[..., None]) -> dict[str, str]:
    """The guide's package, as pip would install it."""
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    modules = {name.removesuffix(".py"): text for name, text in FILES.items() if name.startswith("survey_tools")}
    install(project["name"], project["entry-points"], version=project["version"], **modules)
    return modules


def train(cli: Cli, *args: str | Path) -> Any:
    small = ["--epochs", "1", "--accum", "1", "--batch-size", "8", "--image-size", "16", "--quiet"]
    return cli(*args, *small)


def test_the_guide_s_package_is_trained_looked_into_and_reported(
    package: dict[str, str], cli: Cli, pictures: Path, tmp_path: Path
) -> None:
    assert len(package) == 5
    listed = {(row["kind"], row["name"]): row for row in json.loads(cli("plugins", "--check", "--json").out)}
    for kind, name in (
        ("model", "small-net"),
        ("visualizer", "score-cam"),
        ("reporter", "second-guess"),
        ("lesson", "brightness"),
        ("writer", "captions"),
    ):
        assert (listed[kind, name]["provider"], listed[kind, name]["state"]) == ("survey-tools 1.0", "ok")
    runs = tmp_path / "runs"
    done = train(
        cli,
        "train",
        "--model",
        "small-net",
        "--set",
        "model.params.width=4",
        "--data",
        pictures,
        "--runs",
        runs,
        "--monitor",
        "top2",
    )
    assert (done.code, done.err) == (0, "")
    (run,) = runs.iterdir()
    assert '"top2": ' in (run / "history.jsonl").read_text(encoding="utf-8")
    done = cli("viz", "score-cam", "--target", "vs:arch", "--run", run)
    assert (done.code, done.err) == (0, "")
    assert list((run / "figures").glob("score-cam-*.png"))
    frozen = ("--freeze", "backbone", "--views", "2")
    done = train(cli, "finetune", "--backbone", "small-net", *frozen, "--data", pictures, "--runs", runs / "tuned")
    assert (done.code, done.err) == (0, "")
    done = cli("report", run, "--only", "second-guess", "--format", "console")
    assert done.code == 0
    assert "one of the first 2 for" in " ".join(done.out.split())
    done = cli("explain", "brightness", "--run", run, "--out", tmp_path / "lesson")
    assert (done.code, done.err) == (0, "")
    assert "DARKER PICTURES" in done.out


def test_the_guide_s_writer_writes_a_survey(package: dict[str, str], cli: Cli, tmp_path: Path) -> None:
    with Survey.create(tmp_path / "survey", SurveyModel("small 1", "ab" * 32, ("altar",))) as survey:
        survey.record([PhotoRecord("a.jpg", tmp_path / "a.jpg", state="review", class_name="altar")])
    done = cli("write", tmp_path / "survey", "--as", "captions", "--doubt", "maybe")
    assert (done.code, done.out) == (0, f"captions: 1 captions in {tmp_path}/survey/captions.txt\n")
    assert (tmp_path / "survey" / "captions.txt").read_text() == "'a.jpg': maybe altar\n"


def test_the_guide_s_tests_pass(package: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "test_survey_tools.py"
    file.write_text(FILES["test_survey_tools.py"], encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(file)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
    assert (done.returncode, "5 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_guide_s_score_cam_is_the_one_whose_maps_are_tested_by_hand() -> None:
    assert FILES["survey_tools_maps.py"] == SCORE_CAM.read_text(encoding="utf-8")


def test_the_readme_s_plugin_works_as_it_stands(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    (source,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "nets.py").write_text(source, encoding="utf-8")
    (command,) = re.findall(r"`ahekit (--plugin nets\.py train [^`]*)`", README)
    words = [tmp_path / word if word == "nets.py" else word for word in command.split()]
    done = train(cli, *words, "--data", pictures, "--runs", tmp_path / "runs")
    assert (done.code, done.err) == (0, "")

"""A visualizer of a stranger's, in a package of its own: as short as ours, and with everything that ours have."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from ahekit.backbones.wrap import wrap
from ahekit.preprocessing import Preprocessing
from ahekit.protocols import BuiltModel, NoParams
from ahekit.registry import MODELS
from ahekit.run import Run
from ahekit.spec import RunSpec
from ahekit.validation import validate

IN_PLACE = "in place and not in place"
HERE = Path(__file__).parent / "score_cam"
CLASSES = ("arch", "beam", "crypt")

# Quarters of an image of 8 x 8.
RED, GREEN, BLUE = (
    np.kron(quarters, np.ones((4, 4)))
    for quarters in ([[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]], [[0.4, 0.4], [0.4, 0.4]])
)


class Colours:
    """Channel c is colour c; logits are 4 mean(red) - 8 mean(green), 4 mean(green), and zero."""

    Params = NoParams
    image_size = 8

    def build(self, params: NoParams, *, num_classes: int, image_size: int) -> BuiltModel:
        net: Any = nn.Sequential(
            nn.Conv2d(3, 3, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3, bias=False)
        )
        with torch.no_grad():
            net[0].weight.copy_(torch.eye(3)[:, :, None, None])
            net[3].weight.copy_(torch.tensor([[4.0, -8.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 0.0]]))
        return wrap(net, preprocessing=Preprocessing(size=image_size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))


@pytest.fixture
def stranger(install: Callable[..., None], no_plugin_files: None) -> None:
    """The distribution, as pip would install it."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = (HERE / "somebodys_score_cam.py").read_text(encoding="utf-8")
    install(project["name"], project["entry-points"], version=project["version"], somebodys_score_cam=source)


@pytest.fixture
def run(tmp_path: Path, no_plugin_files: None) -> Run:
    """Of the network of colours, with its weights in a checkpoint."""
    MODELS.register("colours")(Colours)
    data = {"source": str(tmp_path), "image_size": 8}
    spec = validate(RunSpec, {"model": {"name": "colours"}, "data": data, "train": {"average_decay": 0}})
    run = Run.create(tmp_path / "runs", spec, {"class_names": list(CLASSES), "splits": {}})
    weights = Colours().build(NoParams(), num_classes=3, image_size=8).module.state_dict()
    run.add_checkpoint("step-00000001-epoch-0001", partial(write_weights, weights))
    best = {"epoch": 1, "step": 1, "val_f1": 0.5, "checkpoint": "step-00000001-epoch-0001"}
    run.write_status("finished", best=best)
    return run


def write_weights(weights: dict[str, torch.Tensor], folder: Path) -> None:
    save_file(weights, folder / "model.safetensors")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    colours = np.stack([RED, GREEN, BLUE], axis=-1)
    Image.fromarray(np.rint(colours * 255).astype(np.uint8)).save(path)
    return path


def by_hand(red: float, green: float, blue: float) -> np.ndarray[Any, Any]:
    """The maps' sum, with the softmax of these gains; blue is alike everywhere, so nothing is seen through it."""
    whole = math.exp(red) + math.exp(green) + math.exp(blue)
    weights = [math.exp(gain) / whole for gain in (red, green, blue)]
    return np.asarray(weights[0] * RED + weights[1] * GREEN + weights[2] * BLUE)


@pytest.mark.parametrize(
    ("target", "gains"),
    [
        # Through the red map a quarter of the image is red: 4 x 1/4. Through the green one a quarter is green.
        ("arch", (1.0, -2.0, 0.0)),
        ("beam", (0.0, 1.0, 0.0)),
        # The whole image has logits -1, 1 and 0: beam is predicted, and crypt the runner-up.
        ("predicted", (0.0, 1.0, 0.0)),
        ("vs:arch", (-1.0, 3.0, 0.0)),
        ("vs:beam", (0.0, 1.0, 0.0)),
    ],
)
def test_maps_by_hand_for_every_target(
    stranger: None,
    run: Run,
    picture: Path,
    cli: Callable[..., Any],
    target: str,
    gains: tuple[float, float, float],
) -> None:
    outcome = cli("viz", "score-cam", "--run", run.path, "--image", picture, "--target", target)
    assert (outcome.code, outcome.err) == (0, "")
    with np.load(run.path / "figures" / "score-cam.npz") as arrays:
        np.testing.assert_allclose(arrays["map"][0], by_hand(*gains), atol=1e-3)
        assert arrays["enlarged"].shape == (1, 8, 8)
    assert (run.path / "figures" / "score-cam-conv1.png").is_file()


def test_true_needs_a_true_label_and_wrong_classes_are_one_line(
    stranger: None, run: Run, picture: Path, cli: Callable[..., Any]
) -> None:
    unknown = cli("viz", "score-cam", "--run", run.path, "--image", picture, "--target", "true")
    assert unknown.code == 2
    assert "its true class isn't known" in unknown.err
    typed_wrongly = cli("viz", "score-cam", "--run", run.path, "--image", picture, "--target", "bean")
    assert typed_wrongly.code == 2
    assert "no class named 'bean'" in typed_wrongly.err


def test_checks_come_with_it(stranger: None, run: Run, picture: Path, cli: Callable[..., Any]) -> None:
    outcome = cli("viz", "score-cam", "--run", run.path, "--image", picture, "--check", "--json")
    told = json.loads(outcome.out)
    assert [note.split(":")[0] for note in told["notes"]] == ["weights", "deletion and insertion", IN_PLACE]
    assert {Path(file).name for file in told["files"]} == {
        "score-cam-conv1.png",
        "score-cam-conv1-randomized.png",
        "score-cam-conv1-deletion-insertion.png",
        "score-cam.npz",
    }
    with np.load(run.path / "figures" / "score-cam.npz") as arrays:
        assert arrays["check_stages"].tolist() == ["head", "stage1"]


def test_it_is_as_short_as_ours() -> None:
    lines = (HERE / "somebodys_score_cam.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 35

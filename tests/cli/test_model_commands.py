"""`ahekit model show`: what it prints, what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]

RESIDUAL = '''
import torch
from pydantic import BaseModel
from torch import nn
from ahekit.protocols import BuiltModel, Preprocessing

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
    def forward(self, maps):
        return torch.relu_(self.conv(maps)).add_(maps)

class Residual:
    """A residual net."""
    image_size = 20
    class Params(BaseModel):
        width: int = 4
    def build(self, params, *, num_classes, image_size):
        stem, body = nn.Conv2d(3, params.width, 3, stride=2, padding=1), Block(params.width)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(params.width, num_classes))
        stages = {"stem": stem, "body": body, "head": head}
        return BuiltModel.from_stages(stages, preprocessing=Preprocessing(size=image_size))
'''


def test_cnn5_is_shown_in_eighty_columns(cli: Run) -> None:
    shown = cli("model", "show", "cnn5")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line.split() for line in lines if line.strip()}
    assert lines[0] == "cnn5: 64 × 64 pixels, 10 classes"
    assert rows["conv2"] == ["conv2", "Conv2d", "64×32×32", "18,496", "18.9", "M", "8"]
    assert rows["block5.flatten"] == ["block5.flatten", "GridFlatten", "8192", "–", "–", "–"]
    assert rows["fc3"] == ["fc3", "Linear", "512", "524,800", "524", "k", "all"]
    assert rows["total"] == ["total", "20,977,930", "98.4", "M"]
    text = " ".join(shown.out.split())
    assert (
        "Stages, from input to head: block1 → block2 → block3 → block4 → block5 → dense1 → dense2 → dense3 → head."
        in text
    )
    assert "Not listed, for they have no parameters and change no shape: 4 Dropout, 8 ReLU." in text


def test_json_holds_the_exact_figures(cli: Run) -> None:
    shown = cli("model", "show", "cnn5", "--json", "--image-size", 32, "--classes", 3)
    values = json.loads(shown.out)
    assert shown.err == ""
    assert (values["name"], values["image_size"], values["classes"], values["params"]) == ("cnn5", 32, 3, {})
    assert (
        values["multiply_adds"]
        == 9 * 3 * 32 * 32 * 32 + 4 * 9 * 32 * 64 * 256 + 2048 * (2048 + 1024) + 1024 * 512 + 512 * 3
    )
    conv5 = next(layer for layer in values["layers"] if layer["name"] == "conv5")
    assert conv5 == {
        "name": "conv5",
        "path": "block5.conv",
        "kind": "Conv2d",
        "shape": [512, 2, 2],
        "parameters": 1_180_160,
        "multiply_adds": 9 * 256 * 512 * 4,
        "receptive_field": [78, 78],
    }
    assert values["aliases"]["fc4"] == "head.linear"
    assert values["stages"]["head"] == 512 * 3 + 3
    assert values["unlisted"] == {"ReLU": 8, "Dropout": 4}


def test_parameters_are_set_and_named_in_the_title(cli: Run) -> None:
    shown = cli("model", "show", "cnn5", "--set", "pool=stride", "--set", "channels=[4, 8]", "--set", "hidden=[]")
    assert shown.out.startswith("cnn5, pool=stride, channels=[4, 8], hidden=[]: 64 × 64 pixels")
    assert "pool " not in shown.out
    assert "8×32×32" in shown.out


def test_a_stranger_s_residual_network_is_shown(cli: Run, install: Run) -> None:
    install("nets", {"ahekit.models": {"residual": "nets:Residual"}}, nets=RESIDUAL)
    shown = cli("model", "show", "residual", "--set", "width=8", "--json")
    layers = {layer["path"]: layer for layer in json.loads(shown.out)["layers"]}
    assert {path: layer["receptive_field"] for path, layer in layers.items()} == {
        "stem": [3, 3],
        "body.conv": [7, 7],
        "head.0": "all",
        "head.1": "all",
        "head.2": "all",
    }
    assert layers["body.conv"]["shape"] == [8, 10, 10]
    assert "conv1" in cli("model", "show", "residual").out


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["cnn4"], "no model named 'cnn4'; did you mean cnn5"),
        (["cnn5", "--set", "pol=avg"], "model.params.pol: no field named 'pol'; did you mean pool?"),
        (["cnn5", "--set", "pool"], "--set pool: write FIELD=VALUE"),
        (["cnn5", "--image-size", "12"], "they need at least 16 pixels a side (got 12); give larger images"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(cli: Run, args: list[str], problem: str) -> None:
    shown = cli("model", "show", *args)
    assert shown.code == 2
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("ahekit: ")
    assert problem in line


def test_every_wrong_parameter_is_told_at_once(cli: Run) -> None:
    shown = cli("model", "show", "cnn5", "--set", "dropout=2", "--set", "norm=layer")
    assert [line.split(":")[1].strip() for line in shown.err.splitlines()] == [
        "model.params.dropout",
        "model.params.norm",
    ]


def test_the_executable_shows_a_network(executable: Run) -> None:
    shown = executable("model", "show", "cnn5", "--set", "hidden=[64]")
    assert shown.code == 0
    assert "8192" in shown.out
    assert shown.err == ""


def test_help_names_the_options(cli: Run) -> None:
    shown = cli("model", "show", "--help")
    assert shown.code == 0
    for option in ("--set", "--image-size", "--classes", "--json"):
        assert option in shown.out

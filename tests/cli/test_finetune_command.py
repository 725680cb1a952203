"""`ahekit finetune`: from the command line to a trained run, resumed and repeated; and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from ahekit.run import Run

Command = Callable[..., Any]
BACKBONE = "mobilenetv3_small_050"
SMALL = ["--image-size", 32, "--batch-size", 8, "--device", "cpu", "--precision", "fp32", "--epochs", 2]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights that no build starts with by itself."""
    torch.manual_seed(11)
    path = tmp_path / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in timm.create_model(BACKBONE).state_dict().items()}, path)
    return path


KEPT = ("--set", "train.keep_checkpoints=all", "--set", "train.keep_optimizer=true")


def started(cli: Command, tmp_path: Path, folder: Path, weights: Path, *more: Any) -> tuple[Any, Run]:
    runs = tmp_path / "runs"
    args = ["--backbone", BACKBONE, "--weights", weights, "--data", folder, "--runs", runs, *SMALL, *more]
    shown = cli("finetune", *args)
    assert shown.code == 0, shown.err
    (path,) = [path for path in runs.iterdir() if (path / "spec.yaml").is_file()]
    return shown, Run(path)


def test_the_head_is_trained_and_the_frozen_backbone_keeps_the_file_s_weights(
    cli: Command, tmp_path: Path, class_folder: Path, weights: Path
) -> None:
    shown, run = started(cli, tmp_path, class_folder, weights, "--freeze", "backbone", "--head", "mlp")
    given, kept = load_file(weights), load_file(run.checkpoints()[-1] / "model.safetensors")
    backbone = {name.removeprefix("backbone."): value for name, value in kept.items() if name.startswith("backbone.")}
    assert len(backbone) == len(given) - 2
    assert all(torch.equal(value, given[name]) for name, value in backbone.items())
    assert run.manifest.weights is not None
    assert run.manifest.weights.unexpected == ("classifier.bias", "classifier.weight")
    text = "".join(shown.out.split())
    assert f"{len(given) - 2}tensorsloaded,0missing,2unexpected(classifier.bias,classifier.weight)" in text
    assert "32px,bicubic,cropto0.875" in text
    rows = {line.split()[0]: line.split() for line in shown.out.splitlines() if line.split()}
    assert rows["stem"][1:3] == ["yes", "frozen"]
    assert rows["head"][1] == "no"
    assert rows["head"][-2] == "0.003"
    assert run.manifest.weights is not None
    assert (run.manifest.weights.loaded, run.status.state) == (len(given) - 2, "finished")
    assert run.spec.transfer.freeze == "backbone"
    assert run.manifest.parameters.trainable == sum(v.numel() for n, v in kept.items() if n.startswith("head."))


def test_a_run_that_lost_its_weights_file_is_still_resumed_and_ends_the_same(
    cli: Command, tmp_path: Path, class_folder: Path, weights: Path
) -> None:
    _, whole = started(cli, tmp_path, class_folder, weights, "--freeze", "early", *KEPT)
    first, last = whole.checkpoints()[0], whole.checkpoints()[-1]
    expected = load_file(last / "model.safetensors")
    for checkpoint in whole.checkpoints()[1:]:
        whole.remove_checkpoint(checkpoint)
    whole.write_status("interrupted", "as if killed")
    weights.unlink()
    resumed = cli("resume", whole.path)
    assert resumed.code == 0, resumed.err
    assert f"from {first.name}" in " ".join(resumed.out.split())
    after = load_file(last / "model.safetensors")
    assert all(torch.equal(value, after[name]) for name, value in expected.items())


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["--backbone", "resnet19"], "no model named 'resnet19'; did you mean resnet"),
        (["--backbone", "vit_tiny_patch16_224"], "vit_tiny_patch16_224 is no CNN classifier"),
        (["--backbone", "inception_v3", "--image-size", "32"], "inception_v3 can't take images of 32 x 32 pixels"),
        (["--backbone", BACKBONE, "--weights", "gone.pth"], "gone.pth: no such file"),
        (["--backbone", BACKBONE, "--weights", "imagenet"], "model.params.weights: must match pattern"),
        (["--backbone", BACKBONE, "--weights", "none", "--freeze", "until:x"], "no stage named 'x'"),
        (["--backbone", BACKBONE, "--weights", "none", "--freeze-pattern", "*"], "nothing is left to train"),
        (["--layer-decay", "0.5", "--backbone-lr", "0.1"], "can't be combined with backbone_lr"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    cli: Command, class_folder: Path, tmp_path: Path, args: list[str], problem: str
) -> None:
    shown = cli("finetune", "--data", class_folder, "--runs", tmp_path / "runs", *args)
    assert shown.code in (1, 2)
    lines = [line for line in shown.err.splitlines() if line.startswith("ahekit: ")]
    assert len(lines) == 1
    assert problem in lines[0]
    assert not (tmp_path / "runs").exists()


def test_layer_decay_takes_the_place_of_the_recipe_s_backbone_rate(
    cli: Command, tmp_path: Path, class_folder: Path, weights: Path
) -> None:
    _, run = started(cli, tmp_path, class_folder, weights, "--layer-decay", 0.5, "--epochs", 1)
    assert (run.spec.transfer.backbone_lr, run.spec.transfer.layer_decay) == (None, 0.5)


def test_the_family_is_shown_with_models_to_start_with(cli: Command) -> None:
    shown = cli("plugins", "show", "timm/*", "--json")
    told = json.loads(shown.out)
    assert [model["name"] for model in told["suggested"]][:3] == ["resnet18", "resnet34", "resnet50"]
    assert told["names"] > 1000
    assert "tf_efficientnet_lite0" in cli("plugins", "show", "timm/*").out


def test_the_frozen_part_is_computed_once_and_serves_the_next_run(
    cli: Command, tmp_path: Path, class_folder: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AHEKIT_HOME", str(tmp_path / "home"))
    shown, run = started(cli, tmp_path, class_folder, weights, "--freeze", "backbone", "--views", 2)
    assert "allbeforehead,computedoncefor" in "".join(shown.out.split())
    assert run.spec.transfer.views == 2
    stores = list((tmp_path / "home" / "cache" / "features").glob("*/store.json"))
    written = {path: path.stat().st_mtime_ns for path in stores[0].parent.glob("*.bin")}
    assert (len(stores), len(written)) == (1, 2)

    again = cli("train", "--spec", run.path / "spec.yaml", "--lr", 0.01, "--runs", tmp_path)
    assert again.code == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in written} == written


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--freeze", "none", "--views", "2"], "transfer.views: fixed views are for stages that stay frozen"),
        (["--freeze", "early", "--views", "1", "--feature-cache-gb", "1e-9"], "raise --feature-cache-gb"),
        (["--freeze", "early", "--views", "-1"], "transfer.views: must be greater than or equal to 0"),
    ],
)
def test_what_cannot_be_computed_once_is_one_line(
    cli: Command, class_folder: Path, weights: Path, more: list[str], words: str
) -> None:
    shown = cli("finetune", "--backbone", BACKBONE, "--weights", weights, "--data", class_folder, *SMALL, *more)
    assert shown.code == 2
    assert words in shown.err
    assert len(shown.err.splitlines()) == 1

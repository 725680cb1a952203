"""`ahekit resume`: which run it takes, more epochs, images in another place, and starting from a run's weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from ahekit.run import Run, list_runs
from tests.kill_points import CNN5, SMALL, make_pictures

Command = Callable[..., Any]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "pictures")


@pytest.fixture
def train(cli: Command, tmp_path: Path, pictures: Path) -> Callable[..., Run]:
    def run(*more: Any, epochs: int = 1) -> Run:
        done = cli("train", *SMALL, *CNN5, "--data", pictures, "--runs", tmp_path / "runs", "--epochs", epochs, *more)
        assert done.code == 0, done.err
        return list_runs(tmp_path / "runs")[0]

    return run


def test_a_finished_run_that_kept_its_optimizer_is_trained_on(train: Callable[..., Run], cli: Command) -> None:
    run = train("--set", "train.keep_optimizer=true", "--schedule", "constant", "--set", "schedule.warmup=0")
    done = cli("resume", run.path, "--epochs", 2)
    assert done.code == 0, done.err
    assert [row.epoch for row in run.history().epochs] == [1, 2]
    assert (run.spec.train.epochs, run.status.state) == (2, "finished")
    (note,) = run.manifest.extended
    assert (note.epochs, note.to) == (1, 2)
    # At a constant rate nothing depends on how many epochs there are, but for the share of them that goes unmixed.
    whole = train("--set", "train.keep_optimizer=true", "--schedule=constant", "--set=schedule.warmup=0", epochs=2)
    assert run.history().steps[-1].lr == whole.history().steps[-1].lr
    assert set(run.predictions()) == {"train", "val", "test"}


def test_a_finished_run_without_its_optimizer_names_the_way_on(train: Callable[..., Run], cli: Command) -> None:
    run = train()
    before = (run.path / "status.json").read_bytes()
    done = cli("resume", run.path, "--epochs", 2)
    assert done.code == 1
    assert f"ahekit train --weights {run.path} --epochs N" in done.err
    assert "keep_optimizer=true" in done.err
    assert (run.path / "status.json").read_bytes() == before


def test_fewer_epochs_than_there_are_is_refused(train: Callable[..., Run], cli: Command) -> None:
    run = train("--set", "train.keep_optimizer=true", epochs=2)
    done = cli("resume", run.path, "--epochs", 1)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "has 2 already; name more" in done.err


def test_without_a_name_the_newest_interrupted_run_is_taken(
    train: Callable[..., Run], cli: Command, tmp_path: Path
) -> None:
    older, newer = train(), train()
    done = cli("resume", "--runs", tmp_path / "runs")
    assert done.code == 1
    assert f"no run in {tmp_path / 'runs'} is interrupted; {newer.name}, the newest, is finished" in done.err
    older.write_status("interrupted", "stopped on request")
    assert cli("resume", "--runs", tmp_path / "runs").code == 1  # its optimizer is gone, which is another fault
    assert "no run" not in cli("resume", "--runs", tmp_path / "runs").err


def test_moved_images_are_found_where_they_are_said_to_be_and_only_if_they_are_the_same(
    train: Callable[..., Run], cli: Command, tmp_path: Path, pictures: Path
) -> None:
    run = train("--set", "train.keep_optimizer=true")
    moved = tmp_path / "moved"
    shutil.move(pictures, moved)
    assert cli("resume", run.path, "--epochs", 2).code == 1
    for command in (
        ("resume", run.path, "--epochs", 2, "--quiet"),
        ("viz", "gradcam", "--run", run.path, "--layer", "conv3", "--out", tmp_path / "out"),
        ("report", run.path, "--only", "mistakes", "--format", "json"),
    ):
        done = cli(*command, "--data", moved)
        assert done.code == 0, done.err
    assert run.spec.data.source == str(moved)
    next((moved / "train" / "arch").iterdir()).unlink()
    others: tuple[tuple[Any, ...], ...] = (
        ("viz", "--run", run.path),
        ("report", run.path),
        ("resume", run.path, "--epochs", 3),
    )
    for other in others:
        done = cli(*other, "--data", moved)
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert f"the images in {moved} are not those the run was made with" in done.err


def test_another_run_s_weights_come_first_the_head_s_only_for_the_same_classes(
    train: Callable[..., Run], cli: Command, tmp_path: Path
) -> None:
    first = train()
    best = load_file(first.checkpoints()[-1] / "average.safetensors")
    args = ("--weights", first.path, "--runs", tmp_path / "runs", "--epochs", 1, "--lr", 1e-12, "--average-decay", 0)
    small = ("--batch-size", 4, "--accum", 3, "--device", "cpu", "--precision", "fp32", "--weight-decay", 0)
    assert cli("train", *args, *small, "--data", tmp_path / "pictures").code == 0
    second = list_runs(tmp_path / "runs")[0]
    weights = load_file(second.checkpoints()[-1] / "model.safetensors")
    assert weights.keys() == best.keys()
    learned = [name for name in best if name.endswith(("weight", "bias"))]
    assert all((weights[name] - best[name]).abs().max() < 1e-6 for name in learned)
    note = second.manifest.weights
    assert note is not None
    assert note.source == f"run {first.name}, {first.checkpoints()[-1].name}"
    assert note.missing == ()

    (tmp_path / "pictures" / "train" / "crypt").rename(tmp_path / "pictures" / "train" / "dome")
    (tmp_path / "pictures" / "test" / "crypt").rename(tmp_path / "pictures" / "test" / "dome")
    assert cli("train", *args, *small, "--data", tmp_path / "pictures").code == 0
    third = list_runs(tmp_path / "runs")[0].manifest.weights
    assert third is not None
    assert third.missing
    assert third.loaded == len(best) - len(third.missing)


def test_weights_of_another_architecture_are_refused_in_a_line(
    train: Callable[..., Run], cli: Command, tmp_path: Path
) -> None:
    first = train()
    asked = ("--set", "model.params.channels=[4, 4, 8, 8, 16]")
    done = cli("train", "--weights", first.path, "--data", tmp_path / "pictures", *asked, "--runs", tmp_path / "runs")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "weights of another architecture (cnn5)" in done.err
    assert len(list_runs(tmp_path / "runs")) == 1


def test_finetune_takes_a_run_beside_the_other_sources(train: Callable[..., Run], cli: Command, tmp_path: Path) -> None:
    first = train()
    small = ("--batch-size", 4, "--device", "cpu", "--precision", "fp32", "--epochs", 1)
    for name in (first.name, first.path):
        done = cli(
            *("finetune", "--weights", name, "--freeze", "early", "--data", tmp_path / "pictures"),
            *(*small, "--runs", tmp_path / "runs"),
        )
        assert done.code == 0, done.err
    newest = list_runs(tmp_path / "runs")[0]
    assert (newest.spec.model.name, newest.spec.transfer.start_from) == ("cnn5", str(first.path))
    assert newest.manifest.parameters.trainable != newest.manifest.parameters.total


def test_a_damaged_last_checkpoint_is_kept_aside_and_the_one_before_gone_on_from(
    train: Callable[..., Run], cli: Command
) -> None:
    every = ("--set", "train.keep_checkpoints=all", "--set", "train.keep_optimizer=true")
    run, whole = train(*every), train(*every)
    run.write_status("interrupted")
    last, *_ = reversed(run.checkpoints())
    (last / "optimizer.safetensors").write_bytes(b"")
    done = cli("resume", run.path)
    assert done.code == 0, done.err
    assert "optimizer.safetensors: can't be read" in done.err
    assert "kept as damaged-" in done.err
    for name in ("model", "average", "optimizer"):
        files = [each.checkpoints()[-1] / f"{name}.safetensors" for each in (run, whole)]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert [path.name for path in (run.path / "checkpoints").glob("damaged-*")]
    for checkpoint in run.checkpoints():
        (checkpoint / "rng.safetensors").write_bytes(b"")
    run.write_status("interrupted")
    before = sorted(path.name for path in (run.path / "checkpoints").iterdir())
    done = cli("resume", run.path)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "No other checkpoint" in done.err
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == before


def test_runs_of_another_number_of_processes_are_refused_before_their_first_checkpoint_too(
    train: Callable[..., Run], cli: Command
) -> None:
    run = train()
    run.write_status("interrupted")
    manifest = json.loads((run.path / "manifest.json").read_text())
    run.write_json("manifest.json", {**manifest, "processes": 2})
    done = cli("resume", run.path)
    assert done.code == 1
    assert f"torchrun --nproc-per-node 2 -m ahekit resume {run.path}" in done.err
    assert f"torchrun --nproc-per-node 2 -m ahekit resume {run.path}" in "".join(
        cli("runs", "show", run.path).out.splitlines()
    )

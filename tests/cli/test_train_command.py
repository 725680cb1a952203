"""`ahekit train`, `resume` and `prove`: what they print and leave, in this process and in others where that counts."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ahekit.run import Run
from tests.conftest import Outcome

SMALL = (
    "--image-size=16",
    "--batch-size=4",
    "--accum=3",
    "--epochs=3",
    "--class-weights=balanced",
    "--set=model.params.channels=[4, 4, 8, 8, 8]",
    "--set=model.params.hidden=[16, 16, 16]",
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def only_run(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def weights_hash(run: Path) -> str:
    """Of a finished run: its last weights, their average, and its predictions."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    files = [last / "model.safetensors", last / "average.safetensors", *sorted((run / "predictions").iterdir())]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def wait_for(condition: Any, process: subprocess.Popen[str]) -> None:
    for _ in range(2000):
        if condition():
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"waited in vain; the process said: {process.communicate()[1]}")


def start(executable_arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ahekit", *executable_arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_train_states_its_steps_and_leaves_a_whole_run(executable: Any, class_folder: Path, tmp_path: Path) -> None:
    done = executable("train", "--model", "cnn5", "--data", class_folder, *SMALL)
    assert done.code == 0, done.err
    for stated in ("4 images", "12 images", "accumulation steps", "trainable parameters", "ahekit report"):
        assert stated in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines() if "/" not in line)
    run = only_run(tmp_path)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["class_names"] == ["arch", "beam", "crypt"]
    assert sorted(path.name for path in (run / "predictions").iterdir()) == [
        "test.safetensors",
        "train.safetensors",
        "val.safetensors",
    ]


def test_the_saved_spec_repeats_the_run_to_the_bit_in_another_process(
    cli: Any, executable: Any, class_folder: Path, tmp_path: Path
) -> None:
    assert cli("train", "--data", class_folder, *SMALL, "--runs", "first").code == 0
    (first,) = (tmp_path / "first").iterdir()
    assert executable("train", "--spec", first / "spec.yaml", "--runs", "second").code == 0
    (second,) = (tmp_path / "second").iterdir()
    assert (first / "spec.yaml").read_text() == (second / "spec.yaml").read_text()
    assert weights_hash(first) == weights_hash(second)


def test_resume_after_kill_9_ends_in_the_weights_of_an_unbroken_run(
    cli: Any, class_folder: Path, tmp_path: Path
) -> None:
    # A checkpoint after every step, so that the kill falls in the middle of an epoch and of a window's work.
    # All are kept, so that the one that is waited for doesn't vanish between two looks.
    every_step = ("--set=train.checkpoint_minutes=1e-9", "--set=train.keep_checkpoints=all")
    arguments = ["train", "--data", str(class_folder), *SMALL, "--epochs=12", *every_step]
    assert cli(*arguments, "--runs", "whole").code == 0
    (whole,) = (tmp_path / "whole").iterdir()
    process = start(arguments, tmp_path)
    wait_for(lambda: list(tmp_path.glob("runs/*/checkpoints/step-00000006-*")), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    run = only_run(tmp_path)
    listed = cli("runs")
    assert "interrupted" in listed.out
    done = cli("resume", run.name)
    assert done.code == 0, done.err
    assert weights_hash(run) == weights_hash(whole)


def test_a_signal_from_outside_saves_and_prints_the_command_that_goes_on(class_folder: Path, tmp_path: Path) -> None:
    process = start(["train", "--data", str(class_folder), *SMALL, "--epochs=500"], tmp_path)
    wait_for(lambda: list(tmp_path.glob("runs/*/checkpoints/step-*")), process)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    run = only_run(tmp_path)
    assert process.returncode == 143, stderr
    assert f"ahekit resume runs/{run.name}" in stdout
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"


@pytest.fixture
def interrupted(cli: Any, class_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """What a training said that got Ctrl-C at its first checkpoint."""
    add_checkpoint = Run.add_checkpoint

    def interrupt(self: Run, *args: Any, **more: Any) -> Any:
        # Once only: the second Ctrl-C ends a run at once.
        monkeypatch.setattr(Run, "add_checkpoint", add_checkpoint)
        signal.raise_signal(signal.SIGINT)
        return add_checkpoint(self, *args, **more)

    monkeypatch.setattr(Run, "add_checkpoint", interrupt)
    outcome: Outcome = cli("train", "--data", class_folder, *SMALL, "--epochs=500")
    return outcome


def test_ctrl_c_saves_and_prints_the_command_that_goes_on(interrupted: Outcome, tmp_path: Path) -> None:
    run = only_run(tmp_path)
    assert interrupted.code == 130, interrupted.err
    assert f"ahekit resume runs/{run.name}" in interrupted.out
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"


def test_resuming_a_finished_run_is_one_clear_line(cli: Any, class_folder: Path) -> None:
    assert cli("train", "--data", class_folder, *SMALL, "--epochs=1").code == 0
    done = cli("resume")
    assert done.code == 1
    assert "is finished" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.usefixtures("interrupted")
def test_a_dataset_that_changed_is_not_trained_on_silently(cli: Any, class_folder: Path) -> None:
    next((class_folder / "train" / "arch").iterdir()).unlink()
    done = cli("resume")
    assert done.code == 1
    assert "not those the run was made with" in done.err


def test_every_wrong_field_is_named_at_once(cli: Any, class_folder: Path) -> None:
    done = cli("train", "--data", class_folder, "--accum=0", "--lr=-1", "--set", "train.epoch=3")
    assert done.code == 2
    lines = done.err.splitlines()
    assert len(lines) == 3
    assert "optim.accumulation_steps: must be greater than 0 (got 0)" in done.err
    assert "did you mean epochs" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--accum=500"], "longer than an epoch"),
        (["--model=cnn6"], "did you mean cnn5"),
        (["--set=model.params.pool=median"], "model.params.pool"),
        (["--image-size=8"], "at least 16"),
        (["--device=cuda"], "no CUDA device"),
        (["--recipe=weak"], "no recipe named 'weak'"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2(
    arguments: list[str], message: str, cli: Any, class_folder: Path, tmp_path: Path
) -> None:
    done = cli("train", "--data", class_folder, "--image-size=16", "--batch-size=4", *arguments)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_dataset_that_is_not_there_is_exit_1_with_what_to_do(cli: Any) -> None:
    done = cli("train", "--data", "nowhere")
    assert done.code in (1, 2)
    assert "nowhere" in done.err
    assert "Traceback" not in done.err


def test_json_gives_an_object_per_epoch_and_nothing_else(cli: Any, class_folder: Path) -> None:
    done = cli("train", "--data", class_folder, *SMALL, "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]


def test_quiet_says_nothing(cli: Any, class_folder: Path) -> None:
    done = cli("train", "--data", class_folder, *SMALL, "--epochs=1", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_prove_accum_measures_and_passes(cli: Any, class_folder: Path) -> None:
    for arguments in (["prove", "accum"], ["train", "--prove-accum"]):
        done = cli(
            *arguments, "--data", class_folder, "--accum=3", "--batch-size=4", "--set=data.image_size=16", "--json"
        )
        assert done.code == 0, done.err
        checks = [json.loads(line) for line in done.out.splitlines()]
        exact = [check for check in checks if check["precision"] == "float64" and check["limit"]]
        assert len(exact) == 3
        assert all(check["error"] < 1e-9 for check in exact)
        told = [check["error"] for check in checks if check["limit"] is None]
        assert all(error > 1e-3 for error in told)


def test_lr_find_suggests_a_rate_and_trains_nothing(cli: Any, class_folder: Path, tmp_path: Path) -> None:
    done = cli("train", "--data", class_folder, *SMALL, "--lr-find", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert 1e-6 < found["suggestion"] < 1
    assert not (tmp_path / "runs").exists()


def torchrun(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1", "--master-port=0"]
    return subprocess.Popen(
        [sys.executable, *launcher, "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", "-m", "ahekit", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_two_processes_give_the_single_process_result(cli: Any, class_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    common = [
        *("train", "--data", str(class_folder), *SMALL, "--precision=fp32"),
        *("--set=model.params.norm=none", "--set=model.params.dropout=0", "--epochs=2", "--mix=0.6"),
        # The loss falls, so that the last epoch is the best one, whose checkpoint the main process writes last.
        *("--set=train.monitor=loss", "--set=train.average_decay=0"),
    ]
    alone = cli(*common, "--batch-size=8", "--accum=2", "--runs", "alone")
    assert alone.code == 0, alone.err
    process = torchrun([*common, "--batch-size=4", "--accum=2"], tmp_path)
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    assert stdout.count("trainable parameters") == 1, "one process speaks"
    assert "Best epoch by validation log loss: 2 " in stdout
    (single,) = (tmp_path / "alone").iterdir()
    pair = only_run(tmp_path)
    weights = [load_file(sorted((run / "checkpoints").iterdir())[-1] / "model.safetensors") for run in (single, pair)]
    for name, tensor in weights[0].items():
        assert (tensor - weights[1][name]).abs().max() < 1e-4, name
    rows = [[json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()] for run in (single, pair)]
    for ours, theirs in zip(*rows, strict=True):
        assert ours["type"] == theirs["type"]
        if ours["type"] == "step":
            assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
            assert ours["images"] == theirs["images"]
        else:
            assert ours["test"]["accuracy"] == pytest.approx(theirs["test"]["accuracy"], abs=0.08)


@pytest.mark.slow
def test_a_dead_worker_ends_the_run_with_a_message_and_a_resumable_folder(
    cli: Any, class_folder: Path, tmp_path: Path
) -> None:
    process = torchrun(["train", "--data", str(class_folder), *SMALL, "--epochs=5000"], tmp_path)
    wait_for(lambda: list(tmp_path.glob("runs/*/checkpoints/step-*")), process)
    os.kill(worker_of_rank(process.pid, 1), signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode != 0
    run = only_run(tmp_path)
    assert "another training process is gone" in stderr
    assert "interrupted" in cli("runs").out
    assert sorted((run / "checkpoints").glob("step-*"))


def worker_of_rank(launcher: int, rank: int) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if parent == launcher and f"RANK={rank}".encode() in variables:
                return int(entry.name)
    raise AssertionError("no such worker")

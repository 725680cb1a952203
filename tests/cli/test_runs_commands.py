"""`ahekit runs`: how far each run got, whatever state it is in, and how to be rid of one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ahekit.run import Run
from ahekit.spec import Component, RunSpec, TrainSpec

EPOCHS = RunSpec().train.epochs


def epoch(number: int, f1: float, **more: Any) -> dict[str, Any]:
    block = {"loss": 1.0, "accuracy": 0.5, "precision": 0.25, "recall": 0.125, "f1": f1}
    return {"type": "epoch", "epoch": number, "step": number * 10, "train": block, "val": block, "test": block, **more}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "runs [1]"


@pytest.fixture
def stopped(root: Path) -> Run:
    """Stopped in its fourth epoch, best after its second."""
    spec = RunSpec(seed=7, model=Component(name="cnn5", params={"pool": "avg"}), train=TrainSpec(epochs=20))
    run = Run.create(root, spec, {"data": {"name": "sample", "root": "/somewhere"}, "class_names": ["a", "b"]})
    run.append_history([{"type": "step", "step": 1}, epoch(1, 0.5), epoch(2, 0.75), epoch(3, 0.625)])
    run.append_history([epoch(4, 0.1, partial=True)])
    run.write_status("interrupted", "stopped on request", best={"epoch": 2, "val_f1": 0.75})
    return run


def test_runs_are_listed_with_state_spec_epochs_and_best_validation_f1(
    cli: Callable[..., Any], root: Path, stopped: Run
) -> None:
    finished = Run.create(root, RunSpec(), {})
    finished.write_status("finished")
    done = cli("runs", "--runs", root)
    text = " ".join(done.out.split())
    assert (done.code, done.err) == (0, "")
    assert text.index(f"{finished.name} finished cnn5 on unknown") < text.index(f"{stopped.name} interrupted cnn5 on")
    assert f" 0/{EPOCHS} –" in text
    assert " 3/20 0.7500" in text
    assert json.loads(cli("runs", "--runs", root, "--json").out)[1] == {
        "name": stopped.name,
        "state": "interrupted",
        "model": "cnn5",
        "data": "sample",
        "recipe": "strong",
        "seed": 7,
        "epochs_done": 3,
        "epochs": 20,
        "val_f1": 0.75,
        "problem": "",
    }
    assert done.out.startswith(f"Runs in {root}, newest first\n")


def test_a_run_in_training_is_listed_as_running(cli: Callable[..., Any], root: Path, stopped: Run) -> None:
    stopped.write_status("running")
    with stopped.lock():
        (row,) = json.loads(cli("runs", "list", "--runs", root, "--json").out)
        assert row["state"] == "running"
    (row,) = json.loads(cli("runs", "--json", "--runs", root).out)
    assert (row["state"], row["epochs_done"], row["epochs"], row["val_f1"]) == ("interrupted", 3, 20, 0.75)


def test_a_run_that_cannot_be_read_is_listed_with_the_reason_and_hides_no_other(
    cli: Callable[..., Any], root: Path, stopped: Run
) -> None:
    broken = Run.create(root, RunSpec(), {})
    (broken.path / "spec.yaml").write_text("optim: {lr: -1}")
    done = cli("runs", "--runs", root)
    assert done.code == 0
    assert stopped.name in done.out
    assert [broken.name, "unreadable"] == next(
        line.split()[:2] for line in done.out.splitlines() if broken.name in line
    )
    assert "optim.lr: must be greater than 0" in done.err
    assert done.err.count("\n") == 1


def test_where_no_run_is_the_list_says_how_to_make_one(cli: Callable[..., Any], root: Path) -> None:
    done = cli("runs", "--runs", root)
    assert (done.code, done.out) == (0, f"No run in {root} yet; `ahekit train` makes one.\n")
    assert cli("runs", "--json", "--runs", root).out == "[]\n"


def test_runs_are_looked_for_in_the_folder_the_environment_names(
    cli: Callable[..., Any], root: Path, stopped: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AHEKIT_RUNS", str(root))
    assert stopped.name in cli("runs").out


def test_show_tells_state_last_epoch_what_differs_and_how_to_go_on(
    cli: Callable[..., Any], root: Path, stopped: Run
) -> None:
    out = cli("runs", "show", stopped.name[-4:], "--runs", root).out
    words = [line.split() for line in out.splitlines()]
    assert ["state", "interrupted:", "stopped", "on", "request"] in words
    assert ["epochs", "3", "of", "20"] in words
    assert ["seed", "0", "7"] in words
    assert ["train.epochs", str(EPOCHS), "20"] in words
    assert ["model.params.pool", "none", "avg"] in words
    assert ["val", "1.0000", "0.5000", "0.2500", "0.1250", "0.1000"] in words
    assert f"ahekit resume '{stopped.path}'" in out, "quoted, for it holds a space"


def test_show_takes_the_newest_run_and_speaks_json(cli: Callable[..., Any], root: Path, stopped: Run) -> None:
    shown = json.loads(cli("runs", "show", "--runs", root, "--json").out)
    assert (shown["name"], shown["reason"], shown["last_epoch"]["epoch"]) == (stopped.name, "stopped on request", 4)
    assert shown["changes"]["train.epochs"] == {"recipe": EPOCHS, "run": 20}


def test_show_of_a_run_that_got_nowhere_shows_what_there_is(cli: Callable[..., Any], root: Path) -> None:
    run = Run.create(root, RunSpec(recipe="assignment"), {})
    done = cli("runs", "show", run.name, "--runs", root)
    assert done.code == 0
    assert "What differs from the recipe assignment" in done.out
    assert "the process ended without a word" in done.out


def test_removing_asks_first_and_removes_only_what_was_named(
    cli: Callable[..., Any], root: Path, stopped: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    other = Run.create(root, RunSpec(), {})
    done = cli("runs", "remove", stopped.name, "--runs", root)
    assert (done.code, stopped.path.is_dir()) == (2, True), "nobody is there to answer"
    assert "say --yes" in done.err
    done = cli("runs", "remove", stopped.name, "--runs", root, "--yes")
    assert (done.code, done.out) == (0, f"Removed {stopped.path}\n")
    assert [path.name for path in root.iterdir()] == [other.name]


def test_no_leaves_the_run(cli: Callable[..., Any], root: Path, stopped: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ahekit.console.confirm", lambda question, option: False)
    assert cli("runs", "remove", stopped.name, "--runs", root).out == "Nothing removed.\n"
    assert stopped.path.is_dir()


def test_a_wrong_name_among_several_removes_none(cli: Callable[..., Any], root: Path, stopped: Run) -> None:
    done = cli("runs", "remove", stopped.name, "nothing", "--runs", root, "--yes")
    assert (done.code, stopped.path.is_dir()) == (2, True)
    assert "no run named 'nothing'" in done.err


def test_a_run_in_training_is_not_removed(cli: Callable[..., Any], root: Path, stopped: Run) -> None:
    stopped.write_status("running")
    with stopped.lock():
        done = cli("runs", "remove", stopped.name, "--runs", root, "--yes")
    assert (done.code, stopped.path.is_dir()) == (1, True)
    assert done.err == f"ahekit: {stopped.path}: is being trained; stop it first\n"


def test_prune_removes_what_came_to_nothing_and_keeps_the_rest(
    cli: Callable[..., Any], root: Path, stopped: Run
) -> None:
    (stopped.path / "checkpoints" / "step-00000030-epoch-0003").mkdir(parents=True)
    empty, finished = Run.create(root, RunSpec(), {}), Run.create(root, RunSpec(), {})
    empty.write_status("interrupted", "stopped on request")
    finished.write_status("finished")

    done = cli("runs", "prune", "--yes", "--runs", root)

    assert (done.code, done.err) == (0, "")
    assert not empty.path.exists()
    assert stopped.path.is_dir()
    assert finished.path.is_dir()
    assert cli("runs", "prune", "--yes", "--runs", root).out == f"Nothing to remove in {root}.\n"


def test_prune_keeps_so_many_finished_runs_and_never_one_in_training(cli: Callable[..., Any], root: Path) -> None:
    made = [Run.create(root, RunSpec(), {}) for _ in range(3)]
    for run in made[:2]:
        run.write_status("finished")
    with made[2].lock():
        cli("runs", "prune", "--keep", "1", "--yes", "--runs", root)

    assert [run.path.is_dir() for run in made] == [False, True, True]

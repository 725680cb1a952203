"""A run from start to predictions; interrupted and resumed it ends in the same weights."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save_file

from ahekit.errors import AhekitError, CheckpointError, RunError, TrainingError
from ahekit.run import Run
from ahekit.signals import StopRequest
from ahekit.spec import EvalSpec
from ahekit.training import checkpoint, loop, recorder
from ahekit.training.loop import fit
from ahekit.training.processes import Processes
from ahekit.training.session import start
from ahekit.training.setup import Setup
from ahekit.training.steps import train_steps

MakeSetup = Callable[..., Setup]
NewRun = Callable[[Setup], Run]


def what_was_measured(run: Run) -> list[tuple[Any, ...]]:
    """All of the history but the clock's part."""
    history = run.history()
    steps = [(row.step, row.epoch, row.loss, row.lr, row.grad_norm, row.images) for row in history.steps]
    epochs = [(row.epoch, row.step, row.lr, row.train_online, row.train, row.val, row.test) for row in history.epochs]
    return [*steps, *epochs]


def final_hash(run: Run) -> str:
    """Of everything that training on would start from; a finished run has it when asked to keep it."""
    digest = hashlib.sha256()
    for name in ("model", "average", "optimizer"):
        digest.update((run.checkpoints()[-1] / f"{name}.safetensors").read_bytes())
    return digest.hexdigest()


def stop_at(step: int) -> tuple[StopRequest, Callable[[int], None]]:
    stop = StopRequest()

    def ask(now: int) -> None:
        stop.asked = stop.asked or now == step

    return stop, ask


def test_a_run_leaves_history_predictions_checkpoints_and_status(
    make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    setup = make_setup()
    run, watcher = new_run(setup), watched()
    status = fit(setup, run, watcher=watcher)
    assert status.state == run.status.state == "finished"
    # 38 training images in windows of 12: four steps an epoch.
    assert [row["step"] for row in watcher.steps] == list(range(1, 13))
    assert [row["images"] for row in watcher.steps[:4]] == [12, 12, 12, 2]
    assert [row.epoch for row in run.history().epochs] == [1, 2, 3]
    assert len(run.history().steps) == 12
    assert set(watcher.epochs[0]["train_online"]) == {"loss", "accuracy", "precision", "recall", "f1"}
    for block in ("train", "val", "test"):
        measured = watcher.epochs[0][block]
        assert list(measured) == ["loss", "accuracy", "precision", "recall", "f1", "balanced-accuracy", "kappa"]
        assert measured["balanced-accuracy"] == measured["recall"]
    predictions = run.predictions()
    assert {name: len(part.ids) for name, part in predictions.items()} == {"train": 38, "val": 12, "test": 12}
    assert predictions["val"].ids == tuple(setup.dataset.ids[38:50])
    best = max(watcher.epochs, key=lambda row: row["val"]["f1"])
    assert status.best.val["f1"] == best["val"]["f1"]


@pytest.mark.parametrize(("monitor", "best"), [("f1", max), ("loss", min), ("kappa", max)])
def test_the_epoch_is_chosen_by_what_is_monitored(
    monitor: str, best: Callable[..., int], make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    setup = make_setup(train={"epochs": 8, "monitor": monitor, "average_decay": 0}, optim={"lr": 0.1})
    run, watcher = new_run(setup), watched()
    chosen = fit(setup, run, watcher=watcher).best
    vals = {row["epoch"]: row["val"] for row in watcher.epochs}
    assert chosen.epoch == best(vals, key=lambda epoch: vals[epoch][monitor])
    assert chosen.val == vals[chosen.epoch]
    assert chosen.checkpoint in [path.name for path in run.checkpoints()]


def test_training_learns(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    watcher = watched()
    setup = make_setup(train={"epochs": 12}, optim={"lr": 0.03}, mix={"probability": 0})
    fit(setup, new_run(setup), watcher=watcher)
    assert watcher.epochs[-1]["val"]["accuracy"] > 0.8
    assert watcher.epochs[-1]["train_online"]["loss"] < watcher.epochs[0]["train_online"]["loss"]


GROWING: dict[str, Any] = {"progressive": {"sizes": (4, 6)}, "augment": {"alternating_flip": True}}
"""Another size in each of the three epochs."""


@pytest.mark.parametrize(
    ("step", "fields"), [(1, {}), (4, {}), (6, {}), (11, {}), (3, GROWING), (4, GROWING), (6, GROWING)]
)
def test_interrupted_and_resumed_ends_in_the_same_weights(
    step: int, fields: dict[str, Any], make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    whole_setup = make_setup(**fields)
    whole = new_run(whole_setup)
    fit(whole_setup, whole, watcher=watched())
    setup = make_setup(**fields)
    run = new_run(setup)
    stop, ask = stop_at(step)
    status = fit(setup, run, watcher=watched(ask), stop=stop)
    assert status.state == run.status.state == "interrupted"
    assert status.step == step
    torch.randn(7)  # whatever the new process did with its random state must not matter
    again = make_setup(**fields)
    assert fit(again, run, watcher=watched(), resume=True).state == "finished"
    assert final_hash(run) == final_hash(whole)
    assert what_was_measured(run) == what_was_measured(whole)


def test_images_grow_and_are_measured_at_their_full_size(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    setup = make_setup(**GROWING)
    sides: list[tuple[bool, int]] = []
    setup.built.module.register_forward_pre_hook(
        lambda module, images: sides.append((module.training, images[0].shape[3]))
    )
    fit(setup, new_run(setup), watcher=watched())
    assert list(dict.fromkeys(side for is_training, side in sides if is_training)) == [4, 6, 8]
    assert {side for is_training, side in sides if not is_training} <= {8}


def parts_by_epoch(run: Run) -> list[str]:
    """The first letters of what was measured after each epoch."""
    return ["".join(part[0] for part in ("train", "val", "test") if row.measured(part)) for row in run.history().epochs]


def test_train_and_test_are_measured_at_some_epochs_and_the_last(
    make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    setup = make_setup(train={"epochs": 7}, evaluation={"curve_points": 2})
    run = new_run(setup)
    fit(setup, run, watcher=watched())
    assert parts_by_epoch(run) == ["v", "v", "v", "tvt", "v", "v", "tvt"]


@pytest.mark.parametrize("points", [5, 7, 1000, None])
def test_all_is_measured_each_epoch_where_there_are_as_many_points(points: int | None) -> None:
    spec = EvalSpec(curve_points=points)
    assert all(spec.is_point(epoch, epochs=5) for epoch in range(1, 6))


@given(points=st.integers(1, 50), epochs=st.integers(1, 50))
def test_points_are_spread_evenly_up_to_the_last_epoch(points: int, epochs: int) -> None:
    spec = EvalSpec(curve_points=points)
    chosen = [epoch for epoch in range(1, epochs + 1) if spec.is_point(epoch, epochs=epochs)]
    assert len(chosen) == min(points, epochs)
    assert chosen[-1] == epochs
    gaps = [later - earlier for earlier, later in pairwise([0, *chosen])]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(("patience", "parts"), [(None, ["", "", "v", "tvt"]), (9, ["v", "v", "v", "tvt"])])
def test_while_images_are_small_validation_is_measured_only_where_patience_asks(
    patience: int | None, parts: list[str], make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    growing = {"progressive": {"sizes": (4,), "shares": (0.5,)}}
    setup = make_setup(train={"epochs": 4, "patience": patience}, evaluation={"curve_points": 1}, **growing)
    run = new_run(setup)
    status = fit(setup, run, watcher=watched())
    assert parts_by_epoch(run) == parts
    losses = {row.epoch: row.val["loss"] or 0.0 for row in run.history().epochs if row.val}
    assert status.best.epoch == min(losses, key=lambda epoch: losses[epoch])


SMALL_AT_FIRST: dict[str, Any] = {"progressive": {"sizes": (4,), "shares": (0.9,)}}


@pytest.mark.parametrize(
    ("end", "fields"),
    [({"patience": 1}, {}), ({"max_minutes": 1e-9}, {}), ({"max_minutes": 1e-9}, SMALL_AT_FIRST)],
)
def test_an_end_before_the_last_epoch_is_measured_whole_and_can_be_chosen(
    end: dict[str, Any], fields: dict[str, Any], make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    setup = make_setup(train={"epochs": 60, **end}, optim={"lr": 1e-9}, evaluation={"curve_points": 1}, **fields)
    run = new_run(setup)
    assert fit(setup, run, watcher=watched()).best.epoch
    *before, last = parts_by_epoch(run)
    assert last == "tvt"
    assert len(before) < 10
    assert set(before) <= {"v"}


def test_a_status_names_only_checkpoints_that_are_there(
    make_setup: MakeSetup, new_run: NewRun, watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(train={"epochs": 6})
    run = new_run(setup)
    write, remove = Run.write_status, Run.remove_checkpoint
    removed: list[str] = []

    def writing(self: Run, state: str, reason: str = "", **more: Any) -> None:
        best = more["best"]["checkpoint"]
        assert not best or (run.path / "checkpoints" / best).is_dir()
        write(self, state, reason, **more)

    def removing(self: Run, path: Path) -> None:
        assert run.status.best.checkpoint != path.name
        removed.append(path.name)
        remove(self, path)

    monkeypatch.setattr(Run, "write_status", writing)
    monkeypatch.setattr(Run, "remove_checkpoint", removing)
    assert fit(setup, run, watcher=watched()).state == "finished"
    assert len(removed) > 2


def test_a_checkpoint_that_cannot_be_written_ends_the_training_by_the_next_one(
    make_setup: MakeSetup, new_run: NewRun, watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup()
    run, watcher = new_run(setup), watched()
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(recorder, "save_checkpoint", lambda folder, stored: (_ for _ in ()).throw(full))
    with pytest.raises(RunError, match=r"step-00000004-epoch-0002: can't be written \(No space.*; no checkpoint yet"):
        fit(setup, run, watcher=watcher)
    assert watcher.steps[-1]["step"] <= 8
    assert run.status.state == "interrupted"
    assert not list((run.path / "checkpoints").glob("*"))


def test_two_runs_of_one_spec_end_in_the_same_weights(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    runs = []
    for _ in range(2):
        setup = make_setup()
        runs.append(new_run(setup))
        fit(setup, runs[-1], watcher=watched())
    assert final_hash(runs[0]) == final_hash(runs[1])
    other = make_setup(seed=1)
    runs.append(new_run(other))
    fit(other, runs[-1], watcher=watched())
    assert final_hash(runs[2]) != final_hash(runs[0])


def test_only_the_last_and_the_best_checkpoint_are_kept(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    setup = make_setup(train={"epochs": 6})
    run = new_run(setup)
    status = fit(setup, run, watcher=watched())
    kept = {checkpoint.name for checkpoint in run.checkpoints()}
    assert kept == {"step-00000024-epoch-0007", status.best.checkpoint}


def test_all_checkpoints_are_kept_when_asked(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    setup = make_setup(train={"keep_checkpoints": "all"})
    run = new_run(setup)
    fit(setup, run, watcher=watched())
    assert [path.name for path in run.checkpoints()] == [f"step-{4 * n:08d}-epoch-{n + 1:04d}" for n in (1, 2, 3)]


def test_checkpoints_are_written_within_an_epoch_when_due(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    setup = make_setup(train={"checkpoint_minutes": 1e-9, "keep_checkpoints": "all", "epochs": 1})
    run = new_run(setup)
    fit(setup, run, watcher=watched())
    assert [path.name.split("-")[1] for path in run.checkpoints()] == ["00000001", "00000002", "00000003", "00000004"]


def test_a_time_limit_ends_the_run_measured_and_says_so(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    setup = make_setup(train={"max_minutes": 1e-9})
    run, watcher = new_run(setup), watched()
    status = fit(setup, run, watcher=watcher)
    assert status.state == "finished"
    assert "max_minutes" in status.reason
    assert "step 1 of 12" in status.reason
    assert watcher.epochs[0]["partial"]
    # The schedule is that of the whole run, not of the minutes: the first rate is the same.
    plain = watched()
    fit(make_setup(), new_run(setup), watcher=plain)
    assert watcher.steps[0]["lr"] == plain.steps[0]["lr"]


def test_early_stopping_on_validation(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    setup = make_setup(train={"epochs": 30, "patience": 2}, optim={"lr": 1e-9})
    run = new_run(setup)
    status = fit(setup, run, watcher=watched())
    assert "stopped early" in status.reason
    assert status.epoch - 1 == status.best.epoch + 2


def test_a_loss_that_is_not_finite_stops_with_step_rate_and_checkpoint(
    make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    setup = make_setup()
    run = new_run(setup)

    def poison(step: int) -> None:
        if step == 5:
            with torch.no_grad():
                setup.built.module.get_parameter("6.weight").fill_(math.nan)

    with pytest.raises(TrainingError, match=r"loss is nan .* step 6 \(epoch 2, learning rate .*step-00000004-epoch"):
        fit(setup, run, watcher=watched(poison))
    assert run.status.state == "interrupted"
    assert "nan" in run.status.reason


def test_a_checkpoint_of_another_number_of_processes_is_refused(
    make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    setup = make_setup()
    run = new_run(setup)
    stop, ask = stop_at(2)
    fit(setup, run, watcher=watched(ask), stop=stop)
    state = run.checkpoints()[-1] / "state.json"
    state.write_text(state.read_text().replace('"world": 1', '"world": 2'))
    with pytest.raises(CheckpointError, match=r"made by 2 process\(es\), resumed by 1"):
        fit(make_setup(), run, watcher=watched(), resume=True)


def test_a_torn_history_line_is_dropped_on_resume(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    setup = make_setup()
    run = new_run(setup)
    stop, ask = stop_at(5)
    fit(setup, run, watcher=watched(ask), stop=stop)
    with (run.path / "history.jsonl").open("a") as file:
        file.write('{"type": "step", "step": 6, "lo')
    fit(make_setup(), run, watcher=watched(), resume=True)
    assert [row.step for row in run.history().steps] == list(range(1, 13))


def test_a_run_without_a_checkpoint_resumes_from_its_start(
    make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    setup = make_setup()
    run, whole = new_run(setup), new_run(setup)
    fit(make_setup(), whole, watcher=watched())
    fit(setup, run, watcher=watched(), resume=True)
    assert final_hash(run) == final_hash(whole)


def test_a_second_process_cannot_train_the_same_run(make_setup: MakeSetup, new_run: NewRun) -> None:
    run = new_run(make_setup())
    with run.lock():
        assert run.status.state == "running"
        with pytest.raises(RunError, match="another process"), Run(run.path).lock():
            pass
    assert Run(run.path).status.state == "interrupted"


def test_train_flags_and_memory_format(make_setup: MakeSetup, new_run: NewRun, watched: Any, tmp_path: Path) -> None:
    setup = make_setup(train={"epochs": 1})
    fit(setup, new_run(setup), watcher=watched())
    assert setup.built.module.training
    assert setup.built.module.get_parameter("0.weight").is_contiguous(memory_format=torch.channels_last)


def test_the_average_warms_up_and_then_decays_as_asked() -> None:
    from ahekit.training.session import _average

    def averaged(step: int, since: int = 1) -> float:
        own = [torch.zeros(1)]
        _average(own, [torch.ones(1)], torch.tensor(step), decay=0.99, step=step, since=since)
        return own[0].item()

    assert averaged(1) == pytest.approx(0.9)  # decay 1/10 at first
    assert averaged(10**6) == pytest.approx(0.01, rel=1e-4)
    assert averaged(10**6, since=4) == pytest.approx(1 - 0.99**4, rel=1e-4)


@pytest.mark.parametrize(("every", "updates"), [(1, range(1, 9)), (3, [3, 4, 6, 8]), (100, [4, 8])])
def test_the_average_is_updated_in_its_turn_and_at_an_epochs_end(
    make_setup: MakeSetup, every: int, updates: Sequence[int]
) -> None:
    setup = make_setup(train={"average_every": every, "average_decay": 0.5})
    session = start(setup, Processes())
    expected: torch.Tensor | None = None
    last = 0

    def average(step: int) -> None:
        nonlocal expected, last
        session.average_weights(step)
        own = session.module.get_parameter("0.weight").detach().clone()
        if step in updates:
            share = min(0.5, step / (9 + step)) ** (step - last)
            expected = own if expected is None else share * expected + (1 - share) * own
            last = step
        if expected is not None:
            torch.testing.assert_close(session.measured.get_parameter("0.weight"), expected)

    windows = itertools.chain(session.batches.epoch(1), session.batches.epoch(2))
    steps = train_steps(session.model, windows, session.optimizer, compute=setup.compute, average=average)
    assert len(list(steps)) == 8
    assert session.average is not None
    assert int(session.average.n_averaged) == len(updates)


def test_a_run_that_averages_seldom_resumes_exactly(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    seldom = {"train": {"average_every": 3}}
    whole, broken = new_run(make_setup(**seldom)), new_run(make_setup(**seldom))
    fit(make_setup(**seldom), whole, watcher=watched())
    stop, ask = stop_at(5)
    fit(make_setup(**seldom), broken, watcher=watched(ask), stop=stop)
    fit(make_setup(**seldom), broken, watcher=watched(), resume=True)
    assert final_hash(broken) == final_hash(whole)


@pytest.mark.parametrize(
    ("error", "expected", "reason"),
    [
        (SafetensorError("I/O error: No space left on device (os error 28)"), RunError, "No space left on device"),
        (OSError(28, "No space left on device"), RunError, "No space left on device"),
        (MemoryError(), TrainingError, "out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), TrainingError, "out of memory"),
        (KeyboardInterrupt(), KeyboardInterrupt, "second Ctrl-C"),
        (ZeroDivisionError("in a\nplugin"), ZeroDivisionError, "ZeroDivisionError: in a plugin"),
        (SystemExit(3), SystemExit, "SystemExit: 3"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_whatever_ends_a_training_its_status_says_so_and_it_can_be_resumed(
    error: BaseException,
    expected: type[BaseException],
    reason: str,
    make_setup: MakeSetup,
    new_run: NewRun,
    watched: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = new_run(make_setup())
    fit(make_setup(), whole, watcher=watched())
    run = new_run(make_setup())
    saved = 0

    def fail(*args: Any, **options: Any) -> None:
        nonlocal saved
        saved += 1
        if saved == 6:  # in the middle of the second checkpoint, of four files each
            raise error
        save_file(*args, **options)

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(expected) as caught:
        fit(make_setup(), run, watcher=watched())
    if isinstance(caught.value, AhekitError):
        assert "the last checkpoint is step-00000004-epoch-0002" in str(caught.value)
    assert run.status.state == "interrupted"
    assert reason in run.status.reason
    assert json.loads((run.path / "status.json").read_text())["state"] == "interrupted"
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["step-00000004-epoch-0002"]
    monkeypatch.setattr(checkpoint, "save_file", save_file)
    fit(make_setup(), run, watcher=watched(), resume=True)
    assert final_hash(run) == final_hash(whole)
    assert what_was_measured(run) == what_was_measured(whole)


def test_a_full_disk_in_the_history_leaves_no_half_row_behind(
    make_setup: MakeSetup, new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(make_setup())
    run.append_history([{"type": "step", "step": 1}])
    before = (run.path / "history.jsonl").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left"):
        run.append_history([{"type": "step", "step": 2}])
    assert (run.path / "history.jsonl").read_bytes() == before


def test_weights_that_the_last_step_broke_finish_no_run(make_setup: MakeSetup, new_run: NewRun, watched: Any) -> None:
    setup = make_setup(train={"epochs": 1, "average_decay": 0})
    run = new_run(setup)

    def poison(step: int) -> None:
        if step == 4:
            with torch.no_grad():
                setup.built.module.get_parameter("6.weight").fill_(math.nan)

    with pytest.raises(TrainingError, match="outputs are no numbers any more after optimizer step 4"):
        fit(setup, run, watcher=watched(poison))
    assert run.status.state == "interrupted"
    assert not len(run.predictions())


def test_a_run_that_ended_before_its_predictions_is_not_trained_on(
    make_setup: MakeSetup, new_run: NewRun, watched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields: dict[str, Any] = {"train": {"epochs": 30, "patience": 2}, "optim": {"lr": 1e-9}}
    whole = new_run(make_setup(**fields))
    expected = fit(make_setup(**fields), whole, watcher=watched())
    run = new_run(make_setup(**fields))
    with monkeypatch.context() as patch:

        def interrupt(*args: Any) -> None:
            raise KeyboardInterrupt

        patch.setattr(loop, "_predict", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(make_setup(**fields), run, watcher=watched())
    watcher = watched()
    status = fit(make_setup(**fields), run, watcher=watcher, resume=True)
    assert watcher.steps == []
    assert (status.reason, status.best, status.step) == (expected.reason, expected.best, expected.step)
    for split in ("train", "val", "test"):
        files = [each.path / "predictions" / f"{split}.safetensors" for each in (run, whole)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_finished_run_drops_its_optimizer_unless_asked_to_keep_it(
    make_setup: MakeSetup, new_run: NewRun, watched: Any
) -> None:
    kept, dropped = make_setup(), make_setup(train={"keep_optimizer": False})
    runs = [new_run(kept), new_run(dropped)]
    for setup, run in zip((kept, dropped), runs, strict=True):
        fit(setup, run, watcher=watched())
    names = [{path.name for path in run.checkpoints()[-1].iterdir()} for run in runs]
    assert names[0] - names[1] == {"optimizer.safetensors", "rng.safetensors"}

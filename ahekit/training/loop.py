"""A training run from its first step, or its last checkpoint, to its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ahekit.errors import TrainingError
from ahekit.evaluation.metrics import summarize
from ahekit.evaluation.predictions import Predictions
from ahekit.run import Run
from ahekit.spec import MONITORED
from ahekit.training.optim import rate_factor
from ahekit.training.processes import Processes
from ahekit.training.recorder import Recorder
from ahekit.training.session import Session, restore, start
from ahekit.training.setup import Setup
from ahekit.training.steps import train_steps
from ahekit.training.stopping import StopRequest

Row = Mapping[str, Any]


class Watcher(Protocol):
    """Somebody to tell about progress."""

    def step(self, record: Row) -> None:
        """An optimizer step was taken."""

    def epoch(self, row: Row) -> None:
        """An epoch was trained and measured."""

    def prefix(self, done: int, total: int) -> None:
        """Before the first step: the frozen prefix was computed for so many images."""


def fit(
    setup: Setup,
    run: Run,
    *,
    watcher: Watcher,
    stop: StopRequest | None = None,
    processes: Processes | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train a run to its end, or until somebody asks to stop; every choice is made on validation.

    Returns:
        The run's status: `state` is "finished" or "interrupted", `reason` says why it ended before its last epoch.

    Raises:
        TrainingError: A loss isn't finite, or another process is gone. The run can be resumed from its last checkpoint.
    """
    processes, stop = processes or Processes(), stop or StopRequest()
    session = _open(setup, run, processes, resume=resume)
    recorder = Recorder(run, session)
    try:
        if _compute_prefix(session, watcher, stop):
            recorder.checkpoint()
            return recorder.status("interrupted", "stopped on request")
        ending = _train(session, recorder, watcher, stop)
    except TrainingError as error:
        recorder.give_up(str(error))
        last = f"the last checkpoint is {run.checkpoints()[-1].name}" if run.checkpoints() else "no checkpoint yet"
        raise TrainingError(f"{error}; {last} in {run.path}") from error
    if ending == "interrupted":
        return recorder.status("interrupted", "stopped on request")
    _predict(session, run)
    return recorder.status("finished", ending)


def _open(setup: Setup, run: Run, processes: Processes, *, resume: bool) -> Session:
    checkpoints = run.checkpoints() if resume else []
    if not checkpoints:
        if processes.is_main:
            run.rewind_history(step=0, epoch=1)
        return start(setup, processes, fresh=True)
    session = restore(setup, processes, checkpoints[-1])
    if processes.is_main:
        run.rewind_history(step=session.position.step, epoch=session.position.epoch)
    return session


def _compute_prefix(session: Session, watcher: Watcher, stop: StopRequest) -> bool:
    """Compute what is kept of the frozen prefix; returns whether somebody asked to stop."""
    for done, total in session.compute_prefix():
        watcher.prefix(done, total)
        if stop.asked:
            break
    return session.processes.sum(float(stop.asked))[0] > 0


def _train(session: Session, recorder: Recorder, watcher: Watcher, stop: StopRequest) -> str:
    """Train epoch by epoch; returns "interrupted", or why the run ended early, or nothing."""
    spec, position = session.setup.spec, session.position
    total = spec.train.epochs * session.batches.steps_per_epoch
    limit = (spec.train.max_minutes or float("inf")) * 60
    while position.epoch <= spec.train.epochs:
        session.enter_epoch(position.epoch)
        for step in train_steps(
            session.model,
            session.batches.epoch(position.epoch, start=position.window),
            session.optimizer,
            compute=session.setup.compute,
            rate=lambda step: rate_factor(step, total, spec.schedule),
            first_step=position.step,
            clip_norm=spec.optim.clip_norm,
            label_smoothing=spec.loss.label_smoothing,
            average=session.average_weights,
            processes=session.processes,
        ):
            recorder.add(step)
            watcher.step(step.row())
            if recorder.poll(stop, limit).asked:
                recorder.checkpoint()
                return "interrupted"
            if recorder.polled.late:
                break
            recorder.checkpoint_if_due()
        row = _measure_epoch(session)
        recorder.end_epoch(row)
        watcher.epoch(row)
        if position.step < total and recorder.poll(stop, limit).late:
            return f"stopped by max_minutes ({spec.train.max_minutes:g}) at optimizer step {position.step} of {total}"
        if position.step < total and spec.train.patience and position.stale_epochs >= spec.train.patience:
            measure = MONITORED[spec.train.monitor]
            return f"stopped early: no better validation {measure} in {position.stale_epochs} epochs"
    return ""


def _measure_epoch(session: Session) -> dict[str, Any]:
    """The epoch's row: metrics on train (online and re-measured), validation and test."""
    setup, position = session.setup, session.position
    row = {
        "type": "epoch",
        "epoch": position.epoch,
        "step": position.step,
        "partial": position.window < session.batches.steps_per_epoch,
        "lr": session.optimizer.param_groups[0]["lr"],
        "seconds": position.seconds,
        "train_online": session.online.result(),
    }
    session.processes.share_buffers(session.measured)
    parts = {"train": setup.train_subset, "val": setup.splits.val, "test": setup.splits.test}
    for name, indices in parts.items():
        logits = _logits(session, indices, flip_average=False)
        row[name] = summarize(logits, setup.dataset.labels[indices], class_names=setup.dataset.class_names)
    return row


def _predict(session: Session, run: Run) -> None:
    """Store predictions on every split by the weights that did best on validation."""
    setup = session.setup
    session.use_checkpoint(run.path / "checkpoints" / session.position.best.checkpoint)
    for name in ("train", "val", "test"):
        indices = getattr(setup.splits, name)
        logits = _logits(session, indices, flip_average=setup.spec.evaluation.flip_average)
        if session.processes.is_main:
            ids = tuple(setup.dataset.ids[index] for index in indices)
            run.write_predictions(
                name, Predictions(ids, setup.dataset.labels[indices], logits, setup.dataset.class_names)
            )


def _logits(session: Session, indices: NDArray[np.int64], *, flip_average: bool) -> NDArray[np.float32]:
    """Logits of the measured network, each image by one process."""
    setup, processes = session.setup, session.processes
    mine = session.logits(indices[processes.rank :: processes.world], flip_average=flip_average)
    logits = np.empty((len(indices), len(setup.dataset.class_names)), dtype=np.float32)
    for rank, part in enumerate(processes.gather(mine)):
        if len(part):
            logits[rank :: processes.world] = part
    return logits

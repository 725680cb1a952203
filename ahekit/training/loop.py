"""A training run from its first step, or its last checkpoint, to its predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ahekit.errors import AhekitError, CheckpointError, RunError, TrainingError
from ahekit.evaluation.predictions import Predictions
from ahekit.notes import Status
from ahekit.run import Run
from ahekit.signals import StopRequest
from ahekit.spec import RunSpec
from ahekit.training.checkpoint import DamagedCheckpoint, drop_optimizer
from ahekit.training.processes import Processes
from ahekit.training.recorder import Recorder
from ahekit.training.session import Ending, Session, restore, start
from ahekit.training.setup import Setup
from ahekit.training.steps import train_steps
from ahekit.training.stopping import Clock

Row = Mapping[str, Any]
Warn = Callable[[str], None]

STOPPED = "stopped on request"
_PARTS = ("train", "val", "test")
_LONGEST = 500  # characters of a reason
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # as torch's RuntimeErrors say it


class Watcher(Protocol):
    """Somebody to tell about progress."""

    def step(self, record: Row) -> None:
        """An optimizer step was taken."""

    def epoch(self, row: Row) -> None:
        """An epoch was trained and measured."""

    def prefix(self, done: int, total: int) -> None:
        """Before the first step: the frozen prefix was computed for so many images."""

    def answers(self, done: int, total: int) -> None:
        """Before the first step: the teacher was asked about so many views."""


def fit(
    setup: Setup,
    run: Run,
    *,
    watcher: Watcher,
    stop: StopRequest | None = None,
    processes: Processes | None = None,
    resume: bool = False,
    warn: Warn = lambda text: None,
) -> Status:
    """Train a run to its end, or until somebody asks to stop; every choice is made on validation.

    Args:
        warn: Told what the user should know and what stops nothing.

    Returns:
        The run's status: `state` is "finished" or "interrupted", `reason` says why it ended before its last epoch.

    Raises:
        TrainingError: A loss isn't finite, memory is short, or another process is gone. The run can be resumed from
            its last checkpoint.
        RunError: The run's folder can't be written.
        CheckpointError: No checkpoint can be gone on from.
    """
    processes = processes or Processes()
    stop = stop or StopRequest()
    session = start(setup, processes, fresh=not (resume and run.checkpoints()))
    if resume:
        _go_back(session, run, warn)
    recorder = Recorder(run, session)
    with _true_status_at_the_end(run, recorder):
        if processes.is_main:
            run.rewind_history(step=session.position.step, epoch=session.position.epoch)
        recorder.status("running")
        clock = Clock(
            processes,
            before=session.position.seconds,
            limit=60 * (setup.spec.train.max_minutes or float("inf")),
            between=60 * setup.spec.train.checkpoint_minutes,
        )
        # Also where only predictions are left: they are made of what was kept, which is rounded, as the others were.
        _compute_prefix(session, watcher, stop)
        if session.position.ending is None or session.position.ending.epochs < setup.spec.train.epochs:
            session.position.ending = None
            _ask_teacher(session, watcher, stop)
            _train(session, recorder, clock, watcher, stop, warn)
        if session.position.ending is None:
            recorder.checkpoint()
        # What comes now reads what was written.
        recorder.settle()
        if session.position.ending is None:
            return recorder.status("interrupted", STOPPED)
        if setup.prefix is not None and session.features is None:
            return recorder.status("interrupted", STOPPED)
        _predict(session, run)
        status = recorder.status("finished", session.position.ending.reason)
    if processes.is_main and not setup.spec.train.keep_optimizer:
        _drop_optimizers(run, warn)
    return status


@contextmanager
def _true_status_at_the_end(run: Run, recorder: Recorder) -> Iterator[None]:
    """Whatever ends the training, the run says that it was interrupted, and why."""
    try:
        yield
    except KeyboardInterrupt:
        _give_up(recorder, "ended at once, by a second Ctrl-C")
        raise
    except (TrainingError, RunError) as error:
        _give_up(recorder, str(error))
        raise type(error)(f"{error}; {_last_checkpoint(run)}") from error
    except MemoryError as error:
        _give_up(recorder, "out of memory")
        raise _short_of_memory(run, "the processor's") from error
    except RuntimeError as error:
        _give_up(recorder, f"{type(error).__name__}: {error}")
        if any(words in str(error) for words in _OUT_OF_MEMORY):
            on_card = any(name in str(error) for name in ("CUDA", "MPS"))
            raise _short_of_memory(run, "the GPU's" if on_card else "the processor's") from error
        raise
    except BaseException as error:
        _give_up(recorder, f"{type(error).__name__}: {error}")
        raise


def _give_up(recorder: Recorder, reason: str) -> None:
    # What ended the training may keep this from being written too; then the lock, which nobody holds, tells.
    with suppress(AhekitError):
        recorder.give_up(" ".join(reason.split())[:_LONGEST])


def _short_of_memory(run: Run, whose: str) -> TrainingError:
    return TrainingError(
        f"{whose} memory is too small for this run; start one with half the --batch-size and twice the --accum, which "
        f"gives the same optimizer steps; {_last_checkpoint(run)}"
    )


def _last_checkpoint(run: Run) -> str:
    checkpoints = run.checkpoints()
    return f"the last checkpoint is {checkpoints[-1].name} in {run.path}" if checkpoints else "no checkpoint yet"


def _go_back(session: Session, run: Run, warn: Warn) -> None:
    """Put the session at the run's last whole checkpoint; later ones that are damaged are kept under another name.

    Raises:
        CheckpointError: There are checkpoints, and none of them can be used.
    """
    processes = session.processes
    damaged: dict[str, str] = {}
    checkpoints = run.checkpoints()
    for checkpoint in reversed(checkpoints):
        fault: str | None = None
        try:
            restore(session, checkpoint)
        except DamagedCheckpoint as error:
            fault = str(error)
        faults = [told for told in processes.gather(fault) if told]
        if not faults:
            break
        damaged[checkpoint.name] = faults[0]
    else:
        if checkpoints:
            first = next(iter(damaged.values()))
            raise CheckpointError(
                f"{first}. No other checkpoint of {run.path} is whole; "
                f"`ahekit train --spec {run.path / 'spec.yaml'}` repeats the run from its start"
            )
        return
    for name, fault in damaged.items():
        warn(f"{fault}. Going on from {checkpoint.name}; what is left of the damaged one is kept as damaged-{name}")
    with processes.main_first():
        if processes.is_main:
            for name in damaged:
                run.set_aside_checkpoint(run.path / "checkpoints" / name)


def _compute_prefix(session: Session, watcher: Watcher, stop: StopRequest) -> None:
    """Compute what is kept of the frozen prefix, unless somebody asks to stop."""
    for done, total in session.compute_prefix():
        watcher.prefix(done, total)
        if stop.asked:
            break


def _ask_teacher(session: Session, watcher: Watcher, stop: StopRequest) -> None:
    """Let the teacher answer about every view, unless somebody asks to stop."""
    for done, total in session.ask_teacher():
        watcher.answers(done, total)
        if stop.asked:
            break


def _train(session: Session, recorder: Recorder, clock: Clock, watcher: Watcher, stop: StopRequest, warn: Warn) -> None:
    """Train epoch by epoch until the position has its ending, or somebody asks to stop."""
    spec = session.setup.spec
    position = session.position
    if clock.poll(stop).asked:
        return
    warned: set[str] = set()
    while position.ending is None:
        session.enter_epoch(position.epoch)
        steps_in_epoch = session.batches.steps_per_epoch
        for step in train_steps(
            session.model,
            session.batches.epoch(position.epoch, start=position.window),
            session.optimizer,
            compute=session.setup.compute,
            rate=session.rate,
            first_step=position.step,
            clip_norm=spec.optim.clip_norm,
            label_smoothing=spec.loss.label_smoothing,
            distill=spec.distill,
            average=session.average_weights,
            processes=session.processes,
        ):
            session.advance(step)
            recorder.add(step.row())
            watcher.step(step.row())
            polled = clock.poll(stop)
            position.seconds = polled.seconds
            if polled.asked:
                return
            if polled.late:
                break
            # At an epoch's end there is a checkpoint anyhow.
            if polled.due and position.window < steps_in_epoch:
                recorder.checkpoint()
                clock.saved()
        row = _measure(session, _epoch_row(session), _measured_parts(spec, position.epoch), warned, warn)
        polled = clock.poll(stop)
        if polled.late:
            # The last epoch, which may be the one to choose.
            row = _measure(session, row, _PARTS, warned, warn)
        session.close_epoch(row)
        position.seconds = polled.seconds
        position.ending = _ending(session, is_late=polled.late)
        if position.ending is not None:
            row = _measure(session, row, _PARTS, warned, warn)
        recorder.add(row)
        recorder.checkpoint()
        clock.saved()
        watcher.epoch(row)


def _ending(session: Session, *, is_late: bool) -> Ending | None:
    """Whether training is over after an epoch, and why."""
    train = session.setup.spec.train
    position = session.position
    total = session.total_steps
    reason = None
    if position.step >= total:
        reason = ""
    elif is_late:
        reason = f"stopped by max_minutes ({train.max_minutes:g}) at optimizer step {position.step} of {total}"
    elif train.patience and position.stale_epochs >= train.patience:
        words = session.setup.metric.words
        reason = f"stopped early: no better validation {words} in {position.stale_epochs} epochs"
    if reason is None:
        return None
    if not position.best.epoch:
        words = session.setup.metric.words
        unchosen = f"no epoch could be chosen: {words} was not measured in any; the predictions are of the last weights"
        reason = f"{reason}; {unchosen}" if reason else unchosen
    return Ending(reason, train.epochs)


def _measured_parts(spec: RunSpec, epoch: int) -> Sequence[str]:
    """What is measured after an epoch that may not be the last one.

    Measuring is paid with time for training: train and test, which decide nothing, are measured at some epochs. So is
    validation while images are small, when measuring them at the full size is a larger part of an epoch's time.
    """
    if spec.evaluation.is_point(epoch, epochs=spec.train.epochs):
        return _PARTS
    is_small = spec.progressive.size_at(epoch, epochs=spec.train.epochs) is not None
    return () if is_small and not spec.train.patience else ("val",)


def _epoch_row(session: Session) -> dict[str, Any]:
    """The row of an epoch whose steps are done, before anything is measured."""
    position = session.position
    return {
        "type": "epoch",
        "epoch": position.epoch,
        "step": position.step,
        "partial": position.window < session.batches.steps_per_epoch,
        "lr": session.optimizer.param_groups[0]["lr"],
        "seconds": position.seconds,
        "train_online": session.online.result(),
    }


def _measure(
    session: Session, row: Mapping[str, Any], parts: Sequence[str], warned: set[str], warn: Warn
) -> dict[str, Any]:
    """An epoch's row with metrics on parts of the images, those that it has among them.

    Args:
        warned: Names of metrics that the user was already warned of.
    """
    setup = session.setup
    measured = dict(row)
    parts = [name for name in parts if name not in row]

    def warn_once(name: str, text: str) -> None:
        if name not in warned and session.processes.is_main:
            warned.add(name)
            chosen = ", so the run can't choose it" if name == setup.metric.name else ""
            warn(f"epoch {row['epoch']}: {text}{chosen}")

    if parts:
        session.processes.share_buffers(session.measured)
    for name in parts:
        indices = setup.train_subset if name == "train" else getattr(setup.splits, name)
        logits = session.logits(indices, flip_average=False)
        if session.processes.is_main:
            measured[name] = setup.metrics.measure(_predictions(setup, indices, logits), warn=warn_once)
    # What a metric returns need not be the same in every process, and the choice of the epoch has to be.
    agreed: dict[str, Any] = session.processes.agree(measured)
    return agreed


def _predictions(setup: Setup, indices: NDArray[np.int64], logits: NDArray[np.float32]) -> Predictions:
    ids = tuple(setup.dataset.ids[index] for index in indices)
    return Predictions(ids, setup.dataset.labels[indices], logits, setup.dataset.class_names)


def _predict(session: Session, run: Run) -> None:
    """Store predictions on every split by the weights that did best on validation."""
    setup = session.setup
    best = session.position.best
    if best.checkpoint:
        session.use_checkpoint(run.path / "checkpoints" / best.checkpoint)
    for name in ("train", "val", "test"):
        indices = getattr(setup.splits, name)
        logits = session.logits(indices, flip_average=setup.spec.evaluation.flip_average)
        with session.processes.main_first():
            if session.processes.is_main:
                run.write_predictions(name, _predictions(setup, indices, logits))


def _drop_optimizers(run: Run, warn: Warn) -> None:
    try:
        for checkpoint in run.checkpoints():
            drop_optimizer(checkpoint)
    except (OSError, CheckpointError) as error:
        warn(f"{run.path}: the optimizer's state, which a finished run doesn't need, can't be removed ({error})")

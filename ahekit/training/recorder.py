"""What a training leaves behind while it runs: history, checkpoints, status."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from ahekit.run import Run
from ahekit.training.session import Best, Session
from ahekit.training.steps import StepRecord
from ahekit.training.stopping import StopRequest


@dataclass(frozen=True)
class Polled:
    """What all processes agree on after a step: a stop was asked for, time is up, a checkpoint is due."""

    asked: bool = False
    late: bool = False
    due: bool = False


class Recorder:
    """Writes a session's progress into its run folder; only the main process writes, all have to call."""

    def __init__(self, run: Run, session: Session) -> None:
        self._run, self._session = run, session
        self._rows: list[dict[str, Any]] = []
        self._before = session.position.seconds
        self._started = self._saved = time.monotonic()
        self.polled = Polled()
        self.status("running")

    def add(self, step: StepRecord) -> None:
        """Note an optimizer step."""
        session = self._session
        session.position.step, session.position.window = step.step, step.window + 1
        known = int((step.labels >= 0).sum())
        session.online.update(step.predicted.numpy(), step.labels.numpy(), loss_sum=step.loss * known)
        self._rows.append(step.row())

    def poll(self, stop: StopRequest, limit: float) -> Polled:
        """Ask whether to stop or to save; the answer is the same in every process.

        Args:
            limit: Seconds the run may take in all.
        """
        now, session = time.monotonic(), self._session
        session.position.seconds = self._before + now - self._started
        late = session.position.seconds > limit
        due = now - self._saved > session.setup.spec.train.checkpoint_minutes * 60
        # The main process's clock decides for all.
        clock = float(session.processes.is_main)
        counts = session.processes.sum(float(stop.asked), late * clock, due * clock)
        self.polled = Polled(*(count > 0 for count in counts))
        return self.polled

    def checkpoint_if_due(self) -> None:
        """Save between epochs' ends; at an epoch's end `end_epoch` does."""
        position = self._session.position
        if self.polled.due and position.window < self._session.batches.steps_per_epoch:
            self.checkpoint()

    def end_epoch(self, row: dict[str, Any]) -> None:
        """Note a measured epoch, move on to the next, and save."""
        session, position = self._session, self._session.position
        self._rows.append(row)
        position.epoch, position.window = position.epoch + 1, 0
        val = row["val"]
        if position.best.is_beaten_by(val, session.setup.spec.train.monitor):
            position.best = Best(row["epoch"], row["step"], val["f1"], val["loss"], self._name())
        session.online = type(session.online)(len(session.setup.dataset.class_names))
        self.checkpoint()
        self.status("running")

    def checkpoint(self) -> None:
        """Save the session; of earlier checkpoints the best stays, and all when the spec says so."""
        session, rng = self._session, self._session.gathered_random_state()
        self._saved = time.monotonic()
        if not session.processes.is_main:
            return
        self._flush()
        last = self._run.add_checkpoint(self._name(), partial(session.save, rng=rng))
        if session.setup.spec.train.keep_checkpoints == "all":
            return
        for checkpoint in self._run.checkpoints():
            if checkpoint.name not in (last.name, session.position.best.checkpoint):
                self._run.remove_checkpoint(checkpoint)

    def give_up(self, reason: str) -> None:
        """Note why training broke off; the last checkpoint stays the last."""
        if self._session.processes.is_main:
            self._flush()
        self.status("interrupted", reason)

    def status(self, state: str, reason: str = "") -> dict[str, Any]:
        """Write and return the run's status."""
        position = self._session.position
        more = {"best": asdict(position.best), "epoch": position.epoch, "step": position.step}
        if self._session.processes.is_main:
            self._run.write_status(state, reason, **more, seconds=position.seconds)
        return {"state": state, "reason": reason, **more}

    def _name(self) -> str:
        position = self._session.position
        return f"step-{position.step:08d}-epoch-{position.epoch:04d}"

    def _flush(self) -> None:
        self._run.append_history(self._rows)
        self._rows = []

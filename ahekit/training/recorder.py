"""What a training leaves behind while it runs: history, checkpoints, status."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from ahekit.errors import RunError
from ahekit.notes import Status
from ahekit.run import Run
from ahekit.training.session import Session


class Recorder:
    """Writes a session's progress into its run folder; only the main process writes, all have to call."""

    def __init__(self, run: Run, session: Session) -> None:
        self._run = run
        self._session = session
        self._rows: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Note a row of the history; it is written with the next checkpoint."""
        self._rows.append(row)

    def checkpoint(self) -> None:
        """Save the session; of earlier checkpoints the best stays, and all when the spec says so.

        Raises:
            RunError: The disk is full, or the folder can't be written.
        """
        session = self._session
        rng = session.gathered_random_state()
        # Nobody goes on before it is written: the next thing may be to read it.
        with session.processes.main_first():
            if session.processes.is_main:
                self._flush()
                last = self._run.add_checkpoint(session.position.name, partial(session.save, rng=rng))
                self._drop_earlier(last.name)

    def _drop_earlier(self, last: str) -> None:
        if self._session.setup.spec.train.keep_checkpoints == "all":
            return
        for checkpoint in self._run.checkpoints():
            if checkpoint.name not in (last, self._session.position.best.checkpoint):
                self._run.remove_checkpoint(checkpoint)

    def give_up(self, reason: str) -> None:
        """Note why training broke off; the last checkpoint stays the last."""
        if self._session.processes.is_main:
            with suppress(RunError):
                self._flush()
        self.status("interrupted", reason)

    def status(self, state: str, reason: str = "") -> Status:
        """Write and return the run's status."""
        position = self._session.position
        values = {
            "best": position.best.model_dump(),
            "epoch": position.epoch,
            "step": position.step,
            "seconds": position.seconds,
        }
        if self._session.processes.is_main:
            self._run.write_status(state, reason, **values)
        return Status.of({"state": state, "reason": reason, **values})

    def _flush(self) -> None:
        self._run.append_history(self._rows)
        self._rows = []

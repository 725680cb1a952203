"""What a training leaves behind while it runs: history, checkpoints, status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from ahekit.errors import AhekitError
from ahekit.notes import Status
from ahekit.run import Run
from ahekit.training.checkpoint import Stored, save_checkpoint
from ahekit.training.session import Session

Row = Mapping[str, Any]


class Recorder:
    """Writes a session's progress into its run folder; only the main process writes, all have to call.

    A checkpoint of a session is a copy in memory, which a thread of its own writes while training goes on. One is
    written at a time, and whoever needs what is on the disk settles first.
    """

    def __init__(self, run: Run, session: Session) -> None:
        self._run = run
        self._session = session
        self._rows: list[Row] = []
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._written: Future[None] | None = None

    def add(self, row: Row) -> None:
        """Note a row of the history; it is written with the next checkpoint."""
        self._rows.append(row)

    def checkpoint(self) -> None:
        """Save the session, its history and a status; of earlier checkpoints the best stays, and all if the spec says.

        Raises:
            RunError: The checkpoint before this one could not be written.
        """
        self.settle()
        session = self._session
        rng = session.gathered_random_state()
        if session.processes.is_main:
            rows, self._rows = self._rows, []
            name, best = session.position.name, session.position.best.checkpoint
            self._written = self._writer.submit(
                self._write, rows, name, session.stored(rng), keep=(name, best), status=self._status_values()
            )

    def settle(self) -> None:
        """Wait until the last checkpoint is on the disk.

        Raises:
            RunError: It isn't: the disk is full, or the folder can't be written.
        """
        with self._session.processes.main_first():
            self._wait()

    def give_up(self, reason: str) -> None:
        """Note why training broke off; the last checkpoint stays the last."""
        if self._session.processes.is_main:
            with suppress(AhekitError):
                self._wait()
            with suppress(AhekitError):
                self._run.append_history(self._rows)
                self._rows = []
        self.status("interrupted", reason)

    def status(self, state: str, reason: str = "") -> Status:
        """Write and return the run's status."""
        values = self._status_values()
        if self._session.processes.is_main:
            self._run.write_status(state, reason, **values)
        return Status.of({"state": state, "reason": reason, **values})

    def _status_values(self) -> dict[str, Any]:
        position = self._session.position
        return {
            "best": position.best.model_dump(),
            "epoch": position.epoch,
            "step": position.step,
            "seconds": position.seconds,
        }

    def _write(
        self, rows: Sequence[Row], name: str, stored: Stored, *, keep: Sequence[str], status: Mapping[str, Any]
    ) -> None:
        self._run.append_history(rows)
        self._run.add_checkpoint(name, partial(save_checkpoint, stored=stored))
        # It names the best checkpoint: written once that is there, and before the one that was the best goes.
        self._run.write_status("running", "", **status)
        if self._session.setup.spec.train.keep_checkpoints == "all":
            return
        for checkpoint in self._run.checkpoints():
            if checkpoint.name not in keep:
                self._run.remove_checkpoint(checkpoint)

    def _wait(self) -> None:
        written, self._written = self._written, None
        if written is not None:
            written.result()

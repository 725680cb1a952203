"""When a training is to pause: somebody asks for it, its time is up, or a checkpoint is due."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ahekit.signals import StopRequest
from ahekit.training.processes import Processes


@dataclass(frozen=True)
class Polled:
    """What all processes agree on after a step.

    Attributes:
        asked: Somebody asked for a stop.
        late: The run's time is up.
        due: A checkpoint is due.
        seconds: Spent on the run so far.
    """

    asked: bool
    late: bool
    due: bool
    seconds: float


class Clock:
    """The time a run has taken, over all the processes that worked on it one after the other.

    Args:
        before: Seconds spent on the run by earlier processes.
        limit: Seconds it may take in all.
        between: Seconds between two checkpoints within an epoch.
    """

    def __init__(self, processes: Processes, *, before: float, limit: float, between: float) -> None:
        self._processes = processes
        self._before = before
        self._limit = limit
        self._between = between
        self._started = self._saved = time.monotonic()

    def poll(self, stop: StopRequest) -> Polled:
        """Whether to stop or to save; the answer is the same in every process, which all have to ask."""
        now = time.monotonic()
        seconds = self._before + now - self._started
        late = seconds > self._limit
        due = now - self._saved > self._between
        # The main process's clock decides for all.
        clock = float(self._processes.is_main)
        asked, late_count, due_count, spent = self._processes.sum(
            float(stop.asked), late * clock, due * clock, seconds * clock
        )
        return Polled(asked > 0, late_count > 0, due_count > 0, spent)

    def saved(self) -> None:
        """A checkpoint was written: the next one is due a while from now."""
        self._saved = time.monotonic()

"""Ctrl-C and SIGTERM as a request that work in progress answers when it can."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether somebody asked for a stop.

    Attributes:
        signal: The number of the signal that asked; 0 where none did.
    """

    def __init__(self) -> None:
        self.asked = False
        self.signal = 0


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C (or SIGTERM) into a request; the second ends the process at once, as it always does."""
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        request.asked = True
        request.signal = number
        for which, handler in earlier.items():
            signal.signal(which, handler)

    earlier = {which: signal.getsignal(which) for which in (signal.SIGINT, signal.SIGTERM)}
    for which in earlier:
        signal.signal(which, ask)
    try:
        yield request
    finally:
        for which, handler in earlier.items():
            signal.signal(which, handler)

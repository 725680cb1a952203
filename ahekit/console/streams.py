"""Streams that may be closed, full, or left by their reader: no reason to die in the middle of a run."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class SturdyStream:
    """A text stream whose first failure is remembered, and that swallows what is written after it.

    Attributes:
        failure: What writing failed with; None so far.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write text, if that can still be done."""
        if self.failure is None:
            try:
                self.stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        if self.failure is None:
            try:
                self.stream.flush()
            except OSError as error:
                self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _give_up(self, error: OSError) -> None:
        self.failure = error
        # What the stream still holds goes nowhere, now and when the process ends.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


@contextmanager
def sturdy_streams() -> Iterator[tuple[SturdyStream, SturdyStream]]:
    """Inside, stdout and stderr are sturdy, and whichever of the three was closed leads nowhere.

    Yields:
        stdout and stderr.
    """
    _open_closed_ones()
    before = sys.stdout, sys.stderr
    for stream in before:
        # A file name that the terminal's encoding can't show is no reason to die either.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sturdy = SturdyStream(sys.stdout), SturdyStream(sys.stderr)
    sys.stdout, sys.stderr = sturdy
    try:
        yield sturdy
    finally:
        for stream in sturdy:
            stream.flush()
        sys.stdout, sys.stderr = before


def lost_output(stream: SturdyStream) -> str:
    """Why what was written didn't arrive, in words; nothing when it did, or when its reader wanted no more."""
    stream.flush()
    if stream.failure is None or stream.failure.errno == errno.EPIPE:
        return ""
    return f"the output can't be written ({stream.failure.strerror})"


def _open_closed_ones() -> None:
    """Open whichever of the three is closed on nothing: the next file would be opened in its place, and written to."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115

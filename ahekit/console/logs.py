"""What libraries log, told by the console rather than past it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ahekit.console.messages import warn


class _Told(logging.Handler):
    """Tells each record as a warning of one line, whatever it holds."""

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`."""
        library = record.name.partition(".")[0]
        warn(f"{library}: {' '.join(record.getMessage().split())}")


@contextmanager
def telling_logs() -> Iterator[None]:
    """Inside, libraries' log records from warnings on are warnings of ours.

    Python's last resort would print them raw on stderr, into a progress bar and with whatever a file name holds.
    """
    handler = _Told(logging.WARNING)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)

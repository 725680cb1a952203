"""A bound on the memory that several threads take at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryBudget:
    """Bytes that may be in use at a time; who asks for more waits until others have given theirs back."""

    def __init__(self, limit: int) -> None:
        """A budget of `limit` bytes, all of them free."""
        self.limit = limit
        self.in_use = 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Hold `count` bytes for the block. More than the whole budget is had alone, when nobody else holds any."""
        count = min(count, self.limit)
        with self._changed:
            self._changed.wait_for(lambda: self.in_use + count <= self.limit)
            self.in_use += count
        try:
            yield
        finally:
            with self._changed:
                self.in_use -= count
                self._changed.notify_all()

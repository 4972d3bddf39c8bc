"""Numbers for evaluations in flight, from which programs get user ids of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Most evaluations of one sandbox in flight; a caller beyond waits.
SLOTS: Final = 512


class Slots:
    """Hands out the smallest numbers that are free."""

    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(SLOTS)
        self._lock = threading.Lock()
        self._taken: set[int] = set()

    @contextmanager
    def take(self) -> Iterator[int]:
        """Give the block a number below `SLOTS` that nobody else has meanwhile; wait while all are taken."""
        with self._free:
            with self._lock:
                slot = next(number for number in range(SLOTS) if number not in self._taken)
                self._taken.add(slot)
            try:
                yield slot
            finally:
                with self._lock:
                    self._taken.remove(slot)

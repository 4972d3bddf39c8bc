"""Numbers for evaluations in flight, from which programs get user ids of their own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sandbox.errors import SandboxFailure

#: Most evaluations of one sandbox in flight; a caller beyond waits.
SLOTS: Final = 512


class Slots:
    """Hands out the smallest numbers that are free."""

    def __init__(self, *, leased: bool) -> None:
        """Start with all numbers free.

        Args:
            leased: Whether the user ids behind the numbers are the machine's, so that other sandboxes must be kept off
                them: programs of one user id share the count of their processes.
        """
        self._leased = leased
        self._free = threading.BoundedSemaphore(SLOTS)
        self._lock = threading.Lock()
        self._taken: dict[int, socket.socket | None] = {}

    @contextmanager
    def take(self) -> Iterator[int]:
        """Give the block a number below `SLOTS` that nobody else has meanwhile; wait while all are taken.

        Raises:
            SandboxFailure: Other sandboxes on the machine have all of them.
        """
        with self._free:
            with self._lock:
                slot = self._claim()
            try:
                yield slot
            finally:
                with self._lock:
                    lease = self._taken.pop(slot)
                if lease is not None:
                    lease.close()

    def _claim(self) -> int:
        for slot in range(SLOTS):
            if slot in self._taken:
                continue
            if not self._leased:
                self._taken[slot] = None
                return slot
            # An abstract address is a lock that the kernel frees with its holder, however that ends.
            lease = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                lease.bind(f"\0sandbox-slot-{slot}")
            except OSError:
                lease.close()
                continue
            self._taken[slot] = lease
            return slot
        raise SandboxFailure(f"other sandboxes use all {SLOTS} user ids that are set aside for programs")

"""How many evaluations may run at once, when that changes while they run."""

import contextlib
import threading
from collections.abc import Iterator


class Gate:
    """Admits so many at once; a narrower gate lets those inside finish and admits nobody until they are few enough."""

    def __init__(self, width: int) -> None:
        """Open the gate.

        Args:
            width: How many may be inside, at least 1.
        """
        self._width = width
        self._inside = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Wait to be admitted, and stay inside for the body."""
        with self._changed:
            self._changed.wait_for(lambda: self._inside < self._width)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def narrowed(self, width: int) -> Iterator[None]:
        """Admit at most `width` at once during the body; a wider one changes nothing."""
        with self._changed:
            before, self._width = self._width, min(width, self._width)
        try:
            yield
        finally:
            with self._changed:
                self._width = before
                self._changed.notify_all()

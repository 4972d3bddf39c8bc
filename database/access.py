"""What the store's reads and writes share: their run, its database, and the time that they take."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from database.session import Storage
from evolve.types import RunRecord


class RunAccess:
    """One run's way to the database.

    Args:
        storage: The database.
        record: The run.
        clock: Seconds from any start.
    """

    def __init__(self, storage: Storage, record: RunRecord, clock: Callable[[], float]) -> None:
        self.record = record
        self._storage = storage
        self._clock = clock
        self._spent_s = 0.0
        self._spent = threading.Lock()

    @property
    def database_s(self) -> float:
        """Seconds that all threads together have spent in this store, waiting for one another included."""
        return self._spent_s

    @contextmanager
    def _timed(self) -> Iterator[None]:
        start = self._clock()
        try:
            yield
        finally:
            with self._spent:
                self._spent_s += self._clock() - start

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._timed(), self._storage.reading() as connection:
            yield connection

    @contextmanager
    def _rows(self) -> Iterator[Session]:
        """Give a session for typed rows, which are read only."""
        with self._reading() as connection, Session(connection, autoflush=False) as session:
            yield session

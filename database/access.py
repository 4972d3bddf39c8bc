"""What the store's reads and writes share: their run, its database, and the time that they take."""

import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from database.session import DAMAGED, Storage
from evolve.errors import EvolveError, StoreError
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
        with self._timed(), self._storage.reading() as connection, self._damage_named():
            yield connection

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Name the cause of what cannot be read although this program wrote it: SQLite does not check its pages."""
        try:
            yield
        except EvolveError:  # of these, some are lookup errors too
            raise
        except (ValueError, LookupError, zlib.error, struct.error) as error:
            raise StoreError(f"the database {self._storage.where} holds what nobody stored: {DAMAGED}") from error

    @contextmanager
    def _rows(self) -> Iterator[Session]:
        """Give a session for typed rows, which are read only."""
        with self._reading() as connection, Session(connection, autoflush=False) as session:
            yield session

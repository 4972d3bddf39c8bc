"""A database and the runs in it."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from sqlalchemy import ColumnElement, delete, exists, insert, select
from sqlalchemy.orm import Session

from database.codec import pack_text
from database.mapping import to_record
from database.rows import AttemptRow, RunRow
from database.schema import prepare
from database.session import Storage, connect
from database.store import RunStore
from evolve.errors import NotFoundError, RunFolderError
from evolve.types import RunRecord


class Database:
    """All runs of one database. Any thread may call any method.

    Args:
        storage: The database, its tables up to date.
        clock: Seconds from any start; each run's store measures its own time with it.
    """

    def __init__(self, storage: Storage, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._clock = clock

    def create_run(  # noqa: PLR0913 - the fields of a `RunRecord`, each by its name
        self,
        *,
        problem: str,
        model: str,
        folder: str,
        seed: int,
        config: str,
        started_at: float,
        fingerprint: str = "",
    ) -> RunStore:
        """Store a new run; `RunRecord` says what the arguments mean.

        A run of the same folder that has no attempt goes: its process was killed before it had begun.

        Raises:
            RunFolderError: The folder holds a run already, or its name is no Unicode text.
            StoreError: The database failed.
        """
        values = {
            "problem": problem,
            "model": model,
            "folder": folder,
            "seed": seed,
            "started_at": started_at,
            "config": pack_text(config),
            "fingerprint": fingerprint or None,
        }
        for name, text in (("folder", folder), ("model", model), ("problem", problem)):
            if not _is_plain(text):
                raise RunFolderError(f"the run's {name} {text!r} is not Unicode text: use another name")
        with self._storage.writing(through_power_cut=True) as connection:
            begun = exists().where(AttemptRow.run_id == RunRow.id)
            connection.execute(delete(RunRow).where(RunRow.folder == folder, ~begun))
            other = connection.scalar(select(RunRow.id).where(RunRow.folder == folder))
            if other is not None:
                raise RunFolderError(f"the folder {folder} holds run {other} already: resume it, or choose another")
            run_id = connection.execute(insert(RunRow).returning(RunRow.id), values).scalar_one()
        return self.run(run_id)

    def run(self, run_id: int) -> RunStore:
        """Return one run.

        Raises:
            NotFoundError: The database has no such run.
        """
        return self._store(self._record(run_id))

    def find_run(self, folder: str) -> RunStore | None:
        """Return the run of this folder, an absolute path, or None."""
        record = self._first(RunRow.folder == folder) if _is_plain(folder) else None
        return None if record is None else self._store(record)

    def runs(self) -> Sequence[RunRecord]:
        """Return all runs in the order of their creation."""
        with self._storage.reading() as connection, Session(connection) as session:
            return [to_record(row) for row in session.scalars(select(RunRow).order_by(RunRow.id))]

    def close(self) -> None:
        """Close the database; its runs' stores raise `StoreError` afterwards."""
        self._storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _record(self, run_id: int) -> RunRecord:
        record = self._first(RunRow.id == run_id)
        if record is None:
            raise NotFoundError(
                f"the database {self._storage.where} has no run {run_id}: it is damaged, or another run's; put the "
                "right one, or a copy of it, in its place"
            )
        return record

    def _first(self, condition: ColumnElement[bool]) -> RunRecord | None:
        with self._storage.reading() as connection, Session(connection) as session:
            row = session.scalars(select(RunRow).where(condition)).first()
            return None if row is None else to_record(row)

    def _store(self, record: RunRecord) -> RunStore:
        return RunStore(self._storage, record, self._clock)


def open_database(
    url: str, *, create: bool = True, to_read: bool = False, clock: Callable[[], float] = time.perf_counter
) -> Database:
    """Open a database, make its tables if it is new, and bring them up to date if it is older.

    Args:
        url: `sqlite:///FILE`, or the URL of any database that SQLAlchemy speaks to.
        create: Whether a missing SQLite file is made; a command that only reads turns it off.
        to_read: Whether a SQLite file that cannot be written, as in an archive, is opened all the same.
        clock: Seconds from any start, for `RunStore.database_s`.

    Raises:
        ConfigError: The URL is none, or its driver is not installed.
        RunFolderError: The SQLite file or its folder is missing (the file where `create` is off) or not writable.
        StoreError: The file is damaged, not ours or of a newer version, or the server cannot be reached.
    """
    storage = Storage(connect(url, create=create, to_read=to_read))
    try:
        prepare(storage)
    except BaseException:
        storage.close()
        raise
    return Database(storage, clock)


def _is_plain(text: str) -> bool:
    """Whether every database can hold `text` in a text column."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)

"""Connections and transactions: what each kind of database is told, one writer at a time, and errors of one line.

What survives what is in `README.md`; it follows from `journal_mode` and `synchronous` below.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, make_url, select
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from evolve.errors import ConfigError, RunFolderError, StoreError

#: How long a statement waits for another process that writes, and a thread for a connection.
WAIT_S = 60.0
#: Between two tries where SQLite does not wait itself.
_PAUSE_S = 0.01
#: Connections that readers share; a writer takes one more.
CONNECTIONS = 8
#: Replies take 1 to 4 kB: in SQLite's pages of 4 kB nearly half of the file would be left empty.
PAGE_BYTES = 8192
#: Pages that a connection keeps, in KiB, if it has read so many: most of what steps change among a million programs.
CACHE_KIB = 128 * 1024
#: Pages in the log, 32 MiB, at which a commit copies them into the file: one that several steps changed is copied once.
CHECKPOINT_PAGES = 4096
#: The advisory lock of a PostgreSQL database that a process holds while it changes the tables: any number of our own.
MIGRATION_LOCK = 0x746865746165766F
DAMAGED = "the file is damaged: save what is left with `sqlite3 FILE .recover`, or put a copy in its place"
#: How a cure ends: the failure may come before a run is stored, in one that goes on, or while one is looked at.
_AGAIN = "then try again, or resume the run if it has begun"
#: The cure for each failure that a user can mend, by words of the driver's message.
CURES = (
    # SQLite
    ("locked", f"another program holds it: end that program, {_AGAIN}"),
    ("full", f"free some space on the disk, {_AGAIN}"),
    ("disk I/O error", f"check the disk, its space and the limit of a file's size, {_AGAIN}"),
    ("readonly", f"make the file and its folder writable, {_AGAIN}"),
    ("unable to open", "check that its folder is there and writable"),
    ("malformed", DAMAGED),
    ("not a database", f"it is something else, or {DAMAGED}"),
    ("UNIQUE", "it is stored already: a run must not be written by two programs at once"),
    # PostgreSQL
    ("duplicate key", "it is stored already: a run must not be written by two programs at once"),
    ("No space left", f"free some space on the server's disk, {_AGAIN}"),
    ("Connection refused", "start the server, or correct the host and port in database.url"),
    ("Is the server running", "start the server, or correct the host and port in database.url"),
    ("could not translate host", "correct the host in database.url"),
    ("failed to resolve host", "correct the host in database.url"),
    ("authentication failed", "correct the user and password in database.url"),
    ("no password supplied", "add the password to database.url: postgresql+psycopg://USER:PASSWORD@HOST/NAME"),
    ("does not exist", "create it on the server, or correct the name in database.url"),
    ("permission denied", "let the user of database.url create and write tables, or name another"),
    ("connection slots", f"let the server take more connections (max_connections), {_AGAIN}"),
    ("too many clients", f"let the server take more connections (max_connections), {_AGAIN}"),
)
#: What a URL may name, and the driver that is used for it.
DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
URLS = "sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
#: How long a server may take to answer.
CONNECT_S = 10


class Storage:
    """One database: its connections, and the lock that lets one thread write at a time.

    SQLite has one writer anyway; waiting for a lock in the process is fair and costs nothing, whereas SQLite's own
    waiting polls. Other databases keep the same rule: a run has one process that writes, a millisecond at a time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine
        if engine.dialect.name == "postgresql":  # whose other transactions see more with each statement
            self._reader = engine.execution_options(isolation_level="REPEATABLE READ")
        self._writer = engine.execution_options(begin="IMMEDIATE", synchronous="NORMAL")
        self._safe_writer = engine.execution_options(begin="IMMEDIATE", synchronous="FULL")
        self._write = threading.Lock()
        self._closed = False
        self.where = place(engine.url)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection in a transaction that sees one state of the database.

        Raises:
            StoreError: The database failed or is closed.
        """
        with self._translated(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, *, through_power_cut: bool = False) -> Iterator[Connection]:
        """Give a connection in a transaction that commits at the end, or leaves nothing behind when it fails.

        Args:
            through_power_cut: Wait until the disk has this transaction and all that came before it.

        Raises:
            StoreError: The database failed or is closed.
        """
        engine = self._safe_writer if through_power_cut else self._writer
        with self._translated(), self._write, engine.begin() as connection:
            yield connection

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Give a connection to change the tables with; other connections should be idle.

        Other processes that would change them wait until it ends: for SQLite's own lock, or for PostgreSQL's advisory
        lock, which stands for tables that need not exist yet. SQLite can only change a table by making it anew and
        dropping the old one, so its foreign keys rest meanwhile, and are checked as a whole before the transaction
        commits.

        Raises:
            StoreError: The database failed, or a row would refer to one that is not there; nothing is changed then.
        """
        engine = self._safe_writer.execution_options(foreign_keys="OFF")
        try:
            with self._translated(), self._write, engine.begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
                yield connection
                if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").all():
                    raise StoreError(f"the database {self.where} refers to rows that it lacks: put a copy in its place")
        finally:
            self._engine.dispose()  # the next connections check foreign keys again

    def close(self) -> None:
        """Close all connections; a transaction under way in another thread ends first, a later one is refused."""
        with self._write:
            self._closed = True
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        if self._closed:
            raise StoreError(f"the database {self.where} is closed: open it again")
        try:
            yield
        except (DBAPIError, PoolTimeoutError) as error:
            raise store_error(self.where, error) from error


def store_error(where: str, error: DBAPIError | PoolTimeoutError) -> StoreError:
    """Return the error of one line for what the driver or the pool reported."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    reason = " ".join(str(cause).split())
    cure = next((cure for word, cure in CURES if word in reason), f"see that it can be reached, {_AGAIN}")
    return StoreError(f"the database {where} failed ({reason}): {cure}")


def place(url: URL) -> str:
    """Return how messages name the database: the file, or the URL without its password."""
    return url.database or "" if url.get_backend_name() == "sqlite" else url.render_as_string(hide_password=True)


def connect(text: str, *, create: bool, to_read: bool = False) -> Engine:
    """Return an engine for a database URL; no connection is made yet.

    Args:
        text: The URL.
        create: Whether a missing SQLite file is made.
        to_read: Whether a SQLite file that cannot be written, as in an archive, is opened all the same.

    Raises:
        ConfigError: It is no database URL, or its driver is not installed.
        RunFolderError: The SQLite file or its folder is missing (the file where `create` is off) or not writable.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise ConfigError(f"database.url={text!r} is no database URL: expected {URLS}") from error
    if url.drivername not in DRIVERS:
        raise ConfigError(f"database.url names {url.drivername!r}, which is not supported: use {URLS}")
    url = url.set(drivername=DRIVERS[url.drivername])
    if url.get_backend_name() != "sqlite":
        return _connect_postgres(url)
    return _connect_sqlite(url, create=create, to_read=to_read)


def _connect_postgres(url: URL) -> Engine:
    wait = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_S}
    try:
        return create_engine(url, pool_size=CONNECTIONS, pool_timeout=WAIT_S, pool_pre_ping=True, connect_args=wait)
    except ImportError as error:
        raise ConfigError(
            "database.url needs the driver psycopg: pip install 'thetaevolve[postgres]', or use sqlite:///FILE"
        ) from error


def _connect_sqlite(url: URL, *, create: bool, to_read: bool) -> Engine:
    if url.database in (None, "", ":memory:"):
        raise ConfigError("database.url names a database in memory, which loses the run: use sqlite:///FILE")
    path = Path(str(url.database))
    try:
        _check_file(path, create=create)
        # SQLite keeps its log beside the file; where there is none, nobody works on the database.
        if (locked := _not_writable(path)) and to_read and not path.with_name(f"{path.name}-wal").exists():
            return _frozen(path)
    except OSError as error:
        reason = error.strerror
        raise RunFolderError(
            f"the database {path} cannot be reached ({reason}): allow it, or choose another"
        ) from error
    if locked:
        cure = "copy the folder to where it can be" if to_read else "allow it, or choose another"
        raise RunFolderError(f"{locked} cannot be written, which the database needs: {cure}")
    wait = {} if "timeout" in url.query else {"timeout": WAIT_S}
    engine = create_engine(url, pool_size=CONNECTIONS, pool_timeout=WAIT_S, connect_args=wait)
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _check_file(path: Path, *, create: bool) -> None:
    if not path.parent.is_dir():
        raise RunFolderError(f"the folder {path.parent} of the database does not exist: create it first")
    if path.is_dir():
        raise RunFolderError(f"the database {path} is a folder: name a file")
    if not create and not path.exists():
        raise RunFolderError(f"there is no database {path}: put it back, or name the folder of another run")


def _not_writable(path: Path) -> Path | None:
    """Return the folder or the file of a database if it cannot be written."""
    effective = os.access in os.supports_effective_ids
    for needed in (path.parent, path):
        if needed.exists() and not os.access(needed, os.W_OK, effective_ids=effective):
            return needed
    return None


def _frozen(path: Path) -> Engine:
    """Return an engine for a SQLite file that nobody can change."""

    def opened() -> sqlite3.Connection:
        name = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
        return sqlite3.connect(name, uri=True, check_same_thread=False)

    engine = create_engine("sqlite://", creator=opened, poolclass=QueuePool, pool_size=CONNECTIONS)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    """Set what SQLite forgets with the connection; called for each new one."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA page_size={PAGE_BYTES}")  # of a new file; kept by an old one
    _use_wal(cursor)
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    cursor.close()


def _use_wal(cursor: DBAPICursor) -> None:
    """Let readers and the writer not wait for each other; a file keeps that from its first connection on.

    Two processes that do so to a new file at once get in each other's way, and this is where SQLite does not wait.
    """
    cursor.execute("PRAGMA busy_timeout")
    (wait_ms,) = cursor.fetchone() or (0,)
    deadline = time.monotonic() + wait_ms / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    """Begin a transaction; a writer takes the lock at once, as it would fail if it asked for it after reading."""
    options = connection.get_execution_options()
    for name in ("synchronous", "foreign_keys"):  # neither can change inside a transaction
        if name in options and connection.info.get(name) != options[name]:
            connection.exec_driver_sql(f"PRAGMA {name}={options[name]}")
            connection.info[name] = options[name]
    connection.exec_driver_sql(f"BEGIN {options.get('begin', 'DEFERRED')}")

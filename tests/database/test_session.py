"""Connections: what SQLite is told, and what a user reads when a database cannot be used."""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from postgres import postgres_database
from sqlalchemy import Connection, make_url, text
from support import ROOT

from database import Database, open_database
from database.session import Storage, connect
from evolve.errors import ConfigError, EvolveError, RunFolderError, StoreError
from evolve.types import Attempt, StepReport


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database file with the tables in it."""
    path = tmp_path / "evolve.db"
    open_database(f"sqlite:///{path}").close()
    return path


def message(url: str, kind: type[EvolveError]) -> str:
    """Return what `open_database` says of a URL; it is one line of the kind that is asked for."""
    with pytest.raises(kind) as caught:
        open_database(url)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's right to write everywhere, where the tests run as root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_sqlite_keeps_a_log_checks_keys_and_waits(path: Path) -> None:
    """WAL, foreign keys, pages of 8 kB; a step's end waits for the disk, an attempt does not."""
    storage = Storage(connect(f"sqlite:///{path}", create=False))

    def pragma(name: str, *, through_power_cut: bool) -> object:
        with storage.writing(through_power_cut=through_power_cut) as connection:
            return connection.scalar(text(f"PRAGMA {name}"))

    assert pragma("journal_mode", through_power_cut=False) == "wal"
    assert pragma("foreign_keys", through_power_cut=False) == 1
    assert pragma("page_size", through_power_cut=False) == 8192
    assert pragma("busy_timeout", through_power_cut=False) == 60_000
    assert pragma("wal_autocheckpoint", through_power_cut=False) == 4096
    assert pragma("synchronous", through_power_cut=True) == 2  # FULL
    assert pragma("synchronous", through_power_cut=False) == 1  # NORMAL
    storage.close()


def test_a_steps_end_waits_for_the_disk_and_an_attempt_does_not(path: Path, seed_attempt: Attempt) -> None:
    """The pool hands out one connection here, which shows how the last transaction was made."""
    storage = Storage(connect(f"sqlite:///{path}", create=False))

    def synchronous() -> object:
        with storage.reading() as connection:
            return connection.scalar(text("PRAGMA synchronous"))

    run = Database(storage, time.perf_counter).create_run(
        problem="p", model="m", folder="/r", seed=1, config="", started_at=0.0
    )
    assert synchronous() == 2  # FULL
    run.insert_attempt(seed_attempt)
    assert synchronous() == 1  # NORMAL
    run.finish_step(
        StepReport(
            step=0,
            attempts=0,
            outcomes={},
            best=1.0,
            improved=0,
            tokens=0,
            prompt_tokens=0,
            generate_s=0.0,
            tail_s=0.0,
            database_s=0.0,
            stragglers=0,
            finished_s=0.0,
        ),
        [],
    )
    assert synchronous() == 2
    storage.close()


def test_threads_of_one_process_wait_in_line(path: Path) -> None:
    """They never ask SQLite to wait, which polls: not one is refused where SQLite is told not to wait at all."""
    storage = Storage(connect(f"sqlite:///{path}?timeout=0", create=False))

    def write(number: int) -> None:
        for _ in range(20):
            with storage.writing() as connection:
                connection.execute(text("DELETE FROM runs WHERE id = :id"), {"id": number})

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(write, range(8))) == [None] * 8
    storage.close()


def test_a_migration_must_not_leave_a_row_without_its_parent(path: Path, seed_attempt: Attempt) -> None:
    """Foreign keys rest while tables change, are checked at the end, and hold again afterwards."""
    with open_database(f"sqlite:///{path}") as database:
        run = database.create_run(problem="p", model="m", folder="/r", seed=1, config="", started_at=0.0)
        run.insert_attempt(seed_attempt)
    storage = Storage(connect(f"sqlite:///{path}", create=False))

    def forget(change: Callable[[], AbstractContextManager[Connection]]) -> None:
        with change() as connection:
            connection.execute(text("DELETE FROM prompts"))

    with pytest.raises(StoreError, match="refers to rows that it lacks"):
        forget(storage.migrating)
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        forget(storage.writing)
    with storage.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM prompts")) == 1
    storage.close()


def test_a_transaction_that_fails_leaves_nothing(path: Path) -> None:
    """The error goes on as it is, and the next transaction works."""
    storage = Storage(connect(f"sqlite:///{path}", create=False))

    def fail_half_way() -> None:
        with storage.writing() as connection:
            connection.execute(text("CREATE TABLE half (id INTEGER)"))
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    with storage.writing() as connection:
        assert connection.scalar(text("SELECT count(*) FROM sqlite_master WHERE name = 'half'")) == 0
    storage.close()


def test_a_reader_sees_one_state(path: Path) -> None:
    """What is written while it reads is not there until it reads anew."""
    storage = Storage(connect(f"sqlite:///{path}", create=False))
    count = text("SELECT count(*) FROM runs")
    add = text(
        "INSERT INTO runs (problem, model, folder, seed, started_at, config) VALUES ('p', 'm', '/r', 1, 0.0, x'00')"
    )
    with storage.reading() as reader:
        assert reader.scalar(count) == 0
        with storage.writing() as writer:
            writer.execute(add)
        assert reader.scalar(count) == 0
    with storage.reading() as reader:
        assert reader.scalar(count) == 1
    storage.close()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """It is not made: a mistyped path would hide the run."""
    assert f"folder {tmp_path}/none of the database does not exist" in message(
        f"sqlite:///{tmp_path}/none/evolve.db", RunFolderError
    )


def test_a_folder_in_the_files_place_is_named(tmp_path: Path) -> None:
    """The message asks for a file."""
    assert "is a folder: name a file" in message(f"sqlite:///{tmp_path}", RunFolderError)


def test_a_command_that_reads_makes_no_database(tmp_path: Path) -> None:
    """A missing file is an error, and still missing afterwards."""
    with pytest.raises(RunFolderError, match="there is no database"):
        open_database(f"sqlite:///{tmp_path / 'evolve.db'}", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """Before anything is made in it; so is one that cannot even be looked into."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        with as_nobody():
            assert f"{folder} cannot be written" in message(f"sqlite:///{folder}/evolve.db", RunFolderError)
        folder.chmod(0)
        with as_nobody():
            assert "cannot be reached (Permission denied)" in message(f"sqlite:///{folder}/evolve.db", RunFolderError)
        folder.chmod(0o700)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    """The message says so, and the file is as it was."""
    path = tmp_path / "notes.txt"
    path.write_text("dear diary " * 100)

    assert "not a database" in message(f"sqlite:///{path}", StoreError)
    assert path.read_text() == "dear diary " * 100


def test_a_damaged_file_is_an_error_of_one_line(path: Path) -> None:
    """Whether it shows at opening or later, it is a `StoreError` that says what to do."""
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\x07" * (len(whole) - 8192))

    assert "the file is damaged: save what is left with `sqlite3 FILE .recover`" in message(
        f"sqlite:///{path}", StoreError
    )


def test_a_file_that_was_cut_short_is_an_error_of_one_line(path: Path) -> None:
    """As a copy that was interrupted leaves it."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 100])

    assert "the file is damaged" in message(f"sqlite:///{path}", StoreError)


def test_a_database_that_another_program_holds_is_an_error_of_one_line(path: Path) -> None:
    """After the time that it waits, here none."""
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    storage = Storage(connect(f"sqlite:///{path}?timeout=0", create=False))

    with pytest.raises(StoreError, match=r"locked.*end that program, then try again, or resume"), storage.writing():
        pass
    other.close()
    with storage.writing() as connection:  # and it is not broken for good
        assert connection.scalar(text("SELECT count(*) FROM runs")) == 0
    storage.close()


def test_a_full_disk_is_an_error_of_one_line(path: Path) -> None:
    """The transaction leaves nothing, and what was stored is readable."""
    storage = Storage(connect(f"sqlite:///{path}", create=False))
    blob = "INSERT INTO prompts VALUES ((SELECT max(id) FROM runs), x'{:02x}', zeroblob(100000))"
    with storage.writing() as connection:
        connection.execute(text("INSERT INTO runs VALUES (1, 'p', 'm', '/r', 1, 0.0, x'00', NULL)"))
        pages = connection.scalar(text("PRAGMA page_count"))
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 5}")  # of this connection, which the pool keeps

    with pytest.raises(StoreError, match=r"full.*free some space"), storage.writing() as connection:
        connection.exec_driver_sql(blob.format(1))
    with storage.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM prompts")) == 0
        assert connection.scalar(text("SELECT count(*) FROM runs")) == 1
    storage.close()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("evolve.db", "no database URL"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("dragons://host/base", "'dragons'"),
        ("sqlite+aiosqlite:///x.db", "'sqlite+aiosqlite', which is not supported"),
        ("mysql://host/base", "'mysql', which is not supported"),
        ("postgresql+psycopg2://host/base", "'postgresql+psycopg2', which is not supported"),
        ("postgresql+psycopg://host:port/base", "no database URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_bad_input(url: str, words: str) -> None:
    """The message quotes what is wrong and shows a URL that works."""
    assert words in message(url, ConfigError)
    assert "sqlite:///FILE" in message(url, ConfigError)


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    """With the command that installs it, in a process that cannot import it, whether the URL names it or not."""
    (tmp_path / "psycopg.py").write_text("raise ModuleNotFoundError(\"No module named 'psycopg'\", name='psycopg')")
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from database import open_database
from evolve.errors import ConfigError
for url in ("postgresql+psycopg://host/base", "postgresql://host/base"):
    try:
        open_database(url)
    except ConfigError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("needs the driver psycopg: pip install 'thetaevolve[postgres]'" in line for line in lines)


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    """The message says what to look at, and does not print what should stay secret."""
    pytest.importorskip("psycopg")
    said = message("postgresql+psycopg://me:secret@127.0.0.1:1/base", StoreError)

    assert "start the server, or correct the host and port in database.url" in said
    assert "secret" not in said


def test_a_database_that_the_server_lacks_is_named(pytestconfig: pytest.Config) -> None:
    """It is not made: a mistyped name would hide the runs."""
    with postgres_database(pytestconfig) as url:
        absent = make_url(url).set(database="absent").render_as_string(hide_password=False)

        assert "create it on the server, or correct the name in database.url" in message(absent, StoreError)

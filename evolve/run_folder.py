"""A run's folder: its configuration, its lock, and what the report puts there.

DIR/run.yaml    the resolved configuration        DIR/evolve.db    the database, unless database.url says otherwise
DIR/run.json    the run's id in the database      DIR/report/      written at the end of every session
DIR/lock        held while a process works on it
"""

import contextlib
import fcntl
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sqlalchemy import URL

from evolve.errors import FolderInUseError, RunFolderError

#: Ids of runs are below it: no database holds a larger number.
_IDS_END = 2**63


class RunFolder:
    """A folder that this process holds the lock of."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def report(self) -> Path:
        """Where the report goes."""
        return self.path / "report"

    @property
    def database_url(self) -> str:
        """The URL of the run's own database; what means something in a URL, and not in a path, is escaped."""
        return URL.create("sqlite", database=str(self.path / "evolve.db")).render_as_string()

    def write_run(self, config: str, run_id: int) -> None:
        """Store the configuration and the run's id; from now on the run can be resumed.

        The configuration comes last and whole: a folder that has it holds a run, whenever the process is killed.

        Raises:
            RunFolderError: It cannot be written.
        """
        try:
            write_whole(self.path / "run.json", json.dumps({"run_id": run_id}))
            write_whole(self.path / "run.yaml", config)
        except OSError as error:
            raise RunFolderError(
                f"cannot write the run folder {self.path}: {error.strerror}; free some space"
            ) from error

    def read_run(self) -> tuple[str, int]:
        """Return the stored configuration and the run's id."""
        return read_run(self.path)


def read_run(path: Path) -> tuple[str, int]:
    """Return the configuration and the run's id that a folder holds.

    Raises:
        RunFolderError: The folder holds no run.
    """
    try:
        config = (path / "run.yaml").read_text(encoding="utf-8")
        run_id = int(json.loads((path / "run.json").read_text(encoding="utf-8"))["run_id"])
        if not 0 < run_id < _IDS_END:
            raise ValueError(f"{run_id} is no id of a run")
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise RunFolderError(f"{path} holds no run: name the folder that `evolve run` printed") from error
    return config, run_id


@contextlib.contextmanager
def new_run_folder(path: Path, *, option: str = "run.dir") -> Iterator[RunFolder]:
    """Make and lock a folder for a new run; it is removed again when the run fails before it was written.

    Args:
        path: The folder.
        option: By which the user named it, for the cures.

    Raises:
        FolderInUseError: Another process is about to begin a run there.
        RunFolderError: It cannot be written, or holds a run already.
    """
    try:
        made = not path.exists()
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("w", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"cannot write the run folder {path}: {error.strerror}; name another {option}=") from error
    with lock:
        folder = _locked(path, lock)
        if (path / "run.yaml").exists():
            go_on = shlex.quote(f"run={path}")
            raise RunFolderError(f"{path} holds a run: go on with `evolve resume {go_on}`, or name another {option}=")
        try:
            yield folder
        finally:
            if made and not (path / "run.yaml").exists():
                _remove(path)


@contextlib.contextmanager
def existing_run_folder(path: Path) -> Iterator[RunFolder]:
    """Lock the folder of a run that was started before.

    Raises:
        FolderInUseError: Another process works on it.
        RunFolderError: It holds no run, or cannot be written.
    """
    read_run(path)
    try:
        lock = (path / "lock").open("w", encoding="utf-8")
    except OSError as error:
        raise RunFolderError(f"cannot write the run folder {path}: {error.strerror}; check its owner") from error
    with lock:
        yield _locked(path, lock)


def _locked(path: Path, lock: IO[str]) -> RunFolder:
    # The kernel gives the lock back when the process dies, however it dies.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FolderInUseError(f"another process works on {path}: wait for it or stop it") from error
    return RunFolder(path)


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there with all of its text or not at all, through a power cut too."""
    unfinished = path.with_name(f"{path.name}.new")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _remove(path: Path) -> None:
    for name in ("lock", "evolve.db", "evolve.db-wal", "evolve.db-shm"):
        (path / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the user's own files stay
        path.rmdir()

"""The runs that can be looked at: found in folders, opened for reading, and kept open."""

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from database.dashboard import Pulse, ReadDatabase, RunViews, Sprout, open_for_reading
from evolve.config import Config
from evolve.errors import EvolveError, NotFoundError, RunFolderError
from evolve.options import load_config
from evolve.run_folder import RunFolder, read_run
from evolve.standing import Standing
from evolve.types import ArchiveCell, Confirmation, Outcome, Problem, RunRecord, StepReport
from problems import load_problem

_Seen = TypeVar("_Seen")
#: Most attempts that come after the end of their step come at most so many steps later.
_LATE_STEPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A run's folder that cannot be read, and why."""

    folder: Path
    reason: str


@dataclass(slots=True)
class _Memory:
    """What was read of a run and never changes, and what was computed at its last pulse."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    reports: list[StepReport] = field(default_factory=list)
    sprouts: dict[int, Sprout] = field(default_factory=dict)
    sprouts_step: int = -1
    standings: dict[int, Standing] = field(default_factory=dict)
    cells: int = -1
    grids: dict[int, int] = field(default_factory=dict)
    holders: dict[int, dict[tuple[int, ...], ArchiveCell]] = field(default_factory=dict)
    pulse: Pulse | None = None
    computed: dict[object, Any] = field(default_factory=dict)


class OpenRun:
    """A run with its problem and its configuration, open for reading. Any thread may call any method.

    Attributes:
        key: Stands for the run in addresses: no part of any path.
        folder: Where it lies.
    """

    def __init__(self, key: str, folder: Path, config: Config, problem: Problem, views: RunViews) -> None:
        self.key = key
        self.folder = folder
        self.config = config
        self.problem = problem
        self.views = views
        self._memory = _Memory()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def record(self) -> RunRecord:
        """The run as the database knows it."""
        return self.views.record

    def is_running(self) -> bool:
        """Return whether a process holds the run's lock; the lock itself is not touched."""
        try:
            inode = (self.folder / "lock").stat().st_ino
            locks = Path("/proc/locks").read_text(encoding="ascii")
        except OSError:
            return False
        return any(" FLOCK " in line and f":{inode} " in line for line in locks.splitlines())

    def seen(self, name: object, compute: Callable[[], _Seen]) -> _Seen:
        """Return what `compute` returns, computed once for each state of the run; `name` tells results apart."""
        memory = self._memory
        pulse = self.views.pulse()
        with memory.lock:
            if memory.pulse != pulse:
                memory.pulse, memory.computed = pulse, {}
            computed = memory.computed  # of this pulse, also where `compute` asks for more and finds another
            if name not in computed:
                computed[name] = compute()
            return cast(_Seen, computed[name])

    def reports(self) -> Sequence[StepReport]:
        """Return the reports of all finished steps; new ones are read, and the last one, which may count more now."""
        with self._memory.lock:
            known = self._memory.reports
            before = known[-1].step - 1 if known else -1
            known[-1:] = self.views.reports_after(before)
            return tuple(known)

    def sprouts(self) -> Sequence[Sprout]:
        """Return what a lineage tree knows of all valid programs, in no order; finished steps are read once.

        All are read anew where some are missing then: they came longer after their steps than most.
        """
        memory = self._memory
        with memory.lock:
            finished = self.views.pulse().step - _LATE_STEPS
            valid = self.views.valid_programs()
            memory.sprouts.update((sprout.id, sprout) for sprout in self.views.sprouts_after(memory.sprouts_step))
            if len(memory.sprouts) < valid:
                memory.sprouts.update((sprout.id, sprout) for sprout in self.views.sprouts_after(-1))
            memory.sprouts_step = max(memory.sprouts_step, finished)
            # A check may find that a program is worth less.
            for number, score in self.views.scores_of(sorted(self.confirmations())).items():
                if number in memory.sprouts:
                    memory.sprouts[number] = memory.sprouts[number]._replace(score=score)
            return list(memory.sprouts.values())

    def confirmations(self) -> dict[int, Confirmation]:
        """Return what the check of each new best found, by program; a later check of a program replaces a former."""
        return self.seen("confirmations", lambda: {check.program_id: check for check in self.views.confirmations()})

    def bests(self) -> Sequence[Standing]:
        """Return the programs that may be shown as bests, best first; each is read once."""
        return self.seen("bests", self._bests)

    def _bests(self) -> Sequence[Standing]:
        known, direction = self._memory.standings, self.problem.direction
        checks = {number: check for number, check in self.confirmations().items() if check.confirmed}
        roots = [root for root in self.views.attempts_of(0) if root.outcome is Outcome.VALID]
        new = self.views.attempts([number for number in checks if number not in known])
        for attempt in (*roots, *new):
            known[attempt.id] = Standing(attempt=attempt, confirmation=checks.get(attempt.id))
        return sorted(known.values(), key=lambda one: direction.rank(one.score(direction)), reverse=True)

    def holders(self) -> dict[int, list[ArchiveCell]]:
        """Return who holds each cell of each island's newest grid, by island; only new cells are read."""
        memory = self._memory
        with memory.lock:
            for number, cell in self.views.cells_after(memory.cells):
                memory.cells = number
                if cell.grid > memory.grids.get(cell.island, -1):
                    memory.grids[cell.island] = cell.grid
                    memory.holders[cell.island] = {}
                if cell.grid == memory.grids[cell.island]:
                    memory.holders[cell.island][cell.cell] = cell
            return {island: list(held.values()) for island, held in memory.holders.items()}


class Catalog:
    """All runs of a folder, or certain runs. Any thread may call any method.

    A run that appears later is found when it is asked for; one that cannot be read is listed with the reason.
    """

    def __init__(self, *, runs: Path | None = None, only: Sequence[Path] = ()) -> None:
        """Take a folder of run folders, or the folders of certain runs.

        Raises:
            RunFolderError: A folder does not exist, or is no run.
        """
        self._runs = runs
        self._only = tuple(only)
        self._lock = threading.Lock()
        self._open: dict[str, OpenRun] = {}
        self._stamps: dict[str, int] = {}
        self._databases: dict[str, ReadDatabase] = {}
        for folder in only:
            read_run(folder)
        if runs is not None and not runs.is_dir():
            raise RunFolderError(f"there is no folder {runs}: name one with runs=DIR, or one run with run=DIR")

    def __enter__(self) -> "Catalog":
        return self

    def __exit__(self, *_: object) -> None:
        for database in self._databases.values():
            database.close()

    def all(self) -> tuple[Sequence[OpenRun], Sequence[Unreadable]]:
        """Return the runs, the newest first, and the folders that cannot be read."""
        found, unreadable = [], []
        for folder in self._folders():
            try:
                found.append(self.opened(folder))
            except EvolveError as error:
                unreadable.append(Unreadable(folder=folder, reason=str(error)))
        return sorted(found, key=lambda run: -run.record.started_at), unreadable

    def run(self, key: str) -> OpenRun:
        """Return the run with this key.

        Raises:
            NotFoundError: There is none.
            EvolveError: It cannot be read.
        """
        for folder in self._folders():
            if key_of(folder) == key:
                return self.opened(folder)
        raise NotFoundError(f"there is no run {key}: it may have been moved or removed")

    def _folders(self) -> Sequence[Path]:
        if self._runs is None:
            return self._only
        return sorted(file.parent for file in self._runs.glob("*/run.json"))

    def opened(self, folder: Path) -> OpenRun:
        """Return the run of a folder.

        Raises:
            EvolveError: It cannot be read.
        """
        key = key_of(folder)
        text, run_id = read_run(folder)
        stamp = (folder / "run.json").stat().st_mtime_ns
        with self._lock:
            if self._stamps.get(key) != stamp:  # new, or made anew in the place of another
                config = load_config(text)
                path = config.problem.path
                problem = load_problem(config.problem.name, None if path is None else Path(path))
                url = config.database.url or RunFolder(folder).database_url
                if key in self._open and config.database.url is None:  # a database of the run's own
                    # The old one goes whole, so that the new one is opened again if that fails now.
                    del self._open[key], self._stamps[key]
                    if (database := self._databases.pop(url, None)) is not None:
                        database.close()
                if url not in self._databases:
                    self._databases[url] = open_for_reading(url)
                self._open[key] = OpenRun(key, folder, config, problem, self._databases[url].views(run_id))
                self._stamps[key] = stamp
            return self._open[key]


def key_of(folder: Path) -> str:
    """Return what stands for a folder in addresses."""
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:10]

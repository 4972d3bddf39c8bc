"""What the dashboard asks: reads that stay fast in a run of 100,000 programs, on a database that it cannot change."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, Text, and_, cast, event, func, or_, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from database.mapping import to_report
from database.reports import SEED_ID
from database.repository import Database
from database.rows import AttemptRow, CellRow, ConfirmationRow, MembershipRow, ProgramRow, StepRow, TrainingRow
from database.schema import check
from database.session import Storage, connect
from database.store import RunStore
from evolve.types import ArchiveCell, Attempt, Outcome, RunRecord, StepReport

#: Gaps that one statement looks into.
_AT_ONCE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What changes whenever something is stored in a run; cheap to ask for.

    Attributes:
        step: The last finished step, -1 before the seed program's.
        counted: Attempts that its report counts: more, when a session ends after it.
        attempt: The highest id of an attempt, -1 when there is none.
        missing: Ids below it without an attempt: it may come many steps late, or never.
        confirmation: The number of the last confirmation, -1 when there is none.
        training: The last step after which the learner did something, -1 when there is none.
    """

    step: int
    counted: int
    attempt: int
    missing: int
    confirmation: int
    training: int


class Sprout(NamedTuple):
    """What a lineage tree knows of a program; a tuple, for there are many."""

    id: int
    parent_id: int | None
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What a list of attempts shows of one."""

    id: int
    step: int
    parent_id: int
    outcome: Outcome
    score: float | None
    finished_s: float


class RunViews(RunStore):
    """One run as the dashboard sees it."""

    def __init__(self, storage: Storage, record: RunRecord, clock: Callable[[], float]) -> None:
        super().__init__(storage, record, clock)
        self._looking = threading.Lock()
        self._highest = SEED_ID - 1
        self._gaps: list[range] = []

    def pulse(self) -> Pulse:
        """Return what tells whether anything was stored since."""
        run_id = self.record.id
        steps = select(StepRow.step, StepRow.attempts).where(StepRow.run_id == run_id).order_by(StepRow.step.desc())
        lasts = (
            select(func.max(ConfirmationRow.number)).where(ConfirmationRow.run_id == run_id),
            select(func.max(TrainingRow.step)).where(TrainingRow.run_id == run_id),
        )
        with self._reading() as connection:
            step, counted = connection.execute(steps.limit(1)).first() or (-1, 0)
            confirmation, training = (-1 if (last := connection.scalar(q)) is None else last for q in lasts)
            attempt, missing = self._stored(connection)
        return Pulse(
            step=step, counted=counted, attempt=attempt, missing=missing, confirmation=confirmation, training=training
        )

    def _stored(self, connection: Connection) -> tuple[int, int]:
        """Return the highest id of an attempt, and how many ids below it have none.

        To count the attempts takes longer as the run grows. But for the first time, only what may have come since is
        asked for: attempts above the highest that is known, and those of the gaps below it.
        """
        run_id = self.record.id
        with self._looking:
            gaps: list[range] = []
            for first in range(0, len(self._gaps), _AT_ONCE):
                part = self._gaps[first : first + _AT_ONCE]
                inside = [and_(AttemptRow.run_id == run_id, AttemptRow.id.between(gap[0], gap[-1])) for gap in part]
                came = sorted(connection.scalars(select(AttemptRow.id).where(or_(*inside))))
                gaps += [left for gap in part for left in _without(gap, [id_ for id_ in came if id_ in gap])]
            above = select(AttemptRow.id).where(AttemptRow.run_id == run_id, AttemptRow.id > self._highest)
            new = sorted(connection.scalars(above))
            if new:
                gaps += _without(range(self._highest + 1, new[-1]), new[:-1])
                self._highest = new[-1]
            self._gaps = gaps
            return self._highest, sum(map(len, gaps))

    def reports_after(self, step: int) -> Sequence[StepReport]:
        """Return the reports of the finished steps after `step`, in order."""
        query = select(StepRow).where(StepRow.run_id == self.record.id, StepRow.step > step).order_by(StepRow.step)
        with self._rows() as session:
            return [to_report(row) for row in session.scalars(query)]

    def running_outcomes(self, after_step: int) -> Mapping[Outcome, int]:
        """Return how the attempts of steps after `after_step` ended, those of step 0 left out."""
        query = (
            select(AttemptRow.outcome, func.count())
            .where(AttemptRow.run_id == self.record.id, AttemptRow.step > max(after_step, 0))
            .group_by(AttemptRow.outcome)
        )
        with self._reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def sprouts_after(self, step: int) -> Sequence[Sprout]:
        """Return id, parent and score of every valid program of the steps after `step`, by id."""
        query = (
            select(ProgramRow.id, ProgramRow.parent_id, ProgramRow.score)
            .where(ProgramRow.run_id == self.record.id, ProgramRow.step > step, ProgramRow.score.is_not(None))
            .order_by(ProgramRow.id)
        )
        with self._reading() as connection:
            return list(map(Sprout._make, connection.execute(query).all()))

    def valid_programs(self) -> int:
        """Return how many programs are valid."""
        query = select(func.count()).where(ProgramRow.run_id == self.record.id, ProgramRow.score.is_not(None))
        with self._reading() as connection:
            return connection.execute(query).scalar_one()

    def ancestry(self, program_id: int) -> Sequence[Sprout]:
        """Return the program that a lineage begins with, its child, and so on down to this one, without their texts.

        Empty when the run has no such program.
        """
        run_id = self.record.id
        columns = (ProgramRow.id, ProgramRow.parent_id, ProgramRow.score)
        line = select(*columns).where(ProgramRow.run_id == run_id, ProgramRow.id == program_id)
        below = line.cte("line", recursive=True)
        whole = below.union_all(select(*columns).where(ProgramRow.run_id == run_id, ProgramRow.id == below.c.parent_id))
        with self._reading() as connection:
            # A parent's id is lower than its child's: the table refuses any other.
            return sorted(Sprout(*row) for row in connection.execute(select(whole)))

    def cells_after(self, number: int) -> Sequence[tuple[int, ArchiveCell]]:
        """Return who took each cell last after the archive cell with this number, with their numbers, in order."""
        ours = (CellRow.run_id == self.record.id, CellRow.number > number)
        last = select(func.max(CellRow.number)).where(*ours)
        # As text, for not every database can compare JSON.
        last = last.group_by(CellRow.island, CellRow.grid, cast(CellRow.cell, Text))
        query = (
            select(CellRow.number, CellRow.program_id, CellRow.island, CellRow.grid, CellRow.cell, CellRow.step)
            .where(*ours, CellRow.number.in_(last))
            .order_by(CellRow.number)
        )
        with self._reading() as connection:
            return [
                (number, ArchiveCell(program_id=program, island=island, grid=grid, cell=tuple(cell), step=step))
                for number, program, island, grid, cell, step in connection.execute(query)
            ]

    def attempts(self, ids: Sequence[int]) -> Sequence[Attempt]:
        """Return those of the attempts that there are, by id."""
        return self._attempts(AttemptRow.id.in_(ids)) if ids else []

    def scores_of(self, program_ids: Sequence[int]) -> Mapping[int, float]:
        """Return the scores of those of the programs that have one."""
        query = select(ProgramRow.id, ProgramRow.score).where(
            ProgramRow.run_id == self.record.id, ProgramRow.id.in_(program_ids)
        )
        with self._reading() as connection:
            return {id_: score for id_, score in connection.execute(query) if score is not None}

    def children(self, program_id: int, limit: int) -> Sequence[Sprout]:
        """Return up to `limit` programs that were made from this one, the older first."""
        query = (
            select(ProgramRow.id, ProgramRow.parent_id, ProgramRow.score)
            .where(ProgramRow.run_id == self.record.id, ProgramRow.parent_id == program_id)
            .order_by(ProgramRow.id)
            .limit(limit)
        )
        with self._reading() as connection:
            # Those that failed and the others apart, as the index has them: else SQLite goes through the whole run.
            found = [
                Sprout(*row)
                for failed in (False, True)
                for row in connection.execute(query.where(ProgramRow.failed.is_(failed)))
            ]
        return sorted(found)[:limit]

    def recent(self, limit: int) -> Sequence[Recent]:
        """Return the attempts with the highest ids, the highest first; only those that a model made."""
        query = (
            select(
                AttemptRow.id,
                AttemptRow.step,
                AttemptRow.parent_id,
                AttemptRow.outcome,
                ProgramRow.score,
                AttemptRow.finished_s,
            )
            .outerjoin(ProgramRow, (ProgramRow.run_id == AttemptRow.run_id) & (ProgramRow.id == AttemptRow.id))
            .where(AttemptRow.run_id == self.record.id, AttemptRow.id > SEED_ID)
            .order_by(AttemptRow.id.desc())
            .limit(limit)
        )
        with self._reading() as connection:
            return [
                Recent(id=id_, step=step, parent_id=parent, outcome=outcome, score=score, finished_s=finished_s)
                for id_, step, parent, outcome, score, finished_s in connection.execute(query)
            ]

    def island_sizes(self) -> Mapping[int, int]:
        """Return how many programs live on each island, migrants included."""
        query = (
            select(MembershipRow.island, func.count())
            .where(MembershipRow.run_id == self.record.id)
            .group_by(MembershipRow.island)
            .order_by(MembershipRow.island)
        )
        with self._reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}


def _without(ids: range, some: Sequence[int]) -> Iterator[range]:
    """Yield the ranges into which `some` of the ids, in order, divide the others."""
    first = ids.start
    for id_ in (*some, ids.stop):
        if first < id_:
            yield range(first, id_)
        first = id_ + 1


class ReadDatabase(Database):
    """A database that its own connections refuse to change."""

    def views(self, run_id: int) -> RunViews:
        """Return one run.

        Raises:
            NotFoundError: The database has no such run.
        """
        return RunViews(self._storage, self._record(run_id), self._clock)


def open_for_reading(url: str, *, clock: Callable[[], float] = time.perf_counter) -> ReadDatabase:
    """Open a database without changing it: it is neither made nor brought up to date.

    Args:
        url: `sqlite:///FILE`, or the URL of any database that SQLAlchemy speaks to.
        clock: Seconds from any start, for `RunStore.database_s`.

    Raises:
        ConfigError: The URL is none, or its driver is not installed.
        RunFolderError: The SQLite file is missing, or SQLite's log cannot be kept beside it.
        StoreError: The file is damaged, not ours or of another version, or the server cannot be reached.
    """
    engine = connect(url, create=False, to_read=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _refuse_writes)
    storage = Storage(engine.execution_options(postgresql_readonly=True))
    try:
        check(storage)
    except BaseException:
        storage.close()
        raise
    return ReadDatabase(storage, clock)


def _refuse_writes(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON")
    cursor.close()

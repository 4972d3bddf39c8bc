"""What a run writes: attempts as they end, a step's end, confirmations, trainings."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Insert, bindparam, exists, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from database.access import RunAccess
from database.codec import pack_numbers, pack_text
from database.mapping import AttemptValues, Values, attempt_values, cell_values, confirmation_values, step_values
from database.rows import (
    AttemptRow,
    CellRow,
    ConfirmationEvaluationRow,
    ConfirmationRow,
    EvaluationRow,
    MembershipRow,
    ProgramRow,
    PromptRow,
    SourceRow,
    StepRow,
    TrainingRow,
)
from database.session import Storage
from evolve.errors import StoreError
from evolve.types import ArchiveCell, Attempt, Confirmation, Membership, RunRecord, StepReport, Training

# Built once: they are run for each attempt.
_STORED = select(AttemptRow.id).where(
    AttemptRow.run_id == bindparam("run"), AttemptRow.id.in_(bindparam("ids", expanding=True))
)
_NEW_ATTEMPTS, _NEW_PROGRAMS, _NEW_EVALUATIONS = insert(AttemptRow), insert(ProgramRow), insert(EvaluationRow)
#: A text that is there already is left alone.
_NEW_TEXTS: dict[str, list[Insert]] = {
    "sqlite": [sqlite.insert(row).on_conflict_do_nothing() for row in (PromptRow, SourceRow)],
    "postgresql": [postgresql.insert(row).on_conflict_do_nothing() for row in (PromptRow, SourceRow)],
}


@dataclass(slots=True, kw_only=True)
class _Order:
    """Attempts that one thread wants stored, and what came of it."""

    attempts: Sequence[AttemptValues]
    done: bool = False
    error: StoreError | None = None


class RunInserts(RunAccess):
    """The writes of a run. Each is there whole when the method returns, or not at all.

    Attempts that end while another is being committed are committed together by the thread whose turn is next: with
    many evaluations at once, that is one transaction for several of them, and none waits for a timer.
    """

    def __init__(self, storage: Storage, record: RunRecord, clock: Callable[[], float]) -> None:
        super().__init__(storage, record, clock)
        self._turn = threading.Lock()
        self._orders: list[_Order] = []
        self._prompts: set[bytes] = set()  # those of this step that are stored: siblings need not ask for them

    def insert_attempt(self, attempt: Attempt) -> None:
        """Store an attempt with its prompt, program and evaluations, in one transaction.

        When it returns, the end of this process cannot lose the attempt. An attempt that is stored already is left as
        it is. Texts are compressed before the transaction begins, outside the writers' lock.

        Raises:
            StoreError: The database failed; nothing of the attempt is stored.
            ValueError: The attempt contradicts itself.
        """
        self.insert_attempts((attempt,))

    def insert_attempts(self, attempts: Iterable[Attempt]) -> None:
        """Store several attempts in one transaction, as `insert_attempt` stores one.

        Raises:
            StoreError: The database failed; nothing of them is stored.
            ValueError: An attempt contradicts itself.
        """
        with self._timed():
            order = _Order(attempts=[attempt_values(self.record.id, attempt) for attempt in attempts])
            self._orders.append(order)
            with self._turn:
                if not order.done:
                    self._store_orders()
        if order.error is not None:
            raise order.error

    def _store_orders(self) -> None:
        """Store what all threads have ordered by now."""
        orders, self._orders = self._orders, []
        try:
            self._store([attempt for order in orders for attempt in order.attempts])
        except StoreError as error:
            for order in orders:
                order.error = self._store_alone(order) if isinstance(error.__cause__, IntegrityError) else error
                order.done = True
        else:
            for order in orders:
                order.done = True
        finally:  # an interrupt leaves the others to the next thread
            self._orders[:0] = [order for order in orders if not order.done]

    def _store_alone(self, order: _Order) -> StoreError | None:
        """Store what one thread has ordered, without what is there already; return the error that it gets."""
        wanted = {attempt.id: attempt for attempt in reversed(order.attempts)}
        try:
            with self._reading() as connection:
                for stored in connection.scalars(_STORED, {"run": self.record.id, "ids": list(wanted)}):
                    del wanted[stored]
            self._store(list(wanted.values()))
        except StoreError as error:
            return error
        return None

    def _store(self, attempts: Sequence[AttemptValues]) -> None:
        """Store attempts that are not there yet in one transaction."""
        if not attempts:
            return
        attempts = sorted(attempts, key=lambda attempt: attempt.id)  # parents come before their children
        prompts = {attempt.prompt_sha256: attempt.messages for attempt in attempts}
        texts = [
            {"run_id": self.record.id, "sha256": sha256, "messages": pack_text(messages)}
            for sha256, messages in prompts.items()
            if sha256 not in self._prompts
        ]
        with self._storage.writing() as connection:
            new_prompts, new_sources = _NEW_TEXTS[connection.dialect.name]
            if texts:
                connection.execute(new_prompts, texts)
            connection.execute(_NEW_ATTEMPTS, [attempt.attempt for attempt in attempts])
            if sources := [attempt.source for attempt in attempts if attempt.source is not None]:
                connection.execute(new_sources, sources)
                programs = [attempt.program for attempt in attempts if attempt.program is not None]
                connection.execute(_NEW_PROGRAMS, programs)
            if evaluations := [evaluation for attempt in attempts for evaluation in attempt.evaluations]:
                connection.execute(_NEW_EVALUATIONS, evaluations)
        self._prompts.update(prompts)

    def finish_step(
        self, report: StepReport, memberships: Sequence[Membership], cells: Sequence[ArchiveCell] = ()
    ) -> None:
        """Store the end of a step, the new memberships and the archive cells that were taken in one transaction.

        When it returns, a power cut cannot lose the step, nor any attempt that was stored before.

        Raises:
            StoreError: The step is finished already, a membership or a cell names no program, or the database failed;
                nothing is stored then.
        """
        run_id = self.record.id
        finished = select(exists().where(StepRow.run_id == run_id, StepRow.step == report.step))
        with self._timed(), self._storage.writing(through_power_cut=True) as connection:
            if connection.scalar(finished):
                raise StoreError(f"step {report.step} of run {run_id} is finished already: resume from the next step")
            connection.execute(insert(StepRow), step_values(run_id, report))
            if memberships:
                first = self._next_number(connection, MembershipRow)
                rows = [self._membership(first + offset, place) for offset, place in enumerate(memberships)]
                connection.execute(insert(MembershipRow), rows)
            if cells:
                first = self._next_number(connection, CellRow)
                rows = [cell_values(run_id, first + offset, cell) for offset, cell in enumerate(cells)]
                connection.execute(insert(CellRow), rows)
        self._prompts.clear()

    def _membership(self, number: int, membership: Membership) -> Values:
        return {
            "run_id": self.record.id,
            "number": number,
            "program_id": membership.program_id,
            "island": membership.island,
            "step": membership.step,
            "migrant": membership.migrant,
        }

    def insert_confirmation(self, confirmation: Confirmation) -> None:
        """Store what the check of a new best found; a program's first confirmation stands.

        Raises:
            StoreError: The run has no such program, or the database failed; nothing is stored then.
        """
        run_id = self.record.id
        stored = exists().where(ConfirmationRow.run_id == run_id, ConfirmationRow.program_id == confirmation.program_id)
        with self._timed(), self._storage.writing() as connection:
            if connection.scalar(select(stored)):
                return
            number = self._next_number(connection, ConfirmationRow)
            row, evaluations = confirmation_values(run_id, number, confirmation)
            connection.execute(insert(ConfirmationRow), row)
            if evaluations:
                connection.execute(insert(ConfirmationEvaluationRow), evaluations)

    def insert_training(self, training: Training) -> None:
        """Store what the learner did after a finished step; a step's first training stands.

        Raises:
            StoreError: The step is not finished, or the database failed; nothing is stored then.
        """
        run_id = self.record.id
        stored = exists().where(TrainingRow.run_id == run_id, TrainingRow.step == training.step)
        row = {"run_id": run_id, "step": training.step, "values": pack_numbers(training.values) or {}}
        with self._timed(), self._storage.writing() as connection:
            if not connection.scalar(select(stored)):
                connection.execute(insert(TrainingRow), row)

    def _next_number(
        self, connection: Connection, rows: type[MembershipRow] | type[CellRow] | type[ConfirmationRow]
    ) -> int:
        """Return the number of the next row of this run in a table whose rows have an order."""
        last = connection.scalar(select(func.max(rows.number)).where(rows.run_id == self.record.id))
        return 0 if last is None else last + 1

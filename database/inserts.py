"""What a run writes: attempts as they end, a step's end, confirmations, trainings."""

import functools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Insert, bindparam, exists, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from database.access import RunAccess
from database.codec import pack_numbers, pack_prompt
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
#: A birth brings its program's identity, which no other birth may have; a migrant brings none.
_NEW_MEMBERSHIPS = insert(MembershipRow).values(
    identity=select(ProgramRow.identity)
    .where(ProgramRow.run_id == bindparam("of_run"), ProgramRow.id == bindparam("born"))
    .scalar_subquery()
)
#: A prompt that is there already is left alone.
_NEW_PROMPTS: dict[str, Insert] = {
    "sqlite": sqlite.insert(PromptRow).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(PromptRow).on_conflict_do_nothing(),
}
#: Prompts that are kept packed: siblings end one after another, and each brings the prompt along.
_PROMPTS = 128


@dataclass(slots=True)
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
        self._turn = threading.Condition()
        self._storing = False  # whether a thread is
        self._orders: list[_Order] = []
        self._pack_prompt = functools.lru_cache(maxsize=_PROMPTS)(pack_prompt)
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
        run_id = self.record.id
        with self._timed():
            order = _Order([attempt_values(run_id, each, self._pack_prompt(each.prompt)) for each in attempts])
            self._have_stored(order)
        if order.error is not None:
            raise order.error

    def _have_stored(self, order: _Order) -> None:
        """Return when the order is done: by this thread with all that were ordered by then, or by another."""
        orders: list[_Order] = []
        leads = False
        try:
            with self._turn:
                self._orders.append(order)
                while self._storing and not order.done:
                    self._turn.wait()
                if order.done:
                    return
                leads = self._storing = True
            time.sleep(0)  # lets threads that are about to order something do so: their orders come along
            with self._turn:
                orders, self._orders = self._orders, []
            self._store_orders(orders)
        finally:
            if leads:  # an error or an interrupt is this thread's: the others' orders are left to the next one
                with self._turn:
                    self._orders[:0] = [other for other in orders if other is not order and not other.done]
                    self._storing = False
                    self._turn.notify_all()

    def _store_orders(self, orders: Sequence[_Order]) -> None:
        """Store what was ordered in one transaction; where the database refuses a row, each order in its own."""
        try:
            self._store([attempt for order in orders for attempt in order.attempts])
        except StoreError as error:
            for order in orders:
                order.error = self._store_alone(order) if isinstance(error.__cause__, IntegrityError) else error
                order.done = True
        else:
            for order in orders:
                order.done = True

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
        prompts = {attempt.prompt.sha256: attempt.prompt.messages for attempt in attempts}
        new_prompts = [
            {"run_id": self.record.id, "sha256": sha256, "messages": messages}
            for sha256, messages in prompts.items()
            if sha256 not in self._prompts
        ]
        programs = [attempt.program for attempt in attempts if attempt.program is not None]
        evaluations = [evaluation for attempt in attempts for evaluation in attempt.evaluations]
        with self._storage.writing() as connection:
            for statement, rows in (
                (_NEW_PROMPTS[connection.dialect.name], new_prompts),
                (_NEW_ATTEMPTS, [attempt.attempt for attempt in attempts]),
                (_NEW_PROGRAMS, programs),
                (_NEW_EVALUATIONS, evaluations),
            ):
                if rows:
                    connection.execute(statement, rows)
        self._prompts.update(prompts)

    def finish_step(
        self, report: StepReport, memberships: Sequence[Membership], cells: Sequence[ArchiveCell] = ()
    ) -> None:
        """Store the end of a step, the new memberships and the archive cells that were taken in one transaction.

        When it returns, a power cut cannot lose the step, nor any attempt that was stored before.

        Raises:
            StoreError: The step is finished already, a membership or a cell names no program, a program is born whose
                identity another one has, or the database failed; nothing is stored then.
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
                connection.execute(_NEW_MEMBERSHIPS, rows)
            if cells:
                first = self._next_number(connection, CellRow)
                rows = [cell_values(run_id, first + offset, cell) for offset, cell in enumerate(cells)]
                connection.execute(insert(CellRow), rows)
        self._prompts.clear()

    def amend_report(self, report: StepReport) -> None:
        """Put a report in the place of that of the same step, which is the last one.

        Raises:
            StoreError: This is not the last finished step, or the database failed; nothing is changed then.
        """
        run_id = self.record.id
        last = select(func.max(StepRow.step)).where(StepRow.run_id == run_id)
        with self._timed(), self._storage.writing(through_power_cut=True) as connection:
            if connection.scalar(last) != report.step:
                raise StoreError(f"step {report.step} of run {run_id} is not its last one: resume the run")
            row = (StepRow.run_id == run_id, StepRow.step == report.step)
            connection.execute(update(StepRow).where(*row).values(step_values(run_id, report)))

    def _membership(self, number: int, membership: Membership) -> Values:
        return {
            "run_id": self.record.id,
            "number": number,
            "program_id": membership.program_id,
            "island": membership.island,
            "step": membership.step,
            "migrant": membership.migrant,
            "of_run": self.record.id,
            "born": None if membership.migrant else membership.program_id,
        }

    def insert_confirmation(
        self, confirmation: Confirmation, *, score: float | None = None, reward: float | None = None
    ) -> None:
        """Store what the check of a new best found; a program's first confirmation stands.

        Args:
            confirmation: What was found.
            score: What the program counts as from now on; None if the check changes nothing in that.
            reward: What its attempt is paid from now on; None if the check changes nothing in that.

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
            if score is not None:
                program = (ProgramRow.run_id == run_id, ProgramRow.id == confirmation.program_id)
                connection.execute(update(ProgramRow).where(*program).values(score=score))
            if reward is not None:
                attempt = (AttemptRow.run_id == run_id, AttemptRow.id == confirmation.program_id)
                connection.execute(update(AttemptRow).where(*attempt).values(reward=reward))

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

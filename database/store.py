"""One run's part of the database, as the search uses it: the `Store` protocol of `evolve.protocols`."""

from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, exists, select

from database.codec import unpack_messages, unpack_numbers, unpack_text
from database.inserts import RunInserts
from database.mapping import to_attempt, to_cell, to_confirmation, to_evaluation, to_program, to_report
from database.reports import PROGRAMS, RunReports
from database.rows import (
    AttemptRow,
    CellRow,
    ConfirmationEvaluationRow,
    ConfirmationRow,
    EvaluationRow,
    MembershipRow,
    ProgramRow,
    PromptRow,
    RunRow,
    StepRow,
    TrainingRow,
)
from evolve.types import (
    ArchiveCell,
    Attempt,
    Confirmation,
    Evaluation,
    Failure,
    Member,
    Membership,
    Message,
    Outcome,
    Program,
    StepReport,
    Training,
)

#: Attempts that one statement names.
_AT_ONCE = 1000
_RUN: BindParameter[int] = bindparam("run")
_PROGRAM = PROGRAMS.where(ProgramRow.run_id == _RUN, ProgramRow.id == bindparam("program"))
_KNOWN = (
    select(ProgramRow.id)
    .where(
        ProgramRow.run_id == _RUN,
        ProgramRow.identity == bindparam("identity"),
        ProgramRow.step < bindparam("before_step"),
    )
    .order_by(ProgramRow.id)
    .limit(1)
)
_LAST_FAILURE = (
    select(ProgramRow.outcome, AttemptRow.feedback)
    .join(AttemptRow, and_(AttemptRow.run_id == ProgramRow.run_id, AttemptRow.id == ProgramRow.id))
    .where(
        ProgramRow.run_id == _RUN,
        ProgramRow.parent_id == bindparam("parent"),
        ProgramRow.failed.is_(True),
        ProgramRow.step < bindparam("before_step"),
    )
    .order_by(ProgramRow.id.desc())
    .limit(1)
)
#: In no order: asked for the order of the ids, SQLite goes through all attempts of the run to find those of a step.
_ATTEMPTS = (
    select(AttemptRow, PromptRow, ProgramRow)
    .join(PromptRow, and_(PromptRow.run_id == AttemptRow.run_id, PromptRow.sha256 == AttemptRow.prompt_sha256))
    .outerjoin(ProgramRow, and_(ProgramRow.run_id == AttemptRow.run_id, ProgramRow.id == AttemptRow.id))
)


class RunStore(RunInserts, RunReports):
    """A run's attempts, programs, steps and places; `evolve.protocols.Store` states what each method promises.

    Any thread may call any method; `database_s` adds up the time that they all spend here.
    """

    def program(self, program_id: int) -> Program:
        """Return one program.

        Raises:
            NotFoundError: The run has no such program.
        """
        with self._rows() as session:
            found = session.execute(_PROGRAM, {"run": self.record.id, "program": program_id}).first()
            if found is None:
                raise self._no("program", program_id)
            return to_program(*found)

    def attempt(self, attempt_id: int) -> Attempt:
        """Return one attempt with its prompt, reply and evaluations.

        Raises:
            NotFoundError: The run has no such attempt.
        """
        attempts = self._attempts(AttemptRow.id == attempt_id)
        if not attempts:
            raise self._no("attempt", attempt_id)
        return attempts[0]

    def known(self, identity: str, *, before_step: int) -> int | None:
        """Return the lowest id of the programs with this identity that were born before `before_step`."""
        with self._reading() as connection:
            key = {"run": self.record.id, "identity": identity, "before_step": before_step}
            return connection.scalar(_KNOWN, key)

    def evaluated_elsewhere(self, identity: str) -> Sequence[Evaluation]:
        """Return how the oldest run of the same problem, with the same files, evaluated a program of this identity.

        Empty when no other run in the database has evaluated one, or nobody knows this run's files.
        """
        ours = self.record
        if not ours.fingerprint:
            return []
        alike = select(RunRow.id).where(
            RunRow.problem == ours.problem, RunRow.fingerprint == ours.fingerprint, RunRow.id != ours.id
        )
        evaluated = exists().where(EvaluationRow.run_id == ProgramRow.run_id, EvaluationRow.program_id == ProgramRow.id)
        oldest = (
            select(ProgramRow.run_id, ProgramRow.id)
            .where(ProgramRow.run_id.in_(alike), ProgramRow.identity == identity, evaluated)
            .order_by(ProgramRow.run_id, ProgramRow.id)
            .limit(1)
            .subquery()
        )
        query = (
            select(EvaluationRow)
            .join(oldest, and_(EvaluationRow.run_id == oldest.c.run_id, EvaluationRow.program_id == oldest.c.id))
            .order_by(EvaluationRow.number)
        )
        with self._rows() as session:
            return [to_evaluation(row) for row in session.scalars(query)]

    def last_failure(self, parent_id: int, *, before_step: int) -> Failure | None:
        """Return how the newest child of `parent_id` that ran and failed before `before_step` did so, if any did."""
        with self._reading() as connection:
            key = {"run": self.record.id, "parent": parent_id, "before_step": before_step}
            row = connection.execute(_LAST_FAILURE, key).first()
            return None if row is None else Failure(outcome=row.outcome, feedback=unpack_text(row.feedback))

    def attempts_of(self, step: int) -> Sequence[Attempt]:
        """Return the stored attempts of a step, by id."""
        return self._attempts(AttemptRow.step == step)

    def unsettled(self, *, before_step: int) -> Sequence[Attempt]:
        """Return the valid attempts of steps before `before_step` whose program no membership holds, by id.

        A program whose twin, of the same identity, has a membership is settled too: a population holds one of them.
        Attempts that are not valid are left out: they are no parents, and need no place.
        """
        own = exists().where(MembershipRow.run_id == ProgramRow.run_id, MembershipRow.program_id == ProgramRow.id)
        twin = exists().where(MembershipRow.run_id == ProgramRow.run_id, MembershipRow.identity == ProgramRow.identity)
        ids = (
            select(ProgramRow.id)
            .where(
                ProgramRow.run_id == self.record.id,
                ProgramRow.step < before_step,
                ProgramRow.outcome == Outcome.VALID,
                ~own,  # asked first: most have one, and this index is in the order of the programs
                ~twin,
            )
            # Without an order SQLite may go through the rows by their scores, ten times slower in a large run.
            .order_by(ProgramRow.id)
        )
        with self._reading() as connection:
            unsettled = list(connection.scalars(ids))
        # In parts, as a statement holds only so many numbers.
        parts = (unsettled[first : first + _AT_ONCE] for first in range(0, len(unsettled), _AT_ONCE))
        return [attempt for part in parts for attempt in self._attempts(AttemptRow.id.in_(part))]

    def members(self) -> Sequence[Member]:
        """Return all programs that have a membership, by id.

        These are the valid programs of finished steps: one whose evaluation ended after its step counts from the step
        that took it in.
        """
        in_run = exists().where(MembershipRow.run_id == ProgramRow.run_id, MembershipRow.program_id == ProgramRow.id)
        query = (
            select(
                ProgramRow.id,
                ProgramRow.parent_id,
                ProgramRow.step,
                ProgramRow.identity,
                ProgramRow.score,
                ProgramRow.length,
                ProgramRow.measures,
            )
            .where(ProgramRow.run_id == self.record.id, in_run)
            .order_by(ProgramRow.id)
        )
        with self._reading() as connection:
            return [
                Member(
                    id=id_,
                    parent_id=parent_id,
                    step=step,
                    identity=identity,
                    score=score,
                    length=length,
                    measures=unpack_numbers(measures),
                )
                for id_, parent_id, step, identity, score, length, measures in connection.execute(query)
            ]

    def memberships(self) -> Sequence[Membership]:
        """Return all memberships in the order in which they were stored."""
        query = (
            select(MembershipRow.program_id, MembershipRow.island, MembershipRow.step, MembershipRow.migrant)
            .where(MembershipRow.run_id == self.record.id)
            .order_by(MembershipRow.number)
        )
        with self._reading() as connection:
            return [
                Membership(program_id=program_id, island=island, step=step, migrant=migrant)
                for program_id, island, step, migrant in connection.execute(query)
            ]

    def archive_cells(self) -> Sequence[ArchiveCell]:
        """Return all archive cells in the order in which they were stored."""
        query = select(CellRow).where(CellRow.run_id == self.record.id).order_by(CellRow.number)
        with self._rows() as session:
            return [to_cell(row) for row in session.scalars(query)]

    def confirmations(self) -> Sequence[Confirmation]:
        """Return all confirmations in the order in which they were stored."""
        run_id = self.record.id
        query = select(ConfirmationRow).where(ConfirmationRow.run_id == run_id).order_by(ConfirmationRow.number)
        runs_of_them = (
            select(ConfirmationEvaluationRow)
            .where(ConfirmationEvaluationRow.run_id == run_id)
            .order_by(ConfirmationEvaluationRow.program_id, ConfirmationEvaluationRow.number)
        )
        evaluations: defaultdict[int, list[ConfirmationEvaluationRow]] = defaultdict(list)
        with self._rows() as session:
            for evaluation in session.scalars(runs_of_them):
                evaluations[evaluation.program_id].append(evaluation)
            return [to_confirmation(row, evaluations[row.program_id]) for row in session.scalars(query)]

    def trainings(self) -> Sequence[Training]:
        """Return what the learner did after each step, by step."""
        query = (
            select(TrainingRow.step, TrainingRow.values)
            .where(TrainingRow.run_id == self.record.id)
            .order_by(TrainingRow.step)
        )
        with self._reading() as connection:
            return [Training(step=step, values=unpack_numbers(values)) for step, values in connection.execute(query)]

    def reports(self) -> Sequence[StepReport]:
        """Return the reports of all finished steps, in order."""
        query = select(StepRow).where(StepRow.run_id == self.record.id).order_by(StepRow.step)
        with self._rows() as session:
            return [to_report(row) for row in session.scalars(query)]

    def _attempts(self, condition: ColumnElement[bool]) -> list[Attempt]:
        """Return the attempts that meet `condition`, by id; attempts of one group share their prompt's value."""
        ours = and_(AttemptRow.run_id == self.record.id, condition)
        ids = select(AttemptRow.id).where(ours)
        runs_of_them = (
            select(EvaluationRow)
            .where(EvaluationRow.run_id == self.record.id, EvaluationRow.program_id.in_(ids))
            .order_by(EvaluationRow.program_id, EvaluationRow.number)
        )
        prompts: dict[bytes, tuple[Message, ...]] = {}
        evaluations: defaultdict[int, list[EvaluationRow]] = defaultdict(list)
        with self._rows() as session:
            found = sorted(session.execute(_ATTEMPTS.where(ours)).all(), key=lambda row: row.AttemptRow.id)
            for evaluation in session.scalars(runs_of_them):
                evaluations[evaluation.program_id].append(evaluation)
            for _, prompt, _ in found:
                if prompt.sha256 not in prompts:
                    prompts[prompt.sha256] = unpack_messages(prompt.messages)
            return [
                to_attempt(row, prompts[row.prompt_sha256], program, evaluations[row.id]) for row, _, program in found
            ]

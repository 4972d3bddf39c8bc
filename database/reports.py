"""What the command line and the report ask of a run."""

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import ColumnElement, Select, and_, case, func, select
from sqlalchemy.orm import aliased

from database.access import RunAccess
from database.codec import unpack_messages, unpack_text
from database.mapping import to_evaluation, to_program
from database.rows import AttemptRow, ConfirmationRow, EvaluationRow, ProgramRow, PromptRow
from evolve.errors import NotFoundError
from evolve.types import REPLY_FAILURES, Account, Direction, Evaluation, Outcome, Program, PromptTally, StepsTally

#: The id of the seed program and of its attempt, which no model made; merged programs, of other runs, lie below it.
SEED_ID = 0
#: Programs with their texts.
PROGRAMS = select(ProgramRow, AttemptRow.source).join(
    AttemptRow, and_(AttemptRow.run_id == ProgramRow.run_id, AttemptRow.id == ProgramRow.id)
)
#: The program that an attempt made, and its parent: either may be missing.
PARENT = aliased(ProgramRow)
CHILD_OF_ATTEMPT = and_(ProgramRow.run_id == AttemptRow.run_id, ProgramRow.id == AttemptRow.id)
PARENT_OF_ATTEMPT = and_(PARENT.run_id == AttemptRow.run_id, PARENT.id == AttemptRow.parent_id)


class RunReports(RunAccess):
    """The reads that look back on a run; none of them is needed to search."""

    def best_programs(self, limit: int, direction: Direction) -> Sequence[Program]:
        """Return up to `limit` valid programs by the score that counts, best first; ties go to the older.

        Programs that a confirmation put in quarantine, and those that are the same, are left out.
        """
        score = ProgramRow.score.desc() if direction is Direction.MAX else ProgramRow.score.asc()
        query = (
            PROGRAMS.where(ProgramRow.run_id == self.record.id, ProgramRow.score.is_not(None))
            .where(ProgramRow.identity.not_in(self._quarantined()))
            .order_by(score, ProgramRow.id)
            .limit(limit)
        )
        with self._rows() as session:
            return [to_program(row, source) for row, source in session.execute(query)]

    def lineage(self, program_id: int) -> Sequence[Program]:
        """Return the seed program, its child, and so on down to this program.

        Raises:
            NotFoundError: The run has no such program.
        """
        run_id = self.record.id
        line = (
            select(ProgramRow.id, ProgramRow.parent_id)
            .where(ProgramRow.run_id == run_id, ProgramRow.id == program_id)
            .cte("line", recursive=True)
        )
        parent = aliased(ProgramRow)
        line = line.union_all(
            select(parent.id, parent.parent_id).where(parent.run_id == run_id, parent.id == line.c.parent_id)
        )
        # A parent's id is lower than its child's: the table refuses any other.
        query = (
            PROGRAMS.join(line, ProgramRow.id == line.c.id).where(ProgramRow.run_id == run_id).order_by(ProgramRow.id)
        )
        with self._rows() as session:
            programs = [to_program(row, source) for row, source in session.execute(query)]
        if not programs:
            raise self._no("program", program_id)
        return programs

    def evaluations(self, program_id: int) -> Sequence[Evaluation]:
        """Return the evaluations of a program in the order of running; empty when there is no such program."""
        query = (
            select(EvaluationRow)
            .where(EvaluationRow.run_id == self.record.id, EvaluationRow.program_id == program_id)
            .order_by(EvaluationRow.number)
        )
        with self._rows() as session:
            return [to_evaluation(row) for row in session.scalars(query)]

    def merged(self) -> int:
        """Return how many programs of other runs this run took in; they are its programs -1, -2, ... in that order."""
        query = select(func.min(AttemptRow.id)).where(AttemptRow.run_id == self.record.id)
        with self._reading() as connection:
            lowest = connection.scalar(query)
        return max(0, SEED_ID - (lowest or SEED_ID))

    def evaluated(self) -> tuple[int, int]:
        """Return how many programs were made by this run's model, and how many of them are distinct.

        Samples of one group, and of the groups beside it, may be the same program: they share one evaluation.
        """
        # Grouped first: in the order of the index, where SQLite would sort a million identities to tell them apart.
        alike = (
            select(func.count().label("programs"))
            .where(ProgramRow.run_id == self.record.id, ProgramRow.id > SEED_ID)
            .group_by(ProgramRow.identity)
            .subquery()
        )
        query = select(func.sum(alike.c.programs), func.count()).select_from(alike)
        with self._reading() as connection:
            programs, distinct = connection.execute(query).one()
        return int(programs or 0), distinct

    def outcome_counts(self) -> Mapping[Outcome, int]:
        """Return how many completions ended how; the seed program and merged ones are none of them."""
        query = (
            select(AttemptRow.outcome, func.count())
            .where(AttemptRow.run_id == self.record.id, AttemptRow.step > 0)
            .group_by(AttemptRow.outcome)
        )
        with self._reading() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def first_feedback(self, outcome: Outcome) -> str:
        """Return what was said of the first completion that ended so; empty where none did."""
        query = (
            select(AttemptRow.feedback)
            .where(AttemptRow.run_id == self.record.id, AttemptRow.outcome == outcome, AttemptRow.step > 0)
            .order_by(AttemptRow.id)
            .limit(1)
        )
        with self._reading() as connection:
            feedback = connection.scalar(query)
        return "" if feedback is None else unpack_text(feedback)

    def evaluation_totals(self) -> Mapping[Outcome, tuple[int, float]]:
        """Return how many runs of the model's programs ended how, and their wall-clock seconds; no confirmations."""
        query = (
            select(EvaluationRow.outcome, func.count(), func.sum(EvaluationRow.wall_s))
            .where(EvaluationRow.run_id == self.record.id, EvaluationRow.program_id > SEED_ID)
            .group_by(EvaluationRow.outcome)
        )
        with self._reading() as connection:
            return {row[0]: (row[1], row[2]) for row in connection.execute(query)}

    def attempts_made(self) -> int:
        """Return how many completions are stored; the seed program and merged ones are none of them."""
        return sum(self.outcome_counts().values())

    def token_totals(self) -> tuple[int, int]:
        """Return the tokens of all completions, and of their prompts, each counted as often as it was sent."""
        query = select(func.sum(AttemptRow.tokens), func.sum(AttemptRow.prompt_tokens)).where(
            AttemptRow.run_id == self.record.id
        )
        with self._reading() as connection:
            tokens, prompt_tokens = connection.execute(query).one()
        return int(tokens or 0), int(prompt_tokens or 0)

    def account(self, direction: Direction, *, before_step: int) -> Account:
        """Return what is stored of the completions of all steps before `before_step`."""
        query = (
            select(
                AttemptRow.outcome,
                func.count(),
                func.count(case((self._improved(direction), 1))),
                func.sum(AttemptRow.tokens),
                func.sum(AttemptRow.prompt_tokens),
            )
            .outerjoin(ProgramRow, CHILD_OF_ATTEMPT)
            .outerjoin(PARENT, PARENT_OF_ATTEMPT)
            .where(AttemptRow.run_id == self.record.id, AttemptRow.step > 0, AttemptRow.step < before_step)
            .group_by(AttemptRow.outcome)
        )
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return Account(
            outcomes={row[0]: row[1] for row in rows},
            improved=sum(row[2] for row in rows),
            tokens=sum(int(row[3]) for row in rows),
            prompt_tokens=sum(int(row[4]) for row in rows),
        )

    def steps_tally(self, after_step: int, direction: Direction) -> StepsTally:
        """Return what came of the completions of all steps after `after_step`."""
        query = (
            select(
                func.count(),
                func.count(case((AttemptRow.outcome.not_in(REPLY_FAILURES), 1))),
                func.count(ProgramRow.identity.distinct()),
                func.count(ProgramRow.score),
                func.count(case((self._improved(direction), 1))),
                func.count(case((ProgramRow.score != PARENT.score, 1))),
            )
            .outerjoin(ProgramRow, CHILD_OF_ATTEMPT)
            .outerjoin(PARENT, PARENT_OF_ATTEMPT)
            .where(AttemptRow.run_id == self.record.id, AttemptRow.step > max(after_step, 0))
        )
        with self._reading() as connection:
            completions, replied, distinct, valid, improved, changed = connection.execute(query).one()
        return StepsTally(
            completions=completions,
            replied=replied,
            distinct=distinct,
            valid=valid,
            improved=improved,
            changed=changed,
        )

    def prompt_tallies(self, direction: Direction) -> Iterator[PromptTally]:
        """Yield every prompt that the model was sent with what came of it; the text of one is read at a time."""
        sound = case((ProgramRow.identity.not_in(self._quarantined()), ProgramRow.score))
        tallies = (
            select(
                AttemptRow.prompt_sha256,
                func.count().label("completions"),
                func.count(ProgramRow.score).label("valid"),
                func.count(case((self._improved(direction), 1))).label("improved"),
                (func.max(sound) if direction is Direction.MAX else func.min(sound)).label("best"),
            )
            .outerjoin(ProgramRow, CHILD_OF_ATTEMPT)
            .outerjoin(PARENT, PARENT_OF_ATTEMPT)
            .where(AttemptRow.run_id == self.record.id, AttemptRow.step > 0)
            .group_by(AttemptRow.prompt_sha256)
        )
        with self._reading() as connection:
            counted = connection.execute(tallies).all()
        text = select(PromptRow.messages).where(PromptRow.run_id == self.record.id)
        for row in counted:
            with self._reading() as connection:
                packed = connection.execute(text.where(PromptRow.sha256 == row.prompt_sha256)).scalar_one()
            yield PromptTally(
                messages=unpack_messages(packed),
                completions=row.completions,
                valid=row.valid,
                improved=row.improved,
                best=row.best,
            )

    def _improved(self, direction: Direction) -> ColumnElement[bool]:
        """Return whether a program is better than its parent, by a score that counts."""
        gained = ProgramRow.score > PARENT.score if direction is Direction.MAX else ProgramRow.score < PARENT.score
        return and_(gained, ProgramRow.identity.not_in(self._quarantined()))

    def _quarantined(self) -> Select[str]:
        """Return the query for the identities of the programs in quarantine."""
        program = aliased(ProgramRow)
        # One inside the other, so that the few confirmations come first: joined, SQLite starts from all programs.
        identity = (
            select(program.identity)
            .where(program.run_id == ConfirmationRow.run_id, program.id == ConfirmationRow.program_id)
            .scalar_subquery()
        )
        return select(identity).where(ConfirmationRow.run_id == self.record.id, ConfirmationRow.confirmed.is_(False))

    def _no(self, noun: str, number: int) -> NotFoundError:
        cure = "list its best programs with `evolve show run=DIR view=best`"
        return NotFoundError(f"run {self.record.id} has no {noun} {number}: {cure}")

"""The tables, as typed rows; `migrations/` holds the same tables as history.

Rows are inserted and never changed, but for the score of a program whose check finds it to be worth less.

Wide columns come last in their table: SQLite then reads the narrow ones without touching a text's overflow pages. A
program's text is its attempt's, so that a resume reads a million programs without one.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Double,
    Enum,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from evolve.types import FinishReason, Origin, Outcome

#: Names of constraints, so that a later migration can name what it drops on every database.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def _texts(enum: type[Outcome] | type[FinishReason] | type[Origin]) -> list[str]:
    return [member.value for member in enum]


#: Numbers by name, as `database.codec.pack_numbers` gives them.
Numbers = dict[str, float | str]


class Base(DeclarativeBase):
    """Base of all rows; says which column type stands for which Python type."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        int: BigInteger(),
        float: Double(),
        str: Text(),
        bytes: LargeBinary(),
        dict[str, int]: JSON(),
        list[int]: JSON(),
        Numbers: JSON(none_as_null=True),
        # Plain text in the database: a new outcome needs no migration.
        Outcome: Enum(Outcome, native_enum=False, length=16, values_callable=_texts),
        FinishReason: Enum(FinishReason, native_enum=False, length=16, values_callable=_texts),
        Origin: Enum(Origin, native_enum=False, length=16, values_callable=_texts),
    }


class RunRow(Base):
    """One search: `evolve.types.RunRecord`."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    problem: Mapped[str]
    model: Mapped[str]
    folder: Mapped[str] = mapped_column(unique=True)
    seed: Mapped[int]
    started_at: Mapped[float]
    config: Mapped[bytes]
    fingerprint: Mapped[str | None]


class StepRow(Base):
    """The end of one step: `evolve.types.StepReport`. A step without a row is not finished."""

    __tablename__ = "steps"

    run_id: Mapped[int] = mapped_column(Integer, ForeignKey("runs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempts: Mapped[int]
    best: Mapped[float]
    improved: Mapped[int]
    tokens: Mapped[int]
    prompt_tokens: Mapped[int]
    generate_s: Mapped[float]
    tail_s: Mapped[float]
    database_s: Mapped[float]
    stragglers: Mapped[int]
    finished_s: Mapped[float]
    outcomes: Mapped[dict[str, int]]


class PromptRow(Base):
    """The messages that the samples of one group share.

    Attributes:
        sha256: Of the messages' JSON text, before compression.
        messages: Compressed JSON: `[[role, content], ...]`.
    """

    __tablename__ = "prompts"

    run_id: Mapped[int] = mapped_column(Integer, ForeignKey("runs.id"), primary_key=True)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    messages: Mapped[bytes]


class AttemptRow(Base):
    """One completion and its outcome: `evolve.types.Attempt` without what only a program has.

    `parent_id` is no foreign key: the seed program's attempt names itself and is stored before it.

    Attributes:
        sample_group: The completion's group; `group` alone is a reserved word of SQL.
        token_ids: Compressed little-endian int32; None when the engine did not know them.
        logprobs: Compressed little-endian float32; None when the engine did not know them.
        source: The text of the program that it made, compressed; None when it made none of its own.
    """

    __tablename__ = "attempts"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "prompt_sha256"], ["prompts.run_id", "prompts.sha256"]),
        # Finds the attempts of a step, and holds all that the totals need, so that they never read the replies.
        Index(None, "run_id", "step", "outcome", "tokens", "prompt_tokens"),
    )

    run_id: Mapped[int] = mapped_column(Integer, ForeignKey("runs.id"), primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[int]
    island: Mapped[int]
    parent_id: Mapped[int]
    outcome: Mapped[Outcome]
    reward: Mapped[float | None]
    known_as: Mapped[int | None]
    finished_s: Mapped[float]
    sample_group: Mapped[int]
    sample: Mapped[int]
    tokens: Mapped[int]
    prompt_tokens: Mapped[int]
    finish_reason: Mapped[FinishReason]
    seconds: Mapped[float]
    identity: Mapped[str | None]
    prompt_sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    inspiration_ids: Mapped[list[int]]
    feedback: Mapped[bytes]
    reply: Mapped[bytes]
    token_ids: Mapped[bytes | None]
    logprobs: Mapped[bytes | None]
    source: Mapped[bytes | None]


class ProgramRow(Base):
    """The child of an attempt that has a source of its own.

    Attributes:
        failed: Whether it ran and failed, so that the newest failure is found without reading its siblings.
        length: Characters of the source.
        measures: Those of the evaluation that counts; None when it has none.
    """

    __tablename__ = "programs"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "id"], ["attempts.run_id", "attempts.id"]),
        ForeignKeyConstraint(["run_id", "parent_id"], ["programs.run_id", "programs.id"]),
        CheckConstraint("parent_id < id", name="older_parent"),  # so that no lineage is a circle
        Index(None, "run_id", "identity", "id"),
        Index(None, "run_id", "parent_id", "failed", "id"),
        Index(None, "run_id", "score", "id"),
    )

    run_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    parent_id: Mapped[int | None]
    step: Mapped[int]
    outcome: Mapped[Outcome]
    failed: Mapped[bool]
    score: Mapped[float | None]
    length: Mapped[int]
    identity: Mapped[str]
    measures: Mapped[Numbers | None]


class _EvaluationColumns:
    """One run of a program: `evolve.types.Evaluation`; `number` counts them from 0."""

    run_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    program_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    seed: Mapped[int]
    outcome: Mapped[Outcome]
    score: Mapped[float | None]
    wall_s: Mapped[float]
    cpu_s: Mapped[float]
    peak_memory_mib: Mapped[float]
    peak_processes: Mapped[int]
    exact: Mapped[str | None]
    feedback: Mapped[bytes]
    construction: Mapped[bytes | None]
    measures: Mapped[Numbers | None]


class EvaluationRow(_EvaluationColumns, Base):
    """One run of a program when it was born."""

    __tablename__ = "evaluations"
    __table_args__ = (ForeignKeyConstraint(["run_id", "program_id"], ["programs.run_id", "programs.id"]),)


class ConfirmationRow(Base):
    """What the check of a new best found: `evolve.types.Confirmation`; `number` is the order of storing, from 0."""

    __tablename__ = "confirmations"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "program_id"], ["programs.run_id", "programs.id"]),
        UniqueConstraint("run_id", "number"),
    )

    run_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    program_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int]
    confirmed: Mapped[bool]
    origin: Mapped[Origin]
    reason: Mapped[bytes]


class ConfirmationEvaluationRow(_EvaluationColumns, Base):
    """One run with an unseen seed of a program that was to be the best; no run of these counts for its score."""

    __tablename__ = "confirmation_evaluations"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "program_id"], ["confirmations.run_id", "confirmations.program_id"]),
    )


class MembershipRow(Base):
    """A program's place on an island: `evolve.types.Membership`; `number` is the order of storing, from 0.

    Attributes:
        identity: The program's, where this is its birth and not a migrant; a population holds each only once.
    """

    __tablename__ = "memberships"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "program_id"], ["programs.run_id", "programs.id"]),
        ForeignKeyConstraint(["run_id", "step"], ["steps.run_id", "steps.step"]),
        Index(None, "run_id", "program_id"),
        Index(None, "run_id", "identity", unique=True),
    )

    run_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    program_id: Mapped[int]
    island: Mapped[int]
    step: Mapped[int]
    migrant: Mapped[bool]
    identity: Mapped[str | None]


class CellRow(Base):
    """A program took a cell of an archive: `evolve.types.ArchiveCell`; `number` is the order of storing, from 0.

    Attributes:
        cell: One bin for each measure.
    """

    __tablename__ = "archive_cells"
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "program_id"], ["programs.run_id", "programs.id"]),
        ForeignKeyConstraint(["run_id", "step"], ["steps.run_id", "steps.step"]),
    )

    run_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    program_id: Mapped[int]
    island: Mapped[int]
    grid: Mapped[int]
    step: Mapped[int]
    cell: Mapped[list[int]]


class TrainingRow(Base):
    """What the learner did after one step: `evolve.types.Training`."""

    __tablename__ = "trainings"
    __table_args__ = (ForeignKeyConstraint(["run_id", "step"], ["steps.run_id", "steps.step"]),)

    run_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    values: Mapped[Numbers]

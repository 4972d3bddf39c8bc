"""The first tables: runs, steps, prompts, attempts, programs, evaluations, memberships."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    _runs_steps_prompts()
    _attempts()
    _programs()
    _evaluations()
    _memberships()


def downgrade() -> None:
    """Drop all tables with what is in them, children before their parents."""
    for table in ("memberships", "evaluations", "programs", "attempts", "prompts", "steps", "runs"):
        op.drop_table(table)


def _runs_steps_prompts() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("config", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.UniqueConstraint("folder", name="uq_runs_folder"),
    )
    op.create_table(
        "steps",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("best", sa.Double(), nullable=False),
        sa.Column("improved", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("generate_s", sa.Double(), nullable=False),
        sa.Column("tail_s", sa.Double(), nullable=False),
        sa.Column("database_s", sa.Double(), nullable=False),
        sa.Column("stragglers", sa.BigInteger(), nullable=False),
        sa.Column("finished_s", sa.Double(), nullable=False),
        sa.Column("outcomes", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "step", name="pk_steps"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_steps_run_id_runs"),
    )
    op.create_table(
        "prompts",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("messages", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "sha256", name="pk_prompts"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_prompts_run_id_runs"),
    )


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("island", sa.BigInteger(), nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reward", sa.Double(), nullable=True),
        sa.Column("known_as", sa.BigInteger(), nullable=True),
        sa.Column("finished_s", sa.Double(), nullable=False),
        sa.Column("sample_group", sa.BigInteger(), nullable=False),
        sa.Column("sample", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("finish_reason", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("prompt_sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("inspiration_ids", sa.JSON(), nullable=False),
        sa.Column("feedback", sa.LargeBinary(), nullable=False),
        sa.Column("reply", sa.LargeBinary(), nullable=False),
        sa.Column("token_ids", sa.LargeBinary(), nullable=True),
        sa.Column("logprobs", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_attempts"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_attempts_run_id_runs"),
        sa.ForeignKeyConstraint(
            ["run_id", "prompt_sha256"],
            ["prompts.run_id", "prompts.sha256"],
            name="fk_attempts_run_id_prompt_sha256_prompts",
        ),
    )
    op.create_index(
        "ix_attempts_run_id_step_outcome_tokens_prompt_tokens",
        "attempts",
        ["run_id", "step", "outcome", "tokens", "prompt_tokens"],
    )


def _programs() -> None:
    op.create_table(
        "programs",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("failed", sa.Boolean(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "id", name="pk_programs"),
        sa.ForeignKeyConstraint(
            ["run_id", "id"], ["attempts.run_id", "attempts.id"], name="fk_programs_run_id_id_attempts"
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "parent_id"], ["programs.run_id", "programs.id"], name="fk_programs_run_id_parent_id_programs"
        ),
        sa.CheckConstraint("parent_id < id", name=op.f("ck_programs_older_parent")),
    )
    op.create_index("ix_programs_run_id_identity_id", "programs", ["run_id", "identity", "id"])
    op.create_index("ix_programs_run_id_parent_id_failed_id", "programs", ["run_id", "parent_id", "failed", "id"])
    op.create_index("ix_programs_run_id_score_id", "programs", ["run_id", "score", "id"])


def _evaluations() -> None:
    op.create_table(
        "evaluations",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("program_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("wall_s", sa.Double(), nullable=False),
        sa.Column("cpu_s", sa.Double(), nullable=False),
        sa.Column("peak_memory_mib", sa.Double(), nullable=False),
        sa.Column("peak_processes", sa.BigInteger(), nullable=False),
        sa.Column("exact", sa.Text(), nullable=True),
        sa.Column("feedback", sa.LargeBinary(), nullable=False),
        sa.Column("construction", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "program_id", "number", name="pk_evaluations"),
        sa.ForeignKeyConstraint(
            ["run_id", "program_id"],
            ["programs.run_id", "programs.id"],
            name="fk_evaluations_run_id_program_id_programs",
        ),
    )
    op.create_index(
        "ix_evaluations_run_id_score_program_id_number", "evaluations", ["run_id", "score", "program_id", "number"]
    )


def _memberships() -> None:
    op.create_table(
        "memberships",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("program_id", sa.BigInteger(), nullable=False),
        sa.Column("island", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("migrant", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_memberships"),
        sa.ForeignKeyConstraint(
            ["run_id", "program_id"],
            ["programs.run_id", "programs.id"],
            name="fk_memberships_run_id_program_id_programs",
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "step"], ["steps.run_id", "steps.step"], name="fk_memberships_run_id_step_steps"
        ),
    )
    op.create_index("ix_memberships_run_id_program_id", "memberships", ["run_id", "program_id"])

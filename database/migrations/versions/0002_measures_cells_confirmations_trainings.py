"""Measures, sources in a table of their own, archive cells, confirmations of bests, trainings."""

import hashlib
import zlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: Programs whose texts are moved at once: some 10 MB of them.
_BATCH = 5000


def upgrade() -> None:
    """Add what version 0001 lacks; its programs keep their texts."""
    op.create_table(
        "sources",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "sha256", name="pk_sources"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_sources_run_id_runs"),
    )
    op.add_column("runs", sa.Column("fingerprint", sa.Text(), nullable=True))
    op.add_column("programs", sa.Column("source_sha256", sa.LargeBinary(32), nullable=True))
    op.add_column("programs", sa.Column("measures", sa.JSON(), nullable=True))
    op.add_column("evaluations", sa.Column("measures", sa.JSON(), nullable=True))
    _move_sources_out()
    with op.batch_alter_table("programs") as programs:
        programs.drop_column("source")
        programs.alter_column("source_sha256", existing_type=sa.LargeBinary(32), nullable=False)
        programs.create_foreign_key(
            "fk_programs_run_id_source_sha256_sources",
            "sources",
            ["run_id", "source_sha256"],
            ["run_id", "sha256"],
        )
    _confirmations()
    _cells_and_trainings()


def downgrade() -> None:
    """Put the texts back into their programs; measures, cells, confirmations and trainings are lost."""
    for table in ("trainings", "archive_cells", "confirmation_evaluations", "confirmations"):
        op.drop_table(table)
    op.add_column("programs", sa.Column("source", sa.LargeBinary(), nullable=True))
    op.execute(
        "UPDATE programs SET source = (SELECT text FROM sources"
        " WHERE sources.run_id = programs.run_id AND sources.sha256 = programs.source_sha256)"
    )
    with op.batch_alter_table("programs") as programs:
        programs.drop_constraint("fk_programs_run_id_source_sha256_sources", type_="foreignkey")
        programs.drop_column("source_sha256")
        programs.drop_column("measures")
        programs.alter_column("source", existing_type=sa.LargeBinary(), nullable=False)
    op.drop_column("evaluations", "measures")
    op.drop_column("runs", "fingerprint")
    op.drop_table("sources")


def _move_sources_out() -> None:
    connection = op.get_bind()
    programs = sa.table(
        "programs",
        sa.column("run_id", sa.Integer()),
        sa.column("id", sa.BigInteger()),
        sa.column("source", sa.LargeBinary()),
        sa.column("source_sha256", sa.LargeBinary(32)),
    )
    sources = sa.table(
        "sources",
        sa.column("run_id", sa.Integer()),
        sa.column("sha256", sa.LargeBinary(32)),
        sa.column("text", sa.LargeBinary()),
    )
    query = sa.select(programs.c.run_id, programs.c.id, programs.c.source).order_by(programs.c.run_id, programs.c.id)
    point = sa.update(programs).where(
        programs.c.run_id == sa.bindparam("of_run"), programs.c.id == sa.bindparam("of_id")
    )
    last = (0, -1)
    while True:
        after = sa.tuple_(programs.c.run_id, programs.c.id) > sa.tuple_(*map(sa.literal, last))
        batch = connection.execute(query.where(after).limit(_BATCH)).all()
        if not batch:
            return
        hashes = [hashlib.sha256(zlib.decompress(text) if text else b"").digest() for _, _, text in batch]
        texts = {(row.run_id, sha256): row.source for row, sha256 in zip(batch, hashes, strict=True)}
        known = sa.select(sources.c.run_id, sources.c.sha256).where(sources.c.sha256.in_(set(hashes)))
        for run_id, sha256 in connection.execute(known):
            texts.pop((run_id, bytes(sha256)), None)
        if texts:
            rows = [{"run_id": run_id, "sha256": sha256, "text": text} for (run_id, sha256), text in texts.items()]
            connection.execute(sa.insert(sources), rows)
        connection.execute(
            point,
            [
                {"of_run": row.run_id, "of_id": row.id, "source_sha256": sha256}
                for row, sha256 in zip(batch, hashes, strict=True)
            ],
        )
        last = (batch[-1].run_id, batch[-1].id)


def _confirmations() -> None:
    op.create_table(
        "confirmations",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("program_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("reason", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "program_id", name="pk_confirmations"),
        sa.ForeignKeyConstraint(
            ["run_id", "program_id"],
            ["programs.run_id", "programs.id"],
            name="fk_confirmations_run_id_program_id_programs",
        ),
        sa.UniqueConstraint("run_id", "number", name="uq_confirmations_run_id_number"),
    )
    op.create_table(
        "confirmation_evaluations",
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
        sa.Column("measures", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "program_id", "number", name="pk_confirmation_evaluations"),
        sa.ForeignKeyConstraint(
            ["run_id", "program_id"],
            ["confirmations.run_id", "confirmations.program_id"],
            name="fk_confirmation_evaluations_run_id_program_id_confirmations",
        ),
    )


def _cells_and_trainings() -> None:
    op.create_table(
        "archive_cells",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("program_id", sa.BigInteger(), nullable=False),
        sa.Column("island", sa.BigInteger(), nullable=False),
        sa.Column("grid", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("cell", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_archive_cells"),
        sa.ForeignKeyConstraint(
            ["run_id", "program_id"],
            ["programs.run_id", "programs.id"],
            name="fk_archive_cells_run_id_program_id_programs",
        ),
        sa.ForeignKeyConstraint(
            ["run_id", "step"], ["steps.run_id", "steps.step"], name="fk_archive_cells_run_id_step_steps"
        ),
    )
    op.create_table(
        "trainings",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("step", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("values", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "step", name="pk_trainings"),
        sa.ForeignKeyConstraint(
            ["run_id", "step"], ["steps.run_id", "steps.step"], name="fk_trainings_run_id_step_steps"
        ),
    )

"""Sources with their attempts; no table of theirs, and no index that nothing reads."""

import hashlib
import zlib

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

#: Programs whose texts are hashed at once: some 10 MB of them.
_BATCH = 5000
_EVALUATIONS_BY_SCORE = "ix_evaluations_run_id_score_program_id_number"


def upgrade() -> None:
    """Move the texts to the attempts that gave them."""
    op.add_column("attempts", sa.Column("source", sa.LargeBinary(), nullable=True))
    op.execute(
        "UPDATE attempts SET source = sources.text FROM programs JOIN sources"
        " ON sources.run_id = programs.run_id AND sources.sha256 = programs.source_sha256"
        " WHERE programs.run_id = attempts.run_id AND programs.id = attempts.id"
    )
    with op.batch_alter_table("programs") as programs:
        programs.drop_constraint("fk_programs_run_id_source_sha256_sources", type_="foreignkey")
        programs.drop_column("source_sha256")
    op.drop_table("sources")
    op.drop_index(_EVALUATIONS_BY_SCORE, "evaluations")


def downgrade() -> None:
    """Move the texts to a table of their own, each text once."""
    op.create_index(_EVALUATIONS_BY_SCORE, "evaluations", ["run_id", "score", "program_id", "number"])
    op.create_table(
        "sources",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "sha256", name="pk_sources"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_sources_run_id_runs"),
    )
    op.add_column("programs", sa.Column("source_sha256", sa.LargeBinary(32), nullable=True))
    _hash_sources()
    op.execute(
        "INSERT INTO sources (run_id, sha256, text)"
        " SELECT attempts.run_id, texts.source_sha256, attempts.source FROM attempts JOIN"
        " (SELECT run_id, source_sha256, min(id) AS id FROM programs GROUP BY run_id, source_sha256) AS texts"
        " ON texts.run_id = attempts.run_id AND texts.id = attempts.id"
    )
    with op.batch_alter_table("programs") as programs:
        programs.alter_column("source_sha256", existing_type=sa.LargeBinary(32), nullable=False)
        programs.create_foreign_key(
            "fk_programs_run_id_source_sha256_sources",
            "sources",
            ["run_id", "source_sha256"],
            ["run_id", "sha256"],
        )
    op.drop_column("attempts", "source")


def _hash_sources() -> None:
    """Give each program the hash of its text."""
    connection = op.get_bind()
    attempts = _keyed("attempts", sa.column("source", sa.LargeBinary()))
    programs = _keyed("programs", sa.column("source_sha256", sa.LargeBinary(32)))
    query = sa.select(attempts).where(attempts.c.source.is_not(None)).order_by(attempts.c.run_id, attempts.c.id)
    point = sa.update(programs).where(
        programs.c.run_id == sa.bindparam("of_run"), programs.c.id == sa.bindparam("of_id")
    )
    last = (0, 0)  # runs count from 1
    while True:
        after = sa.tuple_(attempts.c.run_id, attempts.c.id) > sa.tuple_(*map(sa.literal, last))
        batch = connection.execute(query.where(after).limit(_BATCH)).all()
        if not batch:
            return
        hashes = [hashlib.sha256(zlib.decompress(source) if source else b"").digest() for _, _, source in batch]
        connection.execute(
            point,
            [
                {"of_run": row.run_id, "of_id": row.id, "source_sha256": sha256}
                for row, sha256 in zip(batch, hashes, strict=True)
            ],
        )
        last = (batch[-1].run_id, batch[-1].id)


def _keyed(name: str, column: sa.ColumnClause[bytes]) -> sa.TableClause:
    return sa.table(name, sa.column("run_id", sa.Integer()), sa.column("id", sa.BigInteger()), column)

"""The identity of each member with its birth, which no other birth of the run may have."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_INDEX = "ix_memberships_run_id_identity"


def upgrade() -> None:
    """Name the identities; were there two births of one, the first would have it."""
    op.add_column("memberships", sa.Column("identity", sa.Text(), nullable=True))
    op.execute(
        "UPDATE memberships SET identity = births.identity FROM"
        " (SELECT memberships.run_id, min(memberships.number) AS number, programs.identity FROM memberships"
        " JOIN programs ON programs.run_id = memberships.run_id AND programs.id = memberships.program_id"
        " WHERE NOT memberships.migrant GROUP BY memberships.run_id, programs.identity) AS births"
        " WHERE births.run_id = memberships.run_id AND births.number = memberships.number"
    )
    op.create_index(_INDEX, "memberships", ["run_id", "identity"], unique=True)


def downgrade() -> None:
    """Leave the identities to the programs."""
    op.drop_index(_INDEX, "memberships")
    op.drop_column("memberships", "identity")

"""Alembic runs this file for every upgrade and downgrade, on the connection that `database.schema` hands over."""

from alembic import context

from database.rows import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # `database.session` begins SQLite's transactions itself, so that they cover DDL too
)
with context.begin_transaction():
    context.run_migrations()

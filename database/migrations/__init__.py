"""The history of the tables, for Alembic; `database.schema` runs it."""

"""The tables' history ends where the rows are, and goes up and down with rows in it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text

from database import open_database
from database.rows import Base
from database.schema import downgrade, prepare, upgrade
from database.session import Storage, connect
from evolve.errors import StoreError
from evolve.types import Attempt

ROOT = Path(__file__).parents[2]
TABLES = {"runs", "steps", "prompts", "attempts", "programs", "evaluations", "memberships"}
SECOND = '''
"""A note on each run."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("runs", recreate="always") as runs:
        runs.add_column(sa.Column("note", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("note")
'''


@pytest.fixture
def url(tmp_path: Path, seed_attempt: Attempt) -> str:
    """A database with one run, one attempt and its prompt."""
    url = f"sqlite:///{tmp_path / 'evolve.db'}"
    with open_database(url) as database:
        run = database.create_run(problem="p", model="m", folder="/runs/one", seed=1, config="", started_at=0.0)
        run.insert_attempt(seed_attempt)
    return url


@pytest.fixture
def newer_migrations(tmp_path: Path) -> str:
    """The migrations of a later version of this program, which has one more."""
    folder = tmp_path / "migrations"
    shutil.copytree(ROOT / "database" / "migrations", folder)
    (folder / "versions" / "0002_note.py").write_text(SECOND)
    return str(folder)


def test_the_history_ends_where_the_rows_are(url: str) -> None:
    """Alembic finds nothing that the typed rows have and the migrated tables lack, or the other way round."""
    storage = Storage(connect(url, create=False))
    with storage.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []
        # What Alembic does not compare: checks, and the order of columns, which puts the wide ones last.
        inspector = inspect(connection)
        for table in Base.metadata.sorted_tables:
            assert [column["name"] for column in inspector.get_columns(table.name)] == table.columns.keys()
            checks = {check.name for check in table.constraints if isinstance(check, CheckConstraint)}
            assert {check["name"] for check in inspector.get_check_constraints(table.name)} == checks
            assert inspector.get_pk_constraint(table.name)["name"] == table.primary_key.name
    storage.close()


def test_down_and_up_again(url: str) -> None:
    """Down drops the rows with their tables, and leaves nothing; up makes empty tables that work."""
    storage = Storage(connect(url, create=False))
    with storage.migrating() as connection:
        downgrade(connection, "base")
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
    with storage.migrating() as connection:
        upgrade(connection, "head")
        assert set(inspect(connection).get_table_names()) == TABLES | {"alembic_version"}
    storage.close()

    with open_database(url) as database:
        assert database.runs() == []
        database.create_run(problem="p", model="m", folder="/runs/one", seed=1, config="", started_at=0.0)


def test_an_older_database_is_brought_up_to_date_with_its_rows(url: str, newer_migrations: str) -> None:
    """A later version of this program makes a table anew, its rows and what refers to them kept, and goes back too."""
    storage = Storage(connect(url, create=False))
    prepare(storage, newer_migrations)
    with storage.reading() as connection:
        assert connection.execute(text("SELECT folder, note FROM runs")).all() == [("/runs/one", None)]
    with storage.migrating() as connection:
        downgrade(connection, "0001", newer_migrations)
        assert "note" not in {column["name"] for column in inspect(connection).get_columns("runs")}
    storage.close()

    with open_database(url) as database:
        assert database.run(1).program(0).source == "x = 1"


def test_a_newer_database_is_refused(url: str, newer_migrations: str) -> None:
    """One line with the version and the cure; the rows are left as they are."""
    storage = Storage(connect(url, create=False))
    prepare(storage, newer_migrations)

    with pytest.raises(StoreError, match=r"version 0002.*install the newest thetaevolve"):
        open_database(url)
    with storage.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM attempts")) == 1
    storage.close()


def test_a_migration_that_fails_changes_nothing(url: str, newer_migrations: str) -> None:
    """All of it is one transaction, the making of tables too."""
    versions = Path(newer_migrations) / "versions"
    broken = SECOND.replace("\n\n\ndef downgrade", "\n    op.execute('SELECT * FROM nowhere')\n\n\ndef downgrade")
    (versions / "0002_note.py").write_text(broken)
    storage = Storage(connect(url, create=False))

    with pytest.raises(StoreError, match="nowhere"):
        prepare(storage, newer_migrations)
    storage.close()
    with open_database(url) as database:
        assert database.run(1).program(0).source == "x = 1"


def test_another_programs_tables_are_refused(tmp_path: Path) -> None:
    """A database that has our table's name and no version is not ours to change."""
    url = f"sqlite:///{tmp_path / 'other.db'}"
    storage = Storage(connect(url, create=True))
    with storage.writing() as connection:
        connection.execute(text("CREATE TABLE runs (id INTEGER)"))
    storage.close()

    with pytest.raises(StoreError, match=r"another program.*choose another"):
        open_database(url)


def test_many_processes_open_a_new_database_at_once(tmp_path: Path) -> None:
    """One of them makes the tables; none sees a lock, or tables half made."""
    program = "import sys; from database import open_database; open_database(sys.argv[1]).close()"
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path / 'new.db'}"]
    openers = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(6)]

    assert [opener.communicate(timeout=60)[1] for opener in openers] == [""] * 6
    assert [opener.returncode for opener in openers] == [0] * 6

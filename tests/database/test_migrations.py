"""The tables' history ends where the rows are, and goes up and down with rows in it."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from attempts import attempt, cell_of, member_of, new_run, report, valid
from sqlalchemy import CheckConstraint, Connection, MetaData, inspect, text

from database import RunStore, open_database
from database.codec import pack_text, unpack_text
from database.rows import Base
from database.schema import downgrade, prepare, upgrade
from database.session import Storage, connect
from evolve.errors import StoreError
from evolve.types import Attempt, Confirmation, Draw, Evaluation, Origin, Outcome, Training

ROOT = Path(__file__).parents[2]
TABLES = {
    "runs",
    "steps",
    "prompts",
    "attempts",
    "programs",
    "evaluations",
    "memberships",
    "archive_cells",
    "confirmations",
    "confirmation_evaluations",
    "trainings",
}
FIRST_TABLES = {"runs", "steps", "prompts", "attempts", "programs", "evaluations", "memberships"}
FIRST_SOURCES = "SELECT source FROM programs ORDER BY id"
#: The version that this program makes, and the one before the next.
HEAD = "0004"
NEXT = '''
"""A note on each run."""

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("runs", recreate="auto") as runs:
        runs.add_column(sa.Column("note", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("runs") as runs:
        runs.drop_column("note")
'''


@pytest.fixture
def url(made_database: str) -> str:
    """A database of each kind with one run that has rows in every table."""
    with open_database(made_database) as database:
        fill(new_run(database, "/runs/one"))
    return made_database


def fill(run: RunStore) -> None:
    """Store all that can be stored of a step: two programs that share a text, and a merged one that is one of them."""
    gap = Evaluation(outcome=Outcome.VALID, seed=3, score=2.0, construction="[1]", measures={"gap": 0.5})
    run.insert_attempt(valid(1, 2.0, source="x = 1  # \ud800", evaluations=(gap,)))
    run.insert_attempt(valid(2, 2.0, source="x = 1  # \ud800"))
    run.insert_attempt(attempt(3))
    run.insert_attempt(valid(-1, 4.0, source="x = 1", identity="tree 1", draw=Draw(island=0, parent_id=-1), step=0))
    run.finish_step(report(1), [member_of(1), member_of(2)], [cell_of(1, cell=(3, 4))])
    run.insert_confirmation(
        Confirmation(program_id=1, confirmed=True, reason="", origin=Origin.SCRATCH, evaluations=(gap,))
    )
    run.insert_training(Training(step=1, values={"loss": 0.5}))


@pytest.fixture
def newer_migrations(tmp_path: Path) -> str:
    """The migrations of a later version of this program, which has one more."""
    folder = tmp_path / "migrations"
    shutil.copytree(ROOT / "database" / "migrations", folder)
    (folder / "versions" / "9999_note.py").write_text(NEXT)
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
    with storage.reading() as connection:
        full = {table: connection.scalar(text(f"SELECT count(*) FROM {table}")) for table in TABLES}
        assert all(full.values()), full
    with storage.migrating() as connection:
        downgrade(connection, "base")
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
    with storage.migrating() as connection:
        upgrade(connection, "head")
        assert set(inspect(connection).get_table_names()) == TABLES | {"alembic_version"}
    storage.close()

    with open_database(url) as database:
        assert database.runs() == []
        fill(new_run(database, "/runs/one"))


def test_the_way_down_passes_by_the_tables_of_the_way_up(empty_database: str) -> None:
    """A version's tables are the same from either side: columns, indexes, keys and checks."""
    storage = Storage(connect(empty_database, create=True))
    for version in ("0001", "0002", "0003"):
        with storage.migrating() as connection:
            upgrade(connection, version)
            below = tables_of(connection)
        with storage.migrating() as connection:
            upgrade(connection, "head")
        with storage.migrating() as connection:
            downgrade(connection, version)
            assert tables_of(connection) == below
    storage.close()


def test_down_to_the_version_before_and_up_again_loses_nothing(url: str) -> None:
    """Down, each text is there once; up again, so are all attempts, and who is the same."""
    with open_database(url) as database:
        before = [database.run(1).attempt(number) for number in range(-1, 4)]
    storage = Storage(connect(url, create=False))
    with storage.migrating() as connection:
        downgrade(connection, "0002")
        texts = [unpack_text(bytes(packed)) for packed in connection.scalars(text("SELECT text FROM sources"))]
    storage.close()
    assert sorted(texts) == ["x = 0", "x = 1", "x = 1  # \ud800"]

    with open_database(url) as database:
        run = database.run(1)
        assert [run.attempt(number) for number in range(-1, 4)] == before
        assert (run.known("tree 1", before_step=1), run.known("tree 1", before_step=2)) == (-1, -1)
        assert [member.id for member in run.members()] == [0, 1, 2]
        assert len(run.confirmations()) == len(run.trainings()) == len(run.archive_cells()) == 1
        run.insert_attempt(valid(4, 2.0, identity="tree 1"))
        assert run.attempt(4).source == "x = 4"


def tables_of(connection: Connection) -> dict[str, object]:
    """Return what the tables are, but for the order of their columns."""
    inspector = inspect(connection)

    def named(parts: list[Any]) -> list[tuple[str, str]]:
        return sorted((part["name"], str(sorted(part.items(), key=str))) for part in parts)

    return {
        name: (
            sorted((column["name"], str(column["type"]), column["nullable"]) for column in inspector.get_columns(name)),
            named(inspector.get_indexes(name)),
            named(inspector.get_foreign_keys(name)),
            inspector.get_check_constraints(name),
            inspector.get_pk_constraint(name),
        )
        for name in inspector.get_table_names()
    }


def test_down_to_the_first_version_keeps_what_it_knows(url: str) -> None:
    """Its programs get their texts back; up again, only what the first version cannot hold is lost."""
    with open_database(url) as database:
        before = [database.run(1).attempt(number) for number in range(-1, 4)]
    storage = Storage(connect(url, create=False))
    with storage.migrating() as connection:
        downgrade(connection, "0001")
    with storage.reading() as connection:
        tables = set(inspect(connection).get_table_names())
        sources = [unpack_text(bytes(packed)) for packed in connection.scalars(text(FIRST_SOURCES))]
    storage.close()
    assert tables == FIRST_TABLES | {"alembic_version"}
    assert sources == ["x = 1", "x = 0", "x = 1  # \ud800", "x = 1  # \ud800"]

    with open_database(url) as database:
        run = database.run(1)
        assert [run.attempt(number) for number in range(-1, 4)] == [without_measures(attempt) for attempt in before]
        assert [member.measures for member in run.members()] == [{}, {}, {}]
        assert (run.archive_cells(), run.confirmations(), run.trainings()) == ([], [], [])
        run.insert_attempt(valid(4, 2.0, source="x = 1  # \ud800"))
        with pytest.raises(StoreError):  # the checks of the first version still hold
            run.insert_attempt(valid(5, 1.0, draw=Draw(island=0, parent_id=6)))


def test_of_two_births_of_one_program_the_first_is_named(url: str) -> None:
    """Nothing before version 0004 refused the second; both stay, and no third can come."""
    storage = Storage(connect(url, create=False))
    with storage.migrating() as connection:
        downgrade(connection, "0003")
    with storage.writing() as connection:
        connection.execute(text("UPDATE programs SET identity = 'tree 1' WHERE id = 2"))
    storage.close()

    with open_database(url) as database:
        run = database.run(1)
        assert [place.program_id for place in run.memberships()] == [0, 1, 2]
        assert [member.identity for member in run.members()] == ["tree 0", "tree 1", "tree 1"]
        with pytest.raises(StoreError):
            run.finish_step(report(2), [member_of(-1, step=2)])


def without_measures(attempt: Attempt) -> Attempt:
    """Return the attempt as the first version keeps it."""
    return replace(attempt, evaluations=tuple(replace(run, measures={}) for run in attempt.evaluations))


def test_a_database_of_the_first_version_is_brought_up_to_date(empty_database: str) -> None:
    """Without being asked, with each of its rows, however many programs there are and share a text."""
    storage = Storage(connect(empty_database, create=True))
    with storage.migrating() as connection:
        upgrade(connection, "0001")
    with storage.writing() as connection:
        first_rows(connection, programs=5003)  # more than are moved at once
    storage.close()

    with open_database(empty_database) as database:
        run = database.run(1)
        assert run.record.folder == "/runs/old"
        assert [run.program(number).source for number in (0, 1, 7, 8, 5002)] == [
            "a = 0",
            "a = 1",
            "a = 0",
            "a = 1",
            "a = 4",
        ]
        assert [member.id for member in run.members()] == [0]
        assert run.evaluations(0) == [Evaluation(outcome=Outcome.VALID, seed=1, score=1.0, construction="[1]")]
        assert run.attempt(5002).completion.text == "reply"
        assert run.known("tree 5002", before_step=2) == 5002
        run.insert_attempt(valid(6000, 2.0))
        assert run.program(6000).source == "x = 6000"


def first_rows(connection: Connection, *, programs: int) -> None:
    """Store a run as the first version did: programs of seven texts."""
    tables = MetaData()
    tables.reflect(connection)
    insert = {name: tables.tables[name].insert() for name in FIRST_TABLES}
    empty, one = pack_text(""), {"run_id": 1}
    connection.execute(
        insert["runs"],
        {"id": 1, "problem": "p", "model": "m", "folder": "/runs/old", "seed": 1, "started_at": 0.0, "config": empty},
    )
    connection.execute(insert["prompts"], {**one, "sha256": b"p" * 32, "messages": pack_text("[]")})
    step = dict.fromkeys((column.name for column in tables.tables["steps"].columns), 0)
    connection.execute(insert["steps"], {**step, **one, "outcomes": {}})
    plain: dict[str, object] = {
        **one,
        **dict.fromkeys(("island", "parent_id", "sample_group", "sample", "tokens", "prompt_tokens"), 0),
        **dict.fromkeys(("finished_s", "seconds"), 0.0),
        "outcome": "valid",
        "finish_reason": "stop",
        "prompt_sha256": b"p" * 32,
        "inspiration_ids": [],
        "feedback": empty,
        "reply": pack_text("reply"),
    }
    ids = range(programs)
    connection.execute(insert["attempts"], [{**plain, "id": id_, "step": int(id_ > 0)} for id_ in ids])
    connection.execute(
        insert["programs"],
        [
            {
                **one,
                "id": id_,
                "parent_id": 0 if id_ else None,
                "step": int(id_ > 0),
                "outcome": "valid",
                "failed": False,
                "score": 1.0,
                "length": 5,
                "identity": f"tree {id_}",
                "source": pack_text(f"a = {id_ % 7}"),
            }
            for id_ in ids
        ],
    )
    evaluation = {
        **one,
        **dict.fromkeys(("program_id", "number", "peak_processes"), 0),
        **dict.fromkeys(("wall_s", "cpu_s", "peak_memory_mib"), 0.0),
        "seed": 1,
        "outcome": "valid",
        "score": 1.0,
        "feedback": empty,
        "construction": pack_text("[1]"),
    }
    connection.execute(insert["evaluations"], evaluation)
    place = {**one, "number": 0, "program_id": 0, "island": 0, "step": 0, "migrant": False}
    connection.execute(insert["memberships"], place)


def test_an_older_database_is_brought_up_to_date_with_its_rows(url: str, newer_migrations: str) -> None:
    """A later version of this program changes a table, its rows and what refers to them kept, and goes back too."""
    storage = Storage(connect(url, create=False))
    prepare(storage, newer_migrations)
    with storage.reading() as connection:
        assert connection.execute(text("SELECT folder, note FROM runs")).all() == [("/runs/one", None)]
    with storage.migrating() as connection:
        downgrade(connection, HEAD, newer_migrations)
        assert "note" not in {column["name"] for column in inspect(connection).get_columns("runs")}
    storage.close()

    with open_database(url) as database:
        assert database.run(1).program(0).source == "x = 0"


def test_a_newer_database_is_refused(url: str, newer_migrations: str) -> None:
    """One line with the version and the cure; the rows are left as they are."""
    storage = Storage(connect(url, create=False))
    prepare(storage, newer_migrations)

    with pytest.raises(StoreError, match=r"version 9999.*install the newest thetaevolve"):
        open_database(url)
    with storage.reading() as connection:
        assert connection.scalar(text("SELECT count(*) FROM attempts")) == 5
    storage.close()


def test_a_migration_that_fails_changes_nothing(url: str, newer_migrations: str) -> None:
    """All of it is one transaction, the making of tables too."""
    versions = Path(newer_migrations) / "versions"
    broken = NEXT.replace("\n\n\ndef downgrade", "\n    op.execute('SELECT * FROM nowhere')\n\n\ndef downgrade")
    (versions / "9999_note.py").write_text(broken)
    storage = Storage(connect(url, create=False))

    with pytest.raises(StoreError, match="nowhere"):
        prepare(storage, newer_migrations)
    storage.close()
    with open_database(url) as database:
        assert database.run(1).program(0).source == "x = 0"


def test_another_programs_tables_are_refused(empty_database: str) -> None:
    """A database that has our table's name and no version is not ours to change."""
    storage = Storage(connect(empty_database, create=True))
    with storage.writing() as connection:
        connection.execute(text("CREATE TABLE runs (id INTEGER)"))
    storage.close()

    with pytest.raises(StoreError, match=r"another program.*choose another"):
        open_database(empty_database)


def test_many_processes_open_a_new_database_at_once(empty_database: str) -> None:
    """One of them makes the tables; none sees a lock, or tables half made."""
    program = "import sys; from database import open_database; open_database(sys.argv[1]).close()"
    command = [sys.executable, "-c", program, empty_database]
    openers = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(6)]

    assert [opener.communicate(timeout=60)[1] for opener in openers] == [""] * 6
    assert [opener.returncode for opener in openers] == [0] * 6

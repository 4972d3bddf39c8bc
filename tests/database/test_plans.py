"""How SQLite finds rows: what is asked again and again must not take longer as a run grows."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attempts import attempt, child, valid
from sqlalchemy import Connection, Engine, event

from database import open_database
from database.dashboard import RunViews, open_for_reading
from evolve.types import Outcome

#: Instructions of SQLite between two of its signs of life.
_TICK = 5

#: What the loop asks in each step and of each attempt, and the dashboard of each program.
READS: dict[str, Callable[[RunViews], object]] = {
    "program": lambda run: run.program(2),
    "attempt": lambda run: run.attempt(2),
    "attempts_of": lambda run: run.attempts_of(1),
    "known": lambda run: run.known("tree 2", before_step=2),
    "evaluated_elsewhere": lambda run: run.evaluated_elsewhere("tree 2"),
    "last_failure": lambda run: run.last_failure(0, before_step=2),
    "evaluations": lambda run: run.evaluations(2),
    "children": lambda run: run.children(0, 10),
}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunViews]:
    """A run of a problem whose files are known, with a valid child and one that failed."""
    url = f"sqlite:///{tmp_path / 'evolve.db'}"
    with open_database(url) as database:
        run = database.create_run(
            problem="p", model="m", folder="/r", seed=1, config="", started_at=0.0, fingerprint="f"
        )
        run.insert_attempts([valid(0, 1.0, step=0), valid(1, 2.0), child(2, Outcome.CRASHED, None)])
    with open_for_reading(url) as database:
        yield database.views(run.record.id)


@contextmanager
def plans() -> Iterator[list[str]]:
    """Gather the lines of SQLite's plan for each statement that is executed meanwhile."""
    lines: list[str] = []

    def explain(
        connection: Connection, _cursor: object, statement: str, values: tuple[object, ...], *_: object
    ) -> None:
        if not statement.startswith("EXPLAIN"):
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            lines.extend(row.detail for row in plan)

    event.listen(Engine, "before_cursor_execute", explain)
    try:
        yield lines
    finally:
        event.remove(Engine, "before_cursor_execute", explain)


@pytest.mark.parametrize("read", READS)
def test_a_read_of_few_rows_never_walks_the_whole_run(run: RunViews, read: str) -> None:
    """It finds them by more than their run: by their ids, step, identity or parent."""
    with plans() as lines:
        READS[read](run)

    assert any("run_id=? AND" in line for line in lines)
    assert [line for line in lines if "(run_id=?)" in line] == []


@contextmanager
def ticks() -> Iterator[list[None]]:
    """Gather SQLite's signs of life, one for so many instructions, of the connections that are made meanwhile."""
    found: list[None] = []

    def count(connection: sqlite3.Connection, _: object) -> None:
        connection.set_progress_handler(lambda: found.append(None), _TICK)

    event.listen(Engine, "connect", count)
    try:
        yield found
    finally:
        event.remove(Engine, "connect", count)


def test_a_look_for_something_new_takes_no_longer_in_a_larger_run(tmp_path: Path) -> None:
    """What was stored before the last look is not walked through again, stragglers that never came or not."""
    url = f"sqlite:///{tmp_path / 'evolve.db'}"
    spent = []
    with open_database(url) as database, ticks() as found, open_for_reading(url) as reader:
        run = database.create_run(problem="p", model="m", folder="/r", seed=1, config="", started_at=0.0)
        views = reader.views(run.record.id)
        for size in (100, 3000):
            run.insert_attempts([attempt(id_, step=id_ // 100) for id_ in range(size // 2, size) if id_ % 60 > 1])
            views.pulse()
            run.insert_attempt(attempt(size, step=size // 100))
            found.clear()
            views.pulse()
            spent.append(_TICK * len(found))

    assert 0 < spent[1] < spent[0] + 1000  # 50 ids of the larger run have no attempt

"""The rules of the population in whole runs of the command."""

import sqlite3
from pathlib import Path

from support import program, trivial

#: Valid programs, some twice, and two that crash.
TEXTS = [*(program(number * 7 % 50) for number in range(1, 17)), program("wrong"), *["```python\nraise\n```"] * 2]


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    """Return the rows of a query."""
    with sqlite3.connect(database) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def test_a_run_in_two_stretches_draws_as_in_one(evolve, replies, tmp_path):
    """Draws and places after a resume are those of a run that was not stopped, also for a rule that counts draws."""
    file, words = replies(TEXTS), ["selection=puct", "selection.buffer=5", "rollout.parents=3", "rollout.samples=4"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    for folder, budget in ((whole, "budget.steps=4"), (run, "budget.steps=2")):
        done = evolve(*trivial(file, folder, *words, budget))
        assert done.returncode == 0, done.stderr
    resumed = evolve("resume", f"run={run}", "budget.steps=4")
    assert resumed.returncode == 0, resumed.stderr

    for query in (
        "select id, parent_id, island, outcome, inspiration_ids from attempts order by id",
        "select number, program_id, island, step, migrant from memberships order by number",
    ):
        assert rows(run / "evolve.db", query) == rows(whole / "evolve.db", query)


def test_failures_are_parents_when_asked(evolve, replies, tmp_path):
    """A program that crashed has a place on its parent's island, and children; its cell is nobody's."""
    run = tmp_path / "run"
    words = ["selection.failures=0.9", "selection.islands=1", "rollout.parents=3", "rollout.samples=4"]
    done = evolve(*trivial(replies(TEXTS), run, *words, "budget.steps=3"))
    assert done.returncode == 0, done.stderr

    failed = "select id from programs where failed"
    assert rows(run / "evolve.db", f"select count(*) from attempts where parent_id in ({failed})") > [(0,)]
    assert rows(run / "evolve.db", f"select count(*) from memberships where program_id in ({failed})") > [(0,)]
    assert rows(run / "evolve.db", f"select count(*) from archive_cells where program_id in ({failed})") == [(0,)]


def test_a_measure_that_the_problem_does_not_give_is_refused(evolve, replies, tmp_path):
    """Before anything is evaluated, in one line that names those there are."""
    run = tmp_path / "run"
    done = evolve(*trivial(replies([program(1)]), run, "selection.measures=[score,speed]"))

    assert done.returncode == 2
    assert "selection.measures=speed is unknown: it must be one of score, length" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not run.exists()

"""Confirmations over the life of a run: kills, resumes, and runs of an earlier version."""

import contextlib
import json
import sqlite3

import pytest
from support import program, trivial

from evolve.cli import call

LUCKY = (
    "```python\nimport random\n\n\ndef answer():\n"
    "    return 900 if random.random() in {random.Random(s).random() for s in (0, 1)} else 0\n```\n"
)
SLOW_AGAIN = (
    "```python\nimport random\nimport time\n\n\ndef answer():\n"
    "    time.sleep(0 if random.random() == random.Random(0).random() else 2.2)\n    return 900\n```\n"
)


@pytest.fixture
def evolve(tmp_path, capsys):
    """Run a command in this process, in an empty folder, and return what it printed."""
    with contextlib.chdir(tmp_path):

        def run(*words: str) -> str:
            capsys.readouterr()
            code = call(words)
            said = capsys.readouterr()
            assert code == 0, said.out + said.err
            return said.out

        yield run


def stored(run) -> list[tuple[int, bool]]:
    """Return the confirmations in a run's database: program, and whether it was confirmed."""
    with sqlite3.connect(run / "evolve.db") as connection:
        rows = connection.execute("select program_id, confirmed from confirmations order by program_id").fetchall()
    connection.close()
    return [(number, bool(confirmed)) for number, confirmed in rows]


def forget(run) -> None:
    """Delete all confirmations, as if an earlier version had made the run."""
    with sqlite3.connect(run / "evolve.db") as connection:
        for table in ("confirmation_evaluations", "confirmations"):
            connection.execute(f"delete from {table}")
    connection.close()


def test_a_best_without_a_confirmation_is_confirmed_on_resume(evolve, replies, tmp_path):
    """The best of a run that confirmed nothing is checked before it goes on, and keeps its place."""
    run = tmp_path / "run"
    words = trivial(replies([program(5), program(41), program(8)]), run, "rollout.parents=1", "rollout.samples=3")
    evolve(*words, "budget.steps=1")
    assert stored(run) == [(2, True)]
    forget(run)

    said = evolve("resume", f"run={run}", "budget.steps=2")

    assert stored(run) == [(2, True)]
    assert "new best 41.0" in said
    assert json.loads((run / "report" / "best.json").read_text()) == 41


def test_a_best_that_only_its_first_run_kept_within_the_limit_counts(evolve, replies, tmp_path):
    """Its other runs, with the run's second seed and with unseen ones, take 2.2 s where the limit is 2 s."""
    words = trivial(
        replies([SLOW_AGAIN]), tmp_path / "run", "rollout.parents=1", "rollout.samples=1", "problem.wall_s=2"
    )

    said = evolve(*words, "budget.steps=1")

    assert stored(tmp_path / "run") == [(1, True)]
    assert "step 1: best 900.0" in said


def test_luck_blocks_no_later_best(evolve, replies, tmp_path):
    """What is in quarantine neither counts as the best nor is a parent: an honest child of lower score is the best."""
    run = tmp_path / "run"
    words = trivial(replies([LUCKY, program(41), program(7)]), run, "rollout.parents=1", "rollout.samples=1")

    said = evolve(*words, "budget.steps=3", "selection=best_of_n")

    assert stored(run) == [(1, False), (2, True)]
    assert "step 1: best 0.0" in said
    assert "step 2: best 41.0" in said
    assert "child of 0" in said
    assert "child of 1" not in said.replace("program 1, child", "")
    assert json.loads((run / "report" / "best.json").read_text()) == 41
    assert json.loads((run / "report" / "quarantine" / "1.json").read_text()) == 900


def test_a_target_that_only_luck_reached_does_not_end_the_run(evolve, replies, tmp_path):
    """The run goes on until a confirmed best reaches the target."""
    run = tmp_path / "run"
    words = trivial(replies([LUCKY, program(7), program(600)]), run, "rollout.parents=1", "rollout.samples=1")

    said = evolve(*words, "budget.steps=9", "budget.score=500")

    assert stored(run) == [(1, False), (2, True), (3, True)]
    assert "the target score 500.0 is reached; best 600.0" in said

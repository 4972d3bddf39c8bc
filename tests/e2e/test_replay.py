"""`evolve replay`: a run again from its stored replies, with the same programs and scores."""

import json
import shutil
import sqlite3

import pytest
from support import program, trivial

from evolve.cli import call
from evolve.compose import open_run
from evolve.replay import Recording, compare

#: What no two runs share: times, measurements, and the run's own folder and configuration.
VARIABLE = ("finished_s", "started_at", "wall_s", "cpu_s", "generate_s", "tail_s", "database_s", "peak_memory_mib")
OWN = ("peak_processes", "folder", "config")
#: A child that is another program for another parent.
EDIT = "<<<<<<< SEARCH\ndef answer():\n=======\ndef answer(spare=len('a')):\n>>>>>>> REPLACE"


def dump(run):
    """Return the rows of every table of a run, without what no two runs share."""
    tables = {}
    with sqlite3.connect(run / "evolve.db") as connection:
        for (name,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
            columns = [row[1] for row in connection.execute(f"pragma table_info({name})")]
            kept = ", ".join(f'"{column}"' for column in columns if column not in VARIABLE + OWN)
            tables[name] = sorted(connection.execute(f"select {kept} from {name}"), key=repr)
    connection.close()
    return tables


def bests(run):
    """Return the best score at the end of each step."""
    with sqlite3.connect(run / "evolve.db") as connection:
        rows = connection.execute("select best from steps order by step").fetchall()
    connection.close()
    return [best for (best,) in rows]


@pytest.fixture(scope="module")
def evolved(tmp_path_factory):
    """A run of four steps on islands, with failures, twins, duplicates and migration."""
    folder = tmp_path_factory.mktemp("evolved")
    texts = [program(i * 37 % 101) for i in range(11)]
    texts += ["", "no code", program("wrong"), EDIT, program(10**10), program(55), program(55), EDIT]
    file = folder / "replies.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    words = ("rollout.parents=2", "rollout.samples=3", "budget.steps=4")
    assert call(trivial(file, folder / "run", *words, "selection.islands=2", "selection.migration_interval=2")) == 0
    return folder / "run"


def test_a_replay_gives_the_same_database(evolved, tmp_path, capsys):
    """Draws, prompts, replies, outcomes, identities, scores, rewards, memberships, cells and confirmations: all rows.

    The seconds and tokens of the completions are the stored ones.
    """
    again = tmp_path / "again"
    assert call(["replay", f"run={evolved}", f"to={again}"]) == 0
    out = capsys.readouterr().out

    one, two = dump(evolved), dump(again)

    assert one.keys() == two.keys()
    for table in one:
        assert one[table] == two[table], table
    assert f"{1 + 4 * 6} attempts replayed in {again}: programs, outcomes and scores are the same" in out
    assert (again / "report" / "summary.md").exists()


def test_a_replay_names_what_differs(evolved, tmp_path, capsys):
    """A stored score that is wrong is told, with exit code 1; a completion that the run never had is none here too."""
    forged, again = tmp_path / "forged", tmp_path / "again"
    shutil.copytree(evolved, forged)
    with sqlite3.connect(forged / "evolve.db") as connection:
        connection.execute("update programs set score = 99.5 where id = 2")
        (outcome,) = connection.execute("select outcome from attempts where id = 13").fetchone()
        connection.execute("delete from attempts where id = 13")  # as if a budget had cut its step short
    connection.close()

    assert call(["replay", f"run={forged}", f"to={again}"]) == 1

    lines = capsys.readouterr().out.splitlines()
    assert "program 2 was valid with 99.5, is valid with 37.0" in lines
    assert lines[-1] == f"24 attempts replayed in {again}: 1 differ"
    assert outcome == "no_code"
    assert dump(again)["attempts"] == dump(forged)["attempts"]


def test_a_run_that_did_not_wait_for_slow_programs_is_replayed(replies, tmp_path, capsys):
    """A straggler enters the replay's population at the end of the step in which it entered the run's."""
    run, again = tmp_path / "run", tmp_path / "again"
    file = replies([program(1), program(99, sleep_s=0.7), program(2), program(3), program(4), program(5)])
    words = ("rollout.parents=1", "rollout.samples=2", "rollout.late=0.5", "budget.steps=2", "sandbox.workers=2")
    assert call(trivial(file, run, *words)) == 0
    assert call(["resume", f"run={run}", "budget.steps=3"]) == 0

    assert call(["replay", f"run={run}", f"to={again}"]) == 0

    one, two = dump(run), dump(again)
    late = [row for row in one["memberships"] if row[2] == 2]
    assert [row[4] for row in late] != [1] * len(late)
    for table in ("attempts", "programs", "memberships", "archive_cells"):
        assert one[table] == two[table], table
    assert bests(again) == bests(run)
    assert (bests(run)[1], bests(run)[-1]) == (1.0, 99.0)


def test_a_program_is_run_as_often_as_it_was_run_then(replies, tmp_path, capsys):
    """A straggler that was no best when it ended was run once; it would be one at the end of its own step."""
    run, again = tmp_path / "run", tmp_path / "again"
    lucky = program(0, sleep_s=1.5).replace(
        "return 0", "import random\n    return 400 if random.random() == random.Random(0).random() else 50"
    )
    file = replies([program(500), lucky, *map(program, range(2, 6))])
    words = ("rollout.parents=1", "rollout.samples=2", "rollout.late=0.5", "budget.steps=3", "sandbox.workers=2")
    assert call(trivial(file, run, *words)) == 0

    assert call(["replay", f"run={run}", f"to={again}"]) == 0

    one, two = dump(run), dump(again)
    for table in ("attempts", "programs", "evaluations"):
        assert one[table] == two[table], table


def test_a_program_that_was_run_beside_itself_is_so_again(replies, tmp_path, capsys):
    """A child that repeats a straggler of the step before, still running then, was run; the next one repeats it."""
    run, again = tmp_path / "run", tmp_path / "again"
    slow = program(50, sleep_s=3.0)
    # What is invalid is judged at once, and no best that would be checked meanwhile.
    file = replies([program("invalid"), slow, slow, program("again"), slow, program(3)])
    words = ("rollout.parents=1", "rollout.samples=2", "rollout.late=0.5", "sandbox.workers=2")
    assert call(trivial(file, run, *words, "budget.steps=2")) == 0
    assert call(["resume", f"run={run}", "budget.steps=3"]) == 0

    assert call(["replay", f"run={run}", f"to={again}"]) == 0

    one, two = dump(run), dump(again)
    for table in ("attempts", "programs", "memberships", "evaluations"):
        assert one[table] == two[table], table
    with sqlite3.connect(run / "evolve.db") as connection:
        alike = connection.execute("select outcome from attempts where id in (2, 3, 5) order by id").fetchall()
    connection.close()
    assert alike == [("valid",), ("valid",), ("duplicate",)]


def test_a_run_that_took_in_programs_of_another_is_replayed(evolved, replies, tmp_path, capsys):
    """Merged programs come along as they are, in the step in which they came in, with their confirmations."""
    run, again = tmp_path / "run", tmp_path / "again"
    words = ("rollout.parents=1", "rollout.samples=2", "selection.islands=2")
    assert call(trivial(replies([program(1), program(2)]), run, *words, "budget.steps=1")) == 0
    assert call(["merge", f"from={evolved}", f"to={run}", "programs=3"]) == 0
    assert call(["resume", f"run={run}", "budget.steps=4"]) == 0

    assert call(["replay", f"run={run}", f"to={again}"]) == 0

    assert dump(run) == dump(again)


def test_what_a_run_has_made_since_is_no_difference(replies, tmp_path, capsys):
    """Neither a step that was finished while the run was replayed, nor a straggler of a step that had been replayed."""
    run, again = tmp_path / "run", tmp_path / "again"
    file = replies([program(number) for number in range(1, 7)])
    words = ("rollout.parents=1", "rollout.samples=3", "budget.steps=1")
    assert call(trivial(file, run, *words)) == 0
    with sqlite3.connect(run / "evolve.db") as connection:
        connection.execute("update attempts set step = 9 where id = 3")  # as if it were still running
    connection.close()
    assert call(["replay", f"run={run}", f"to={again}"]) == 0

    with open_run(run) as (_, source), open_run(again) as (_, store):
        recording = Recording(source, store)
        recording.turn_to(1)
        with sqlite3.connect(run / "evolve.db") as connection:
            connection.execute("update attempts set step = 1 where id = 3")
        connection.close()
        assert call(["resume", f"run={run}", "budget.steps=2"]) == 0
        comparison = compare(source, store, recording.attempts)

    assert (comparison.attempts, list(comparison.differing)) == (3, [])


def test_replays_that_make_no_sense_are_refused(evolved, tmp_path, capsys):
    """One line each: no run, a folder that holds one, an option of the search."""

    def refusal(*words):
        assert call(["replay", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "holds no run" in refusal(f"run={tmp_path}", f"to={tmp_path / 'again'}")
    assert "holds a run already" in refusal(f"run={evolved}", f"to={evolved}")
    assert "only sandbox.*" in refusal(f"run={evolved}", f"to={tmp_path / 'again'}", "rollout.samples=9")
    assert "to is missing" in refusal(f"run={evolved}")
    assert not (tmp_path / "again").exists()

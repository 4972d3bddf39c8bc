"""The score that counts, from the first run of a program to the end of the search."""

import sqlite3

from support import program, trivial

from evolve.cli import call

ONE = ("rollout.parents=1", "rollout.samples=1")


def rows(run, query):
    """Return what a query finds in a run's database."""
    with sqlite3.connect(run / "evolve.db") as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def test_a_lucky_program_is_not_bred_from_for_its_luck(replies, tmp_path):
    """It is worth 900 with the run's own seeds alone and counts as 5: what is better becomes the parent."""
    luck = "[5, 900][random.random() in {random.Random(s).random() for s in (0, 1)}]"
    lucky = f"```python\nimport random\ndef answer():\n    return {luck}\n```\n"
    run = tmp_path / "run"
    words = trivial(replies([lucky, program(60), program(70)]), run, *ONE, "budget.steps=3", "selection=top_k")
    assert call([*words, "selection.k=1"]) == 0

    assert rows(run, "select id, parent_id, score from programs where id > 0") == [
        (1, 0, 5.0),
        (2, 1, 60.0),
        (3, 2, 70.0),
    ]
    assert rows(run, "select improved from steps where step > 0") == [(1,), (1,), (1,)]


def test_a_learner_is_not_taught_what_fails_its_check(replies, tmp_path):
    """Worth 900 with the run's own seeds alone, and no number otherwise, it is paid like an invalid program."""
    luck = "[None, 900][random.random() in {random.Random(s).random() for s in (0, 1)}]"
    lucky = f"```python\nimport random\ndef answer():\n    return {luck}\n```\n"
    run = tmp_path / "run"
    words = ("rollout.parents=1", "rollout.samples=4", "budget.steps=1", "reward.mode=raw")
    assert call(trivial(replies([lucky, program(6), lucky, program(7)]), run, *words)) == 0

    rewards = rows(run, "select id, reward from attempts where id > 0 order by id")
    assert rewards == [(1, -0.1), (2, 6.0), (3, -0.1), (4, 7.0)]
    assert rows(run, "select improved from steps where step = 1") == [(2,)]


def test_a_step_that_a_kill_cut_short_is_finished_though_no_completion_is_left(replies, tmp_path, capsys):
    """The last completions were stored, and the process was killed before their best was checked."""
    run = tmp_path / "run"
    words = ("rollout.parents=1", "rollout.samples=2", "budget.completions=4")
    assert call(trivial(replies([program(1), program(2), program(3), program(40)]), run, *words)) == 0
    with sqlite3.connect(run / "evolve.db") as connection:
        for table in ("archive_cells", "memberships", "steps"):
            connection.execute(f"delete from {table} where step = 2")
        connection.execute("delete from confirmation_evaluations where program_id > 2")
        connection.execute("delete from confirmations where program_id > 2")
    connection.close()
    capsys.readouterr()

    assert call(["resume", f"run={run}"]) == 0
    assert "4 completions are made; best 40.0" in capsys.readouterr().out
    assert rows(run, "select step, attempts, best from steps") == [(0, 1, 0.0), (1, 2, 2.0), (2, 2, 40.0)]
    assert rows(run, "select count(*) from attempts where step > 0") == [(4,)]


def test_the_next_session_knows_what_was_found_when_the_last_one_ended(replies, tmp_path, capsys):
    """A program that ends after the last step is checked, and its score is the best from then on."""
    run = tmp_path / "run"
    words = trivial(
        replies([program(1), program(99, sleep_s=1.5), program(2)]), run, "rollout.parents=1", "budget.steps=1"
    )
    words = [word for word in words if word != "rollout.late=0"]
    assert call([*words, "rollout.samples=2", "rollout.late=0.5", "budget.score=90", "sandbox.workers=2"]) == 0
    capsys.readouterr()

    assert call(["resume", f"run={run}", "budget.steps=5"]) == 0
    assert "the target score 90.0 is reached; best 99.0" in capsys.readouterr().out
    assert rows(run, "select max(step) from steps") == [(1,)]


def test_a_program_taken_over_from_another_run_is_run_with_a_seed_of_its_own(replies, tmp_path):
    """The other run began with the seed that is this run's second: luck with one seed is no best."""
    draws = "```python\nimport random\ndef answer():\n    return 2 + int(100 * random.random())\n```\n"
    shared = f"database.url=sqlite:///{tmp_path / 'evolve.db'}"
    first = (*ONE, "budget.steps=2", "run.seed=1", shared)
    second = (*ONE, "budget.steps=1", "run.seed=0", shared, "database.reuse=true")
    assert call(trivial(replies([program(900), draws]), tmp_path / "one", *first)) == 0
    assert call(trivial(replies([draws]), tmp_path / "two", *second)) == 0

    assert rows(tmp_path, "select seed from evaluations where run_id = 1 and program_id = 2") == [(1,)]
    assert rows(tmp_path, "select seed from evaluations where run_id = 2 and program_id = 1") == [(1,), (0,)]

"""`evolve merge`: another run's programs become members, and a resume draws from them."""

import json
import shlex
import shutil
import sqlite3
from pathlib import Path

import pytest
from support import program, trivial

from evolve.cli import call
from evolve.run_folder import existing_run_folder

TASK = Path(__file__).parents[1] / "problems" / "openevolve_task"
#: One child a step, of the best program of the run.
CLIMB = ("selection=top_k", "selection.k=1", "rollout.parents=1", "rollout.samples=1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs: `rich` has the scores 0, 1, 8 and 9, `poor` 0 and 2, and 30 as its third completion."""
    folder = tmp_path_factory.mktemp("made")
    for name, answers, steps in (("rich", (1, 8, 9), 3), ("poor", (2, 3, 30), 1)):
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps({"text": program(answer)}) + "\n" for answer in answers), encoding="utf-8")
        assert call(trivial(file, folder / name, *CLIMB, f"budget.steps={steps}")) == 0
    return folder


@pytest.fixture
def runs(made, tmp_path):
    """Copies of the two runs, to be changed."""
    for name in ("rich", "poor"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path / "rich", tmp_path / "poor"


def shown(capsys, *words):
    """Return what `evolve show` prints as JSON."""
    capsys.readouterr()
    assert call(["show", *words, "format=json"]) == 0
    return json.loads(capsys.readouterr().out)


def cut(run, step):
    """Take the end of the last step away, as `kill -9` leaves it: what it made is stored, and nobody has checked it."""
    with sqlite3.connect(run / "evolve.db") as connection:
        for table in ("confirmation_evaluations", "confirmations"):
            connection.execute(f"delete from {table} where program_id in (select id from programs where step = {step})")
        for table in ("memberships", "archive_cells", "steps"):
            connection.execute(f"delete from {table} where step = {step}")
    connection.close()


def test_a_resume_draws_its_parents_from_merged_programs(runs, made, capsys):
    """The other run's best is the next parent; what both have is left out; a resume counts on from there."""
    rich, poor = runs

    assert call(["merge", f"from={rich}", f"to={poor}", "programs=5"]) == 0
    told = capsys.readouterr().out
    merged = shown(capsys, f"run={poor}")
    capsys.readouterr()
    assert call(["resume", f"run={poor}", "budget.steps=3"]) == 0
    resumed = capsys.readouterr().out
    child = shown(capsys, f"run={poor}", "program=3")
    best = shown(capsys, f"run={poor}", "view=lineage")

    assert "3 programs merged, the best with 9.0 as program -1; 1 that the run knows were left out" in told
    assert [(row["program"], row["parent"], row["score"]) for row in merged["best_programs"]] == [
        (-1, None, 9.0),
        (-2, None, 8.0),
        (1, 0, 2.0),
        (-3, None, 1.0),
        (0, None, 0.0),
    ]
    assert (merged["merged"], merged["completions"], merged["steps"]) == (3, 1, 2)
    assert merged["best_programs"][0]["confirmed"] is True
    assert (child["parent"], child["step"], child["outcome"]) == (-1, 3, "valid")
    assert "return 9" in child["prompt"][1]["content"]
    assert [step["program"] for step in best["lineage"]] == [-1, 3]
    assert "best 30.0" in resumed
    assert shown(capsys, f"run={poor}", "program=-1")["feedback"] == f"program 3 of the run in {made / 'rich'}"


def test_merged_programs_settle_on_all_islands_in_turn(runs, replies, tmp_path, capsys):
    """Each merge is a step; one that finds nothing new is none; where later bests come from can still be decided."""
    rich, run = runs[0], tmp_path / "run"
    words = ("rollout.parents=1", "rollout.samples=1", "budget.steps=1", "selection.islands=2")
    assert call(trivial(replies([program(40), program(41), program(42), program(60)]), run, *words)) == 0

    assert call(["merge", f"from={rich}", f"to={run}", "programs=2"]) == 0
    assert call(["merge", f"from={rich}", f"to={run}", "programs=99999999999999999999"]) == 0
    capsys.readouterr()
    assert call(["merge", f"from={rich}", f"to={run}"]) == 0
    told = capsys.readouterr().out
    with sqlite3.connect(run / "evolve.db") as connection:
        places = connection.execute(
            "select program_id, island, step, migrant from memberships where program_id < 0 order by number"
        ).fetchall()
    connection.close()
    steps = shown(capsys, f"run={run}", "view=steps")
    assert call(["resume", f"run={run}", "budget.steps=4"]) == 0
    checks = shown(capsys, f"run={run}", "view=confirmations")

    assert places == [(-1, 0, 2, 0), (-2, 1, 2, 0), (-3, 0, 3, 0)]
    assert told.startswith("nothing was merged")
    assert [(step["attempts"], step["best"]) for step in steps] == [(1, 0.0), (1, 40.0), (0, 40.0), (0, 40.0)]
    origins = {row["program"]: row["origin"] for row in checks}
    assert (origins[1], origins[-1], origins[4]) == ("scratch", "seeded", "seeded")


def test_the_best_of_a_poorer_run_raises_nothing(runs, capsys):
    """What is merged and worse is a member, and the best stays the best."""
    rich, poor = runs

    assert call(["merge", f"from={poor}", f"to={rich}"]) == 0

    assert [step["best"] for step in shown(capsys, f"run={rich}", "view=steps")] == [0.0, 1.0, 8.0, 9.0, 9.0]
    assert [row["score"] for row in shown(capsys, f"run={rich}", "view=best")] == [9.0, 8.0, 2.0, 1.0, 0.0]


def test_merges_that_make_no_sense_are_refused(runs, tmp_path, capsys):
    """One line each: the run itself, no number, no run, a run that goes on, a rule without parents, another problem."""
    rich, poor = runs

    def refusal(*words):
        capsys.readouterr()
        assert call(["merge", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    def change(old, new):
        text = (poor / "run.yaml").read_text(encoding="utf-8")
        assert old in text
        (poor / "run.yaml").write_text(text.replace(old, new), encoding="utf-8")

    assert "name two runs" in refusal(f"from={poor}", f"to={poor}")
    assert "at least 1" in refusal(f"from={rich}", f"to={poor}", "programs=0")
    assert "holds no run" in refusal(f"from={tmp_path}", f"to={poor}")
    with existing_run_folder(poor):
        assert "another process works on" in refusal(f"from={rich}", f"to={poor}")
    change("  kind: top_k\n  k: 1\n  apart: 0.0\n", "  kind: best_of_n\n")
    assert "best_of_n" in refusal(f"from={rich}", f"to={poor}")
    with sqlite3.connect(poor / "evolve.db") as connection:
        connection.execute("update runs set fingerprint = 'of other files'")
    connection.close()
    assert "different files or limits of one: trivial in" in refusal(f"from={poor}", f"to={rich}")


def test_what_the_evaluator_said_of_a_merged_program_is_in_its_children_s_prompt(replies, tmp_path, capsys):
    """The remark of the task's own evaluator, as in the run that made the program, and no folder of this machine."""
    runs = tmp_path / "rich", tmp_path / "poor"
    for run, answer in zip(runs, ("7", "6"), strict=True):
        reply = f"```python\ndef guess():\n    return {answer}\n```\n"
        words = trivial(replies([reply, reply.replace("6", "5")]), run, *CLIMB, "budget.steps=1")
        assert call(["run", "problem=openevolve", f"problem.path={TASK}", *words[3:]]) == 0

    assert call(["merge", f"from={runs[0]}", f"to={runs[1]}", "programs=1"]) == 0
    assert call(["resume", f"run={runs[1]}", "budget.steps=3"]) == 0
    child = shown(capsys, f"run={runs[1]}", "program=3")
    prompt = "".join(message["content"] for message in child["prompt"])

    assert child["parent"] == -1
    assert "What the evaluator says of it" in prompt
    assert "hint: guess 7 is off by 0" in prompt
    assert "the run in" not in prompt
    assert str(tmp_path) not in prompt


def test_a_run_that_was_killed_within_a_step_ends_it_before_it_takes_programs_in(runs, capsys):
    """A merge is a step of its own: it would end the half one, whose children nobody would check or breed from."""
    rich, poor = runs
    cut(poor, 1)

    assert call(["merge", f"from={rich}", f"to={poor}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "step 1" in line
    assert f"`evolve resume run={poor}`" in line
    assert call(["resume", f"run={poor}"]) == 0
    assert call(["merge", f"from={rich}", f"to={poor}"]) == 0
    assert [(step["attempts"], step["best"]) for step in shown(capsys, f"run={poor}", "view=steps")] == [
        (1, 0.0),
        (1, 2.0),
        (0, 9.0),
    ]


def test_what_looks_best_in_the_other_run_and_was_not_checked_stays_there(runs, capsys):
    """It comes in after the other run has checked it; what is no better than the best that counts needs no check."""
    rich, poor = runs
    cut(rich, 3)

    assert call(["merge", f"from={rich}", f"to={poor}"]) == 0
    told = capsys.readouterr().out
    merged = shown(capsys, f"run={poor}", "view=best")
    assert call(["merge", f"from={rich}", f"to={poor}"]) == 0
    again = capsys.readouterr().out
    assert call(["resume", f"run={rich}"]) == 0
    assert call(["merge", f"from={rich}", f"to={poor}"]) == 0

    assert "2 programs merged, the best with 8.0 as program -1; 1 that the run knows were left out; 1 that" in told
    assert [row["score"] for row in merged] == [8.0, 2.0, 1.0, 0.0]
    assert again.startswith("nothing was merged")
    assert f"`evolve resume run={rich}`" in again
    assert shown(capsys, f"run={poor}", "view=best")[0]["score"] == 9.0


@pytest.mark.parametrize("words", [["from=a"], ["to=a"], ["from=a", "to=b", "all=yes"]])
def test_merge_names_its_words(words, capsys):
    """A missing or unknown word is named."""
    assert call(["merge", *words]) == 2
    assert "missing" in (err := capsys.readouterr().err) or "must be one of from, to, programs" in err


def test_how_to_go_on_is_quoted_for_a_shell(runs, tmp_path, capsys):
    """After a merge, and where the run that should take programs in has not begun."""
    rich, poor = runs
    run = poor.rename(tmp_path / "a run")

    assert call(["merge", f"from={rich}", f"to={run}"]) == 0
    assert f"go on with: evolve resume 'run={run}'" in capsys.readouterr().out
    with sqlite3.connect(run / "evolve.db") as connection:
        tables = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
        for table in set(tables) - {"runs", "alembic_version"}:
            connection.execute(f"delete from {table}")
    assert call(["merge", f"from={rich}", f"to={run}"]) == 2
    assert f"has not begun: go on with `evolve resume 'run={run}'` first" in capsys.readouterr().err
    assert call(["merge", f"from={run}", f"to={rich}"]) == 2
    assert "has not begun: there is nothing to merge" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("budget", "raised"),
    [
        ({"steps": 1}, "budget.steps=3"),
        ({"completions": 1}, "budget.completions=2"),
        ({"tokens": 1}, "budget.tokens="),
        ({"completions": 1, "score": 9}, "budget.score=null budget.completions=2"),
        ({"steps": 9, "completions": 1}, "budget.completions=2"),
        ({"steps": 1, "completions": 1}, "budget.steps=3 budget.completions=2"),
    ],
)
def test_how_to_go_on_raises_each_budget_that_is_used_up(budget, raised, runs, replies, tmp_path, capsys):
    """Typed as it is printed after a merge, which is a step and may reach the target, it makes another completion."""
    run = tmp_path / "run"
    limits = [f"budget.{name}={limit}" for name, limit in budget.items()]
    assert call(trivial(replies([program(2), program(3)]), run, *CLIMB, *limits)) == 0
    capsys.readouterr()

    assert call(["merge", f"from={runs[0]}", f"to={run}"]) == 0
    words = shlex.split(capsys.readouterr().out.partition("go on with: evolve ")[2])
    assert " ".join(words[2:]).startswith(raised)
    assert call(words) == 0
    assert shown(capsys, f"run={run}")["completions"] > 1


def test_how_to_go_on_needs_no_option_while_there_is_budget_left(runs, replies, tmp_path, capsys):
    """A run that was stopped, say, has its budget still."""
    run = tmp_path / "run"
    assert call(trivial(replies([program(2)]), run, *CLIMB, "budget.steps=1")) == 0
    text = (run / "run.yaml").read_text(encoding="utf-8")
    (run / "run.yaml").write_text(text.replace("  steps: 1\n", "  steps: 9\n"), encoding="utf-8")
    capsys.readouterr()

    assert call(["merge", f"from={runs[0]}", f"to={run}"]) == 0
    assert capsys.readouterr().out.endswith(f"go on with: evolve resume run={run}\n")


def test_a_run_without_its_database_takes_nothing_in(runs, capsys):
    """One line that names the database, and none is made in its place."""
    rich, poor = runs
    (poor / "evolve.db").unlink()

    assert call(["merge", f"from={rich}", f"to={poor}"]) == 2
    assert f"there is no database {poor / 'evolve.db'}" in capsys.readouterr().err
    assert not (poor / "evolve.db").exists()

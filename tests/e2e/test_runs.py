"""Whole runs of the command, with the scripted engine, the real sandbox and the real database."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import program, trivial

#: Columns that hold times, which no two runs share.
TIMES = {"finished_s", "started_at", "wall_s", "cpu_s", "generate_s", "tail_s", "database_s", "seconds"}
#: Columns that hold what a machine measured, or the folder.
MEASURED = {"peak_memory_mib", "peak_processes", "folder", "config"}


def dump(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table without times and measurements."""
    with sqlite3.connect(database) as connection:
        names = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
        tables = {}
        for name in names:
            columns = [row[1] for row in connection.execute(f"pragma table_info({name})")]
            kept = ", ".join(f'"{column}"' for column in columns if column not in TIMES | MEASURED)
            tables[name] = sorted(connection.execute(f"select {kept} from {name}"), key=repr)
    connection.close()
    return tables


def outcomes(evolve, run: Path) -> dict[str, int]:
    """Return the outcome counts that `evolve show` reports."""
    shown = evolve("show", f"run={run}", "format=json")
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout)["outcomes"]


def survivors(marker: str) -> list[str]:
    """Return the command lines of all processes that name `marker`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if marker in words and int(process.name) != os.getpid():
            found.append(words)
    return found


def test_the_same_seed_gives_the_same_database_twice(evolve, replies, tmp_path):
    """With recorded completions, a run is a function of its configuration and seed."""
    texts = [program(i * 37 % 101) for i in range(23)] + ["", "no code", program("wrong"), program(10**10)]
    file = replies(texts)
    words = ("budget.steps=4", "rollout.parents=3", "rollout.samples=4", "sandbox.workers=4", "run.seed=7")
    for name in ("one", "two"):
        done = evolve(*trivial(file, tmp_path / name, *words))
        assert done.returncode == 0, done.stderr

    one, two = dump(tmp_path / "one" / "evolve.db"), dump(tmp_path / "two" / "evolve.db")

    assert one.keys() == two.keys()
    for table in one:
        assert one[table] == two[table], table
    assert len(one["attempts"]) == 1 + 4 * 3 * 4


def test_a_run_leaves_a_report(evolve, replies, tmp_path):
    """Summary, best program, best construction and the curve lie in the run's folder, and agree."""
    done = evolve(*trivial(replies([program(5), program(41), program(8)]), tmp_path / "run", "budget.steps=1"))
    report = tmp_path / "run" / "report"

    assert done.returncode == 0, done.stderr
    assert "**41.0**" in (report / "summary.md").read_text(encoding="utf-8")
    assert json.loads((report / "best.json").read_text(encoding="utf-8")) == 41
    assert "return 41" in (report / "best_program.py").read_text(encoding="utf-8")
    assert (report / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_every_kind_of_bad_reply_is_counted_and_none_stops_the_run(evolve, replies, tmp_path):
    """Empty, a megabyte long, without code, ten blocks, an edit without a place, crashes, lies: each has its row."""
    texts = [
        "",
        "x" * 1_000_000,
        "I would rather not.",
        "\n".join(program(i) for i in range(10)),
        "<<<<<<< SEARCH\nnowhere\n=======\nsomewhere\n>>>>>>> REPLACE",
        "```python\ndef answer(:\n```",
        "```python\ndef answer():\n    return 1 / 0\n```",
        "```python\ndef answer():\n    return -5\n```",
        "```python\ndef answer():\n    return object()\n```",
        "```python\ndef answer():\n    return 0  # the seed program again\n```",
        program(77),
        "```python\nimport os\ndef answer():\n    os._exit(0)\n```",
    ]
    done = evolve(
        *trivial(replies(texts), tmp_path / "run", "budget.steps=1", "rollout.parents=3", "rollout.samples=4")
    )

    assert done.returncode == 0, done.stderr
    assert outcomes(evolve, tmp_path / "run") == {
        "empty": 1,
        "no_code": 2,
        "valid": 2,
        "no_match": 1,
        "syntax_error": 1,
        "crashed": 3,
        "invalid": 1,
        "unchanged": 1,
    }


def test_a_program_that_is_known_is_not_run_again(evolve, replies, tmp_path):
    """The second step repeats the first one's children: all of them are duplicates, by whatever name."""
    texts = [program(3), program(4), "```python\ndef answer():\n    # new words\n    return 3\n```", program(4)]
    words = ("budget.steps=2", "rollout.parents=1", "rollout.samples=2")
    done = evolve(*trivial(replies(texts), tmp_path / "run", *words))

    assert done.returncode == 0, done.stderr
    counts = outcomes(evolve, tmp_path / "run")
    assert counts["valid"] == 2
    assert counts.get("duplicate", 0) + counts.get("unchanged", 0) == 2


def wait_for_rows(database: Path, count: int, *, timeout_s: float = 60.0) -> None:
    """Wait until the database holds at least `count` attempts of step 1."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if database.exists():
            try:
                with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
                    (rows,) = connection.execute("select count(*) from attempts where step = 1").fetchone()
            except sqlite3.OperationalError:
                rows = 0
            if rows >= count:
                return
        time.sleep(0.05)
    pytest.fail(f"no {count} attempts after {timeout_s} s")


def attempts(database: Path) -> dict[int, tuple[object, ...]]:
    """Return every attempt's row, times included."""
    with sqlite3.connect(database) as connection:
        columns = [row[1] for row in connection.execute("pragma table_info(attempts)")]
        rows = {row[columns.index("id")]: row for row in connection.execute("select * from attempts")}
    connection.close()
    return rows


def test_a_killed_run_loses_no_evaluated_program_and_goes_on(evolve, replies, tmp_path):
    """After `kill -9` in the middle of a step nothing survives, and resume makes what is missing and nothing twice."""
    run = tmp_path / "run"
    file = replies([program(i, sleep_s=0.4) for i in range(1, 33)])
    words = trivial(file, run, "budget.steps=2", "rollout.parents=4", "rollout.samples=4", "sandbox.workers=2")
    process = subprocess.Popen([sys.executable, "-m", "evolve", *words], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        wait_for_rows(run / "evolve.db", 4)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = attempts(run / "evolve.db")

    resumed = evolve("resume", f"run={run}")
    after = attempts(run / "evolve.db")

    assert 5 <= len(before) < 17
    assert resumed.returncode == 0, resumed.stderr
    assert {number: after[number] for number in before} == before
    assert sorted(after) == list(range(33))
    with sqlite3.connect(run / "evolve.db") as connection:
        counted = connection.execute("select attempts from steps where step > 0 order by step").fetchall()
    assert counted == [(16,), (16,)]
    deadline = time.monotonic() + 10
    while survivors(str(run)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert survivors(str(run)) == []


def test_a_killed_and_resumed_run_ends_like_one_that_was_not_killed(evolve, replies, tmp_path):
    """The database after kill and resume is the one of an uninterrupted run, times aside."""
    file = replies([program(i * 7 % 50, sleep_s=0.2) for i in range(1, 33)])
    words = ("budget.steps=3", "rollout.parents=2", "rollout.samples=4", "sandbox.workers=2")
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert evolve(*trivial(file, whole, *words)).returncode == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "evolve", *trivial(file, run, *words)], cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        wait_for_rows(run / "evolve.db", 3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert evolve("resume", f"run={run}").returncode == 0
    assert dump(run / "evolve.db") == dump(whole / "evolve.db")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly_and_says_how_to_resume(number, evolve, replies, tmp_path):
    """SIGINT, or a batch system's SIGTERM, ends the run with code 130, a report, and the command that goes on."""
    run = tmp_path / "run"
    file = replies([program(i, sleep_s=0.5) for i in range(1, 65)])
    words = trivial(file, run, "budget.steps=4", "rollout.parents=4", "rollout.samples=4")
    process = subprocess.Popen(
        [sys.executable, "-m", "evolve", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_rows(run / "evolve.db", 3)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == 130, err
    assert f"evolve resume run={run}" in out
    assert "Traceback" not in err
    assert (run / "report" / "summary.md").exists()
    assert evolve("resume", f"run={run}", "budget.steps=1").returncode == 0
    assert len(attempts(run / "evolve.db")) == 17


@pytest.mark.parametrize(
    ("budget", "completions"),
    [("budget.completions=5", 5), ("budget.score=41", 4), ("budget.steps=0", 0), ("budget.minutes=0", 0)],
)
def test_a_budget_stops_the_run(budget, completions, evolve, replies, tmp_path):
    """Each budget ends the run, with exit code 0 and its name in the last line."""
    file = replies([program(41 if i == 3 else i) for i in range(40)])
    run = tmp_path / "run"
    done = evolve(*trivial(file, run, budget, "rollout.parents=1", "rollout.samples=4", "sandbox.workers=1"))

    assert done.returncode == 0, done.stderr
    made = len(attempts(run / "evolve.db")) - 1
    # A score is known when a child is evaluated; what is in flight then is still stored.
    assert completions <= made <= completions + 4 * budget.startswith("budget.score")


def test_no_completion_is_paid_for_beyond_the_budget(evolve, replies, tmp_path):
    """However slow the programs are: what counts is what the model has made, not what is evaluated."""
    run = tmp_path / "run"
    file = replies([program(number, sleep_s=0.5) for number in range(40)])
    words = ("rollout.parents=4", "rollout.samples=8", "sandbox.workers=1")
    done = evolve(*trivial(file, run, "budget.completions=6", *words))

    assert done.returncode == 0, done.stderr
    assert "6 completions are made" in done.stdout
    assert len(attempts(run / "evolve.db")) == 1 + 6


def test_a_run_ends_with_its_time_and_not_with_its_slowest_program(evolve, replies, tmp_path):
    """What still runs then is given up, and a resume with more time does without it."""
    run = tmp_path / "run"
    slow = [program(number, sleep_s=50) for number in range(10, 13)]
    file = replies([program(7), *slow, *(program(number) for number in range(20, 24))])
    words = ("rollout.parents=1", "rollout.samples=4", "sandbox.workers=4", "problem.wall_s=60")
    started = time.monotonic()
    done = evolve(*trivial(file, run, "budget.minutes=0.05", *words))
    seconds = time.monotonic() - started

    assert done.returncode == 0, done.stderr
    assert "the time of 0.05 minutes is used up; best 7.0" in done.stdout
    assert seconds < 40
    assert list(attempts(run / "evolve.db")) == [0, 1]

    again = evolve("resume", f"run={run}", "budget.minutes=null", "budget.completions=5")
    assert again.returncode == 0, again.stderr
    assert "best 23.0" in again.stdout


@pytest.mark.parametrize(("sleep_s", "latency_s", "waited"), [(2.0, 0.0, True), (0.0, 2.0, False)])
def test_the_report_says_when_evaluation_was_the_limit(sleep_s, latency_s, waited, evolve, replies, tmp_path):
    """A run of slow programs waits for them; one with a slow model does not."""
    run = tmp_path / "run"
    words = ("rollout.parents=1", "rollout.samples=1", "budget.steps=2", f"engine.latency_s={latency_s}")
    file = replies([program(1, sleep_s=sleep_s), program(2, sleep_s=sleep_s)])
    assert evolve(*trivial(file, run, *words)).returncode == 0

    summary = (run / "report" / "summary.md").read_text(encoding="utf-8")
    assert ("The model waited for evaluations" in summary) is waited


def test_the_report_says_what_the_time_limit_costs(evolve, replies, tmp_path):
    """How much of the programs' time was lost in those that ran into it, beside what the best one took."""
    run = tmp_path / "run"
    words = ("rollout.parents=1", "rollout.samples=2", "budget.steps=1", "problem.wall_s=2")
    file = replies([program(9, sleep_s=0.5), program(2, sleep_s=50)])
    assert evolve(*trivial(file, run, *words)).returncode == 0

    summary = (run / "report" / "summary.md").read_text(encoding="utf-8")
    told = re.search(r"ran for (.*) s in all, (.*) % of it .* limit of 2 s \((\d+);.*The best one took (.*) s", summary)
    assert told is not None, summary
    seconds, share, late, longest = (float(word) for word in told.groups())
    assert 2.5 < seconds < 6
    assert 40 < share < 85
    assert late == 1
    assert 0.5 <= longest < 2


def test_show_prints_runs_and_programs(evolve, replies, tmp_path):
    """The list of runs, a run, and a program with its lineage, diff, prompt and reply."""
    run = tmp_path / "runs" / "first"
    words = ("budget.steps=2", "rollout.parents=1", "rollout.samples=1")
    assert evolve(*trivial(replies([program(1), program(2)]), run, *words)).returncode == 0

    listed = json.loads(evolve("show", "format=json").stdout)
    shown = json.loads(evolve("show", f"run={run}", "program=2", "format=json").stdout)
    text = evolve("show", f"run={run}", "program=2").stdout

    assert [(row["problem"], row["best"]) for row in listed] == [("trivial", 2.0)]
    assert [row["program"] for row in shown["lineage"]] in ([0, 1, 2], [0, 2])
    assert "+    return 2" in shown["diff"]
    assert "return 2" in shown["reply"]
    assert "The largest number" in shown["prompt"][1]["content"]
    assert "── reply ──" in text
    assert "+    return 2" in text


def test_hostile_text_reaches_no_terminal(evolve, replies, tmp_path):
    """Escape sequences that a model wrote are spelled out."""
    run = tmp_path / "run"
    reply = program(1) + "\x1b[2J\x1b]0;owned\x07"
    assert (
        evolve(*trivial(replies([reply]), run, "budget.steps=1", "rollout.parents=1", "rollout.samples=1")).returncode
        == 0
    )

    text = evolve("show", f"run={run}", "program=1").stdout

    assert "\x1b" not in text
    assert "\\x1b[2J" in text


def test_stragglers_count_in_a_later_step(evolve, replies, tmp_path):
    """A step does not wait for a slow program, which enters the population later, at the latest after a resume."""
    run = tmp_path / "run"
    file = replies([program(1), program(99, sleep_s=2.0), program(2), program(3), program(4), program(5)])
    words = ("rollout.parents=1", "rollout.samples=2", "rollout.late=0.5", "budget.steps=2", "sandbox.workers=2")
    assert evolve(*trivial(file, run, *words)).returncode == 0
    with sqlite3.connect(run / "evolve.db") as connection:
        first = connection.execute("select stragglers from steps where step = 1").fetchone()[0]
    assert evolve("resume", f"run={run}", "budget.steps=3").returncode == 0

    with sqlite3.connect(run / "evolve.db") as connection:
        settled = connection.execute("select min(step) from memberships where program_id = 2").fetchone()[0]
    assert first == 1
    assert settled in (2, 3)
    assert outcomes(evolve, run) == {"valid": 6}


def test_a_budget_that_ends_a_run_loses_no_completion(evolve, replies, tmp_path):
    """Completions that wait for a worker when the last step ends are evaluated before the run ends."""
    run = tmp_path / "run"
    file = replies([program(i, sleep_s=0.3) for i in range(8)])
    words = ("rollout.parents=1", "rollout.samples=8", "rollout.late=1", "budget.steps=1", "sandbox.workers=1")
    assert evolve(*trivial(file, run, *words)).returncode == 0

    assert sum(outcomes(evolve, run).values()) == 8

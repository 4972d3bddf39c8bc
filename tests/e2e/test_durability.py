"""A run outlives its process, and says what is wrong when its database cannot be used."""

import json
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from support import TRIVIAL, program, trivial

from benchmarks.durability import Search
from database.schema import downgrade
from database.session import Storage, connect

SMALL = ("budget.steps=1", "rollout.parents=1", "rollout.samples=4")


def stopped(done: "subprocess.CompletedProcess[str]", code: int, *parts: str) -> None:
    """Assert the exit code, and one line on standard error that holds `parts`."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    for part in parts:
        assert part in lines[0]


def test_a_run_is_killed_again_and_again_and_loses_nothing(tmp_path):
    """The benchmark with a few kills: what was evaluated is stored, once and for good, and the best is the rows'."""
    search = Search(tmp_path, random.Random(5))
    for _ in range(3):
        search.kill_once()
    best, computed = search.end(2)

    figures = search.figures
    assert (figures.lost, figures.changed, figures.twice, figures.faults, figures.refused) == (0, 0, 0, 0, 0)
    assert figures.attempts >= 8
    assert best == computed > 0


def test_a_process_killed_before_its_run_began_leaves_a_folder_that_can_be_used(evolve, replies, tmp_path):
    """The run is in the database and not yet in the folder: the same command begins it anew."""
    run = tmp_path / "run"
    words = trivial(replies([program(1), program(2)]), run, *SMALL)
    assert evolve(*words).returncode == 0
    for name in ("run.yaml", "run.json"):
        (run / name).unlink()
    with sqlite3.connect(run / "evolve.db") as connection:
        tables = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
        for table in set(tables) - {"runs", "alembic_version"}:
            connection.execute(f"delete from {table}")

    assert evolve(*words).returncode == 0
    with sqlite3.connect(run / "evolve.db") as connection:
        assert connection.execute("select count(*) from runs").fetchone() == (1,)


def test_a_seed_program_that_is_stored_is_not_run_again(evolve, replies, tmp_path):
    """Killed before the end of step 0, a run goes on from the score that it stored, also where no two runs agree."""
    folder, run = tmp_path / "clock", tmp_path / "run"
    shutil.copytree(TRIVIAL, folder)
    (folder / "seed.py").write_text(
        "# EVOLVE-BLOCK-START\nimport time\n\n\ndef answer():\n    return time.time_ns() % 10**9\n# EVOLVE-BLOCK-END\n",
        encoding="utf-8",
    )
    words = [word.replace(str(TRIVIAL), str(folder)) for word in trivial(replies([program(1)]), run, "budget.steps=0")]
    assert evolve(*words).returncode == 0
    with sqlite3.connect(run / "evolve.db") as connection:
        for table in ("memberships", "archive_cells", "steps"):
            connection.execute(f"delete from {table}")
        before = connection.execute("select score from programs").fetchall()

    assert evolve("resume", f"run={run}").returncode == 0
    with sqlite3.connect(run / "evolve.db") as connection:
        assert connection.execute("select score from programs").fetchall() == before
        assert connection.execute("select best from steps").fetchall() == before


def test_what_another_run_of_the_problem_has_evaluated_is_not_run_again(evolve, replies, tmp_path):
    """With `database.reuse`, its evaluations are taken over: no two runs of a program take the same time.

    What was judged by other rules is run again, though the problem has the same name.
    """
    file = replies([program(7), "```python\ndef answer():\n    return 1 / 0\n```", program(5), program(3)])
    changed = tmp_path / "changed"
    shutil.copytree(TRIVIAL, changed)
    rules = changed / "verify.py"
    rules.write_text(rules.read_text(encoding="utf-8") + "# other rules\n", encoding="utf-8")
    options = (f"database.url=sqlite:///{tmp_path / 'shared.db'}", "database.reuse=true", *SMALL)
    for number, problem in enumerate((TRIVIAL, TRIVIAL, changed)):
        words = [word for word in trivial(file, tmp_path / f"run{number}") if not word.startswith("problem.path")]
        done = evolve(*words, f"problem.path={problem}", *options)
        assert done.returncode == 0, done.stderr

    def evaluations(run_id: int) -> list[tuple[object, ...]]:
        query = "select program_id, number, seed, outcome, score, wall_s, cpu_s from evaluations where program_id > 0"
        with sqlite3.connect(tmp_path / "shared.db") as connection:
            return connection.execute(f"{query} and run_id = ? order by 1, 2", (run_id,)).fetchall()

    one, two, three = (evaluations(run_id) for run_id in (1, 2, 3))
    assert one == two
    assert len(one) >= 4
    assert not {row[5:] for row in one} & {row[5:] for row in three}


def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(evolve, replies, tmp_path):
    """A limit on a file's size stands for the disk: one line, exit code 1, and a resume once there is room."""
    run = tmp_path / "run"
    words = trivial(replies([program(number) + "x" * 20_000 for number in range(99)]), run, "budget.steps=6")
    full = subprocess.run(
        [sys.executable, "-m", "evolve", *words, "rollout.parents=2", "rollout.samples=4"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)),
    )

    stopped(full, 1, "evolve.db failed", "check the disk, its space", "resume the run")
    assert evolve("show", f"run={run}").returncode == 0
    resumed = evolve("resume", f"run={run}")
    assert resumed.returncode == 0, resumed.stderr
    with sqlite3.connect(run / "evolve.db") as connection:
        assert connection.execute("select count(*) from attempts").fetchone() == (1 + 6 * 8,)
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("size", ["40k", "600k"])
def test_a_full_file_system_stops_the_run_wherever_it_fills(size, evolve, replies, tmp_path):
    """Before there is a database, in the search or in the report: one line that asks for space, and then it goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    try:
        texts = [program(number) + random.Random(number).randbytes(20_000).hex() for number in range(1, 49)]
        words = trivial(replies(texts), disk / "run", "budget.steps=6", "rollout.parents=2", "rollout.samples=4")
        full = evolve(*words)
        lines = full.stderr.strip().splitlines()
        assert (full.returncode in (1, 2), len(lines)) == (True, 1), full.stderr
        assert "free some space" in lines[0]
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        again = evolve(*(["resume", f"run={disk / 'run'}"] if (disk / "run" / "run.yaml").exists() else words))
        assert again.returncode == 0, again.stderr
        with sqlite3.connect(disk / "run" / "evolve.db") as connection:
            assert connection.execute("select count(*) from attempts").fetchone() == (1 + 6 * 8,)
            assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_run_in_a_read_only_archive_can_be_looked_at(evolve, replies, tmp_path):
    """`show`, `export` and `replay` need not write there; a log that a killed run has left there must be copied."""
    archive = tmp_path / "archive"
    archive.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", archive], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    run = archive / "r%41#?x"
    try:
        assert evolve(*trivial(replies([program(1), program(2)]), run, *SMALL)).returncode == 0
        subprocess.run(["mount", "-o", "remount,ro", archive], check=True)
        looks = (
            ("show", f"run={run}", "view=best"),
            ("export", f"run={run}", f"to={tmp_path / 'all.jsonl'}"),
            ("replay", f"run={run}", f"to={tmp_path / 'again'}"),
        )
        for words in looks:
            done = evolve(*words)
            assert done.returncode == 0, done.stderr
        subprocess.run(["mount", "-o", "remount,rw", archive], check=True)
        (run / "evolve.db-wal").touch()
        subprocess.run(["mount", "-o", "remount,ro", archive], check=True)
        stopped(evolve("show", f"run={run}"), 2, "cannot be written, which the database needs: copy the folder")
    finally:
        subprocess.run(["umount", "-l", archive], check=True)


def test_a_database_that_another_program_holds_stops_the_run(evolve, replies, tmp_path):
    """One line that says to end it, and to try again, as no run has begun that could be resumed."""
    file = tmp_path / "shared.db"
    other = sqlite3.connect(file)
    other.execute("create table busy (id integer)")
    other.execute("begin exclusive")

    done = evolve(
        *trivial(replies([program(1)]), tmp_path / "run", *SMALL, f"database.url=sqlite:///{file}?timeout=0.2")
    )

    stopped(done, 1, "shared.db", "locked", "end that program, then try again")
    assert not (tmp_path / "run").exists()
    other.close()


@pytest.fixture(scope="module")
def pattern(tmp_path_factory) -> Path:
    """A run of one step."""
    folder = tmp_path_factory.mktemp("pattern")
    file = folder / "replies.jsonl"
    file.write_text("".join(json.dumps({"text": program(number)}) + "\n" for number in (1, 2)), encoding="utf-8")
    words = trivial(file, folder / "run", *SMALL)
    subprocess.run([sys.executable, "-m", "evolve", *words], cwd=folder, check=True, capture_output=True)
    return folder / "run"


@pytest.fixture
def finished(pattern, tmp_path) -> Path:
    """The folder of a run of one step."""
    return Path(shutil.copytree(pattern, tmp_path / "run"))


def test_a_database_of_a_newer_version_is_left_alone(evolve, finished):
    """One line with the command that brings the newest program."""
    with sqlite3.connect(finished / "evolve.db") as connection:
        connection.execute("update alembic_version set version_num = '9999'")

    for words in (["show"], ["resume", "budget.steps=2"]):
        done = evolve(words[0], f"run={finished}", *words[1:])
        stopped(done, 1, "version 9999", "install the newest thetaevolve")


def test_a_run_of_an_older_version_goes_on(evolve, finished):
    """Its database is brought up to date without being asked, and the next step follows the last."""
    storage = Storage(connect(f"sqlite:///{finished / 'evolve.db'}", create=False))
    with storage.migrating() as connection:
        downgrade(connection, "0001")
    storage.close()

    resumed = evolve("resume", f"run={finished}", "budget.steps=2")

    assert resumed.returncode == 0, resumed.stderr
    with sqlite3.connect(finished / "evolve.db") as connection:
        assert connection.execute("select max(step), count(*) from steps").fetchone() == (2, 3)


def test_a_database_url_that_cannot_be_used_is_refused(evolve, replies, tmp_path):
    """Exit code 2, one line that shows what can be used, and no run folder is left."""
    words = trivial(replies([program(1)]), tmp_path / "run", *SMALL, "database.url=mysql://host/base")

    stopped(evolve(*words), 2, "'mysql', which is not supported", "sqlite:///FILE or postgresql+psycopg://")
    assert not (tmp_path / "run").exists()


def test_a_run_without_its_database_is_told_so(evolve, finished):
    """By a resume: one line that names the database, and none is made in its place."""
    (finished / "evolve.db").unlink()

    stopped(evolve("resume", f"run={finished}", "budget.steps=2"), 2, f"there is no database {finished / 'evolve.db'}")
    assert not (finished / "evolve.db").exists()


def test_a_relative_database_url_is_found_from_another_folder(evolve, replies, tmp_path):
    """The file lies where `run` was typed, wherever `resume` is."""
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert evolve(*trivial(replies([program(1)]), run, *SMALL, "database.url=sqlite:///x.db")).returncode == 0

    command = [sys.executable, "-m", "evolve", "resume", f"run={run}", "budget.steps=2"]
    resumed = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)

    assert resumed.returncode == 0, resumed.stderr
    assert list(elsewhere.iterdir()) == []
    with sqlite3.connect(tmp_path / "x.db") as connection:
        assert connection.execute("select max(step) from steps").fetchone() == (2,)


def test_a_study_keeps_its_databases_in_any_folder_and_misses_them(evolve, replies, tmp_path):
    """In a folder whose name would mean something in a URL; one that is gone is told, and not made anew."""
    words = trivial(replies([program(1), program(2)]), tmp_path)
    options = [word for word in words[2:] if not word.startswith(("problem", "run."))]
    tree = {
        "budget": {"completions": 1},
        "seeds": [1],
        "problems": {"trivial": {"options": [f"problem.path={TRIVIAL}"]}},
        "arms": {"only": ["rollout.parents=1", "rollout.samples=1"]},
        "options": options,
    }
    file, folder = tmp_path / "study.yaml", tmp_path / "p%20y" / "s"
    file.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
    done = evolve("study", f"file={file}", f"to={folder}")
    run = folder / "trivial" / "only-1"

    assert done.returncode == 0, done.stderr
    (run / "evolve.db").unlink()
    (run / "figures.json").unlink()
    stopped(evolve("study", f"file={file}", f"to={folder}"), 2, f"there is no database {run / 'evolve.db'}")
    assert not (run / "evolve.db").exists()


def test_a_damaged_database_stops_one_run_and_no_other(evolve, pattern, finished):
    """The damaged run's line says what to do; the run that it was copied from is read."""
    file = finished / "evolve.db"
    file.write_bytes(file.read_bytes()[:20_000])

    stopped(evolve("show", f"run={finished}"), 1, "the file is damaged", ".recover")
    stopped(evolve("resume", f"run={finished}", "budget.steps=2"), 1, "the file is damaged")
    assert evolve("show", f"run={pattern}").returncode == 0

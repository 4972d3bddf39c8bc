"""Whole studies, with the scripted engine, the real sandbox and one database; and what a kill leaves of them."""

import io
import json
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console
from study_records import keep_record
from support import TRIVIAL, program

from evolve.compose import Clocks, open_run
from evolve.errors import ConfigError
from evolve.session import Outside
from evolve.study import study
from evolve.study.plan import load_study
from evolve.types import Training

ARMS = {
    "plain": ["prompt.inspirations=0"],
    "ancestors": ["prompt.ancestors=2", "prompt.inspirations=0", "selection=top_k", "selection.k=2"],
    "top": ["selection=top_k"],
}
#: The best comes in the first step, so that little is confirmed.
ANSWERS = (5, 6, 7, 8, 1, 2, 3, 4)


def make(folder: Path, replies: Path, *words: str, seeds=(1,), arms=ARMS, completions=8, minutes=None) -> Path:
    """Write a study of the trivial problem with one database; its runs end after the minutes, if there are any."""
    common = [
        "engine=scripted",
        f"engine.file={replies}",
        "sandbox.require=none",
        "sandbox.workers=2",
        "rollout.late=0",
        "rollout.parents=2",
        "rollout.samples=2",
        f"database.url=sqlite:///{folder / 'all.db'}",
        *words,
    ]
    problems = {"trivial": {"options": [f"problem.path={TRIVIAL}"], "target": 17}}
    file = folder / "small.yaml"
    tree = {
        "budget": {"completions": completions} if minutes is None else {"minutes": minutes},
        "seeds": list(seeds),
        "options": common,
        "problems": problems,
        "arms": arms,
    }
    file.write_text(json.dumps(tree), encoding="utf-8")  # JSON is YAML
    return file


def call(*words: str) -> tuple[int, str]:
    """Run the command in this process; return its exit code and what it printed."""
    text = io.StringIO()
    clocks = Clocks(monotonic=time.monotonic, wall=time.time)
    code = study(words, Outside(clocks=clocks, console=Console(file=text, width=400)))
    return code, text.getvalue()


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    """Return what the database answers; nothing while it is being made."""
    if not database.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def earlier_versions(run: Path) -> dict[int, set[int]]:
    """Return how many ancestors the prompts of each step show."""
    with open_run(run) as (_, store):
        texts = {step: [attempt.prompt[1].content for attempt in store.attempts_of(step)] for step in (1, 2)}
    return {step: {text.count("An earlier version of the current") for text in found} for step, found in texts.items()}


def test_runs_at_equal_time_end_on_time_and_are_finished(replies, tmp_path):
    """The programs that still run are given up, and the next run begins: 18 s a run, though they take 100."""
    answers = [program(7), *(program(number, sleep_s=100) for number in (8, 9, 10))]
    file = make(tmp_path, replies(answers), "problem.wall_s=120", minutes=0.3)
    started = time.monotonic()
    code, text = call(f"file={file}", f"to={tmp_path / 'out'}")

    assert code == 0, text
    assert time.monotonic() - started < 200
    assert "3 of 3 runs are finished" in text
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert [arm["median"] for arm in results["results"]] == [7.0, 7.0, 7.0]
    assert b"<!-- minutes -->" in (tmp_path / "out" / "trivial.svg").read_bytes()  # the axis of its picture


def test_a_killed_study_goes_on_and_makes_nothing_twice(replies, tmp_path):
    """`kill -9` in the middle of the second run: the first is skipped, the second resumed, the third made."""
    file = make(tmp_path, replies([program(answer, sleep_s=0.15) for answer in ANSWERS]))
    database, out = tmp_path / "all.db", tmp_path / "out"
    command = [sys.executable, "-m", "evolve", "study", f"file={file}", f"to={out}"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 100
        while len(rows(database, "select id from attempts where run_id = 2 and step > 0")) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = rows(database, "select * from attempts order by run_id, id")

    code, text = call(f"file={file}", f"to={out}")
    after = rows(database, "select * from attempts order by run_id, id")

    assert code == 0
    assert 9 + 3 <= len(before) < 18
    assert set(before) <= set(after)
    counts = rows(database, "select run_id, count(*), count(distinct id) from attempts group by run_id")
    assert counts == [(number, 9, 9) for number in (1, 2, 3)]
    assert "trivial, plain, seed 1 (" not in text
    assert "3 of 3 runs are finished" in text
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["runs"] == {"planned": 3, "finished": 3}
    assert [(arm["arm"], arm["median"], arm["reached"]) for arm in results["results"]] == [
        ("plain", 8.0, None),
        ("ancestors", 8.0, None),
        ("top", 8.0, None),
    ]
    assert (out / "trivial.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "results.md").read_text(encoding="utf-8")
    assert "| plain | 1 | 8 | 8 | 8 to 8 |" in page
    assert re.search(r"\| plain \| 1 \| 8 \| 8(\.0+)? \| 4; \d+ \| 100\.0 \|.*\| 8 \| \d+ \| \d+ \|\n", page)
    assert b"<!-- completions -->" in (out / "trivial.svg").read_bytes()
    assert earlier_versions(out / "trivial" / "ancestors-1") == {1: {0}, 2: {1}}
    assert earlier_versions(out / "trivial" / "plain-1") == {1: {0}, 2: {0}}


def made_by_two(tmp_path, *words):
    """What two processes said that made a study: one, and another that began when the first had a run called plain."""
    other = subprocess.Popen(
        [sys.executable, "-m", "evolve", "study", *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out/trivial/plain-1/run.yaml").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        code, text = call(*words)
        said, _ = other.communicate(timeout=60)
    finally:
        other.kill()
    assert (code, other.returncode) == (0, 0)
    return said, text


def test_two_processes_share_a_study(replies, tmp_path):
    """Each run is made once, by one of them."""
    texts = replies([program(answer) for answer in ANSWERS])
    slow = {"plain": ["engine.latency_s=3"], "top": ["selection=top_k"], "few": ["prompt.inspirations=1"]}
    words = (f"file={make(tmp_path, texts, arms=slow)}", f"to={tmp_path / 'out'}")
    said, text = made_by_two(tmp_path, *words)
    begun = [[arm for arm in slow if f"trivial, {arm}, seed 1 (" in output] for output in (said, text)]

    assert sorted(begun[0] + begun[1]) == sorted(slow)
    assert begun[0][0] == "plain"
    counts = rows(tmp_path / "all.db", "select count(*), count(distinct id) from attempts group by run_id")
    assert counts == [(9, 9)] * 3
    assert "3 of 3 runs are finished" in said + text


def test_what_another_process_has_finished_meanwhile_is_not_left_to_it(replies, tmp_path):
    """The one that ends first says what the other is making; the other, when both are finished, nothing of the kind."""
    texts = replies([program(answer) for answer in ANSWERS])
    arms = {"plain": ["engine.latency_s=0.5"], "top": ["selection=top_k", "engine.latency_s=3"]}
    words = (f"file={make(tmp_path, texts, arms=arms)}", f"to={tmp_path / 'out'}")
    said, text = made_by_two(tmp_path, *words)

    assert "left to other processes, which are making them: 1\n" in said
    assert "trivial, top, seed 1 (" in text
    assert "2 of 2 runs are finished" in text
    assert "left to other processes" not in text


def test_a_booking_ends_in_time_and_the_next_goes_on(replies, tmp_path):
    """A run of 4 s is cut after 2 s; the study says how to go on, and the next booking ends it; then it idles."""
    texts = replies([program(answer) for answer in ANSWERS])
    file = make(tmp_path, texts, "engine.latency_s=1", arms={"plain": []}, completions=16)
    words = (f"file={file}", f"to={tmp_path / 'out'}")

    _, nothing_made = call(*words, "minutes=0")
    code, text = call(*words, "minutes=0.0333", "reserve=0")
    made = rows(tmp_path / "all.db", "select count(*) from attempts where step > 0")
    again, whole = call(*words)
    idle, nothing = call(*words)

    assert (code, again, idle) == (0, 0, 0)
    assert nothing_made.endswith(f"go on with: evolve study file={file} to={tmp_path / 'out'}\n")  # no minutes=0
    assert f"go on with: evolve study file={file}" in text
    assert not made or made[0][0] < 16
    assert "1 of 1 runs are finished" in whole
    assert "runs are left" not in nothing
    assert rows(tmp_path / "all.db", "select count(*) from attempts where step > 0") == [(16,)]


def test_a_folder_with_another_run_is_refused(replies, tmp_path):
    """An arm that was changed after its run was made is no longer that run; a larger budget goes on with it."""
    file = replies([program(answer) for answer in ANSWERS])
    arms = {"plain": ["prompt.inspirations=0"]}
    words = (f"file={make(tmp_path, file, arms=arms, completions=4)}", f"to={tmp_path / 'out'}")
    assert call(*words)[0] == 0

    make(tmp_path, file, arms={"plain": ["prompt.inspirations=1"]}, completions=4)
    with pytest.raises(ConfigError, match=r"prompt\.inspirations=0, the study asks for 1"):
        call(*words)
    make(tmp_path, file, arms=arms, completions=8)
    assert call(*words, "sandbox.workers=1")[0] == 0

    assert rows(tmp_path / "all.db", "select count(*) from attempts where step > 0") == [(8,)]


def study_of_a_copy(tmp_path: Path, replies, **more) -> tuple[Path, Path, list[str]]:
    """Return a copy of the trivial problem, the file of a study of it, and the words that make the study."""
    problem = tmp_path / "problem"
    shutil.copytree(TRIVIAL, problem)
    file = make(tmp_path, replies([program(answer) for answer in ANSWERS]), completions=4, **more)
    file.write_text(file.read_text(encoding="utf-8").replace(str(TRIVIAL), str(problem)), encoding="utf-8")
    return problem, file, [f"file={file}", f"to={tmp_path / 'out'}"]


def test_a_run_of_the_problem_as_it_was_is_refused(replies, tmp_path):
    """Its verifier has changed since: no run is made beside it, whether its record is there or its database alone."""
    problem, file, words = study_of_a_copy(tmp_path, replies, arms={"plain": []})
    assert call(*words)[0] == 0

    (problem / "verify.py").write_text((problem / "verify.py").read_text(encoding="utf-8") + "\n", encoding="utf-8")
    file.write_text(file.read_text(encoding="utf-8").replace('"seeds": [1]', '"seeds": [1, 2]'), encoding="utf-8")
    with pytest.raises(ConfigError, match="whose files have changed since"):
        call(*words)
    (tmp_path / "out/trivial/plain-1/figures.json").unlink()
    with pytest.raises(ConfigError, match="whose files have changed since"):
        call(*words)

    assert rows(tmp_path / "all.db", "select count(*) from attempts where step > 0") == [(4,)]


def test_what_was_made_with_the_problem_as_it_was_can_be_drawn_again(replies, tmp_path):
    """The same figures, and the page says that files have changed; runs with different files stand in no table."""
    problem, _, words = study_of_a_copy(tmp_path, replies, arms={"plain": []}, seeds=(1, 2))
    assert call(*words)[0] == 0
    out = tmp_path / "out"
    first = json.loads((out / "results.json").read_text(encoding="utf-8"))
    page = (out / "results.md").read_text(encoding="utf-8")

    (problem / "verify.py").write_text((problem / "verify.py").read_text(encoding="utf-8") + "\n", encoding="utf-8")
    for more in ([], ["minutes=0"]):  # nothing is left to be made; nothing may be made
        assert call(*words, *more)[0] == 0
    second = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert (first.pop("files_changed_since"), second.pop("files_changed_since")) == ([], ["trivial"])
    assert first == second
    line = "Since these runs were made, files have changed by which programs are judged: trivial."
    assert line not in page
    assert line in (out / "results.md").read_text(encoding="utf-8")

    record = out / "trivial/plain-2/figures.json"
    tree = json.loads(record.read_text(encoding="utf-8")) | {"fingerprint": "of other files"}
    record.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(ConfigError, match="plain-2 holds a run of trivial with other files"):
        call(*words, "minutes=0")


def test_a_run_is_carried_to_a_machine_with_other_paths(replies, tmp_path):
    """Problem, database and folder lie elsewhere than its run.yaml says: the study goes on with it and records it."""
    problem, file, words = study_of_a_copy(tmp_path, replies, arms={"plain": []})
    assert call(*words)[0] == 0
    (tmp_path / "out/trivial/plain-1/figures.json").unlink()
    there = tmp_path / "there"
    there.mkdir()
    for old in (problem, tmp_path / "all.db", tmp_path / "out"):
        old.rename(there / old.name)
    text = file.read_text(encoding="utf-8").replace(str(problem), str(there / problem.name))
    file.write_text(text.replace('"completions": 4', '"completions": 8'), encoding="utf-8")

    words = [f"file={file}", f"to={there / 'out'}", f"database.url=sqlite:///{there / 'all.db'}"]
    code, text = call(*words)

    assert code == 0, text
    assert "1 of 1 runs are finished" in text
    assert rows(there / "all.db", "select count(*) from attempts where step > 0") == [(8,)]
    record = json.loads((there / "out/trivial/plain-1/figures.json").read_text(encoding="utf-8"))
    assert record["figures"]["completions"] == 8


def test_a_run_that_is_refused_does_not_end_the_study(replies, tmp_path):
    """The others are made, and the exit code says that one is missing; what the first one lacks, all lack."""
    tight = ["sandbox.cpus=999"]
    file = make(tmp_path, replies([program(answer) for answer in ANSWERS]), arms=ARMS | {"ancestors": tight})
    code, text = call(f"file={file}", f"to={tmp_path / 'out'}")

    assert code == 1
    assert "2 of 3 runs are finished" in text
    assert text.count("trivial, ancestors, seed 1 failed: sandbox.cpus=999") == 2  # at once, and at the end
    with pytest.raises(ConfigError, match=r"sandbox\.cpus=999"):
        call(f"file={file}", f"to={tmp_path / 'other'}", *tight)
    assert not (tmp_path / "other" / "results.md").exists()


def test_what_is_finished_is_drawn_where_no_run_can_be_made(replies, tmp_path):
    """A machine that refuses the first run that is left still writes the results of those that were carried to it."""
    file, out = make(tmp_path, replies([program(1)]), arms={"plain": []}, seeds=(1, 2)), tmp_path / "out"
    keep_record(load_study(file, out).cells[0], completions=8)
    with pytest.raises(ConfigError, match=r"sandbox\.cpus=999"):
        call(f"file={file}", f"to={out}", "sandbox.cpus=999")

    assert "1 of 2 runs are finished" in (out / "results.md").read_text(encoding="utf-8")


def test_of_a_finished_run_its_record_is_enough(replies, tmp_path):
    """Carried to another machine alone, it keeps the run from being made again and gives the same results."""
    file = make(tmp_path, replies([program(answer) for answer in ANSWERS]), "database.url=null", seeds=(1, 2))
    here, there = tmp_path / "here", tmp_path / "there"
    assert call(f"file={file}", f"to={here}")[0] == 0
    for record in here.glob("trivial/*-1/figures.json"):
        folder = there / record.parent.relative_to(here)
        folder.mkdir(parents=True)
        (folder / record.name).write_text(record.read_text(encoding="utf-8"), encoding="utf-8")
        best = (record.parent / "report" / "best_program.py").read_text(encoding="utf-8")
        assert json.loads(record.read_text(encoding="utf-8"))["program"] == best

    code, text = call(f"file={file}", f"to={there}")
    first, second = (json.loads((out / "results.json").read_text(encoding="utf-8")) for out in (here, there))

    assert code == 0
    assert text.count("runs are left)") == 3
    assert "seed 1 (" not in text
    assert not list(there.glob("trivial/*-1/evolve.db"))
    assert (there / "trivial.png").read_bytes() == (here / "trivial.png").read_bytes()
    for result in (first, second):
        for run in (run for arm in result["results"] for run in arm["runs"]):
            assert run["curve"]
            del run["active_s"], run["curve"]
        for arm in result["results"]:
            del arm["active_s"]
    assert first == second


def test_results_of_learning_runs_show_their_last_third(replies, tmp_path):
    """By hand: a child worth what its parent is, two better ones, an invalid one; a record without it is left out."""
    arms = {"plain": [], "other": ["prompt.inspirations=1"], "older": ["prompt.inspirations=0"]}
    zero = "```python\ndef answer():\n    return sum(range(1))\n```"
    answers = replies([*map(program, (5, 6, 7, 8)), zero, *map(program, (9, 1, "none"))])
    common = ("database.url=null", "rollout.parents=1", "selection=best_of_n")
    file, out = make(tmp_path, answers, *common, arms=arms), tmp_path / "out"
    assert call(f"file={file}", f"to={out}")[0] == 0
    folder = out / "trivial"
    assert "last third" not in (out / "results.md").read_text(encoding="utf-8")

    seconds = {"sync_s": 1.0, "generate_s": 2.0, "wait_s": 1.0, "train_s": 4.0, "gradient_norm": 0.5}
    with open_run(folder / "plain-1") as (_, store):
        steps = store.reports()[-1].step
        for step, entropy in ((1, 0.9), (steps - 1, 0.5), (steps, 0.25)):
            store.insert_training(Training(step=step, values={**seconds, "entropy": entropy}))
    (folder / "plain-1" / "figures.json").unlink()
    record = json.loads((folder / "older-1" / "figures.json").read_text(encoding="utf-8"))
    del record["figures"]["last_third"], record["program"]
    (folder / "older-1" / "figures.json").write_text(json.dumps(record), encoding="utf-8")
    assert call(f"file={file}", f"to={out}")[0] == 0

    lines = (out / "results.md").read_text(encoding="utf-8").partition("last third")[2].splitlines()
    assert steps == 4
    assert [line for line in lines if line.startswith(("| plain |", "| other |", "| older |"))][:2] == [
        "| plain | 75.0 | 50.0 | 50.0 | 100.0 | 0.375 | 3 | 37.5 |",
        "| other | 75.0 | 50.0 | 50.0 | 100.0 | - | 0 | - |",
    ]
    assert not [line for line in lines if line.startswith("| older | 7")]


def test_a_record_that_does_not_fit_is_refused_in_one_line(replies, tmp_path):
    """Of other options, of a smaller budget without the run to go on with, and damaged: nothing is made."""
    answers = replies([program(answer) for answer in ANSWERS])
    arms = {"plain": ["prompt.inspirations=0"]}
    words = (f"file={make(tmp_path, answers, arms=arms, completions=4)}", f"to={tmp_path / 'out'}")
    assert call(*words)[0] == 0
    run = tmp_path / "out/trivial/plain-1"
    for name in ("run.yaml", "run.json"):
        (run / name).unlink()

    make(tmp_path, answers, arms={"plain": ["prompt.inspirations=1"]}, completions=4)
    with pytest.raises(ConfigError, match=r"prompt\.inspirations=0, the study asks for 1"):
        call(*words)
    make(tmp_path, answers, arms=arms, completions=8)
    with pytest.raises(ConfigError, match=r"a smaller budget, and not the run: bring its run\.yaml"):
        call(*words)
    (run / "figures.json").write_text('{"figures": {}}', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"figures\.json cannot be read"):
        call(*words)

    assert sorted(file.name for file in run.iterdir() if file.name != "report") == ["figures.json", "lock"]
    assert rows(tmp_path / "all.db", "select count(*) from attempts where step > 0") == [(4,)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "file is missing"),
        (["file=nowhere.yaml"], "cannot read file=nowhere.yaml: No such file or directory"),
        (["file=nowhere.yaml", "minutes=soon"], "minutes=soon is no time"),
        (["file=nowhere.yaml", "reserve=-1"], "reserve=-1 is no time"),
        (["file=nowhere.yaml", "seeds=3"], "seeds is no option here"),
        (["file=nowhere.yaml", "minutes=1"], "minutes=1 is over before a step may begin"),
        (["file=nowhere.yaml", "minutes=0.5", "reserve=30"], "give more minutes than that, or a smaller reserve="),
    ],
)
def test_wrong_words_are_answered_in_one_line(words, message):
    """What is wrong is named, and nothing is made."""
    with pytest.raises(ConfigError) as caught:
        call(*words)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_line_to_go_on_with_can_be_typed(replies, tmp_path):
    """A blank in a folder's name is quoted for the shell; without a minute, what is there is drawn."""
    folder = tmp_path / "my studies"
    folder.mkdir()
    words = [f"file={make(folder, replies([program(1)]))}", f"to={folder / 'out'}", "minutes=0"]
    code, text = call(*words)

    assert code == 0
    assert "0 of 3 runs are finished" in text
    assert shlex.split(text.partition("go on with: ")[2]) == ["evolve", "study", *words[:-1]]

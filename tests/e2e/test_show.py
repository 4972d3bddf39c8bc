"""`evolve show` on runs that were made by the real command, one of them while it goes on."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
from support import program, trivial

from evolve.cli import call


@pytest.fixture(scope="module")
def climb(tmp_path_factory):
    """A run of three steps, each of whose children is better than its parent and the child of the one before."""
    folder = tmp_path_factory.mktemp("climb")
    file = folder / "replies.jsonl"
    texts = [program(1), program(2), program(3)]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    words = ("selection=top_k", "selection.k=1", "budget.steps=3", "rollout.parents=1", "rollout.samples=1")
    assert call(trivial(file, folder / "runs" / "climb", *words)) == 0
    return folder / "runs" / "climb"


def shown(capsys, *words):
    """Return what `evolve show` prints as JSON."""
    assert call(["show", *words, "format=json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_is_listed_and_summed_up(climb, capsys):
    """The list names the best score; the summary holds outcomes, best programs, best first, and the curve."""
    (row,) = shown(capsys, f"runs={climb.parent}")
    summary = shown(capsys, f"run={climb}", "limit=2")

    assert (row["problem"], row["steps"], row["completions"], row["best"], row["error"]) == ("trivial", 3, 3, 3.0, None)
    assert [(best["program"], best["parent"], best["score"]) for best in summary["best_programs"]] == [
        (3, 2, 3.0),
        (2, 1, 2.0),
    ]
    assert summary["outcomes"] == {"valid": 3}
    assert [point[2] for point in summary["best_against_time"]] == [0.0, 1.0, 2.0, 3.0]


def test_a_limit_without_end_shows_all(climb, capsys):
    """A number that no database holds is as good as any large one."""
    assert len(shown(capsys, f"run={climb}", "view=best", "limit=99999999999999999999")) == 4


def test_a_lineage_leads_from_the_seed_to_the_best(climb, capsys):
    """Without a program it is that of the best; each step has its diff; the text holds the same."""
    best = shown(capsys, f"run={climb}", "view=lineage")
    second = shown(capsys, f"run={climb}", "program=2", "view=lineage")
    assert call(["show", f"run={climb}", "view=lineage"]) == 0
    text = capsys.readouterr().out

    assert [step["program"] for step in best["lineage"]] == [0, 1, 2, 3]
    assert [step["better_by"] for step in best["lineage"]] == [None, 1.0, 1.0, 1.0]
    assert second["lineage"] == best["lineage"][:3]
    for words in ("-    return 1", "+    return 2", "program 3, step 3, child of 2: 3.0, better by 1"):
        assert words in text


def test_a_run_that_cannot_be_read_leaves_the_others_in_the_list(climb, tmp_path, capsys):
    """Its line says what is wrong; the next run has its row."""
    shutil.copytree(climb, tmp_path / "whole")
    shutil.copytree(climb, tmp_path / "broken")
    (tmp_path / "broken" / "evolve.db").unlink()
    shutil.copytree(climb, tmp_path / "older")
    (tmp_path / "older" / "run.yaml").write_text("learner: frozen\n", encoding="utf-8")
    shutil.copytree(climb, tmp_path / "torn")
    (tmp_path / "torn" / "run.json").write_text("[1]", encoding="utf-8")

    broken, older, torn, whole = shown(capsys, f"runs={tmp_path}")
    assert call(["show", f"runs={tmp_path}"]) == 0
    out = capsys.readouterr().out

    assert (broken["best"], whole["best"]) == (None, 3.0)
    assert "there is no database" in broken["error"]
    assert "another version" in older["error"]
    assert "holds no run" in torn["error"]
    assert f"{tmp_path / 'broken'} cannot be read: there is no database" in out
    assert f"│ {tmp_path / 'whole'} " in out


@pytest.mark.parametrize(
    "view",
    ["best", "outcomes", "moves", "islands", "archive", "steps", "trainings", "confirmations", "summary", "lineage"],
)
def test_each_view_is_printed_as_text_and_as_json(view, climb, capsys):
    """No view fails on a real run, and none prints an escape sequence into a pipe."""
    assert shown(capsys, f"run={climb}", f"view={view}") is not None
    assert call(["show", f"run={climb}", f"view={view}"]) == 0
    out = capsys.readouterr().out
    assert out.strip()
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["view=best"], "view= needs run=DIR"),
        (["run={climb}", "view=tree"], "summary, best, outcomes, moves, islands"),
        (["run={climb}", "program=1", "view=steps"], "attempt, lineage"),
        (["run={climb}", "program=first"], "program=first is no id"),
        (["run={climb}", "program=99"], "no attempt 99: list its best programs with `evolve show run=DIR view=best`"),
        (["run={climb}", "program=99", "view=lineage"], "no program 99"),
        (["run={climb}", "program=99999999999999999999"], "is no id"),
        (["run={climb}", "runs=elsewhere"], "exclude each other"),
        (["run={climb}", "limit=-1"], "limit=-1 is no number"),
        (
            ["run={climb}", "view=steps", "limit=2"],
            "limit= is for the views summary and best: leave it out of view=steps",
        ),
        (["run={climb}", "program=1", "limit=2"], "leave it out of view=attempt"),
    ],
)
def test_wrong_words_are_refused_in_one_line(words, part, climb, capsys):
    """Exit code 2, and what would be right."""
    assert call(["show", *(word.format(climb=climb) for word in words)]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert part in err


def test_a_run_that_goes_on_is_shown(replies, tmp_path, capsys):
    """Its finished attempts are there, before the first step ends, and looking does not disturb the run."""
    run = tmp_path / "run"
    file = replies([program(1), program(2), *[program(n, sleep_s=20.0) for n in range(3, 9)]])
    words = trivial(file, run, "budget.steps=2", "rollout.parents=2", "rollout.samples=4", "sandbox.workers=2")
    process = subprocess.Popen(
        [sys.executable, "-m", "evolve", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        counts = {}
        while counts.get("valid", 0) < 2:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
            if (run / "run.json").exists():
                counts = shown(capsys, f"run={run}")["outcomes"]
        assert call(["show", f"run={run}", "program=2"]) == 0
        assert "return 2" in capsys.readouterr().out
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert counts == {"valid": 2}
    assert process.returncode == 130, err

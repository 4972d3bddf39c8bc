"""`evolve export`: every attempt of a run as rows that other programs read."""

import json
import sys

import pytest
from attempts import attempt, completion, new_run, valid
from support import program, trivial

from database import open_database
from evolve.cli import call
from evolve.export import rows_of
from evolve.types import Message


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a valid program, a crash, a reply without code and one with a lone surrogate."""
    folder = tmp_path_factory.mktemp("export")
    texts = [program(5), "```python\ndef answer():\n    return 1 / 0\n```", "no code", "no \ud800 code"]
    file = folder / "replies.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    assert call(trivial(file, folder / "run", "rollout.parents=2", "rollout.samples=2", "budget.steps=1")) == 0
    return folder / "run"


def test_a_line_of_json_holds_all_of_an_attempt(run, tmp_path, capsys):
    """Lineage, outcome, scores, prompt, reply, times and evaluations; texts come back as they were."""
    target = tmp_path / "run.jsonl"

    assert call(["export", f"run={run}", f"to={target}"]) == 0

    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    seed, best, crashed, empty, broken = rows
    assert f"5 attempts in {target}" in capsys.readouterr().out
    assert [row["program"] for row in rows] == [0, 1, 2, 3, 4]
    assert (seed["parent"], seed["reply"], seed["score"], len(seed["evaluations"])) == (None, "", 0.0, 2)
    assert (best["parent"], best["step"], best["group"], best["sample"], best["score"]) == (0, 1, 0, 0, 5.0)
    assert best["reply"] == program(5)
    assert "return 5" in best["source"]
    assert [message["role"] for message in best["prompt"]] == ["system", "user"]
    assert [(run["score"], run["construction"]) for run in best["evaluations"]] == [(5.0, "5"), (5.0, "5")]
    assert best["evaluations"][0]["wall_s"] > 0
    assert "ZeroDivisionError" in crashed["feedback"]
    assert (crashed["score"], crashed["evaluations"][0]["outcome"]) == (None, "crashed")
    assert (empty["outcome"], empty["source"], empty["evaluations"]) == ("no_code", None, [])
    assert broken["reply"] == "no \ud800 code"


def test_parquet_holds_the_same_rows(run, tmp_path):
    """Column for column; only a lone surrogate, which UTF-8 does not know, is spelled out."""
    parquet = pytest.importorskip("pyarrow.parquet")
    assert call(["export", f"run={run}", f"to={tmp_path / 'run.jsonl'}"]) == 0
    assert call(["export", f"run={run}", f"to={tmp_path / 'run.parquet'}"]) == 0

    lines = (tmp_path / "run.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    table = parquet.read_table(tmp_path / "run.parquet").to_pylist()

    assert table[4].pop("reply") == r"no \ud800 code"
    assert rows[4].pop("reply") == "no \ud800 code"
    assert table == rows


def test_without_pyarrow_the_extra_is_named(run, tmp_path, capsys, monkeypatch):
    """One line, exit code 2, and no file is left; JSON lines need no extra."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    assert call(["export", f"run={run}", f"to={tmp_path / 'run.parquet'}"]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert "thetaevolve[parquet]" in line
    assert list(tmp_path.iterdir()) == []
    assert call(["export", f"run={run}", f"to={tmp_path / 'run.jsonl'}"]) == 0


def test_exports_that_cannot_be_written_are_refused(run, tmp_path, capsys):
    """One line each: an unknown suffix, a file that is there, a folder that is not."""
    (tmp_path / "old.jsonl").write_text("keep me", encoding="utf-8")

    def refusal(target):
        assert call(["export", f"run={run}", f"to={target}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert ".jsonl or .parquet" in refusal(tmp_path / "run.csv")
    assert "exists already" in refusal(tmp_path / "old.jsonl")
    assert "there is no folder" in refusal(tmp_path / "absent" / "run.jsonl")
    assert (tmp_path / "old.jsonl").read_text(encoding="utf-8") == "keep me"


def test_the_step_that_goes_on_is_exported_too(tmp_path):
    """Attempts without a finished step, and texts of any kind, are rows."""
    with open_database(f"sqlite:///{tmp_path / 'evolve.db'}") as database:
        store = new_run(database, str(tmp_path))
        store.insert_attempt(valid(1, 2.0))
        prompt = (Message(role="user", content="\x00"),)
        store.insert_attempt(attempt(2, prompt=prompt, completion=completion(1, text="\x00")))

        rows = list(rows_of(store))

    assert [(row["program"], row["score"], row["reply"]) for row in rows[1:]] == [(1, 2.0, "reply"), (2, None, "\x00")]

"""What a user can do wrong: one line that names the cure, exit code 2, and nothing lost."""

import hashlib
import importlib.metadata
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console
from support import TRIVIAL, program, trivial

from evolve.cli import call


def refused(done, *parts: str) -> None:
    """Assert exit code 2 and one line on standard error that holds `parts`."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["fly"], ["no command", "run, resume, show, "]),
        (["run", "problem=nonsense"], ["circle_packing, circle_packing_32"]),
        (["run", "problem=bin_packing", "engine=gpt"], ["vllm, server, scripted"]),
        (["run", "problem=bin_packing", "budgets.steps=3"], ["budget.steps"]),
        (["run", "problem=mine", "problem.path=/nowhere"], ["/nowhere"]),
        (["run", "problem=bin_packing", "engine=scripted", "engine.file=absent.jsonl"], ["absent.jsonl"]),
        (["run", "problem=bin_packing", "model=no/such-model-anywhere"], ["no/such-model-anywhere"]),
        (["resume", "run=absent"], ["holds no run"]),
        (["resume"], ["run is missing"]),
        (["show", "run=absent"], ["holds no run"]),
        (["show", "program=3"], ["run=DIR"]),
        (["verify", "problem=circle_packing"], ["file is missing"]),
        (["verify", "problem=circle_packing", "file=absent.json"], ["absent.json"]),
        (["verify", "problem=nonsense", "file=x.json"], ["circle_packing"]),
        (["verify", "file=x.json"], ["no problem is named: add problem=NAME", "problem.path=DIR", "circle_packing"]),
        (["verify", "problem.path=/nowhere", "file=x.json"], ["/nowhere"]),
        (["verify", "problem=circle_packing", "file=x.json", "format=xml"], ["text or json"]),
        (["verify", "problem=circle_packing", "file=x.json", "sandbox.require=foo"], ["full"]),
        (["doctor", "loud=yes"], ["loud", "problem=NAME"]),
    ],
)
def test_bad_words_are_refused_in_one_line(words, parts, evolve):
    """Each wrong word is named, with what would be right."""
    refused(evolve(*words), *parts)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "problem=mine", "problem.path=~nobody9/x"],
        ["resume", "run=~nobody9/x"],
        ["show", "run=~nobody9/x"],
        ["show", "runs=~nobody9/x"],
        ["export", "run=~nobody9/x", "to=attempts.jsonl"],
        ["replay", "run=run", "to=~nobody9/x"],
        ["merge", "from=~nobody9/x", "to=run", "programs=1"],
        ["report", "run=~nobody9/x"],
        ["compare", "arm=a:~nobody9/x"],
        ["serve", "runs=~nobody9/x"],
        ["study", "file=~nobody9/x"],
        ["verify", "problem=circle_packing", "file=~nobody9/x"],
    ],
    ids=" ".join,
)
def test_the_home_folder_of_nobody_is_refused_in_one_line(words, capsys):
    """Whatever command is to look there."""
    assert call(words) == 2
    assert capsys.readouterr().err.endswith("~nobody9/x: there is no user nobody9 here; write the folder out\n")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["show", "run=absent", "-h"]])
def test_help_is_given_wherever_it_is_asked_for(words, capsys):
    """Exit code 0 and the usage of all commands; nothing else is looked at."""
    assert call(words) == 0
    assert capsys.readouterr().out.startswith("usage: evolve COMMAND")


def test_the_version_is_that_of_the_installed_distribution(evolve):
    """What a bug report should name."""
    done = evolve("--version")

    assert done.returncode == 0
    assert done.stdout == f"thetaevolve {importlib.metadata.version('thetaevolve')}\n"


def test_a_folder_may_have_any_name(replies, tmp_path, capsys):
    """Brackets in it are no markup, and what to type next is quoted where a shell needs it."""
    run = tmp_path / "a run [/b]"
    words = trivial(replies([program(1)]), run, "budget.steps=1", "rollout.parents=1", "rollout.samples=1")
    assert call(words) == 0
    assert f"in {run}" in capsys.readouterr().out
    (run / "report" / "summary.md").unlink()
    (run / "report" / "summary.md").mkdir()

    assert call(["resume", f"run={run}"]) == 1
    assert f"go on with: evolve resume 'run={run}'" in capsys.readouterr().out


def test_how_to_go_on_names_the_options_that_a_resume_was_given(replies, tmp_path, capsys):
    """They are not stored with the run, so that a resume without them would do without them; those of a run are."""
    run = tmp_path / "run"
    words = trivial(replies([program(1)]), run, "budget.steps=1", "rollout.parents=1", "rollout.samples=1")
    assert call(words) == 0
    (run / "report" / "summary.md").unlink()
    (run / "report" / "summary.md").mkdir()
    capsys.readouterr()

    assert call(["resume", "budget.steps=2", f"run={run}", "budget.minutes=null", "sandbox.require=none"]) == 1
    again = capsys.readouterr().out.splitlines()[-1]
    words = shlex.split(again.partition("go on with: evolve ")[2])
    assert words == ["resume", f"run={run}", "budget.steps=2", "budget.minutes=null", "sandbox.require=none"]


def test_runs_that_start_at_once_have_folders_of_their_own(replies, tmp_path):
    """Two in the same second, without run.dir: both are made."""
    words = [word for word in trivial(replies([program(1)]), tmp_path, "budget.steps=0") if "run.dir" not in word]
    command = [sys.executable, "-m", "evolve", *words]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]

    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["unknown"], ["new"]])
def test_no_command_waits_for_the_libraries_of_another(words):
    """They are imported when a command that needs them is asked for."""
    heavy = "{'numpy', 'sqlalchemy', 'hydra', 'matplotlib', 'jinja2'}"
    code = f"import sys; from evolve.cli import call; call(sys.argv[1:]); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_an_interrupt_while_modules_are_imported_prints_nothing(tmp_path):
    """Ctrl-C right after the command was typed, seen to come while SQLAlchemy is there and the command is not."""
    command = [sys.executable, "-m", "evolve", "show"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "sqlalchemy" not in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8"):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)

    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGINT


def test_a_file_that_the_system_refuses_gets_one_line(tmp_path, capsys):
    """Where a command does not know the failure itself, the file and the cure are named, and a bug keeps its traceback.

    Nobody can make a folder in a file; no such name can be there.
    """
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    run = tmp_path / "file" / "run"

    def fail(words: Sequence[str], console: Console) -> int:
        run.mkdir()
        return 0

    def bug(words: Sequence[str], console: Console) -> int:
        (tmp_path / "absent").read_text(encoding="utf-8")
        return 0

    commands = {"fail": fail, "bug": bug}

    assert call(["fail"], commands) == 1
    line = capsys.readouterr().err
    assert line == f"evolve fail: {run}: Not a directory; name a place in a folder, not in a file, then try again\n"
    with pytest.raises(FileNotFoundError):
        call(["bug"], commands)


def test_a_gguf_file_that_is_none_is_refused(evolve, tmp_path):
    """A file with the right name and the wrong bytes is not loaded."""
    file = tmp_path / "model.gguf"
    file.write_bytes(b"not a model at all")

    refused(evolve("run", "problem=bin_packing", f"model={file}", f"model_cache={tmp_path / 'cache'}"), "model.gguf")


def test_a_run_folder_that_cannot_be_written_is_refused(evolve, replies, tmp_path):
    """Nothing is spent when the results could not be kept."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    refused(evolve(*trivial(replies([program(1)]), tmp_path / "file" / "run")), "cannot write", "run.dir=")


def test_a_run_folder_in_use_is_left_alone(evolve, replies, tmp_path):
    """A second run into the same folder is refused, and the first one's files stay as they were."""
    run = tmp_path / "run"
    words = trivial(replies([program(1)]), run, "budget.steps=1", "rollout.parents=1", "rollout.samples=1")
    assert evolve(*words).returncode == 0
    before = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in run.rglob("*") if file.is_file()}

    refused(evolve(*words), f"evolve resume run={run}")
    after = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in run.rglob("*") if file.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("engine", "missing"),
    [(["engine=scripted"], "engine.file"), (["engine=server", "model=m"], "engine.key_file")],
)
def test_a_file_that_the_engine_lacks_is_told_before_there_is_a_run(engine, missing, evolve, replies, tmp_path):
    """No folder is left, so that the corrected command can name it again."""
    run = tmp_path / "run"
    words = trivial(replies([program(1)]), run, "budget.steps=1", "rollout.parents=1", "rollout.samples=1")
    wrong = [word for word in words if not word.startswith("engine")] + [*engine, f"{missing}=absent"]

    refused(evolve(*wrong), f"{missing}={tmp_path / 'absent'}", "No such file")
    assert not run.exists()
    assert evolve(*words).returncode == 0


def test_a_name_that_is_too_long_for_a_file_gets_one_line(evolve, replies, tmp_path):
    """Of a run's folder, of a model and of a problem."""
    long = "x" * 300
    for words in (
        trivial(replies([program(1)]), tmp_path / long),
        ["run", "problem=bin_packing", f"model={long}"],
        ["run", f"problem.path={long}"],
        ["show", f"run={long}"],
    ):
        done = evolve(*words)
        assert (done.returncode in (1, 2), len(done.stderr.splitlines())) == (True, 1), done.stderr


def test_a_problem_whose_seed_program_fails_is_refused_before_any_token(evolve, replies, tmp_path):
    """The seed program's failure is shown, the engine never starts, and no run folder is left."""
    folder = tmp_path / "broken"
    shutil.copytree(TRIVIAL, folder)
    (folder / "seed.py").write_text(
        "# EVOLVE-BLOCK-START\ndef answer():\n    return -1\n# EVOLVE-BLOCK-END\n", encoding="utf-8"
    )
    run = tmp_path / "run"
    words = [word.replace(str(TRIVIAL), str(folder)) for word in trivial(replies([program(1)]), run)]

    refused(evolve(*words), "seed program", "invalid", "seed.py")
    hurried = [*trivial(replies([program(1)]), run), "problem.wall_s=0.0001"]
    refused(evolve(*hurried), "ended as timed out", "or give it more with problem.wall_s=")
    assert not run.exists()


def test_resume_refuses_options_that_would_change_its_steps(evolve, replies, tmp_path):
    """A resumed step must be the step that was begun; a budget may change."""
    run = tmp_path / "run"
    words = trivial(replies([program(1)]), run, "budget.steps=1", "rollout.parents=1", "rollout.samples=1")
    assert evolve(*words).returncode == 0

    refused(evolve("resume", f"run={run}", "rollout.samples=2"), "rollout")
    refused(evolve("resume", f"run={run}", "budget.step=2"), "did you mean budget.steps?")
    assert evolve("resume", f"run={run}", "budget.steps=2").returncode == 0


def test_resume_refuses_a_problem_that_has_changed(evolve, replies, tmp_path):
    """Two ways to judge must not meet in one run; it can be looked at, and goes on with the files as they were."""
    folder, run = tmp_path / "mine", tmp_path / "run"
    shutil.copytree(TRIVIAL, folder)
    words = [word.replace(str(TRIVIAL), str(folder)) for word in trivial(replies([program(1), program(2)]), run)]
    assert evolve(*words, "budget.steps=1", "rollout.parents=1", "rollout.samples=1").returncode == 0
    rules = (folder / "verify.py").read_text(encoding="utf-8")

    (folder / "verify.py").write_text(f"{rules}# other rules\n", encoding="utf-8")
    refused(evolve("resume", f"run={run}", "budget.steps=2"), str(folder), "put them back", "start a new run")
    assert evolve("show", f"run={run}").returncode == 0
    (folder / "verify.py").write_text(rules, encoding="utf-8")
    assert evolve("resume", f"run={run}", "budget.steps=2").returncode == 0


def test_a_run_of_an_early_version_goes_on_though_nobody_knows_its_files(evolve, replies, tmp_path):
    """It holds no fingerprint that its problem's files could differ from."""
    run = tmp_path / "run"
    words = trivial(replies([program(1), program(2)]), run, "rollout.parents=1", "rollout.samples=1")
    assert evolve(*words, "budget.steps=1").returncode == 0
    with sqlite3.connect(run / "evolve.db") as connection:
        connection.execute("update runs set fingerprint = null")
    connection.close()

    assert evolve("resume", f"run={run}", "budget.steps=2").returncode == 0


def test_verify_judges_a_construction_exactly(evolve, tmp_path):
    """One line of JSON; exit code 0 for a valid construction, 1 for an overlap of one part in 10^12."""
    disks = [[(i % 6 + 0.5) / 6, (i // 6 + 0.5) / 6, 1 / 16] for i in range(26)]
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(disks), encoding="utf-8")
    disks[8][2] = 1 / 6 - 1 / 16 + 1e-12
    bad.write_text(json.dumps(disks), encoding="utf-8")

    valid = evolve("verify", "problem=circle_packing", f"file={good}", "format=json")
    invalid = evolve("verify", "problem=circle_packing", f"file={bad}", "format=json")

    verdict, refusal = json.loads(valid.stdout), json.loads(invalid.stdout)
    assert (valid.returncode, verdict["valid"], verdict["score"], verdict["beats_record"]) == (0, True, 26 / 16, False)
    assert verdict.keys() >= {"valid", "score", "exact", "record", "beats_record", "reason", "repaired"}
    assert (invalid.returncode, refusal["valid"], refusal["score"]) == (1, False, None)
    assert "overlap" in refusal["reason"]
    assert refusal["repaired"] == pytest.approx(26 / 16, abs=0.1)
    assert evolve("verify", "problem=circle_packing", f"file={good}").returncode == 0


def test_verify_takes_the_folder_of_a_problem_alone(evolve, tmp_path):
    """Its name is the folder's then, as for a run; the help names both words."""
    file = tmp_path / "answer.json"
    file.write_text("7", encoding="utf-8")

    verdict = evolve("verify", f"problem.path={TRIVIAL}", f"file={file}", "format=json")

    assert json.loads(verdict.stdout)["score"] == 7.0, verdict.stderr
    assert "evolve verify problem=NAME [problem.path=DIR] file=FILE" in evolve("verify", "--help").stdout


def test_verify_plays_a_rule(evolve, tmp_path):
    """A rule is judged by playing it in the sandbox: best fit gets its score, a rule that cheats the shape none."""
    fit, short = tmp_path / "fit.json", tmp_path / "short.py"
    fit.write_text(json.dumps({"program": "def priority(item, bins):\n    return item - bins\n"}), encoding="utf-8")
    short.write_text("def priority(item, bins):\n    return [1.0]\n", encoding="utf-8")
    words = ("verify", "problem=bin_packing", "format=json", "sandbox.require=none")

    valid, invalid = evolve(*words, f"file={fit}"), evolve(*words, f"file={short}")

    assert valid.returncode == 0, valid.stderr
    assert json.loads(valid.stdout)["score"] == 4.768789482980788
    assert invalid.returncode == 1, invalid.stderr
    assert json.loads(invalid.stdout)["valid"] is False


def test_doctor_reports_on_this_machine(evolve):
    """Engines, models, problems and the sandbox's tier, one line each."""
    done = evolve("doctor")

    assert done.returncode == 0, done.stderr
    for part in ("machine:", f"{len(os.sched_getaffinity(0))} cores", "GPU:", "engine vllm:", "sandbox: tier"):
        assert part in done.stdout


@pytest.mark.parametrize(
    ("visible", "said"),
    [(None, "Small, 8 MiB; Large, 9 MiB"), ("1", "Large, 9 MiB"), ("GPU-a", "Small, 8 MiB"), ("", "none found")],
)
def test_doctor_names_the_gpus_that_cuda_shows(visible, said, tmp_path):
    """A machine's other GPUs are not a run's: `CUDA_VISIBLE_DEVICES` names some by number or by the start of a UUID."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-aa, Small, 8 MiB'\necho '1, GPU-bb, Large, 9 MiB'\n", encoding="utf-8")
    tool.chmod(0o755)
    shown = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    program = "from evolve.doctor import gpus; print(gpus())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", **shown},
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == said

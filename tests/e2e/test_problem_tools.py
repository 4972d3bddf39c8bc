"""Making, checking and verifying: `evolve new`, `evolve doctor problem=NAME`, `evolve verify`."""

import contextlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support import TRIVIAL, program, trivial

from evolve.cli import call

REPLY = """A greedy ruler.
```python
def place(n):
    marks = [0]
    while len(marks) < n:
        mark = marks[-1]
        distances = set()
        while len(distances) < len(marks) * (len(marks) + 1) // 2:
            mark += 1
            tried = [*marks, mark]
            distances = {b - a for i, a in enumerate(tried) for b in tried[i + 1:]}
        marks.append(mark)
    return marks
```
"""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def evolve(tmp_path, capsys):
    """Run a command in this process, in an empty folder."""
    with contextlib.chdir(tmp_path):

        def run(*words: str) -> Done:
            capsys.readouterr()
            code = call(words)
            said = capsys.readouterr()
            return Done(code, said.out, said.err)

        yield run


def refused(done, *parts: str) -> None:
    """Assert exit code 2 and one line on standard error that holds `parts`."""
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(lines) == 1, done.stderr
    for part in parts:
        assert part in lines[0]


def test_a_new_problem_is_fit_and_runs(evolve, replies, tmp_path):
    """What `evolve new` writes passes its own checkup, and a run of it finds the greedy ruler, of length 44."""
    assert evolve("new", "my_ruler").returncode == 0
    words = ("problem=my_ruler", "problem.path=my_ruler", "sandbox.require=none")

    healthy = evolve("doctor", *words, "budget.steps=3", "rollout.parents=2", "rollout.samples=5")
    done = evolve(
        *("run", *words, "engine=scripted", f"engine.file={replies([REPLY])}", "run.dir=run"),
        *("budget.steps=1", "rollout.parents=1", "rollout.samples=1"),
    )

    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert "FAULT" not in healthy.stdout
    assert "valid: 127.0 and 127.0 with two seeds" in healthy.stdout
    assert "a step of the configured run: 2 x 5 = 10 completions" in healthy.stdout
    assert "the run: 30 completions" in healthy.stdout
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "report" / "best.json").read_text()) == [0, 1, 3, 7, 12, 20, 30, 44]
    assert "my_ruler" in (tmp_path / "my_ruler" / "problem.yaml").read_text()


def test_a_new_problem_leaves_the_limits_to_the_prompt(evolve, replies, tmp_path):
    """With another limit than the folder's, no sentence of the prompt names the old one."""
    assert evolve("new", "my_ruler").returncode == 0
    options = ("problem.path=my_ruler", "problem.wall_s=20", "sandbox.require=none", "run.dir=run", "budget.steps=1")
    sizes = ("rollout.parents=1", "rollout.samples=1")
    assert evolve("run", *options, *sizes, "engine=scripted", f"engine.file={replies([REPLY])}").returncode == 0
    shown = json.loads(evolve("show", "run=run", "program=1", "format=json").stdout)
    prompt = "".join(message["content"] for message in shown["prompt"])

    assert "The program gets 20 seconds" in prompt
    assert prompt.count("second") == 1
    assert "seconds" not in (tmp_path / "my_ruler" / "problem.yaml").read_text(encoding="utf-8")


def test_a_task_whose_own_evaluator_is_believed_is_fit(evolve):
    """Changed metrics are as good as others there: the checkup says so, and finds no fault in it."""
    task = Path(__file__).parents[1] / "problems" / "openevolve_task"

    done = evolve("doctor", "problem=openevolve", f"problem.path={task}", "sandbox.require=none")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    the task's own evaluator is believed" in done.stdout


def test_what_a_task_s_own_evaluator_says_is_not_called_verified(evolve, replies, tmp_path):
    """Neither by `evolve verify` nor in a run's summary and report: they say whose word the score is."""
    task = Path(__file__).parents[1] / "problems" / "openevolve_task"
    words = ("problem=openevolve", f"problem.path={task}", "sandbox.require=none")
    (tmp_path / "seed.py").write_text((task / "initial_program.py").read_text())
    scripted = ("engine=scripted", f"engine.file={replies(['no code'])}", "rollout.samples=1", "budget.steps=1")

    verified = evolve("verify", *words, "file=seed.py")
    done = evolve("run", *words, *scripted, "run.dir=run")
    reported = evolve("report", "run=run", "to=report")

    assert [each.returncode for each in (verified, done, reported)] == [0, 0, 0], verified.stderr + done.stderr
    files = [tmp_path / "run" / "report" / "summary.md", *(tmp_path / "report").glob("report.*")]
    assert len(files) == 3
    for text in (verified.stdout, *(file.read_text() for file in files)):
        assert "as the task's own evaluator has it, which is no proof" in text
        assert "at zero tolerance" not in text


def test_the_doctor_tries_the_server_of_the_run(evolve):
    """One that is not there is a fault beside a problem that has none."""
    server = ("engine=server", "engine.url=http://127.0.0.1:1/v1", "model=m")

    done = evolve("doctor", "problem=trivial", f"problem.path={TRIVIAL}", "sandbox.require=none", *server)

    assert done.returncode == 1, done.stderr
    assert done.stdout.count("FAULT") == 1
    assert "FAULT the server\n      http://127.0.0.1:1/v1/models cannot be reached" in done.stdout


def test_a_picture_that_fails_loses_nothing(evolve, replies, tmp_path):
    """The checkup calls it a fault; a run names the file in one line, after all else of its report is written."""
    folder = tmp_path / "mine"
    shutil.copytree(TRIVIAL, folder)
    (folder / "picture.py").write_text("def draw(construction, target):\n    raise KeyError('no size')\n")
    words = [word.replace(str(TRIVIAL), str(folder)) for word in trivial(replies([program(1)]), tmp_path / "run")]

    healthy = evolve("doctor", "problem=trivial", f"problem.path={folder}", "sandbox.require=none")
    done = evolve(*words, "budget.steps=1", "rollout.parents=1", "rollout.samples=1")
    report = tmp_path / "run" / "report"

    assert healthy.returncode == 1
    assert "FAULT the picture\n" in healthy.stdout
    refused(done, "picture.py failed (KeyError: 'no size'): mend it")
    assert "**1.0**" in (report / "summary.md").read_text(encoding="utf-8")
    assert "best.png" not in (report / "summary.md").read_text(encoding="utf-8")
    assert (report / "curve.png").exists()
    (folder / "picture.py").write_text("def draw(construction, target):\n    raise ValueError('too large')\n")
    assert evolve("resume", f"run={tmp_path / 'run'}").returncode == 0


def test_new_refuses_what_it_cannot_write(evolve, tmp_path):
    """A name that is no name, none, two, and a folder that exists, which stays as it is."""
    (tmp_path / "mine").mkdir()

    refused(evolve("new"), "one name")
    refused(evolve("new", "../x"), "one name")
    refused(evolve("new", "Mine"), "one name")
    refused(evolve("new", "a", "b"), "one name")
    refused(evolve("new", "mine"), "mine exists already")
    assert not list((tmp_path / "mine").iterdir())


@pytest.mark.parametrize(
    ("verifier", "parts"),
    [
        (  # the tolerance of a comparison: NaN passes each test that only refuses what is out of range
            "    if isinstance(construction, (int, float)) and (construction < 0 or construction > 1e9):\n"
            "        return Verdict(valid=False, reason='out of range')\n"
            "    return Verdict(valid=True, score=5.0, exact='5', construction=construction)",
            ["FAULT garbage is refused", "nan: valid with score 5.0"],
        ),
        (
            "    return Verdict(valid=construction >= 0, score=float(construction), exact=str(construction))",
            ["FAULT garbage is refused", "None: the verifier failed: TypeError:"],
        ),
        (
            "    import random\n    ok = type(construction) is int and 0 <= construction <= 10**9\n"
            "    return Verdict(valid=ok, score=random.random() if ok else None, construction=construction)",
            ["FAULT the verifier is deterministic", "verified again: 0."],
        ),
    ],
)
def test_doctor_finds_the_faults_of_a_verifier(verifier, parts, evolve, tmp_path):
    """One that lets NaN through, one that trips over types, one that draws its scores: exit code 1."""
    folder = tmp_path / "mine"
    shutil.copytree(TRIVIAL, folder)
    (folder / "verify.py").write_text(
        f"from evolve.types import Verdict\n\n\ndef verify(construction):\n{verifier}\n", encoding="utf-8"
    )

    done = evolve("doctor", "problem=trivial", f"problem.path={folder}", "sandbox.require=none")

    assert done.returncode == 1, done.stderr
    for part in parts:
        assert part in done.stdout


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raise ValueError('boom [/b]')", "ValueError: boom [/b]"),
        ("return Verdict(valid=True, score=float('nan'))", "cannot carry score nan"),
        ("os._exit(3)", "verify.py ended its process (exit code 3)"),
    ],
)
def test_a_verifier_that_fails_on_children_is_told_of(fault, words, evolve, replies, tmp_path):
    """Once while the run goes on and once in its summary, with the reason and the file to mend; no child is blamed."""
    folder = tmp_path / "mine"
    shutil.copytree(TRIVIAL, folder)
    text = (folder / "verify.py").read_text(encoding="utf-8")
    start = "def verify(construction: object) -> Verdict:\n"
    assert start in text
    (folder / "verify.py").write_text(
        "import os\n" + text.replace(start, f"{start}    if construction == 13:\n        {fault}\n"), encoding="utf-8"
    )
    file = replies([program(13), "```python\ndef answer():\n    return 6 + 7\n```", program(9)])
    run = [word.replace(str(TRIVIAL), str(folder)) for word in trivial(file, tmp_path / "run")]

    done = evolve(*run, "budget.steps=1", "rollout.parents=1", "rollout.samples=3")
    summary = (tmp_path / "run" / "report" / "summary.md").read_text(encoding="utf-8")

    assert done.returncode == 0, done.stderr
    (told,) = [line for line in done.stdout.splitlines() if " was lost" in line]
    (noted,) = [line for line in summary.splitlines() if " were lost" in line]
    for line in (told, noted):
        assert "the verifier failed: " in line
        assert words in line
        assert line.endswith(f"mend {folder / 'verify.py'}")
    assert noted.startswith("2 children were lost")
    assert "**9.0**" in summary


@pytest.mark.parametrize(
    ("file", "text", "parts"),
    [
        ("verify.py", None, ["verify.py does not exist"]),
        ("seed.py", None, ["seed.py cannot be read"]),
        ("problem.yaml", None, ["problem.yaml cannot be read"]),
        ("problem.yaml", "name: [", ["problem.yaml is not valid YAML"]),
        ("verify.py", "import nothing_like_this\n", ["cannot be imported", "nothing_like_this"]),
        ("verify.py", "x = 1 / 0\n", ["ZeroDivisionError: division by zero", "mend", "verify.py"]),
        ("verify.py", "def judge(rule):\n    return None\n", ["must define verify()"]),
        ("verify.py", "def verify(c):\n    return 1 / 0\n", ["ZeroDivisionError: division by zero", "mend"]),
        ("verify.py", "def verify(c):\n    return 7.0\n", ["must return an evolve.types.Verdict, got float"]),
        (
            "verify.py",
            "from evolve.types import Verdict\n\n\ndef verify(c):\n"
            "    return Verdict(valid=True, score=1.0, measures={'width': 2.0})\n",
            ["must give the measures that problem.yaml declares: none; got width"],
        ),
        (
            "seed.py",
            "# EVOLVE-BLOCK-START\ndef answer():\n    return -1\n\n\n# EVOLVE-BLOCK-END\n",
            ["seed program", "invalid", "not an int from 0 to 10^9"],
        ),
        ("seed.py", "def answer():\n    return 1\n", ["EVOLVE-BLOCK-START"]),
    ],
)
def test_a_problem_that_cannot_be_used_is_refused_before_the_run(file, text, parts, evolve, replies, tmp_path):
    """One line that names the file and the cure, exit code 2, no run folder."""
    folder = tmp_path / "mine"
    shutil.copytree(TRIVIAL, folder)
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_text(text, encoding="utf-8")
    run = [word.replace(str(TRIVIAL), str(folder)) for word in trivial(replies([program(1)]), tmp_path / "run")]

    refused(evolve(*run), *parts)
    assert not (tmp_path / "run").exists()


def test_a_record_without_a_source_is_refused(evolve, tmp_path):
    """A claim that nobody can check is none."""
    folder = tmp_path / "mine"
    shutil.copytree(TRIVIAL, folder)
    record = '\n  - {score: 9, holder: me, date: "2026", source: "", exactly_valid: true}\n'
    text = (folder / "problem.yaml").read_text().replace("records: []", "records:" + record)
    (folder / "problem.yaml").write_text(text)

    refused(evolve("doctor", "problem=trivial", f"problem.path={folder}"), "records.0.source must be a text")


DISCS = [[(i % 6 + 0.5) / 6, (i // 6 + 0.5) / 6, 1 / 16] for i in range(26)]


def test_verify_reads_what_the_field_publishes(evolve, tmp_path):
    """One packing as rows, as centres and radii, as .npy, as CSV and as a program has one verdict; NaN has none."""
    centres, radii = [disc[:2] for disc in DISCS], [disc[2] for disc in DISCS]
    np.save(tmp_path / "rows.npy", np.array(DISCS))
    (tmp_path / "rows.csv").write_text("x,y,r\n" + "".join(f"{x!r},{y!r},{r!r}\n" for x, y, r in DISCS))
    (tmp_path / "split.json").write_text(json.dumps({"centers": centres, "radii": radii, "sum_radii": 2.64}))
    (tmp_path / "program.py").write_text(f"def pack(n):\n    return {DISCS}\n")
    (tmp_path / "nan.json").write_text(json.dumps([*DISCS[:-1], [0.9, 0.9, float("nan")]]))
    words = ("verify", "problem=circle_packing", "format=json", "sandbox.require=none")

    for name in ("rows.npy", "rows.csv", "split.json", "program.py"):
        done = evolve(*words, f"file={name}")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads(done.stdout)["score"] == 26 / 16

    refusal = evolve(*words, "file=nan.json")
    assert refusal.returncode == 1
    assert "finite" in json.loads(refusal.stdout)["reason"]


def test_verify_tells_violations_and_the_distance_to_each_record(evolve, tmp_path):
    """Several violations with their sizes, the worst first; to each record the gain, negative when worse."""
    bad = [list(disc) for disc in DISCS]
    bad[8][2], bad[25][2] = 1 / 6 - 1 / 16 + 1e-9, 0.25
    (tmp_path / "good.json").write_text(json.dumps(DISCS))
    (tmp_path / "bad.json").write_text(json.dumps(bad))
    words = ("verify", "problem=circle_packing", "format=json")

    good, refusal = (json.loads(evolve(*words, f"file={name}.json").stdout) for name in ("good", "bad"))
    shown = evolve(*words[:2], "file=bad.json").stdout

    by = {record["holder"]: record["better_by"] for record in good["records"]}
    assert by["D. Cantrell"] == pytest.approx(26 / 16 - 2.634)
    assert len(by) == 14
    assert len(refusal["violations"]) > 1
    assert refusal["violations"][0] in shown
    assert all(record["better_by"] is None for record in refusal["records"])


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("a.json", "[1,", "Expecting value"),
        ("a.npy", "x", "magic"),
        ("a.csv", "one,two\n", "no numbers"),
        ("a.py", "\xff", ""),
    ],
)
def test_verify_refuses_files_that_hold_nothing(name, text, part, evolve, tmp_path):
    """Broken files are bad input, not invalid constructions: exit code 2 and one line."""
    Path(tmp_path / name).write_bytes(text.encode("latin-1"))

    refused(evolve("verify", "problem=circle_packing", f"file={name}"), f"file={name}", part)


def test_verify_refuses_a_verifier_that_raises(evolve, tmp_path):
    """The fault is the problem's, and the line says where."""
    folder = tmp_path / "mine"
    shutil.copytree(TRIVIAL, folder)
    (folder / "verify.py").write_text("def verify(c):\n    return c['x']\n", encoding="utf-8")
    (tmp_path / "a.json").write_text("5")

    done = evolve("verify", "problem=trivial", f"problem.path={folder}", "file=a.json")

    refused(done, "the verifier failed: TypeError", "mend", "verify.py")


@pytest.mark.parametrize("form", ["text", "json"])
def test_verify_refuses_a_verifier_whose_exact_is_no_number(form, evolve, tmp_path):
    """What cannot be compared with the problem's record is a fault of its verify.py, which the line names."""
    folder = tmp_path / "mine"
    shutil.copytree(TRIVIAL, folder)
    record = '\n  - {score: 9, holder: me, date: "2026", source: here, exactly_valid: true}\n'
    text = (folder / "problem.yaml").read_text().replace("records: []", "records:" + record)
    (folder / "problem.yaml").write_text(text)
    text = (folder / "verify.py").read_text().replace("exact=str(construction)", "exact='one'")
    (folder / "verify.py").write_text(text)
    (tmp_path / "a.json").write_text("1")

    done = evolve("verify", "problem=trivial", f"problem.path={folder}", "file=a.json", f"format={form}")

    refused(done, "exact must be a decimal text, got 'one'", f"mend {folder / 'verify.py'}")


def test_a_lucky_program_and_a_literal_one_in_a_real_run(evolve, replies, tmp_path):
    """The lucky one is in quarantine with its reason and its construction; the literal one is marked as recall."""
    lucky = (
        "```python\nimport random\n\n\ndef pack(n):\n"
        "    good = {random.Random(s).random() for s in (3, 4)}\n"
        "    r = 0.09 if random.random() in good else 0.01\n"
        "    return [[(i % 6 + 0.5) / 6, (i // 6 + 0.5) / 6, r * 5 / 6] for i in range(n)]\n```\n"
    )
    discs = [[x, y, r - 1e-4 * i] for i, (x, y, r) in enumerate(DISCS)]
    literal = f"```python\ndef pack(n):\n    return {discs!r}\n```\n"
    done = evolve(
        *("run", "problem=circle_packing", "engine=scripted", f"engine.file={replies([lucky, literal])}"),
        *("run.dir=run", "run.seed=3", "sandbox.require=none", "rollout.late=0"),
        *("budget.steps=2", "rollout.parents=1", "rollout.samples=1"),
    )
    report = tmp_path / "run" / "report"
    summary = (report / "summary.md").read_text()

    assert done.returncode == 0, done.stderr
    assert "no new best 1.95" in done.stdout.replace("\n", " ")
    assert "recall" in summary
    assert "## In quarantine" in summary
    assert "program 1, up to 1.95" in summary
    assert "with unseen seeds it reaches 0.21" in summary
    assert json.loads((report / "best.json").read_text()) == discs
    assert len(json.loads((report / "quarantine" / "1.json").read_text())) == 26

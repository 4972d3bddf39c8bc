"""What runs may share their evaluations: those of a problem that judges by the same files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import TRIVIAL

import problems
from database import open_database
from evolve.compose import Clocks, create_run, problem_of
from evolve.errors import ProblemError
from evolve.options import parse_options
from evolve.run_folder import RunFolder
from problems.fingerprint import fingerprint_of

TASK = Path(__file__).parents[1] / "problems" / "openevolve_task"
CLOCKS = Clocks(monotonic=lambda: 0.0, wall=lambda: 0.0)


def fingerprint(task: Path, folder: Path) -> str | None:
    """Return what a new run of a task is known by."""
    folder.mkdir()
    config = parse_options(["problem=openevolve", f"problem.path={task}", "engine=scripted", "engine.file=none"])
    with open_database(f"sqlite:///{folder / 'evolve.db'}") as database:
        return create_run(config, RunFolder(folder), database, CLOCKS).record.fingerprint


def test_a_task_whose_data_changed_is_another(tmp_path):
    """A file that the evaluator may read, of any kind; with the old content it is the old one again."""
    task = tmp_path / "task"
    shutil.copytree(TASK, task)
    found = []
    for content in ("1,2\n", "1,3\n", "1,2\n"):
        (task / "points.csv").write_text(content)
        found.append(fingerprint(task, tmp_path / f"run-{len(found)}"))

    assert found[0] != found[1]
    assert found[0] == found[2]


NAMES = ("circle_packing", "circle_packing_32", "bin_packing")
PRINT = f"""
from problems import load_problem
from problems.fingerprint import fingerprint_of
print(*(fingerprint_of(load_problem(name), ()) for name in {NAMES}))
"""


@pytest.mark.parametrize(
    ("changed", "others"),
    [
        ("packing.py", {"circle_packing", "circle_packing_32"}),  # imported by their verifiers
        ("exact.py", set(NAMES)),  # imported by what these import
        ("judging.py", set(NAMES)),  # in which every verifier runs
        ("circle_packing/verify.py", {"circle_packing"}),
        ("circle_packing/problem.yaml", {"circle_packing"}),
        ("circle_packing/picture.py", set()),  # draws, and judges nothing
        ("pictures.py", set()),
        ("cap_set.py", set()),
        ("__init__.py", set()),
    ],
)
def test_a_problem_is_another_where_a_file_changed_that_its_verifier_reads(tmp_path, changed, others):
    """A comment in one file of the package makes others of the problems that are judged by it, and of no more."""
    package = tmp_path / "problems"
    shutil.copytree(Path(problems.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))

    def found() -> dict[str, str]:
        command = [sys.executable, "-c", PRINT]
        printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
        return dict(zip(NAMES, printed, strict=True))

    before = found()
    file = package / changed
    file.write_text(file.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    after = found()

    assert len(set(before.values())) == len(NAMES)
    assert {name for name in NAMES if before[name] != after[name]} == others


def test_limits_and_packages_and_data_beside_the_verifier_make_another_problem(tmp_path):
    """What ran into one limit may not into another; a run's own folder in the problem's changes nothing."""
    folder = tmp_path / "trivial"
    shutil.copytree(TRIVIAL, folder)

    def found(*words: str) -> str:
        config = parse_options(["problem=trivial", f"problem.path={folder}", *words])
        return fingerprint_of(problem_of(config), config.problem.packages)

    first = [found(), found("problem.wall_s=3"), found("problem.memory_mib=300"), found("problem.packages=[sympy]")]
    (folder / "runs").mkdir()
    (folder / "runs" / "best_program.py").write_text("1\n", encoding="utf-8")
    assert found() == first[0]
    (folder / "instances.json").write_text("[1]\n", encoding="utf-8")

    assert len({*first, found()}) == 5


@pytest.mark.parametrize("content", ["def verify(:", "\0", None])
def test_a_verifier_that_is_no_python_is_refused_in_one_line(tmp_path, content):
    """Broken, with a zero byte, or missing."""
    problem = tmp_path / "trivial"
    shutil.copytree(TRIVIAL, problem)
    (problem / "verify.py").unlink()
    if content is not None:
        (problem / "verify.py").write_text(content, encoding="utf-8")

    with pytest.raises(ProblemError, match=r"verify\.py cannot be read as Python") as caught:
        fingerprint_of(problems.load_problem("trivial", problem), ())
    assert "\n" not in str(caught.value)

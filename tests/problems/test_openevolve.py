"""Tasks in OpenEvolve's form run as they are."""

import json
import shutil
from pathlib import Path

import pytest

from evolve.compose import check_seed, open_workshop
from evolve.errors import ProblemError
from evolve.types import Direction, Outcome
from problems import load_problem, load_verifier

TASK = Path(__file__).parent / "openevolve_task"


def child(value: str) -> str:
    return load_problem("openevolve", TASK).seed_source.replace("return 3", f"return {value}")


@pytest.fixture(scope="module")
def evaluator():
    """A real sandbox of the strongest tier here, one evaluation at a time."""
    with open_workshop(load_problem("openevolve", TASK), require="none", workers=1) as workshop:
        yield workshop.evaluator


def test_a_folder_becomes_a_problem():
    """Statement, limits and entry point are the task's: the last function that its evaluator names."""
    problem = load_problem("openevolve", TASK)

    assert (problem.name, problem.direction, problem.entry_point) == ("openevolve", Direction.MAX, "run_guess")
    assert problem.statement == "Guess the number."
    assert (problem.limits.wall_s, problem.limits.source_chars) == (20.0, 4000)
    assert problem.signature == "run_guess()"


def test_combined_score_is_the_score_and_artifacts_are_feedback(evaluator):
    """The second stage's score counts; its files, its own module and its own process were there."""
    evaluation = evaluator.evaluate(child("5"), seed=0)

    assert (evaluation.outcome, evaluation.score) == (Outcome.VALID, 1 / 3)
    assert "hint: guess 5 is off by 2" in evaluation.feedback
    assert "process: {'a': 1}" in evaluation.feedback
    assert "table: 1 2 3" in evaluation.feedback
    stored = json.loads(evaluation.construction or "")
    assert stored["metrics"] == {"combined_score": 1 / 3, "stage1": 1.0, "stage2": 1.0}


def test_a_stage_below_its_threshold_is_the_last(evaluator):
    """The first stage's 0.1 stands, and the second has not run."""
    evaluation = evaluator.evaluate(child("1"), seed=0)

    assert (evaluation.outcome, evaluation.score, evaluation.feedback) == (Outcome.VALID, 0.1, "")


@pytest.mark.parametrize(
    ("value", "outcome", "words"),
    [
        ("'error'", Outcome.INVALID, "the evaluator reports: no number"),
        ("float('nan')", Outcome.INVALID, "gave no combined_score that is a number"),
        ("1 / 0", Outcome.CRASHED, "ZeroDivisionError"),
    ],
)
def test_failures_are_told_apart(value, outcome, words, evaluator):
    """An error that the evaluator reports and a score that is no number are no scores; what it lets through crashes."""
    evaluation = evaluator.evaluate(child(value), seed=0)

    assert evaluation.outcome is outcome
    assert words in evaluation.feedback


def test_without_a_combined_score_the_mean_counts():
    """As in OpenEvolve; texts and the number called error do not count."""
    verify = load_verifier(load_problem("openevolve", TASK)).verify

    verdict = verify({"metrics": {"a": 1.0, "b": 2.0, "error": 0.0, "note": "x"}, "artifacts": {}})

    assert verdict.score == 1.5


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"metrics": {}},
        {"metrics": {"combined_score": True}, "artifacts": {}},
        {"metrics": {"combined_score": "1.0"}, "artifacts": {}},
        {"metrics": {"combined_score": float("inf")}, "artifacts": {}},
        {"metrics": {"combined_score": 1.0, "spread": float("nan")}, "artifacts": {}},
        {"metrics": {"combined_score": 1.0, "timeout": 1.0}, "artifacts": {}},
        {"metrics": {"combined_score": 10**400}, "artifacts": {}},
        {"metrics": {"a": 10**400}, "artifacts": {}},
        {"metrics": {"combined_score": 1.0}, "artifacts": {"x": [1]}},
        {"metrics": {"combined_score": 1.0}, "artifacts": {}, "score": 2.0},
    ],
)
def test_other_answers_are_refused(answer):
    """Wrong shapes, bools, texts, infinities, time-outs."""
    verdict = load_verifier(load_problem("openevolve", TASK)).verify(answer)

    assert not verdict.valid
    assert verdict.reason


def test_what_a_child_says_cannot_steer_a_terminal():
    """Control characters and marks that reorder text are left out of artifacts, errors and names."""
    verify = load_verifier(load_problem("openevolve", TASK)).verify
    odd = "a\x1b[2J\x00\u202eb\nc"

    valid = verify({"metrics": {"combined_score": 1.0}, "artifacts": {odd: odd}})
    failed = verify({"metrics": {"error": odd}, "artifacts": {}})
    nothing = verify({"metrics": {odd: odd}, "artifacts": {}})

    assert valid.reason == "a[2Jb\nc: a[2Jb\nc"
    assert failed.reason == "the evaluator reports: a[2Jb\nc"
    assert "(it gave a[2Jb\nc)" in nothing.reason


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "evaluator.py").unlink(), "evaluator.py does not exist"),
        (lambda folder: (folder / "initial_program.py").rename(folder / "initial_program.rs"), "only Python programs"),
        (lambda folder: (folder / "initial_program.py").write_text("x = 1\n"), "defines no function"),
        (lambda folder: (folder / "initial_program.py").write_text("def f(:\n"), "is not valid Python: line 1"),
        (lambda folder: (folder / "config.yaml").write_text("a: [\n"), "is not valid YAML"),
        (lambda folder: (folder / "config.yaml").write_text("[" * 5000), "is nested too deeply"),
        (
            lambda folder: (folder / "config.yaml").write_text("evaluator: {timeout: soon}\n"),
            "evaluator.timeout must be",
        ),
        (lambda folder: (folder / "big.bin").write_bytes(bytes(5 << 20)), "more than 4 MiB"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(spoil, words, tmp_path):
    """One line with the file and what is wrong, before anything runs."""
    folder = tmp_path / "task"
    shutil.copytree(TASK, folder)
    spoil(folder)

    with pytest.raises(ProblemError, match=words) as caught:
        load_problem("openevolve", folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("evaluator", "words"),
    [
        ("import nothing_like_this.part\n", "crashed (ModuleNotFoundError: No module named 'nothing_like_this'); "),
        ("x = 1\n", "crashed (AttributeError: module 'evaluator' has no attribute 'evaluate'); "),
        ("def evaluate(path):\n    return 'good'\n", "must return a dict or an EvaluationResult, got str); "),
        ("def evaluate(path):\n    return float('nan')\n", "must return a dict or an EvaluationResult, got float); "),
        (
            "def evaluate(path):\n    return {'error': 'no luck', 'artifacts': {'hint': 'a\\nb'}}\n",
            "invalid (the evaluator reports: no luck); ",
        ),
    ],
)
def test_an_evaluator_that_fails_on_its_own_program_is_named(evaluator, words, tmp_path):
    """One line: the last of the traceback or what the evaluator says, the two files, a package that is missing."""
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "initial_program.py").write_text("def guess():\n    return 3\n")
    (folder / "evaluator.py").write_text(evaluator)

    with (
        open_workshop(load_problem("openevolve", folder), require="none", workers=1) as workshop,
        pytest.raises(ProblemError) as caught,
    ):
        check_seed(workshop, seed=0)

    said = str(caught.value)
    assert words in said
    assert f"mend {folder / 'evaluator.py'} or initial_program.py" in said
    assert "\n" not in said
    assert ("problem.packages=[nothing_like_this]" in said) is ("nothing_like_this" in evaluator)


def test_the_folder_must_be_named():
    """The name alone is no task."""
    with pytest.raises(ProblemError, match=r"needs problem\.path=DIR"):
        load_problem("openevolve")


def test_a_task_that_is_run_as_another_problem_is_recognised():
    """Its folder holds no problem.yaml: the words that run it are said."""
    with pytest.raises(ProblemError) as caught:
        load_problem("openevolve_task", TASK)

    assert str(caught.value) == (
        f"{TASK} holds no problem.yaml, but a task that was written for OpenEvolve: name it with problem=openevolve "
        f"problem.path={TASK}"
    )


def test_a_program_without_or_with_several_blocks_is_one_block(tmp_path):
    """All of it may change then."""
    folder = tmp_path / "task"
    shutil.copytree(TASK, folder)
    (folder / "initial_program.py").write_text("def run_guess():\n    return 3\n")

    source = load_problem("openevolve", folder).seed_source

    assert source == "# EVOLVE-BLOCK-START\ndef run_guess():\n    return 3\n# EVOLVE-BLOCK-END\n"

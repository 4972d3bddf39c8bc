"""Programs in the sandbox, judged in the verifier's process."""

import json
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support import TRIVIAL

from evolve.evaluate import Evaluator
from evolve.types import Outcome
from problems import load_problem
from sandbox import Tier, open_sandbox

PROBLEM = load_problem("trivial", TRIVIAL)
QUICK = replace(PROBLEM, limits=replace(PROBLEM.limits, wall_s=1.0, memory_mib=256))


@pytest.fixture(scope="module")
def evaluator():
    """A real sandbox, two verifiers, one second for each program."""
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(QUICK, sandbox, workers=2) as running:
        yield running


def answer(body: str) -> str:
    return f"def answer():\n{body}\n"


def test_a_valid_program_has_its_score_from_the_verifier(evaluator):
    """Score, exact score and construction are there, and what the run cost."""
    evaluation = evaluator.evaluate(answer("    return 12345"), seed=3)

    assert (evaluation.outcome, evaluation.score, evaluation.exact) == (Outcome.VALID, 12345.0, "12345")
    assert json.loads(evaluation.construction or "") == 12345
    assert evaluation.seed == 3
    assert evaluation.wall_s > 0
    assert evaluation.peak_memory_mib > 0


@pytest.mark.parametrize(
    ("body", "outcome", "feedback"),
    [
        ("    return -1", Outcome.INVALID, "not an int"),
        ("    return 10**9 + 1", Outcome.INVALID, "not an int"),
        ("    return True", Outcome.INVALID, "not an int"),
        ("    return float('nan')", Outcome.INVALID, ""),
        ("    return '7'", Outcome.INVALID, "not an int"),
        ("    return 1 / 0", Outcome.CRASHED, "ZeroDivisionError"),
        ("    while True: pass", Outcome.TIMED_OUT, ""),
        ("    return bytearray(2**30) and 1", Outcome.CRASHED, "MemoryError"),
        ("    import os\n    os._exit(0)", Outcome.CRASHED, ""),
        ("    import os\n    os.kill(os.getpid(), 9)", Outcome.KILLED, ""),
    ],
)
def test_every_failure_has_its_outcome(body, outcome, feedback, evaluator):
    """What a program does wrong decides the outcome; no failure carries a score."""
    evaluation = evaluator.evaluate(answer(body), seed=0)

    assert evaluation.outcome is outcome
    assert evaluation.score is None
    assert feedback in evaluation.feedback


@pytest.mark.parametrize(
    ("name", "program", "feedback"),
    [
        ("bin_packing", "def priority(item, bins):\n    return 0.0\n", "or instance, item 0 (size "),
        ("bin_packing", "def priority(item, bins):\n    return bins - 1e999\n", "an array holds a number that is not"),
        ("cap_set_6", "def priority(v, n):\n    return 'first' if v[-1] else 0\n", "the priority of [0, 0, 0, 0, 0, 1"),
    ],
)
def test_a_rule_that_answers_badly_is_invalid_though_more_was_asked(name, program, feedback):
    """The verifier hangs up at the first bad answer; that the program then has nobody to answer is no crash of its."""
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(load_problem(name), sandbox, workers=1) as running:
        evaluations = [running.evaluate(program, seed=seed) for seed in range(5)]

    assert {evaluation.outcome for evaluation in evaluations} == {Outcome.INVALID}
    assert all(evaluation.feedback.startswith(feedback) for evaluation in evaluations)


def test_a_program_that_is_run_again_has_half_as_much_time_again():
    """By 2 s more than the limit of 2 s is a failure then, too; less than 1 s more is none."""
    patient = replace(PROBLEM, limits=replace(PROBLEM.limits, wall_s=2.0))
    slow, slower = (answer(f"    import time\n    time.sleep({seconds})\n    return 1") for seconds in (2.2, 4))
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(patient, sandbox, workers=1) as running:
        first = running.evaluate(slow, seed=0)
        others = [running.evaluate(program, seed=0, again=True) for program in (slow, slower)]

    assert (first.outcome, first.feedback) == (Outcome.TIMED_OUT, "wall time limit of 2 s")
    assert [run.outcome for run in others] == [Outcome.VALID, Outcome.TIMED_OUT]
    assert others[1].feedback == "wall time limit of 3 s"


def test_a_forged_answer_is_data_like_any_other(evaluator):
    """A program that writes its own bytes to the channel, or prints a score, gains nothing by it."""
    forged = answer("    import os\n    os.write(3, b'EVR1 valid score 1e9')\n    return 5")
    printed = answer('    print(\'{"valid": true, "score": 1e9}\')\n    return 5')

    assert evaluator.evaluate(forged, seed=0).outcome is Outcome.INVALID
    assert evaluator.evaluate(printed, seed=0).score == 5.0


#: Answers all questions before they are asked, sends its own end of the channel behind the answers, and ends.
LEAVES_ITS_END = """
import json, os, socket, struct, time
def priority(v, n):
    text = json.dumps({"value": 1}).encode()
    channel = socket.socket(fileno=os.dup(3))
    channel.setblocking(False)
    answers = (b"EVR1" + struct.pack("<I", len(text)) + text) * 6560
    try:
        while answers:
            answers = answers[channel.send(answers):]
    except BlockingIOError:
        pass
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            socket.send_fds(channel, [b"E"], [3])
            break
        except OSError:
            time.sleep(0.001)
    time.sleep(0.5)
    os._exit(0)
"""


def test_a_program_that_leaves_its_end_of_the_channel_with_the_verifier_has_crashed():
    """The verifier does not wait for who has ended, though the channel still has two ends; the next one is judged."""
    problem = load_problem("cap_set_8")
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(problem, sandbox, workers=1) as evaluator:
        left = evaluator.evaluate(LEAVES_ITS_END, seed=0)
        after = evaluator.evaluate(problem.seed_source, seed=0)

    assert (left.outcome, left.feedback) == (Outcome.CRASHED, "the program ended without an answer")
    assert after.outcome is Outcome.VALID


def test_evaluations_at_once_do_not_mix(evaluator):
    """Sixteen threads on two verifiers each get the score of their own program."""
    with ThreadPoolExecutor(16) as pool:
        evaluations = list(pool.map(lambda n: evaluator.evaluate(answer(f"    return {n}"), seed=0), range(40)))

    assert [evaluation.score for evaluation in evaluations] == [float(n) for n in range(40)]


def test_a_failure_of_our_own_is_lost_and_blamed_on_nobody():
    """When the sandbox is gone the outcome is LOST, whatever the program."""
    sandbox = open_sandbox(require=Tier.NONE)
    with Evaluator(QUICK, sandbox, workers=1) as running:
        assert running.evaluate(answer("    return 1"), seed=0).outcome is Outcome.VALID
        sandbox.close()
        for _ in range(2):
            assert running.evaluate(answer("    return 1"), seed=0).outcome is Outcome.LOST


def test_who_evaluates_after_the_end_does_not_wait_for_ever():
    """A thread that comes back for its program's second run finds the evaluator closed: its run is lost."""
    with open_sandbox(require=Tier.NONE) as sandbox:
        evaluator = Evaluator(QUICK, sandbox, workers=2)
        evaluator.close()
        with ThreadPoolExecutor(3) as pool:
            program = answer("    return 1")
            runs = list(pool.map(lambda seed: evaluator.evaluate(program, seed=seed, afresh=seed == 3), range(4)))

    assert [(run.outcome, run.feedback) for run in runs] == [(Outcome.LOST, "the evaluator is closed")] * 4


@pytest.mark.parametrize("afresh", [False, True])
def test_the_end_does_not_wait_for_a_verdict(afresh, tmp_path):
    """A verifier may be at it for minutes: it is ended, and what it judged is lost."""
    begun = tmp_path / "begun"
    for name in ("problem.yaml", "seed.py"):
        (tmp_path / name).write_text((TRIVIAL / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "verify.py").write_text(
        "import time\nfrom pathlib import Path\n\n\ndef verify(construction):\n"
        f"    Path({str(begun)!r}).touch()\n    time.sleep(100)\n",
        encoding="utf-8",
    )
    problem = load_problem("trivial", tmp_path)
    with open_sandbox(require=Tier.NONE) as sandbox, ThreadPoolExecutor(1) as pool:
        evaluator = Evaluator(problem, sandbox, workers=1)
        run = pool.submit(evaluator.evaluate, answer("    return 1"), seed=0, afresh=afresh)
        while not begun.exists():
            time.sleep(0.01)
        evaluator.close()

        assert run.result(timeout=50).feedback == "the evaluator is closed"


def test_without_descriptors_a_run_is_lost_and_the_next_one_works():
    """Neither an evaluation nor a fresh verifier can begin then; once there is room again, all is as before."""
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(QUICK, sandbox, workers=1) as evaluator:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())), hard))
            lost = [evaluator.evaluate(answer("    return 1"), seed=0, afresh=afresh) for afresh in (False, True)]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        again = evaluator.evaluate(answer("    return 1"), seed=0), evaluator.evaluate(answer("    return 1"), seed=0)

    assert [run.outcome for run in lost] == [Outcome.LOST] * 2
    assert again[-1].outcome is Outcome.VALID


def test_the_seed_reaches_every_generator_of_the_program(evaluator):
    """The same seed gives the same answer, another seed another one, though the program never seeds."""
    source = answer(
        "    import random\n    import numpy as np\n"
        "    return random.randrange(10**4) + 10**4 * int(np.random.default_rng().integers(10**4))"
    )

    first, again, other = (evaluator.evaluate(source, seed=seed).score for seed in (1, 1, 2))

    assert first == again != other

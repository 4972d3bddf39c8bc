"""What a verifier asks of a candidate at the other end of a channel, so that nobody waits; how its own end is told."""

import itertools
import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import TRIVIAL

from evolve.verifier import AHEAD_BYTES, Candidate, VerifierError, VerifierProcess
from problems import load_problem
from sandbox import frame

#: No answer takes as long, on a slow machine either.
_PATIENCE_S = 30.0


@contextmanager
def answering(answers: Sequence[object] | Iterator[object]) -> Iterator[tuple[Candidate, list[object]]]:
    """A candidate that reads one question after the other and sends the next of `answers`, and what it was asked."""
    ours, theirs = socket.socketpair()
    asked: list[object] = []

    def answer() -> None:
        with theirs:
            for value in answers:
                try:
                    asked.append(frame.receive(theirs, answer_bytes=1 << 20, array_bytes=1 << 20))
                    frame.send(theirs, value)
                except EOFError:
                    return

    thread = threading.Thread(target=answer)
    thread.start()
    ours.settimeout(_PATIENCE_S)
    with ours:
        yield Candidate(ours), asked
    thread.join()


def test_answers_come_in_the_order_of_the_questions() -> None:
    """However many are on their way together, each question gets its own answer, and one alone too."""
    with answering(itertools.count()) as (candidate, asked):
        assert list(candidate.answers([[k, "x" * 1000] for k in range(1000)])) == list(range(1000))
        assert candidate("alone") == 1000
    assert asked == [*([k, "x" * 1000] for k in range(1000)), ["alone"]]


def test_questions_go_ahead_of_the_answers() -> None:
    """All questions that fit together are sent before one of them is answered."""
    ours, theirs = socket.socketpair()
    ours.settimeout(_PATIENCE_S)
    theirs.settimeout(_PATIENCE_S)
    with ours, theirs:
        answers = Candidate(ours).answers([[k] for k in range(12)])
        for k in range(12):
            frame.send(theirs, k)
        assert next(answers) == 0
        asked = [frame.receive(theirs, answer_bytes=1 << 20, array_bytes=0) for _ in range(12)]
        assert asked == [[k] for k in range(12)]
        assert list(answers) == list(range(1, 12))


def test_long_questions_with_long_answers_do_not_wait_for_each_other() -> None:
    """More than both directions of a socket hold, questions longer than what is sent ahead among them."""
    questions = [["q" * size] for size in (AHEAD_BYTES // 3, AHEAD_BYTES // 2, 2 * AHEAD_BYTES) * 10]
    with answering(["a" * 500_000] * len(questions)) as (candidate, _):
        assert [len(str(answer)) for answer in candidate.answers(questions)] == [500_000] * len(questions)


def test_a_candidate_that_ends_between_two_answers_is_gone() -> None:
    """What it had answered is still there."""
    with answering([1, 2]) as (candidate, _):
        answers = candidate.answers([[0]] * 5)
        assert [next(answers), next(answers)] == [1, 2]
        with pytest.raises(EOFError):
            next(answers)


def test_nothing_is_asked_when_there_are_no_questions() -> None:
    """Not even an empty frame."""
    with answering([1]) as (candidate, asked):
        assert list(candidate.answers([])) == []
        assert asked == []
        assert candidate(7) == 1


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("sys.exit(3)", "verify.py ended its process (exit code 3)"),
        ("print('a warning', file=sys.stderr); sys.exit()", "verify.py ended its process (exit code 0): a warning"),
        ("os.kill(os.getpid(), 9)", "it was ended by signal 9"),
        ("raise ValueError('boom \\x1b[2J')", "ValueError: boom \\x1b[2J"),
    ],
)
def test_a_verifier_that_ends_is_told_by_how_it_ended(end: str, words: str, tmp_path: Path) -> None:
    """An exit with its code, a signal with its number, an exception with its words; nothing moves a cursor."""
    folder = tmp_path / "mine"
    shutil.copytree(TRIVIAL, folder)
    (folder / "verify.py").write_text(f"import os, sys\n\n\ndef verify(construction):\n    {end}\n", encoding="utf-8")

    with VerifierProcess(load_problem("trivial", folder)) as verifier, pytest.raises(VerifierError) as caught:
        verifier.verify("1", timeout_s=_PATIENCE_S)

    assert str(caught.value) == f"the verifier failed: {words}"

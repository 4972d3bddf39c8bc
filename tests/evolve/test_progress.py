"""What a run prints while it goes on."""

import io
from dataclasses import replace

import pytest
from attempts import report, valid
from rich.console import Console
from support import TRIVIAL

from evolve.budget import Budget, Tally
from evolve.progress import Progress
from evolve.types import Confirmation, Origin, Record
from problems import load_problem

NO_LIMIT = Budget(steps=None, minutes=None, completions=None, tokens=None, score=None)


class Watch:
    """A clock that stands until it is set.

    Attributes:
        now: Active seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch():
    """The clock of the run."""
    return Watch()


@pytest.fixture
def paper():
    """What was printed."""
    return io.StringIO()


@pytest.fixture
def progress(watch, paper):
    """The display of a run of the trivial problem, on no terminal."""
    problem = load_problem("trivial", TRIVIAL)
    return Progress(Console(file=paper, width=300), problem, NO_LIMIT, Tally(problem.direction, best=0.0), clock=watch)


def test_times_never_go_backwards(progress, watch, paper):
    """A best that is confirmed after its step's line bears the time at which that is printed."""
    progress.stepped(report(1, finished_s=32.0))
    watch.now = 40.0
    best = replace(valid(3, 7.0), finished_s=16.0)
    progress.confirmed(
        best,
        Confirmation(program_id=3, confirmed=True, reason="", origin=Origin.SCRATCH, evaluations=best.evaluations),
    )

    assert [line.split()[0] for line in paper.getvalue().splitlines()] == ["0:00:32", "0:00:40"]


@pytest.mark.parametrize(
    ("score", "said"),
    [(6.0, "behind the record 7.0 by 1"), (7.0, "equals the record 7.0"), (9.0, "beats the record 7.0 by 2")],
)
def test_a_best_is_held_against_the_record(score, said, watch, paper):
    """One that equals it is not behind it."""
    problem = load_problem("trivial", TRIVIAL)
    record = Record(score=7.0, holder="somebody", date="2026-01-01", source="here", exactly_valid=True)
    best = valid(3, score)
    problem = replace(problem, records=(record,))
    shown = Progress(Console(file=paper, width=300), problem, NO_LIMIT, Tally(problem.direction, best=0.0), clock=watch)

    shown.confirmed(
        best,
        Confirmation(program_id=3, confirmed=True, reason="", origin=Origin.SCRATCH, evaluations=best.evaluations),
    )

    assert paper.getvalue().rstrip().endswith(said)

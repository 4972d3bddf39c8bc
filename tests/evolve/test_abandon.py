"""What becomes of a step when another thread gives the run up."""

import contextlib
import io
import json
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from attempts import attempt
from rich.console import Console
from support import program, trivial

from database.store import RunStore
from evolve import compose
from evolve.budget import Tally
from evolve.engine.build import build_engine
from evolve.errors import AbandonedError
from evolve.loop import Evolution
from evolve.options import parse_options
from evolve.progress import Progress
from evolve.protocols import Engine
from evolve.session import Outside, new_session
from evolve.types import Completion, Outcome, Request


class Clock:
    """Seconds since it was made, and those that it was put forward."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() - self._started

    def put_forward(self, seconds: float) -> None:
        self._started -= seconds


class Asked:
    """An engine that remembers of how many completions each call asks it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.completions: list[int] = []

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        self.completions.append(sum(len(request.samples) for request in requests))
        yield from self._engine.stream(requests)

    def give_up(self) -> None:
        self._engine.give_up()

    def close(self) -> None:
        self._engine.close()


@dataclass(frozen=True)
class Search:
    evolution: Evolution
    store: RunStore
    clock: Clock
    engine: Asked
    tally: Tally


@contextlib.contextmanager
def search(folder: Path, *words: str) -> Iterator[Search]:
    """Yield a search whose twelve programs of a step take a while, one at a time."""
    replies, run = folder / "replies.jsonl", folder / "run"
    lines = [json.dumps({"text": program(number, sleep_s=0.5)}) for number in range(12)]
    replies.write_text("\n".join(lines), encoding="utf-8")
    options = ("rollout.parents=2", "rollout.samples=6", "sandbox.workers=1", *words)
    config = parse_options(trivial(replies, run, *options)[1:])
    console = Console(file=io.StringIO())
    outside = Outside(clocks=compose.Clocks(monotonic=time.monotonic, wall=time.time), console=console)
    with new_session(config, run, outside) as (session, model):
        problem, budget = session.workshop.problem, compose.build_budget(config)
        tally = Tally(problem.direction, completions=0, tokens=0, best=session.store.reports()[-1].best)
        engine, clock = Asked(build_engine(config, model)), Clock()
        with Progress(console, problem, budget, tally, clock=clock) as progress:
            parts = session.parts(engine, model, progress)
            evolution = Evolution(parts, session.settings(), budget, tally, clock=clock)
            yield Search(evolution, session.store, clock, engine, tally)
        engine.close()


def test_a_step_that_another_thread_gives_up_ends_and_is_not_finished(tmp_path):
    """The first program is stored; nobody waits for the others."""
    with search(tmp_path) as made:
        evolution, store = made.evolution, made.store
        other = ThreadPoolExecutor(1)
        step = other.submit(evolution.step, 1)
        while not store.attempts_of(1):
            time.sleep(0.01)
        evolution.close(abandon=True)

        with pytest.raises(AbandonedError):
            step.result(timeout=30)
        other.shutdown()
        assert store.reports()[-1].step == 0
        assert len(store.attempts_of(1)) < 12


def test_what_is_queued_when_the_time_is_used_up_is_never_run(tmp_path):
    """The step is finished with what there was, and waiting brings no more than the program that ran."""
    with search(tmp_path, "budget.minutes=0.03") as made:
        evolution, store = made.evolution, made.store
        evolution.step(1)
        counted = store.reports()[-1].attempts
        time.sleep(3)

        assert store.reports()[-1].step == 1
        assert counted <= len(store.attempts_of(1)) <= counted + 1 < 12
        evolution.close(abandon=True)


def test_what_a_learner_took_past_the_end_is_reported_by_an_empty_step(tmp_path):
    """A run of so many minutes ends with a report that says so, for which nothing is decoded."""
    with search(tmp_path, "budget.minutes=1") as made:
        evolution, store = made.evolution, made.store
        for number in evolution.steps():
            evolution.step(number)
            made.clock.put_forward(60)  # an update of the model
        evolution.close(abandon=True)

        assert evolution.ended == "the time of 1 minutes is used up"
        assert store.reports()[-1].finished_s >= 60
        assert [report.step for report in store.reports()] == [0, 1, 2]
        assert store.reports()[1].attempts > 0
        assert made.engine.completions == [12, 0]
        assert store.attempts_of(2) == []


def test_a_score_that_nobody_has_checked_does_not_end_a_run(tmp_path):
    """A straggler may look like the target beside an update of the model, and fail its check."""
    with search(tmp_path, "budget.score=500") as made:
        made.tally.add(attempt(1, outcome=Outcome.VALID, score=900.0, source="", identity="late"))

        assert next(made.evolution.steps()) == 1
        made.evolution.close(abandon=True)

"""A step begins beside the end of the one before it, unless a learner changes the model in between."""

import contextlib
import io
import json
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support import program, trivial

from database.store import RunStore
from evolve import compose
from evolve.budget import Budget, Tally
from evolve.config import GrpoConfig
from evolve.decoding import Decoder
from evolve.engine.scripted import ScriptedEngine
from evolve.errors import AbandonedError, EngineError, StoreError
from evolve.loop import Evolution
from evolve.options import parse_options
from evolve.progress import Progress
from evolve.protocols import Engine
from evolve.session import Outside, new_session
from evolve.types import Attempt, Completion, Evaluation, FinishReason, Outcome, Request


class HeldEngine:
    """Gives two completions of its first stream, and the others when `release` is set, as a second stream does.

    Args:
        fails: Whether it breaks down where it would wait.
        pause_s: Before each completion after the second.
    """

    def __init__(self, *, fails: bool = False, pause_s: float = 0.0) -> None:
        self.release = threading.Event()
        self.abandoned = 0
        self._is_given_up = False
        self._fails = fails
        self._pause_s = pause_s
        self._streams = 0

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield the completions in order, each a program of its own."""
        self._streams += 1
        if self._streams > 1:
            self.release.set()
        given = 0
        try:
            for request in requests:
                for sample in request.samples:
                    if given == 2 and self._fails:
                        raise EngineError("vLLM failed: out of memory; resume the run")
                    if given >= 2:
                        assert self.release.wait(30)
                        time.sleep(self._pause_s)
                    if self._is_given_up:
                        self.abandoned += 1
                        return
                    given += 1
                    yield Completion(
                        group=request.group,
                        sample=sample,
                        text=program(1 + request.first + sample),
                        tokens=1,
                        prompt_tokens=1,
                        finish_reason=FinishReason.STOP,
                    )
        except GeneratorExit:
            self.abandoned += 1
            raise

    def give_up(self) -> None:
        """End the stream that waits."""
        self._is_given_up = True
        self.release.set()

    def close(self) -> None:
        """Nothing is held."""


class Meeting:
    """Evaluates nothing before `many` programs are there to be evaluated at once."""

    def __init__(self, many: int) -> None:
        self.begun: list[str] = []
        self._barrier = threading.Barrier(many)

    def evaluate(self, source: str, *, seed: int) -> Evaluation:
        """Wait for the others, and call the program invalid."""
        self.begun.append(source)
        self._barrier.wait(60)
        return Evaluation(outcome=Outcome.INVALID, seed=seed, feedback="as all of them")


@contextlib.contextmanager
def search(
    folder: Path, engine: Engine, *words: str, ahead: bool = True, evaluator: Meeting | None = None
) -> Iterator[tuple[Evolution, RunStore]]:
    """Yield a search for large numbers and its store."""
    replies = folder / "replies.jsonl"
    replies.write_text(json.dumps({"text": ""}), encoding="utf-8")  # the options name a file, which nobody reads
    config = parse_options(trivial(replies, folder / "run", "rollout.parents=1", "sandbox.workers=2", *words)[1:])
    console, started = Console(file=io.StringIO()), time.monotonic()

    def clock() -> float:
        return time.monotonic() - started

    outside = Outside(clocks=compose.Clocks(monotonic=time.monotonic, wall=time.time), console=console)
    with new_session(config, folder / "run", outside) as (session, _):
        problem, budget = session.workshop.problem, compose.build_budget(config)
        tally = Tally(problem.direction, completions=0, tokens=0, best=session.store.reports()[-1].best)
        with Progress(console, problem, budget, tally, clock=clock) as progress:
            settings = replace(session.settings(), ahead=ahead)
            parts = session.parts(engine, None, progress)
            parts = parts if evaluator is None else replace(parts, evaluator=evaluator)
            yield Evolution(parts, settings, budget, tally, clock=clock), session.store


def test_siblings_that_are_the_same_program_keep_no_other_from_being_run(tmp_path):
    """Twelve wait for the four that are like them, whose evaluations are made at once by as many workers."""
    meeting = Meeting(4)
    texts = tmp_path / "texts.jsonl"
    texts.write_text(
        "\n".join(json.dumps({"text": program(2 + number // 4)}) for number in range(16)), encoding="utf-8"
    )
    engine = ScriptedEngine(texts, latency_s=0)
    words = ("rollout.samples=16", "rollout.late=0", "sandbox.workers=4")
    with search(tmp_path, engine, *words, evaluator=meeting) as (evolution, _):
        ((*attempts,),) = evolution.step(1)
        evolution.close(abandon=False)

    assert len(attempts) == 16
    assert {attempt.outcome for attempt in attempts} == {Outcome.INVALID}
    assert len(meeting.begun) == len(set(meeting.begun)) == 4


def test_a_step_begins_while_the_last_completions_are_decoded(tmp_path):
    """Half of four may be late: the first step ends with two, and the others are decoded beside the next."""
    engine = HeldEngine(pause_s=1.5)  # so that the last ones come when no step is left to wait for them
    with search(tmp_path, engine, "rollout.samples=4", "rollout.late=0.5") as (evolution, store):
        (first,) = evolution.step(1)
        assert [attempt.id for attempt in first] == [1, 2]
        assert store.reports()[-1].stragglers == 2
        evolution.step(2)
        evolution.close(abandon=False)

        reports = store.reports()
        assert [attempt.id for step in (1, 2) for attempt in store.attempts_of(step)] == list(range(1, 9))
        assert reports[1].attempts == 2
        assert reports[1].attempts + reports[2].attempts + reports[2].stragglers == 8
        assert reports[1].tail_s == 0.0


def test_a_learner_waits_for_the_completions_and_a_frozen_model_does_not(tmp_path):
    """Between two steps the one changes the model that decodes, so that nothing may be on its way."""
    replies = tmp_path / "replies.jsonl"
    replies.write_text(json.dumps({"text": program(1)}), encoding="utf-8")
    config = parse_options(trivial(replies, tmp_path / "run")[1:])
    clocks = compose.Clocks(monotonic=time.monotonic, wall=time.time)
    outside = Outside(clocks=clocks, console=Console(file=io.StringIO()))
    with new_session(config, tmp_path / "run", outside) as (session, _):
        learning = replace(session, config=replace(config, learner=GrpoConfig()))

        assert session.settings().ahead
        assert not learning.settings().ahead


@pytest.mark.parametrize(("ahead", "late"), [(False, 0.5), (True, 0.0)])
def test_a_step_waits_for_its_completions_where_it_must(ahead, late, tmp_path):
    """Where a learner takes the next model, and where nothing may be late."""
    engine = HeldEngine()
    with (
        search(tmp_path, engine, "rollout.samples=4", f"rollout.late={late}", ahead=ahead) as (evolution, store),
        ThreadPoolExecutor(1) as other,
    ):
        step = other.submit(evolution.step, 1)
        with pytest.raises(TimeoutError):  # the check of its new best, which comes last, takes a second
            step.result(timeout=4)
        engine.release.set()
        step.result(timeout=30)
        evolution.close(abandon=False)

        assert len(store.attempts_of(1)) == 4
        assert store.reports()[-1].tail_s > 0.0


@pytest.mark.parametrize("ahead", [False, True])
def test_a_step_that_is_given_up_while_it_is_decoded_ends(ahead, tmp_path):
    """The engine does not come to its next completion, and the step is not finished."""
    engine = HeldEngine()
    with (
        search(tmp_path, engine, "rollout.samples=8", "rollout.late=0.5", ahead=ahead) as (evolution, store),
        ThreadPoolExecutor(1) as other,
    ):
        step = other.submit(evolution.step, 1)
        while len(store.attempts_of(1)) < 2:
            time.sleep(0.01)
        evolution.close(abandon=True)
        with pytest.raises(AbandonedError):
            step.result(timeout=30)

        assert len(store.attempts_of(1)) == 2
        assert engine.abandoned == 1
        assert store.reports()[-1].step == 0


@pytest.mark.parametrize(("ahead", "late"), [(False, 0.0), (True, 0.0), (True, 0.25)])
def test_a_run_ends_with_its_time_whatever_the_engine_waits_for(ahead, late, tmp_path):
    """Its third completion would take half a minute; the run has six seconds, and the next the engine."""
    engine = HeldEngine()
    words = ("rollout.samples=4", f"rollout.late={late}", "budget.minutes=0.1")
    with search(tmp_path, engine, *words, ahead=ahead) as (evolution, store):
        for number in evolution.steps():
            evolution.step(number)
        evolution.close(abandon=True)

        assert store.reports()[-1].finished_s < 15
        assert len(store.attempts_of(1)) <= 2
        assert engine.abandoned == 1


def test_an_engine_that_fails_stops_the_run_and_nothing_is_lost(tmp_path):
    """Whoever waits for what it did not decode hears why; what came before is stored."""
    engine = HeldEngine(fails=True)
    with search(tmp_path, engine, "rollout.samples=4", "rollout.late=0.25") as (evolution, store):
        with pytest.raises(EngineError, match="out of memory"):
            evolution.step(1)
        evolution.close(abandon=True)
        while len(store.attempts_of(1)) < 2:
            time.sleep(0.01)

        assert store.reports()[-1].step == 0


def test_a_used_up_budget_gives_up_what_is_not_decoded(tmp_path):
    """Of two hundred completions three are enough; each takes a while."""
    engine = HeldEngine(pause_s=0.2)
    engine.release.set()
    words = ("rollout.samples=200", "rollout.late=0.5", "budget.completions=3")
    with search(tmp_path, engine, *words) as (evolution, store):
        for number in evolution.steps():
            evolution.step(number)
        evolution.close(abandon=False)

        assert evolution.ended
        assert engine.abandoned == 1
        assert 3 <= len(store.attempts_of(1)) < 200


@pytest.mark.parametrize("ahead", [False, True])
def test_what_goes_wrong_with_one_attempt_is_heard_of_by_who_waits_for_it(ahead):
    """The second of three completions meets a full disk; the others come to nothing, which is no error."""
    engine, handed = HeldEngine(), []
    engine.release.set()

    def hand_on(completion: Completion) -> Future[Attempt | None]:
        attempt: Future[Attempt | None] = Future()
        handed.append(completion.sample)
        if completion.sample == 1:
            attempt.set_exception(StoreError("the disk is full: free some space, then resume the run"))
        else:
            attempt.set_result(None)
        return attempt

    budget = Budget(steps=None, minutes=None, completions=None, tokens=None, score=None)
    decoder = Decoder(engine, budget, ahead=ahead, clock=time.monotonic)
    request = Request(group=0, messages=(), samples=(0, 1, 2), first=0)
    first, second, third = decoder.decode([request], hand_on=hand_on, is_enough=lambda: False).attempts

    assert first.result(timeout=30) is third.result(timeout=30) is None
    with pytest.raises(StoreError, match="full"):
        second.result(timeout=30)
    decoder.close(abandon=False)
    assert handed == [0, 1, 2]

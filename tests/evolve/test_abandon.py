"""What becomes of a step when another thread gives the run up."""

import io
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console
from support import program, trivial

from evolve import compose
from evolve.budget import Tally
from evolve.engine.build import build_engine
from evolve.errors import AbandonedError
from evolve.loop import Evolution
from evolve.options import parse_options
from evolve.progress import Progress
from evolve.session import Outside, new_session


def test_a_step_that_another_thread_gives_up_ends_and_is_not_finished(tmp_path):
    """Of twelve programs that take a while, one at a time, the first is stored; nobody waits for the others."""
    replies, run = tmp_path / "replies.jsonl", tmp_path / "run"
    lines = [json.dumps({"text": program(number, sleep_s=0.5)}) for number in range(12)]
    replies.write_text("\n".join(lines), encoding="utf-8")
    words = trivial(replies, run, "rollout.parents=2", "rollout.samples=6", "sandbox.workers=1")
    config = parse_options(words[1:])
    console, started = Console(file=io.StringIO()), time.monotonic()

    def clock() -> float:
        return time.monotonic() - started

    outside = Outside(clocks=compose.Clocks(monotonic=time.monotonic, wall=time.time), console=console)
    with new_session(config, run, outside) as (session, model):
        problem, budget = session.workshop.problem, compose.build_budget(config)
        tally = Tally(problem.direction, completions=0, tokens=0, best=session.store.reports()[-1].best)
        engine = build_engine(config, model)
        with Progress(console, problem, budget, tally, clock=clock) as progress:
            parts = session.parts(engine, model, progress)
            evolution = Evolution(parts, session.settings(), budget, tally, clock=clock)
            other = ThreadPoolExecutor(1)
            step = other.submit(evolution.step, 1)
            while not session.store.attempts_of(1):
                time.sleep(0.01)
            evolution.close(abandon=True)

            with pytest.raises(AbandonedError):
                step.result(timeout=30)
            other.shutdown()
            assert session.store.reports()[-1].step == 0
            assert len(session.store.attempts_of(1)) < 12
        engine.close()

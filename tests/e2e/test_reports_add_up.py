"""What the reports of a run count is what its database holds, however its sessions ended."""

import json
import sqlite3
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support import program, trivial

from evolve.budget import Gate
from evolve.cli import call
from evolve.compose import open_run
from evolve.standing import best_curve
from evolve.types import Direction, StepReport

#: Ends after the step, as half of its four completions may.
SLOW_S = 2.0
FOUR = ("rollout.parents=1", "rollout.samples=4", "rollout.late=0.5", "sandbox.workers=4")


def words(replies: Path, run: Path, *more: str) -> list[str]:
    """Return the words of a run whose steps do not wait for their last completions."""
    return [word for word in trivial(replies, run, *FOUR, *more) if word != "rollout.late=0"]


def reports_that_add_up(run: Path) -> list[StepReport]:
    """Return the reports, after a look at whether they count what is stored."""
    with open_run(run) as (_, store):
        reports = list(store.reports())
        counted: Counter[str] = Counter()
        for report in reports[1:]:
            assert report.attempts == sum(report.outcomes.values())
            counted.update(report.outcomes)
        assert counted == store.outcome_counts()
        tokens = (sum(each.tokens for each in reports), sum(each.prompt_tokens for each in reports))
        assert tokens == store.token_totals()
        assert sum(each.improved for each in reports) == store.steps_tally(0, Direction.MAX).improved
        assert [each.step for each in reports] == list(range(len(reports)))
    return reports


def test_what_ends_after_the_last_step_counts_in_it(replies, tmp_path):
    """The best comes last, and is found when it is: with four completions, and not before it was evaluated."""
    run = tmp_path / "run"
    file = replies([program(11), program(12), program(95, sleep_s=SLOW_S), program(13)])
    assert call(words(file, run, "budget.completions=4")) == 0

    last = reports_that_add_up(run)[-1]
    assert (last.step, last.attempts, last.best, last.improved, last.stragglers) == (1, 4, 95.0, 4, 0)
    seconds, completions, best = best_curve([last], Direction.MAX)[-1]
    assert (completions, best) == (4, 95.0)
    with open_run(run) as (_, store):
        assert seconds > store.attempt(3).finished_s > SLOW_S


def test_a_run_in_several_sessions_counts_every_completion_once(replies, tmp_path):
    """Late ones that are valid enter the population with the next session's first step; invalid ones count as well."""
    run = tmp_path / "run"
    texts = [program(number if number % 4 else -number, sleep_s=0 if number % 4 else SLOW_S) for number in range(1, 13)]
    assert call(words(replies(texts), run, "budget.steps=1")) == 0
    for steps in (2, 3):
        reports_that_add_up(run)
        assert call(["resume", f"run={run}", f"budget.steps={steps}"]) == 0

    assert sum(report.attempts for report in reports_that_add_up(run)[1:]) == 12
    with open_run(run) as (_, store):
        assert store.unsettled(before_step=3) == []


def test_what_a_kill_left_uncounted_counts_when_the_run_goes_on(replies, tmp_path):
    """Killed while it waited for the last two completions: one is valid, and none of both was in a report."""
    run = tmp_path / "run"
    texts = [
        program(11),
        program(12),
        program(95, sleep_s=SLOW_S),
        program(-1, sleep_s=SLOW_S),
        *map(program, range(4)),
    ]
    assert call(words(replies(texts), run, "budget.steps=1")) == 0
    with sqlite3.connect(run / "evolve.db") as connection:
        connection.execute(
            "update steps set attempts = 2, best = 12.0, improved = 2, tokens = (select sum(tokens) from attempts "
            "where id in (1, 2)), outcomes = ?, stragglers = 2 where step = 1",
            (json.dumps({"valid": 2}),),
        )
        for table in ("confirmation_evaluations", "confirmations"):
            connection.execute(f"delete from {table} where program_id = 3")
    connection.close()

    assert call(["resume", f"run={run}", "budget.steps=2"]) == 0
    first, second = reports_that_add_up(run)[1:]
    assert (first.attempts, first.best, first.stragglers) == (4, 95.0, 0)
    assert second.attempts == 4


def test_a_run_whose_time_is_used_up_counts_what_it_stored(replies, tmp_path):
    """What runs on then is given up, and what is stored beside the end counts."""
    run = tmp_path / "run"
    texts = [program(number, sleep_s=0.4 * (number % 4)) for number in range(1, 60)]
    assert call(words(replies(texts), run, "budget.minutes=0.1")) == 0

    assert sum(report.attempts for report in reports_that_add_up(run)) > 4


def test_nothing_is_stored_once_the_gate_is_shut():
    """Who shuts it waits for the one who is inside; who comes later is told so."""
    gate, inside, leave = Gate(), threading.Event(), threading.Event()

    def store() -> bool:
        with gate.passing() as may_store:
            inside.set()
            assert leave.wait(30)
            return may_store

    with ThreadPoolExecutor(2) as threads:
        storing = threads.submit(store)
        assert inside.wait(30)
        shutting = threads.submit(gate.shut)
        while not gate.is_shut:
            pass
        assert not shutting.done()
        with gate.passing() as may_store:
            assert not may_store
        leave.set()
        shutting.result(timeout=30)
        assert storing.result() is True

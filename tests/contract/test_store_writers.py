"""What every store promises to threads and processes that write at once, and to those that are killed."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from attempts import attempt, new_run, valid
from sqlalchemy import Connection, Engine
from support import ROOT

from database import Database, RunStore, open_database
from database.session import Storage, connect
from evolve.errors import StoreError
from evolve.types import Attempt, Draw


def test_time_spent_is_added_up(url: str) -> None:
    """Each call adds what the clock says that it took."""
    ticks = iter(range(1000))
    with open_database(url, clock=lambda: float(next(ticks))) as database:
        run = database.create_run(problem="p", model="m", folder="/r", seed=1, config="", started_at=0.0)
        assert run.database_s == 0.0
        run.insert_attempt(attempt(1))  # the clock is read when it begins and when it ends
        run.known("x", before_step=1)

    assert run.database_s == 2.0


def test_a_storm_of_threads_loses_nothing(run: RunStore) -> None:
    """32 threads store 10 attempts each, twice, while another reads; every row is there once and no lock error."""
    storing = threading.Event()
    storing.set()

    def read() -> int:
        rounds = 0
        while storing.is_set():
            seen = run.attempts_of(1)
            assert all(stored.source == f"x = {stored.id}" for stored in seen)  # whole, or not there
            run.members(), run.known("tree 5", before_step=2), run.last_failure(0, before_step=2)
            rounds += 1
        return rounds

    def store(thread: int) -> None:
        for number in range(1 + 10 * thread, 11 + 10 * thread):
            run.insert_attempt(valid(number, float(number)))
            run.insert_attempt(valid(number, float(number)))

    with ThreadPoolExecutor(33) as pool:
        reader = pool.submit(read)
        writers = [pool.submit(store, thread) for thread in range(32)]
        for writer in writers:
            writer.result(timeout=60)
        storing.clear()
        assert reader.result(timeout=60) > 0

    assert [stored.id for stored in run.attempts_of(1)] == list(range(1, 321))
    assert run.attempts_made() == 320


class Gate(Storage):
    """A database whose writers wait until the gate is opened; it counts their transactions.

    Args:
        engine: Of the database.
        interrupted: Which transaction is interrupted, as Ctrl-C would; none if not given.
    """

    def __init__(self, engine: Engine, interrupted: int | None = None) -> None:
        super().__init__(engine)
        self.opened = threading.Event()
        self.writes = 0
        self._interrupted = interrupted

    @contextmanager
    def writing(self, *, through_power_cut: bool = False) -> Iterator[Connection]:
        """Wait for the gate, then write."""
        assert self.opened.wait(60)
        self.writes += 1
        if self.writes == self._interrupted:
            raise KeyboardInterrupt
        with super().writing(through_power_cut=through_power_cut) as connection:
            yield connection


def store_at_once(url: str, attempts: list[Attempt], interrupted: int | None = None) -> tuple[Gate, list[object]]:
    """Store attempts from a thread each: the first transaction begins when all of them wait.

    Returns:
        The database, and what each thread raised, None if nothing.
    """
    with open_database(url) as database:
        run_id = new_run(database, "/runs/one").record.id
    gate = Gate(connect(url, create=False), interrupted)
    run = Database(gate, time.perf_counter).run(run_id)
    with ThreadPoolExecutor(len(attempts)) as pool:
        stored = [pool.submit(run.insert_attempt, attempts[0])]
        time.sleep(0.1)  # the first has its turn, and waits at the gate
        stored += [pool.submit(run.insert_attempt, attempt) for attempt in attempts[1:]]
        time.sleep(0.3)
        gate.opened.set()
        raised = [future.exception(timeout=60) for future in stored]
    gate.close()
    return gate, list(raised)


def test_attempts_that_wait_are_committed_together(url: str) -> None:
    """Twenty threads, far fewer transactions, and every attempt is there."""
    gate, raised = store_at_once(url, [valid(number, 1.0) for number in range(1, 21)])

    assert raised == [None] * 20
    assert gate.writes <= 10  # 2, unless a thread was late
    with open_database(url) as database:
        assert [stored.id for stored in database.run(1).attempts_of(1)] == list(range(1, 21))


def test_an_attempt_that_cannot_be_stored_takes_no_other_with_it(url: str) -> None:
    """Its thread gets the error; those that were to be committed with it, or are there already, are stored."""
    wrong = valid(8, 2.0, draw=Draw(island=0, parent_id=7))  # there is no program 7
    _, raised = store_at_once(url, [valid(1, 1.0), valid(2, 1.0), wrong, valid(1, 9.0), valid(3, 1.0)])

    assert [type(error) for error in raised] == [type(None), type(None), StoreError, type(None), type(None)]
    with open_database(url) as database:
        assert [stored.score for stored in database.run(1).attempts_of(1)] == [1.0, 1.0, 1.0]


def test_an_interrupt_takes_no_other_attempt_with_it(url: str) -> None:
    """Ctrl-C reaches one thread; what the others had handed to it is stored by them."""
    _, raised = store_at_once(url, [valid(number, 1.0) for number in range(1, 6)], interrupted=2)

    assert sorted(type(error).__name__ for error in raised) == ["KeyboardInterrupt"] + 4 * ["NoneType"]
    stopped = 1 + [type(error) for error in raised].index(KeyboardInterrupt)
    with open_database(url) as database:
        assert {1, 2, 3, 4, 5} - {stopped} <= {stored.id for stored in database.run(1).attempts_of(1)}


def test_an_attempt_that_no_database_can_hold_is_forgotten(run: RunStore) -> None:
    """Its thread gets the error, whatever it is, and the attempts that come later are stored."""
    with pytest.raises((OverflowError, StoreError)):
        run.insert_attempt(attempt(1, known_as=2**70))

    run.insert_attempt(attempt(2))
    assert [stored.id for stored in run.attempts_of(1)] == [2]


WRITER = """
import sys
from database import open_database
from evolve.types import *
url, folder, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
report = dict(outcomes={}, **{name: 1 for name in "attempts best improved tokens prompt_tokens generate_s tail_s "
    "database_s stragglers finished_s".split()})
database = open_database(url)
run = database.create_run(problem="p", model="m", folder=folder, seed=1, config="", started_at=0.0)
for number in range(10 * steps):
    step = number // 10
    run.insert_attempt(Attempt(
        id=number, step=step, draw=Draw(island=0, parent_id=max(number - 1, 0)),
        prompt=(Message(role="user", content=f"prompt {number // 2} " * 50),),
        completion=Completion(group=0, sample=number, text=f"reply {number} " * 200, tokens=1, prompt_tokens=1,
            finish_reason=FinishReason.STOP),
        outcome=Outcome.VALID, feedback="", reward=1.0, identity=f"{number}", source=f"x = {number}", score=1.0,
        evaluations=(Evaluation(outcome=Outcome.VALID, seed=1, score=1.0),) * 2))
    print("attempt", number, flush=True)
    if number % 10 == 9:
        run.finish_step(StepReport(step=step, **report),
            [Membership(program_id=born, island=0, step=step, migrant=False) for born in range(number - 9, number + 1)])
        print("step", step, flush=True)
"""


def start_writer(url: str, folder: str, *, steps: int) -> subprocess.Popen[str]:
    """Start a process that stores `steps` steps of 10 attempts and prints each attempt and step once it is stored."""
    command = [sys.executable, "-c", WRITER, url, folder, str(steps)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("lines", [1, 10, 11, 12, 137])
def test_a_killed_process_loses_nothing_that_was_stored(url: str, lines: int) -> None:
    """At whatever moment: each attempt and step that returned is there and whole, and no half of another."""
    with start_writer(url, "/runs/killed", steps=10_000) as writer:
        assert writer.stdout is not None
        stored = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        stored += writer.stdout.readlines()
        assert writer.wait() == -signal.SIGKILL
    attempts = sum(line.startswith("attempt") and line.endswith("\n") for line in stored)
    steps = sum(line.startswith("step") and line.endswith("\n") for line in stored)
    assert attempts + steps >= lines

    with open_database(url) as database:
        run = database.run(1)
        found = [stored for step in range(steps + 2) for stored in run.attempts_of(step)]
        assert [stored.id for stored in found] == list(range(len(found)))
        assert attempts <= len(found) <= attempts + 1  # the last may be stored and not printed yet
        assert all(len(stored.evaluations) == 2 and stored.source for stored in found)
        assert steps <= len(run.reports()) <= steps + 1
        assert len(run.members()) == len(run.memberships()) == 10 * len(run.reports())
        run.insert_attempt(valid(len(found), 2.0, step=0))  # and the run goes on
        assert run.program(len(found)).score == 2.0


TWINS = """
import sys
sys.path.insert(0, "tests")
from attempts import valid
from database import open_database
url, first = sys.argv[1], int(sys.argv[2])
with open_database(url) as database:
    run = database.run(1)
    sys.stdin.readline()
    for number in range(10):
        ids = range(first + 20 * number, first + 20 * number + 20)
        run.insert_attempts([valid(id_, 1.0, identity=f"tree {(7 * id_ + first) % 30 + 1}") for id_ in ids])
"""


def test_processes_that_store_the_same_programs_at_once(url: str) -> None:
    """In one run: each is a program of its own, and of those that are the same the lowest id is known."""
    with open_database(url) as database:
        new_run(database, "/runs/one")
    command = [sys.executable, "-c", TWINS, url]
    writers = [
        subprocess.Popen([*command, first], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for first in ("1", "201", "401")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.communicate(timeout=60)[1] for writer in writers] == ["", "", ""]

    with open_database(url) as database:
        run = database.run(1)
        stored = run.attempts_of(1)
        assert [attempt.id for attempt in stored] == list(range(1, 601))
        assert run.evaluated() == (600, 30)
        for number in range(1, 31):
            oldest = next(attempt.id for attempt in stored if attempt.identity == f"tree {number}")
            assert run.known(f"tree {number}", before_step=2) == oldest


def test_two_processes_write_two_runs_at_once(empty_database: str) -> None:
    """Into a database that neither found there: both make it, both write, and neither sees a lock."""
    writers = [start_writer(empty_database, f"/runs/{number}", steps=30) for number in range(2)]
    for writer in writers:
        with writer:
            output, _ = writer.communicate(timeout=60)
            assert (writer.returncode, output.count("attempt"), output.count("step")) == (0, 300, 30)

    with open_database(empty_database) as database:
        runs = [database.run(record.id) for record in database.runs()]
        assert {run.record.folder for run in runs} == {"/runs/0", "/runs/1"}
        assert [len(run.members()) for run in runs] == [300, 300]
        assert [run.attempts_made() for run in runs] == [290, 290]  # those of step 0 are seed programs

"""What every store promises, whichever database is behind it; a new backend is one more line of `BACKENDS`."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from database import Database, RunStore, open_database
from evolve.errors import NotFoundError, RunFolderError, StoreError
from evolve.protocols import Store
from evolve.types import (
    Attempt,
    Completion,
    Direction,
    Draw,
    Evaluation,
    Failure,
    FinishReason,
    Member,
    Membership,
    Message,
    Outcome,
    StepReport,
)

#: Each makes the URL of a fresh, empty database.
BACKENDS: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder / 'evolve.db'}",
}
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh database of each kind."""
    return BACKENDS[request.param](tmp_path)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """An open database."""
    with open_database(url) as database:
        yield database


@pytest.fixture
def run(database: Database) -> RunStore:
    """A run whose seed program, of score 1, is a member."""
    return new_run(database, "/runs/one")


def new_run(database: Database, folder: str) -> RunStore:
    """Make a run and store its seed program."""
    run = database.create_run(problem="p", model="m", folder=folder, seed=1, config="a: 1\n", started_at=5.0)
    run.insert_attempt(valid(0, 1.0, step=0, completion=completion(0, text="", tokens=0, prompt_tokens=0), prompt=()))
    run.finish_step(report(0), [member_of(0, step=0)])
    return run


def completion(sample: int, **changes: object) -> Completion:
    """A reply of 7 tokens to a prompt of 20."""
    plain = Completion(
        group=0, sample=sample, text="reply", tokens=7, prompt_tokens=20, finish_reason=FinishReason.STOP
    )
    return replace(plain, **changes)


def attempt(number: int, **changes: object) -> Attempt:
    """An attempt of step 1 whose reply held no code."""
    plain = Attempt(
        id=number,
        step=1,
        draw=Draw(island=0, parent_id=0),
        prompt=(Message(role="user", content="improve it"),),
        completion=completion(number),
        outcome=Outcome.NO_CODE,
        feedback="",
        reward=0.0,
    )
    return replace(plain, **changes)


def child(number: int, outcome: Outcome, score: float | None, **changes: object) -> Attempt:
    """An attempt with a program of its own that was run once."""
    evaluation = Evaluation(outcome=outcome, seed=3, score=score, construction=None if score is None else "[1]")
    plain = attempt(
        number,
        outcome=outcome,
        identity=f"tree {number}",
        source=f"x = {number}",
        evaluations=(evaluation,),
        score=score,
    )
    return replace(plain, **changes)


def valid(number: int, score: float, **changes: object) -> Attempt:
    """An attempt with a valid program."""
    return child(number, Outcome.VALID, score, **changes)


def member_of(program_id: int, *, step: int = 1, island: int = 0, migrant: bool = False) -> Membership:
    """A membership."""
    return Membership(program_id=program_id, island=island, step=step, migrant=migrant)


def report(step: int, **changes: object) -> StepReport:
    """A report in which every number differs from the others."""
    plain = StepReport(
        step=step,
        attempts=1,
        outcomes={Outcome.VALID: 2, Outcome.NO_CODE: 3},
        best=4.5,
        improved=5,
        tokens=6,
        prompt_tokens=7,
        generate_s=8.5,
        tail_s=9.5,
        database_s=10.5,
        stragglers=11,
        finished_s=12.5,
    )
    return replace(plain, **changes)


def test_a_run_store_is_a_store(run: RunStore) -> None:
    """It has all that the protocol asks for, and its record says which run it is."""
    store: Store = run

    assert all(hasattr(store, name) for name in vars(Store) if not name.startswith("_"))
    assert (run.record.problem, run.record.model, run.record.folder) == ("p", "m", "/runs/one")
    assert (run.record.seed, run.record.config, run.record.started_at) == (1, "a: 1\n", 5.0)


# --- attempts -----------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=()), max_size=40)  # with NUL and lone surrogates
SMALL = st.integers(0, 2**31 - 1)
FLOAT = st.floats(allow_nan=False)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    """Any evaluation."""
    outcome = draw(st.sampled_from(Outcome))
    return Evaluation(
        outcome=outcome,
        seed=draw(st.integers(-(2**63), 2**63 - 1)),
        score=draw(FINITE) if outcome is Outcome.VALID else None,
        exact=draw(st.none() | st.just("0.1234567890123456789")),
        feedback=draw(TEXT),
        construction=draw(st.none() | TEXT),
        wall_s=draw(FLOAT),
        cpu_s=draw(FLOAT),
        peak_memory_mib=draw(FLOAT),
        peak_processes=draw(SMALL),
    )


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    """Any attempt but its id, with each optional field set or empty."""
    has_source = draw(st.booleans())
    return Attempt(
        id=0,
        step=draw(st.integers(1, 2**31 - 1)),
        draw=Draw(island=draw(SMALL), parent_id=0, inspiration_ids=tuple(draw(st.lists(SMALL, max_size=3)))),
        prompt=tuple(draw(st.lists(st.builds(Message, role=st.sampled_from(["system", "user"]), content=TEXT)))),
        completion=Completion(
            group=draw(SMALL),
            sample=draw(SMALL),
            text=draw(TEXT),
            tokens=draw(SMALL),
            prompt_tokens=draw(SMALL),
            finish_reason=draw(st.sampled_from(FinishReason)),
            token_ids=tuple(draw(st.lists(SMALL, max_size=3))),
            logprobs=tuple(draw(st.lists(st.floats(width=32, allow_nan=False), max_size=3))),
            seconds=draw(FLOAT),
        ),
        outcome=draw(st.sampled_from(Outcome)),
        feedback=draw(TEXT),
        reward=draw(st.none() | FLOAT),
        identity="ab12" if has_source else draw(st.none() | st.just("cd34")),
        source=draw(TEXT) if has_source else None,
        known_as=draw(st.none() | SMALL),
        evaluations=tuple(draw(st.lists(evaluations(), max_size=3))) if has_source else (),
        score=draw(st.none() | FINITE) if has_source else None,
        finished_s=draw(FLOAT),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(any_attempt=attempts())
def test_an_attempt_comes_back_as_it_went_in(run: RunStore, any_attempt: Attempt) -> None:
    """Every field survives, set or empty, whatever characters the texts hold."""
    numbered = replace(any_attempt, id=run.attempts_made() + 1)

    run.insert_attempt(numbered)

    assert run.attempt(numbered.id) == numbered


def test_two_surrogates_side_by_side_stay_two(run: RunStore) -> None:
    """Halves of a character that the model wrote are not joined, in the prompt and the reply."""
    halves = "\ud83d" + "\ude00"
    stored = attempt(1, prompt=(Message(role="user", content=halves),), completion=completion(0, text=halves))

    run.insert_attempt(stored)

    assert run.attempt(1) == stored
    assert len(run.attempt(1).prompt[0].content) == 2


def test_the_seed_programs_attempt_comes_back(run: RunStore) -> None:
    """Attempt 0 has an empty prompt and reply, and its program has no parent though its draw names one."""
    assert run.attempt(0).prompt == ()
    assert run.program(0).parent_id is None
    assert run.program(0).source == "x = 0"


def test_a_reply_of_a_megabyte_is_kept_whole(run: RunStore) -> None:
    """Nothing is cut off."""
    text = "".join(f"{number} \U0001f600 \x00 \ud800" for number in range(100_000))
    assert len(text) > 1_000_000

    run.insert_attempt(attempt(1, completion=completion(0, text=text)))

    assert run.attempt(1).completion.text == text


def test_an_attempt_that_is_sent_twice_is_left_as_it_is(run: RunStore) -> None:
    """A resumed step may store an attempt again; the first stands, and it is still one."""
    first = valid(1, 2.0)
    run.insert_attempt(first)

    run.insert_attempt(valid(1, 99.0, feedback="other"))

    assert run.attempts_of(1) == [first]
    assert run.evaluations(1) == list(first.evaluations)


def test_attempts_of_a_step_come_by_id(run: RunStore) -> None:
    """Their order of ending does not matter; other steps' attempts are not among them."""
    third, first, other = valid(3, 3.0), attempt(1), valid(2, 2.0, step=2)
    for stored in (third, first, other):
        run.insert_attempt(stored)

    assert run.attempts_of(1) == [first, third]
    assert run.attempts_of(2) == [other]
    assert run.attempts_of(3) == []


@pytest.mark.parametrize(
    "wrong",
    [
        attempt(1, score=1.0),
        attempt(1, evaluations=(Evaluation(outcome=Outcome.CRASHED, seed=1),)),
        attempt(1, source="x = 1"),
        attempt(1, reward=float("nan")),
    ],
)
def test_an_attempt_that_contradicts_itself_is_refused(run: RunStore, wrong: Attempt) -> None:
    """What could not come back as it went in is an error, and nothing of it is stored."""
    with pytest.raises(ValueError, match="attempt 1"):
        run.insert_attempt(wrong)

    assert run.attempts_of(1) == []


def test_a_child_of_no_program_is_refused_whole(run: RunStore) -> None:
    """A transaction that fails leaves nothing behind, not even the attempt that was written first."""
    with pytest.raises(StoreError):
        run.insert_attempt(valid(8, 2.0, draw=Draw(island=0, parent_id=7)))

    assert run.attempts_of(1) == []


def test_what_is_not_there_is_named(run: RunStore) -> None:
    """The message names the run and the number."""
    for read in (run.program, run.attempt, run.lineage):
        with pytest.raises(NotFoundError, match=r"run 1 has no \w+ 77"):
            read(77)
    run.insert_attempt(attempt(1))
    with pytest.raises(NotFoundError, match="program 1"):
        run.program(1)  # an attempt without a source is no program


# --- what a step may see ------------------------------------------------------------------------------------------


def test_known_programs_are_those_of_earlier_steps(run: RunStore) -> None:
    """Within a step the database is frozen; of several programs with one identity the oldest answers."""
    run.insert_attempt(valid(5, 2.0, identity="same"))
    run.insert_attempt(valid(4, 2.0, identity="same"))
    run.insert_attempt(valid(9, 2.0, identity="same", step=2))
    run.insert_attempt(attempt(6, identity="copy", outcome=Outcome.DUPLICATE, known_as=0))

    assert run.known("same", before_step=1) is None
    assert run.known("same", before_step=2) == 4
    assert run.known("tree 0", before_step=1) == 0
    assert run.known("copy", before_step=9) is None


def test_known_finds_a_program_that_failed(run: RunStore) -> None:
    """A failed program is not run again either."""
    run.insert_attempt(child(1, Outcome.CRASHED, None))

    assert run.known("tree 1", before_step=2) == 1


def test_last_failure_is_the_newest_of_earlier_steps(run: RunStore) -> None:
    """By id among the children of this parent; the running step is not looked at, nor are valid children."""
    run.insert_attempt(child(2, Outcome.TIMED_OUT, None, feedback="newer"))
    run.insert_attempt(child(1, Outcome.CRASHED, None, feedback="older"))
    run.insert_attempt(valid(3, 2.0, feedback="fine"))
    run.insert_attempt(child(4, Outcome.INVALID, None, feedback="next step", step=2))
    run.insert_attempt(child(5, Outcome.INVALID, None, feedback="of 3", step=2, draw=Draw(island=0, parent_id=3)))

    assert run.last_failure(0, before_step=1) is None
    assert run.last_failure(0, before_step=2) == Failure(outcome=Outcome.TIMED_OUT, feedback="newer")
    assert run.last_failure(0, before_step=3) == Failure(outcome=Outcome.INVALID, feedback="next step")
    assert run.last_failure(3, before_step=3) == Failure(outcome=Outcome.INVALID, feedback="of 3")


@pytest.mark.parametrize("outcome", Outcome)
def test_only_a_program_that_ran_and_failed_is_a_failure(run: RunStore, outcome: Outcome) -> None:
    """What the sandbox and the verifier ended counts; replies without a child, copies and lost ones do not."""
    run.insert_attempt(child(1, outcome, 2.0 if outcome is Outcome.VALID else None))

    ran_and_failed = ["crashed", "timed_out", "out_of_memory", "output_limit", "violation", "killed", "invalid"]
    assert (run.last_failure(0, before_step=2) is not None) == (outcome.value in ran_and_failed)


def test_a_program_is_a_member_once_a_step_takes_it_in(run: RunStore) -> None:
    """The seed program from the start, a child at its step's end, a straggler with a later step."""
    run.insert_attempt(valid(1, 2.0))
    assert [member.id for member in run.members()] == [0]

    run.finish_step(report(1), [member_of(1)])
    run.insert_attempt(valid(2, 3.0))  # of step 1, and late
    assert [member.id for member in run.members()] == [0, 1]

    run.finish_step(report(2), [member_of(2, step=2), member_of(1, step=2, island=1, migrant=True)])
    assert run.members()[1:] == [
        Member(id=1, parent_id=0, step=1, identity="tree 1", score=2.0, length=5),
        Member(id=2, parent_id=0, step=1, identity="tree 2", score=3.0, length=5),
    ]


def test_an_attempt_is_unsettled_while_no_step_has_taken_its_program_in(run: RunStore) -> None:
    """Only valid ones of earlier steps, and none whose twin is a member: a population holds one of them."""
    run.insert_attempt(valid(1, 2.0))
    run.insert_attempt(valid(2, 2.0, identity="tree 1"))
    run.insert_attempt(child(3, Outcome.CRASHED, None))
    run.insert_attempt(attempt(4))
    run.finish_step(report(1), [member_of(1)])
    late, later = valid(6, 2.0), valid(5, 2.0)
    for stored in (late, later, valid(9, 2.0, step=2)):
        run.insert_attempt(stored)

    assert run.unsettled(before_step=1) == []
    assert run.unsettled(before_step=2) == [later, late]

    run.finish_step(report(2), [member_of(5, step=2), member_of(6, step=2), member_of(9, step=2)])
    assert run.unsettled(before_step=3) == []


def test_memberships_come_in_the_order_of_storing(run: RunStore) -> None:
    """Not by program, island or step: selection replays them."""
    for number in (1, 2, 3):
        run.insert_attempt(valid(number, 1.0))
    first = [member_of(3, island=2), member_of(1, island=1)]
    second = [member_of(2, step=2), member_of(3, step=2, island=0, migrant=True)]

    run.finish_step(report(1), first)
    run.finish_step(report(2), second)

    assert run.memberships() == [member_of(0, step=0), *first, *second]


def test_reports_come_back_in_order(run: RunStore) -> None:
    """Each with all its numbers, and the best may be infinite."""
    run.finish_step(report(2), [])
    run.finish_step(report(1, best=float("-inf"), outcomes={}), [])

    assert run.reports() == [report(0), report(1, best=float("-inf"), outcomes={}), report(2)]


def test_a_step_is_finished_once_and_whole(run: RunStore) -> None:
    """A second end of the step, or a membership of no program, is refused and stores nothing."""
    run.finish_step(report(1), [])
    with pytest.raises(StoreError, match="step 1 of run 1 is finished already"):
        run.finish_step(report(1), [member_of(0)])
    with pytest.raises(StoreError):
        run.finish_step(report(2), [member_of(0, step=2), member_of(55, step=2)])

    assert [done.step for done in run.reports()] == [0, 1]
    assert run.memberships() == [member_of(0, step=0)]


# --- what the command line asks -----------------------------------------------------------------------------------


def test_best_programs_go_by_the_score_and_ties_to_the_older(run: RunStore) -> None:
    """In either direction, without the failed ones, even where every valid score is negative."""
    for stored in (child(1, Outcome.CRASHED, None), valid(3, -9.0), valid(2, -9.0), valid(4, 7.0)):
        run.insert_attempt(stored)

    assert [program.id for program in run.best_programs(9, Direction.MAX)] == [4, 0, 2, 3]
    assert [program.id for program in run.best_programs(3, Direction.MIN)] == [2, 3, 0]


def test_a_lineage_leads_from_the_seed_program_down(run: RunStore) -> None:
    """Through each parent to the program itself, without siblings."""
    run.insert_attempt(valid(1, 1.0))
    run.insert_attempt(valid(2, 1.0))
    run.insert_attempt(valid(3, 1.0, draw=Draw(island=0, parent_id=1)))
    run.insert_attempt(child(5, Outcome.CRASHED, None, draw=Draw(island=0, parent_id=3)))

    assert [program.id for program in run.lineage(5)] == [0, 1, 3, 5]
    assert [program.parent_id for program in run.lineage(5)] == [None, 0, 1, 3]
    assert [program.id for program in run.lineage(0)] == [0]


def test_a_parent_is_older_than_its_child(run: RunStore) -> None:
    """So that no lineage is a circle."""
    with pytest.raises(StoreError):
        run.insert_attempt(valid(5, 1.0, draw=Draw(island=0, parent_id=5)))


def test_the_best_construction_may_come_from_a_run_that_does_not_count(run: RunStore) -> None:
    """A program whose second run was worse, or failed, still found what its first run returned."""
    lucky = Evaluation(outcome=Outcome.VALID, seed=1, score=8.0, construction="[8]")
    worse = Evaluation(outcome=Outcome.CRASHED, seed=2, feedback="no luck")
    run.insert_attempt(child(1, Outcome.CRASHED, None, evaluations=(lucky, worse)))
    run.insert_attempt(valid(2, 3.0))
    run.insert_attempt(child(3, Outcome.VALID, 8.0, evaluations=(lucky,)))

    assert run.best_construction(Direction.MAX) == (1, lucky)
    assert run.best_construction(Direction.MIN) == (0, run.evaluations(0)[0])
    assert run.evaluations(1) == [lucky, worse]
    assert run.evaluations(99) == []


def test_a_run_without_constructions_has_no_best_one(database: Database) -> None:
    """None, not an error: a rule's program has a score and nothing to show."""
    run = database.create_run(problem="p", model="m", folder="/runs/rule", seed=1, config="", started_at=0.0)
    run.insert_attempt(valid(0, 1.0, evaluations=(Evaluation(outcome=Outcome.VALID, seed=1, score=1.0),)))

    assert run.best_construction(Direction.MAX) is None


def test_totals_count_completions_and_not_the_seed_program(run: RunStore) -> None:
    """Outcomes sum up to the attempts made; a prompt's tokens count once for each completion of it."""
    assert (run.outcome_counts(), run.attempts_made(), run.token_totals()) == ({}, 0, (0, 0))
    run.insert_attempt(valid(1, 1.0))
    run.insert_attempt(attempt(2))
    run.insert_attempt(attempt(3, step=2))

    assert run.outcome_counts() == {Outcome.VALID: 1, Outcome.NO_CODE: 2}
    assert run.attempts_made() == 3
    assert run.token_totals() == (21, 60)


def test_the_best_curve_has_a_point_where_the_best_score_rose(run: RunStore) -> None:
    """By the time of ending, not by id; with the attempts so far, those that failed included."""
    run.insert_attempt(valid(1, 5.0, finished_s=40.0))
    run.insert_attempt(valid(2, 3.0, finished_s=20.0))
    run.insert_attempt(attempt(3, finished_s=30.0))
    run.insert_attempt(valid(4, 3.0, finished_s=35.0))
    run.insert_attempt(valid(5, 0.5, finished_s=50.0))

    assert run.best_curve(Direction.MAX) == [(0.0, 0, 1.0), (20.0, 1, 3.0), (40.0, 4, 5.0)]
    assert run.best_curve(Direction.MIN) == [(0.0, 0, 1.0), (50.0, 5, 0.5)]


# --- runs ---------------------------------------------------------------------------------------------------------


def test_runs_do_not_see_one_another(database: Database) -> None:
    """The same ids, prompts and identities in two runs stay apart."""
    one, two = new_run(database, "/runs/one"), new_run(database, "/runs/two")
    one.insert_attempt(valid(1, 5.0))
    two.insert_attempt(child(1, Outcome.CRASHED, None))
    two.insert_attempt(attempt(2))

    assert [program.score for program in one.best_programs(9, Direction.MAX)] == [5.0, 1.0]
    assert [program.score for program in two.best_programs(9, Direction.MAX)] == [1.0]
    assert (one.attempts_made(), two.attempts_made()) == (1, 2)
    assert one.last_failure(0, before_step=9) is None
    assert one.memberships() == two.memberships() == [member_of(0, step=0)]
    assert [program.score for program in one.lineage(1)] == [1.0, 5.0]
    assert [stored.outcome for stored in one.attempts_of(1)] == [Outcome.VALID]
    two.insert_attempt(valid(3, 5.0, identity="tree 1"))
    one.finish_step(report(1), [member_of(1)])
    assert [stored.id for stored in two.unsettled(before_step=2)] == [3]


def test_a_run_is_found_again_by_id_and_by_folder(url: str) -> None:
    """After the database was closed and opened again, with all that it held."""
    with open_database(url) as database:
        new_run(database, "/runs/one")
        record = new_run(database, "/runs/zwei \u00fc").record
    with open_database(url, create=False) as database:
        assert database.runs() == [database.run(1).record, record]
        again = database.find_run("/runs/zwei \u00fc")
        assert again is not None
        assert again.record == database.run(record.id).record == record
        assert again.program(0).source == "x = 0"
        assert database.find_run("/runs/three") is None
        assert database.find_run("/runs/\udcff") is None
        with pytest.raises(NotFoundError, match="no run 7"):
            database.run(7)


def test_a_folder_holds_one_run(database: Database) -> None:
    """A second one is refused with the number of the first."""
    new_run(database, "/runs/one")

    with pytest.raises(RunFolderError, match="holds run 1 already"):
        new_run(database, "/runs/one")
    assert len(database.runs()) == 1


@pytest.mark.parametrize("folder", ["/runs/\udcff", "/runs/\x00"])
def test_a_folder_that_is_no_text_is_refused(database: Database, folder: str) -> None:
    """Not every database can hold it; the message says to choose another."""
    with pytest.raises(RunFolderError, match="use another name"):
        new_run(database, folder)


def test_a_closed_database_says_so(url: str) -> None:
    """A straggling thread gets an error of one line, and no connection is opened behind the caller's back."""
    with open_database(url) as database:
        run = new_run(database, "/runs/one")

    for use in (run.members, lambda: run.insert_attempt(attempt(1)), database.runs):
        with pytest.raises(StoreError, match="is closed"):
            use()


# --- threads and processes ----------------------------------------------------------------------------------------


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


def test_two_processes_write_two_runs_at_once(url: str) -> None:
    """Into a database that neither found there: both make it, both write, and neither sees a lock."""
    writers = [start_writer(url, f"/runs/{number}", steps=30) for number in range(2)]
    for writer in writers:
        with writer:
            output, _ = writer.communicate(timeout=60)
            assert (writer.returncode, output.count("attempt"), output.count("step")) == (0, 300, 30)

    with open_database(url) as database:
        runs = [database.run(record.id) for record in database.runs()]
        assert {run.record.folder for run in runs} == {"/runs/0", "/runs/1"}
        assert [len(run.members()) for run in runs] == [300, 300]
        assert [run.attempts_made() for run in runs] == [290, 290]  # those of step 0 are seed programs

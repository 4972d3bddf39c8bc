"""What every store promises of attempts, whichever database is behind it."""

from dataclasses import replace

import pytest
from attempts import attempt, child, completion, valid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from database import RunStore
from evolve.errors import NotFoundError, StoreError
from evolve.protocols import Store
from evolve.types import Attempt, Completion, Draw, Evaluation, FinishReason, Message, Outcome


def test_a_run_store_is_a_store(run: RunStore) -> None:
    """It has all that the protocol asks for, and its record says which run it is."""
    store: Store = run

    assert all(hasattr(store, name) for name in vars(Store) if not name.startswith("_"))
    assert (run.record.problem, run.record.model, run.record.folder) == ("p", "m", "/runs/one")
    assert (run.record.seed, run.record.config, run.record.started_at) == (1, "a: 1\n", 5.0)


TEXT = st.text(st.characters(exclude_categories=()), max_size=40)  # with NUL and lone surrogates
SMALL = st.integers(0, 2**31 - 1)
FLOAT = st.floats(allow_nan=False)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.dictionaries(TEXT, FLOAT, max_size=3)


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    """Any evaluation."""
    outcome = draw(st.sampled_from(Outcome))
    return Evaluation(
        outcome=outcome,
        seed=draw(st.integers(-(2**63), 2**63 - 1)),
        score=draw(FINITE) if outcome is Outcome.VALID else None,
        exact=draw(st.none() | st.just("0.1234567890123456789")),
        measures=draw(NUMBERS),
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


def test_programs_that_are_the_same_come_back_each_as_it_went_in(run: RunStore) -> None:
    """Siblings and late twins, stored one by one or at once, are programs of their own: text, score and evaluations."""
    twins = [
        valid(1, 2.0, source="x = 1", identity="same"),
        valid(2, 3.0, source="x = 1  # again", identity="same", evaluations=()),
        valid(3, 3.0, source="x = 1", identity="same"),
        child(4, Outcome.CRASHED, None, source="", identity="same"),
    ]

    run.insert_attempt(twins[2])
    run.insert_attempts([twins[3], twins[1]])
    run.insert_attempt(twins[0])

    assert run.attempts_of(1) == twins
    assert [run.program(twin.id).source for twin in twins] == ["x = 1", "x = 1  # again", "x = 1", ""]
    assert run.evaluated() == (4, 1)


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

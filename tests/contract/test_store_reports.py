"""What every store answers to a person who asks about a run."""

from dataclasses import replace

import pytest
from attempts import attempt, child, valid

from database import RunStore
from evolve.errors import StoreError
from evolve.types import Confirmation, Direction, Draw, Evaluation, Origin, Outcome, StepsTally


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
        run.insert_attempt(valid(5, 1.0, draw=Draw(island=0, parent_id=6)))


def test_a_programs_evaluations_come_in_the_order_of_running(run: RunStore) -> None:
    """All of them, whichever counts; none of a program that is not there."""
    lucky = Evaluation(outcome=Outcome.VALID, seed=1, score=8.0, construction="[8]")
    worse = Evaluation(outcome=Outcome.CRASHED, seed=2, feedback="no luck")
    run.insert_attempt(child(1, Outcome.CRASHED, None, evaluations=(lucky, worse)))

    assert run.evaluations(1) == [lucky, worse]
    assert run.evaluations(99) == []


def test_totals_count_completions_and_not_the_seed_program(run: RunStore) -> None:
    """Outcomes sum up to the attempts made; a prompt's tokens count once for each completion of it."""
    assert (run.outcome_counts(), run.attempts_made(), run.token_totals()) == ({}, 0, (0, 0))
    assert run.evaluated() == (0, 0)
    run.insert_attempt(valid(1, 1.0))
    run.insert_attempt(attempt(2))
    run.insert_attempt(attempt(3, step=2))

    assert run.outcome_counts() == {Outcome.VALID: 1, Outcome.NO_CODE: 2}
    assert run.attempts_made() == 3
    assert run.token_totals() == (21, 60)
    assert run.evaluated() == (1, 1)


def test_the_first_feedback_of_an_outcome_is_that_of_the_oldest_attempt(run: RunStore) -> None:
    """Whichever was stored first, and of no other outcome."""
    assert run.first_feedback(Outcome.LOST) == ""
    run.insert_attempt(attempt(1, feedback="no code"))
    run.insert_attempt(attempt(3, outcome=Outcome.LOST, feedback="later"))
    run.insert_attempt(attempt(2, outcome=Outcome.LOST, feedback="the verifier failed"))

    assert run.first_feedback(Outcome.LOST) == "the verifier failed"


def test_the_tally_of_steps_counts_what_came_after_one(run: RunStore) -> None:
    """By hand, in step 2: a better child, one that equals its parent, the same program twice, a crash, no code."""
    run.insert_attempt(valid(1, 5.0))
    children = (
        valid(2, 1.5, step=2),
        valid(3, 1.0, step=2),
        valid(4, 0.5, step=2, identity="twin"),
        valid(5, 0.5, step=2, identity="twin"),
        child(6, Outcome.CRASHED, None, step=2),
        attempt(7, step=2),
    )
    for stored in children:
        run.insert_attempt(stored)

    late = StepsTally(completions=6, replied=5, distinct=4, valid=4, improved=1, changed=3)
    assert run.steps_tally(1, Direction.MAX) == late
    assert run.steps_tally(1, Direction.MIN) == replace(late, improved=2)
    assert run.steps_tally(-1, Direction.MAX) == StepsTally(
        completions=7, replied=6, distinct=5, valid=5, improved=2, changed=4
    )
    assert run.steps_tally(2, Direction.MAX) == StepsTally(
        completions=0, replied=0, distinct=0, valid=0, improved=0, changed=0
    )


def test_what_is_in_quarantine_is_not_better_than_its_parent(run: RunStore) -> None:
    """Nor is its twin: by which score would they be?"""
    for number, tree in ((1, "lucky"), (2, "lucky"), (3, "sound")):
        run.insert_attempt(valid(number, 9.0, identity=tree))
    failed = Confirmation(program_id=1, confirmed=False, reason="luck", origin=Origin.SCRATCH, evaluations=())
    run.insert_confirmation(failed)

    assert run.steps_tally(0, Direction.MAX).improved == 1
    assert [tally.improved for tally in run.prompt_tallies(Direction.MAX)] == [1]


def test_seconds_of_evaluation_go_by_how_it_ended(run: RunStore) -> None:
    """Every run of a child counts, the seed program's and a confirmation's do not."""
    assert run.evaluation_totals() == {}
    runs = [
        Evaluation(outcome=Outcome.VALID, seed=1, score=8.0, construction="[8]", wall_s=0.5),
        Evaluation(outcome=Outcome.TIMED_OUT, seed=2, wall_s=2.0),
    ]
    run.insert_attempt(child(1, Outcome.TIMED_OUT, None, evaluations=tuple(runs)))
    run.insert_attempt(valid(2, 1.0, evaluations=(replace(runs[0], wall_s=0.25),)))
    run.insert_confirmation(
        Confirmation(program_id=2, confirmed=True, reason="", origin=Origin.SCRATCH, evaluations=(runs[0], runs[0]))
    )

    assert run.evaluation_totals() == {Outcome.VALID: (2, 0.75), Outcome.TIMED_OUT: (1, 2.0)}

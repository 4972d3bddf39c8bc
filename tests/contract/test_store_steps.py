"""What every store promises of steps: what one may see, what its end stores, and what a resume needs."""

import math
from dataclasses import replace

import pytest
from attempts import attempt, cell_of, child, member_of, new_run, report, valid

from database import Database, RunStore
from evolve.errors import StoreError
from evolve.types import Account, Confirmation, Direction, Draw, Evaluation, Failure, Member, Origin, Outcome, Training


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


def test_the_oldest_of_late_twins_is_known(run: RunStore) -> None:
    """Its id counts, not when it was stored; and one whose twin of a later step was stored first is known as well."""
    run.insert_attempt(valid(9, 2.0, identity="same", step=2))
    assert run.known("same", before_step=2) is None

    run.insert_attempt(valid(5, 2.0, identity="same"))  # late
    run.insert_attempt(valid(4, 2.0, identity="same"))  # later still

    assert run.known("same", before_step=2) == 4
    assert run.known("same", before_step=3) == 4
    assert run.known("same", before_step=1) is None


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


def test_a_members_measures_are_those_of_the_evaluation_that_counts(run: RunStore) -> None:
    """The worse of two runs gave the score, so it gives the measures too; a failed run gives none."""
    better = Evaluation(outcome=Outcome.VALID, seed=1, score=5.0, measures={"gap": 0.5})
    worse = Evaluation(outcome=Outcome.VALID, seed=2, score=4.0, measures={"gap": 0.25, "wide": float("inf")})
    crashed = Evaluation(outcome=Outcome.CRASHED, seed=2)
    run.insert_attempt(valid(1, 4.0, evaluations=(better, worse)))
    run.insert_attempt(child(2, Outcome.CRASHED, None, evaluations=(better, crashed)))

    run.finish_step(report(1), [member_of(1), member_of(2)])

    assert [member.measures for member in run.members()[1:]] == [worse.measures, {}]
    assert run.evaluations(1) == [better, worse]


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


def test_archive_cells_come_in_the_order_of_storing(run: RunStore) -> None:
    """The newest entry of a cell says who holds it, so that their order is what a resume replays."""
    for number in (1, 2):
        run.insert_attempt(valid(number, 1.0))
    first = [cell_of(2, cell=(7, 0)), cell_of(1, cell=(0, 3, 5), island=2)]
    second = [cell_of(1, cell=(7, 0), step=2, grid=1)]

    run.finish_step(report(1), [member_of(1), member_of(2)], first)
    run.finish_step(report(2), [], second)

    assert run.archive_cells() == [*first, *second]


def test_a_cell_of_no_program_is_refused_with_its_step(run: RunStore) -> None:
    """The step's row and memberships go with it."""
    run.insert_attempt(valid(1, 1.0))

    with pytest.raises(StoreError):
        run.finish_step(report(1), [member_of(1)], [cell_of(1, cell=(0,)), cell_of(55, cell=(1,))])

    assert [done.step for done in run.reports()] == [0]
    assert run.archive_cells() == []
    assert [member.id for member in run.members()] == [0]


def test_confirmations_come_in_the_order_of_storing(run: RunStore) -> None:
    """Each with its runs, which are no evaluations of the program itself; the first of a program stands."""
    run.insert_attempt(valid(1, 2.0))
    run.insert_attempt(valid(2, 3.0))
    runs = (
        Evaluation(outcome=Outcome.VALID, seed=9, score=3.0, exact="3.00", construction="[3]", measures={"gap": 1.0}),
        Evaluation(outcome=Outcome.CRASHED, seed=10, feedback="no luck \x00 \ud800"),
    )
    refused = Confirmation(
        program_id=2, confirmed=False, reason="the second run crashed \ud800", origin=Origin.SEEDED, evaluations=runs
    )
    confirmed = Confirmation(program_id=1, confirmed=True, reason="", origin=Origin.SCRATCH, evaluations=())

    for confirmation in (refused, confirmed, replace(refused, confirmed=True)):
        run.insert_confirmation(confirmation)

    assert run.confirmations() == [refused, confirmed]
    assert run.evaluations(2) == list(valid(2, 3.0).evaluations)
    with pytest.raises(StoreError):
        run.insert_confirmation(replace(confirmed, program_id=77))


def test_the_account_holds_every_completion_of_the_steps_that_it_is_of(run: RunStore) -> None:
    """Of any outcome, whether a report counts it or not; the seed program and what other runs gave are none."""
    run.insert_attempt(valid(-1, 9.0, step=0, draw=Draw(island=0, parent_id=-1)))
    run.insert_attempts((valid(1, 2.0), valid(2, 0.5), child(3, Outcome.CRASHED, None), attempt(4)))
    run.insert_attempts((valid(5, 9.0, step=2), valid(6, 9.0, identity="lucky")))
    failed = Confirmation(program_id=6, confirmed=False, reason="luck", origin=Origin.SCRATCH, evaluations=())
    run.insert_confirmation(failed)

    none = Account(outcomes={}, improved=0, tokens=0, prompt_tokens=0)
    outcomes = {Outcome.VALID: 3, Outcome.CRASHED: 1, Outcome.NO_CODE: 1}
    first = Account(outcomes=outcomes, improved=1, tokens=5 * 7, prompt_tokens=5 * 20)
    assert run.account(Direction.MAX, before_step=1) == none
    assert run.account(Direction.MAX, before_step=2) == first
    assert run.account(Direction.MIN, before_step=2) == replace(first, improved=1)
    assert run.account(Direction.MAX, before_step=3).improved == 2


def test_the_last_report_may_be_amended_and_no_other(run: RunStore) -> None:
    """What ended after the last step counts in it; an earlier one stands."""
    run.finish_step(report(1), [])
    run.finish_step(report(2), [])
    amended = replace(report(2), attempts=9, outcomes={Outcome.INVALID: 9}, best=7.0, finished_s=99.0)
    run.amend_report(amended)
    for refused in (replace(report(1), attempts=9), report(3)):
        with pytest.raises(StoreError, match="not its last one"):
            run.amend_report(refused)

    assert run.reports()[1:] == [report(1), amended]


def test_a_confirmation_says_what_its_program_counts_as(run: RunStore) -> None:
    """Its score and its attempt's reward; where nothing is said they stay, and a second one changes nothing."""
    for number in (1, 2, 3):
        run.insert_attempt(valid(number, 9.0, reward=9.0))
    found = Confirmation(program_id=1, confirmed=True, reason="", origin=Origin.SCRATCH, evaluations=())
    run.insert_confirmation(found, score=5.0, reward=4.0)
    run.insert_confirmation(found, score=6.0, reward=6.0)
    run.insert_confirmation(replace(found, program_id=2, confirmed=False), reward=-0.1)
    run.insert_confirmation(replace(found, program_id=3))

    assert [(one.score, one.reward) for one in run.attempts_of(1)] == [(5.0, 4.0), (9.0, -0.1), (9.0, 9.0)]


def test_trainings_come_by_step(run: RunStore) -> None:
    """With numbers that JSON does not know; the first of a step stands, and a step that is not finished has none."""
    for step in (1, 2):
        run.finish_step(report(step), [])
    second = Training(step=2, values={"loss": float("-inf"), "entropy": 0.1, "update_s": 3.0})
    first = Training(step=1, values={})

    for training in (second, first, Training(step=2, values={"loss": 7.0})):
        run.insert_training(training)

    assert run.trainings() == [first, second]
    with pytest.raises(StoreError):
        run.insert_training(Training(step=3, values={}))


def test_a_loss_that_is_no_number_comes_back(run: RunStore) -> None:
    """It is what a person looks for when a training went wrong."""
    run.insert_training(Training(step=0, values={"loss": float("nan")}))

    assert math.isnan(run.trainings()[0].values["loss"])


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


def test_a_population_holds_each_program_once(run: RunStore) -> None:
    """A second birth of one identity is refused with its whole step, at once or later; migrants are no births."""
    for stored in (valid(1, 2.0), valid(2, 2.0, identity="tree 1"), valid(3, 2.0)):
        run.insert_attempt(stored)
    for born in ([1, 2], [3, 1, 2]):
        with pytest.raises(StoreError):
            run.finish_step(report(1), [member_of(number) for number in born])
    places = [member_of(2), member_of(2, island=1, migrant=True), member_of(2, island=2, migrant=True)]
    run.finish_step(report(1), places)
    with pytest.raises(StoreError):
        run.finish_step(report(2), [member_of(3, step=2), member_of(1, step=2)])

    assert [done.step for done in run.reports()] == [0, 1]
    assert run.memberships()[1:] == places


def test_runs_do_not_share_their_populations(database: Database) -> None:
    """The same program is born in each."""
    for name in ("one", "two"):
        run = new_run(database, f"/runs/{name}")
        run.insert_attempt(valid(1, 2.0))
        run.finish_step(report(1), [member_of(1)])

        assert run.memberships()[1:] == [member_of(1)]

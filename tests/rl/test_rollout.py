"""How the trainer's updates and the search's steps go together."""

from dataclasses import replace

import pytest

from rl.rollout import Rollouts
from tests.rl.toy import SETTINGS, ListStore, SilentEngine, attempt, group_of, report, steps_until

TELLING, SILENT = group_of(1, 2, 3, 4), group_of(3, 3, 3, 3)


class Steps:
    """Makes prepared steps and remembers which were asked for."""

    def __init__(self, store, *made):
        self.store, self.made, self.asked = store, list(made), []

    def __call__(self, number):
        self.asked.append(number)
        self.store.steps.append(report(number))
        return self.made.pop(0)


def rollouts(*made, last=9, **changes):
    """Return rollouts over prepared steps, ready for the first."""
    store = ListStore()
    steps = Steps(store, *made)
    engine = SilentEngine()
    ready = Rollouts(steps, steps_until(last), engine, store, replace(SETTINGS, **changes))
    assert ready.advance()
    return ready, steps, engine


def test_one_update_is_one_step():
    """The rows have the form that TRL wants, with masked tokens out of the loss."""
    ready, steps, engine = rollouts([TELLING, SILENT])
    rows = ready(["-"] * 8, None)

    assert steps.asked == [1]
    assert rows["prompt_ids"] == [[97, 98]] * 4 + [[0]] * 4
    assert rows["completion_ids"] == [[5, 6, 7]] * 4 + [[0]] * 4
    assert rows["logprobs"] == [[-0.5, -0.25, -1.0]] * 4 + [[0.0]] * 4
    assert rows["env_mask"] == [[1, 1, 1]] * 4 + [[0]] * 4
    assert engine.naps == 1


def test_the_times_of_the_gpu_add_up_until_they_are_taken():
    """Two steps of one update: each decoded for 1 s and waited for 0.5 s."""
    ready, _, _ = rollouts([TELLING, SILENT], [TELLING, SILENT], refills=1)
    ready(["-"] * 8, None)

    assert (ready.times.generate_s, ready.times.wait_s) == (2.0, 1.0)


@pytest.mark.parametrize(("refills", "asked"), [(0, [1]), (1, [1, 2]), (5, [1, 2, 3])])
def test_refills_replace_silent_groups_and_stop_when_there_are_enough(refills, asked):
    """Steps 1 to 3 hold one telling group, none, and two."""
    ready, steps, engine = rollouts([TELLING, SILENT], [SILENT, SILENT], [TELLING, TELLING], refills=refills)
    rows = ready(["-"] * 8, None)

    assert steps.asked == asked
    assert ready.last == asked[-1]
    assert sum(map(sum, rows["env_mask"])) == (24 if refills == 5 else 12)
    assert engine.naps == 1


def test_no_refill_is_made_beyond_the_budget():
    """The search ends with step 1; the update takes what there is."""
    ready, steps, _ = rollouts([SILENT, TELLING], last=1, refills=3)
    ready(["-"] * 8, None)

    assert steps.asked == [1]
    assert not ready.advance()


def test_attempts_of_before_a_resume_are_not_learned_from():
    """Other weights may have drawn them."""
    ready, steps, _ = rollouts([TELLING, TELLING])
    steps.store.stored[1] = [attempt(0, 1.0), attempt(2, 3.0)]
    rows = ready(["-"] * 8, None)

    assert sorted(sum(mask) for mask in rows["env_mask"]) == [0, 0, 0, 0, 3, 3, 3, 3]


def test_a_slow_program_is_learned_from_in_the_next_update():
    """Sample 3 of the second group of step 1 is evaluated while step 2 is made; once, and with its group's credit."""
    groups = [group_of(1, 1, 1, 1), group_of(1, 2, 3, 4)]
    whole = [
        tuple(replace(made, id=1 + 4 * place + made.completion.sample) for made in group)
        for place, group in enumerate(groups)
    ]
    ready, steps, _ = rollouts([whole[0], whole[1][:3]], [TELLING, SILENT], [TELLING, SILENT])
    ready(["-"] * 8, None)
    steps.store.stored[1] = [*whole[0], *whole[1]]
    counts, staleness = [], []
    for _ in range(2):
        ready.advance()
        counts.append(sum(map(sum, ready(["-"] * 8, None)["env_mask"])))
        staleness.append(ready.batch.figures["staleness"])
        steps.store.stored.clear()

    assert counts == [15, 12]
    assert staleness == [1 / 5, 0]
    assert ready.batch.rows[3].advantage == pytest.approx(1.1619, abs=1e-4)


@pytest.mark.parametrize("early", [1, 2])
def test_what_told_nothing_is_learned_from_when_the_rest_of_its_group_has_come(early):
    """One attempt, or two that repeat something, are no row at first; beside good ones they are what to do less of."""
    whole = tuple(replace(made, id=5 + made.completion.sample) for made in group_of(-0.3, -0.3, 2.0, 2.5))
    first = tuple(replace(made, id=1 + made.completion.sample) for made in SILENT)
    ready, steps, _ = rollouts([first, whole[:early]], [TELLING, SILENT])
    ready(["-"] * 8, None)
    assert ready.batch.is_empty
    steps.store.stored[1] = [*first, *whole]
    ready.advance()
    ready(["-"] * 8, None)

    advantages = [row.advantage for row in ready.batch.rows[4:]]
    assert [advantage < 0 for advantage in advantages] == [True, True, False, False]
    assert sum(advantages) == pytest.approx(0)


def test_a_trainer_of_another_size_is_refused():
    """It would take rows for others."""
    ready, _, _ = rollouts([TELLING, SILENT])

    with pytest.raises(ValueError, match="9 completions of a step of 8"):
        ready(["-"] * 9, None)


def test_novelty_is_earned_before_a_group_is_judged_to_say_nothing():
    """Equal rewards with different texts teach: of three children the one that is unlike the others earns more."""
    texts = ["a b", "a b", "c d", "a b"]
    group = tuple(replace(made, source=text) for made, text in zip(group_of(3, 3, 3, 3), texts, strict=True))
    ready, _, _ = rollouts([group, SILENT], novelty=0.3)
    rows = ready(["-"] * 8, None)

    assert sum(map(sum, rows["env_mask"])) == 12
    assert [row.advantage > 0 for row in ready.batch.rows if row.counts] == [False, False, True, False]
    # 3, and a third of 0.3 for those whose one other neighbour of three is unlike them.
    assert ready.batch.figures["reward"] == pytest.approx((4 * 3 + 3 * 0.1 + 0.3 + 4 * 3) / 8)


def test_the_figures_compare_with_the_parents_of_the_store():
    """The toy's parent is worth 0.5: 1, 2, 3 and 4 are better, 0.5 is unchanged."""
    ready, _, _ = rollouts([TELLING, group_of(0.5, 0.5, 0.25, None)])
    ready(["-"] * 8, None)

    assert (ready.batch.figures["changed"], ready.batch.figures["improved"]) == (5 / 8, 4 / 8)


class StoredSteps(Steps):
    """Makes steps of two telling groups each, of which the last attempt is stored only after the step has ended."""

    def __call__(self, number):
        self.asked.append(number)
        first = 1 + 8 * (number - 1)
        groups = [group_of(1, 2, 3, 4 + number, step=number), group_of(1, 2, 3, 4 + number, step=number)]
        whole = [
            tuple(replace(made, id=first + 4 * place + made.completion.sample) for made in group)
            for place, group in enumerate(groups)
        ]
        self.store.stored[number] = [*whole[0], *whole[1]]
        self.store.steps.append(report(number))
        return [whole[0], whole[1][:3]]


def ahead(last, **changes):
    """Return rollouts that make the next step beside each update, ready for the first."""
    store = ListStore()
    steps = StoredSteps(store)
    ready = Rollouts(steps, steps_until(last), SilentEngine(), store, replace(SETTINGS, overlap=True, **changes))
    assert ready.advance()
    return ready, steps


def test_the_next_step_is_made_beside_the_update():
    """When the rows of a step are there the next one has begun; its weights are those of before the update."""
    ready, steps = ahead(last=3)
    learned, staleness = [], []
    for asked in ([1, 2], [1, 2, 3], [1, 2, 3]):
        ready(["-"] * 8, None)
        ready.settle()
        assert steps.asked == asked
        learned.append(ready.last)
        staleness.append(ready.batch.figures["staleness"])
        more = ready.advance()

    assert learned == [1, 2, 3]
    assert not more
    assert staleness == [0, 1, 1]


def test_what_is_late_is_as_old_as_the_weights_that_drew_it():
    """Late or not, the second update's rows were drawn before the first; late ones of the third, two updates before."""
    ready, steps = ahead(last=3)

    def one_missing(number):
        """Store the last attempt of each step two steps later, so that each update has a free row."""
        groups = steps(number)
        steps.store.stored[number], late = steps.store.stored[number][:7], steps.store.stored[number][7]
        steps.store.stored.setdefault(number - 1, []).extend(lates[-1:])
        lates.append(late)
        return groups

    lates, learned = [], []
    ready.attempt = one_missing
    for _ in range(3):
        ready(["-"] * 8, None)
        learned.append((sum(row.counts for row in ready.batch.rows), ready.batch.figures["staleness"]))
        ready.settle()
        ready.advance()

    assert learned == [(7, 0), (8, 1), (8, (7 * 1 + 2) / 8)]


def test_what_is_evaluated_until_a_step_made_ahead_is_taken_is_its_own():
    """Steps 2 and 3 are whole by then; of the first one an attempt comes late, and finds no free row in the second."""
    ready, _ = ahead(last=3)
    counts = []
    for _ in range(3):
        ready(["-"] * 8, None)
        counts.append(sum(row.counts for row in ready.batch.rows))
        ready.settle()
        ready.advance()

    assert counts == [7, 8, 8]


def test_only_what_the_trainer_waits_for_is_the_gpus_time():
    """A step that was made beside an update, and is there when it is asked for, costs nothing more."""
    ready, _ = ahead(last=2)
    ready(["-"] * 8, None)
    first = (ready.times.generate_s, ready.times.wait_s)
    ready.settle()
    ready.times.generate_s = ready.times.wait_s = 0.0
    ready.advance()
    ready(["-"] * 8, None)

    assert first == (1.0, 0.5)
    assert ready.times.generate_s + ready.times.wait_s < 0.5


def test_what_goes_wrong_beside_an_update_is_raised_when_the_step_is_asked_for():
    """The update that was being computed is not lost."""
    ready, steps = ahead(last=3)
    ready.attempt = lambda number: steps(number) if number == 1 else 1 / 0
    ready(["-"] * 8, None)
    ready.settle()
    assert ready.advance()

    with pytest.raises(ZeroDivisionError):
        ready(["-"] * 8, None)

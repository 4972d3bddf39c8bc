"""From outcomes to rewards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.reward import LazyMode, Penalties, Rewarder, RewardMode, improvement, shaped
from evolve.types import REPLY_FAILURES, Direction, Outcome, RewardShape

UP = RewardShape(worst=0.0, best=2.635, alpha=3.0, k=5.0)
DOWN = RewardShape(worst=3.2, best=1.4557, alpha=1.0, k=3.0)


def rewarder(mode=RewardMode.RAW, lazy=LazyMode.ANY, direction=Direction.MAX, shape=UP):
    return Rewarder(mode=mode, lazy=lazy, direction=direction, shape=shape, penalties=Penalties())


def test_the_penalties_are_those_of_the_paper():
    """No program -0.4, a repetition -0.3, a crash or a broken limit -0.2, an invalid construction -0.1."""
    reward = rewarder().reward

    assert {reward(outcome, None, parent_score=1.0) for outcome in REPLY_FAILURES} == {-0.4}
    assert reward(Outcome.UNCHANGED, 1.0, parent_score=1.0) == -0.3
    assert reward(Outcome.DUPLICATE, 1.0, parent_score=1.0) == -0.3
    for outcome in (Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.VIOLATION, Outcome.KILLED):
        assert reward(outcome, None, parent_score=1.0) == -0.2
    assert reward(Outcome.INVALID, None, parent_score=1.0) == -0.1


def test_what_is_nobodys_fault_is_masked():
    """A failure of the sandbox earns nothing and costs nothing."""
    assert rewarder().reward(Outcome.LOST, None, parent_score=1.0) is None


def test_every_outcome_has_a_reward():
    """No outcome falls through."""
    for outcome in set(Outcome) - {Outcome.LOST}:
        score = 1.0 if outcome is Outcome.VALID or outcome.is_lazy else None
        assert isinstance(rewarder().reward(outcome, score, parent_score=1.0), float)


@pytest.mark.parametrize(
    ("lazy", "unchanged", "duplicate"),
    [(LazyMode.NONE, 2.0, 2.0), (LazyMode.PARENT, -0.3, 2.0), (LazyMode.ANY, -0.3, -0.3)],
)
def test_the_lazy_mode_says_which_repetitions_cost(lazy, unchanged, duplicate):
    """A repetition that is not punished earns what the program it repeats earned."""
    reward = rewarder(lazy=lazy).reward

    assert reward(Outcome.UNCHANGED, 2.0, parent_score=2.0) == unchanged
    assert reward(Outcome.DUPLICATE, 2.0, parent_score=1.0) == duplicate


def test_raw_rewards_of_minimised_scores_are_reciprocals():
    """A smaller score earns more, as in the paper's code: 1 / (score + 1e-8)."""
    assert rewarder(direction=Direction.MIN, shape=DOWN).reward(Outcome.VALID, 4.0, parent_score=1.0) == 1 / (4 + 1e-8)


def test_shaped_rewards_are_computed_by_hand():
    """K * H^alpha: half way up with alpha 3 and k 5 is 5/8; half way down with alpha 1 and k 3 is 3/2."""
    assert shaped(1.3175, UP) == 0.625
    assert shaped((3.2 + 1.4557) / 2, DOWN) == pytest.approx(1.5)
    assert shaped(99.0, UP) == 5.0
    assert shaped(99.0, DOWN) == 0.0


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_a_better_score_never_earns_less(one, other):
    """All modes are monotone in the score, whichever way is better."""
    for direction, shape in ((Direction.MAX, UP), (Direction.MIN, DOWN)):
        worse, better = sorted((one, other), key=direction.rank)
        assert shaped(worse, shape) <= shaped(better, shape)
        assert improvement(worse, 1.0, direction, shape) <= improvement(better, 1.0, direction, shape)


def test_a_copy_earns_nothing_for_improvement():
    """Only the gain over the parent is paid, and a loss costs no more than a copy."""
    reward = rewarder(mode=RewardMode.IMPROVEMENT).reward

    assert reward(Outcome.VALID, 2.0, parent_score=2.0) == 0.0
    assert reward(Outcome.VALID, 1.0, parent_score=2.0) == 0.0
    assert reward(Outcome.VALID, 2.0 + 2.635 / 10, parent_score=2.0) == pytest.approx(0.5)

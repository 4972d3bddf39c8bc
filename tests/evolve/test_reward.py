"""From outcomes to rewards."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.reward import LazyMode, Nearness, Penalties, Rewarder, RewardMode, Trial, improvement, shaped
from evolve.types import REPLY_FAILURES, Direction, Outcome, Program, RewardShape

UP = RewardShape(worst=0.0, best=2.635, alpha=3.0, k=5.0)
DOWN = RewardShape(worst=3.2, best=1.4557, alpha=1.0, k=3.0)


PARENT = "def f(n):\n    return [n, 2, 3, 4, 5, 6, 7, 8]\n"


def rewarder(mode=RewardMode.RAW, lazy=LazyMode.ANY, direction=Direction.MAX, shape=UP, near=None):
    """Return the rewards as a function of outcome, scores and the child's source."""
    rewarder = Rewarder(
        mode=mode, lazy=lazy, near=near or Nearness(), direction=direction, shape=shape, penalties=Penalties()
    )

    def reward(outcome, score, *, parent_score, source="def f(n):\n    return 0\n", known=None):
        parent = program(Outcome.INVALID if parent_score is None else Outcome.VALID, parent_score)
        return rewarder.reward(Trial(outcome=outcome, score=score, source=source, parent=parent, known=known))

    return reward


def program(outcome, score=None):
    """Return a program that ended so."""
    return Program(id=0, parent_id=None, step=0, source=PARENT, identity="p", outcome=outcome, score=score)


def test_the_penalties_are_those_of_the_paper():
    """No program -0.4, a repetition -0.3, a crash or a broken limit -0.2, an invalid construction -0.1."""
    reward = rewarder()

    assert {reward(outcome, None, parent_score=1.0) for outcome in REPLY_FAILURES} == {-0.4}
    assert reward(Outcome.UNCHANGED, 1.0, parent_score=1.0) == -0.3
    assert reward(Outcome.DUPLICATE, 1.0, parent_score=1.0) == -0.3
    for outcome in (Outcome.CRASHED, Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.VIOLATION, Outcome.KILLED):
        assert reward(outcome, None, parent_score=1.0) == -0.2
    assert reward(Outcome.INVALID, None, parent_score=1.0) == -0.1


def test_what_is_nobodys_fault_is_masked():
    """A failure of the sandbox earns nothing and costs nothing."""
    assert rewarder()(Outcome.LOST, None, parent_score=1.0) is None


def test_every_outcome_has_a_reward():
    """No outcome falls through."""
    for outcome in set(Outcome) - {Outcome.LOST}:
        score = 1.0 if outcome is Outcome.VALID or outcome.is_lazy else None
        assert isinstance(rewarder()(outcome, score, parent_score=1.0), float)


@pytest.mark.parametrize(
    ("lazy", "unchanged", "duplicate"),
    [(LazyMode.NONE, 2.0, 2.0), (LazyMode.PARENT, -0.3, 2.0), (LazyMode.ANY, -0.3, -0.3)],
)
def test_the_lazy_mode_says_which_repetitions_cost(lazy, unchanged, duplicate):
    """A repetition that is not punished earns what the program it repeats earned."""
    reward = rewarder(lazy=lazy)

    assert reward(Outcome.UNCHANGED, 2.0, parent_score=2.0) == unchanged
    assert reward(Outcome.DUPLICATE, 2.0, parent_score=1.0) == duplicate


@pytest.mark.parametrize("outcome", [Outcome.UNCHANGED, Outcome.DUPLICATE])
@pytest.mark.parametrize(
    ("known", "earned"), [(Outcome.INVALID, -0.1), (Outcome.CRASHED, -0.2), (Outcome.TIMED_OUT, -0.2)]
)
def test_a_repetition_that_is_not_punished_costs_what_its_like_cost(outcome, known, earned):
    """The penalty of a failure is that of the program that is repeated; where repetitions are punished, -0.3."""
    assert rewarder(lazy=LazyMode.NONE)(outcome, None, parent_score=None, known=program(known)) == earned
    assert rewarder(lazy=LazyMode.ANY)(outcome, None, parent_score=None, known=program(known)) == -0.3


def test_raw_rewards_of_minimised_scores_are_reciprocals():
    """A smaller score earns more, as in the paper's code: 1 / (score + 1e-8)."""
    assert rewarder(direction=Direction.MIN, shape=DOWN)(Outcome.VALID, 4.0, parent_score=1.0) == 1 / (4 + 1e-8)


#: Where the reciprocal is largest, and where it would have no value or turn over.
around_zero = st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1e-300, 1e-9, -1e-9, 1e-8, -1e-8, -2e-8, 1.0, -1.0])
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.one_of(around_zero, finite, st.floats(-10, 10)), st.one_of(around_zero, finite, st.floats(-10, 10)))
def test_raw_rewards_are_finite_and_a_better_score_never_earns_less(one, other):
    """Both ways: a minimised score may be 0, negative, and where the reciprocal has its pole."""
    for direction, shape in ((Direction.MAX, UP), (Direction.MIN, DOWN)):
        reward = rewarder(direction=direction, shape=shape)
        worse, better = (
            reward(Outcome.VALID, score, parent_score=1.0) for score in sorted((one, other), key=direction.rank)
        )
        assert math.isfinite(worse)
        assert math.isfinite(better)
        assert worse <= better


def test_raw_rewards_of_negative_minimised_scores_differ():
    """Scores below 0 earn more the lower they are, by their difference, so that a problem with no others is learned."""
    reward = rewarder(direction=Direction.MIN, shape=DOWN)

    earned = [reward(Outcome.VALID, score, parent_score=1.0) for score in (0.0, -0.5, -2.5)]
    assert earned == [1e8, 1e8 + 0.5, 1e8 + 2.5]


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
    reward = rewarder(mode=RewardMode.IMPROVEMENT)

    assert reward(Outcome.VALID, 2.0, parent_score=2.0) == 0.0
    assert reward(Outcome.VALID, 1.0, parent_score=2.0) == 0.0
    assert reward(Outcome.VALID, 2.0 + 2.635 / 10, parent_score=2.0) == pytest.approx(0.5)


@pytest.mark.parametrize(("direction", "shape"), [(Direction.MAX, UP), (Direction.MIN, DOWN)])
def test_any_gain_is_worth_the_same(direction, shape):
    """A millionth earns as much as a half; an equal score, a loss and a child of an invalid parent are told apart."""
    reward = rewarder(mode=RewardMode.BETTER, direction=direction, shape=shape)
    up = 1 if direction is Direction.MAX else -1

    assert reward(Outcome.VALID, 2.0 + up * 1e-6, parent_score=2.0) == 1.0
    assert reward(Outcome.VALID, 2.0 + up * 0.5, parent_score=2.0) == 1.0
    assert reward(Outcome.VALID, 2.0, parent_score=2.0) == 0.0
    assert reward(Outcome.VALID, 2.0 - up * 0.5, parent_score=2.0) == 0.0
    assert reward(Outcome.VALID, shape.worst + up * 0.1, parent_score=None) == 1.0
    assert reward(Outcome.VALID, shape.worst - up * 0.1, parent_score=None) == 0.0


@given(st.floats(-10, 10), st.floats(-10, 10), st.text(max_size=30))
def test_without_thresholds_nothing_is_near(score, parent, source):
    """The defaults pay an equal score and an equal text in full."""
    assert rewarder()(Outcome.VALID, score, parent_score=parent, source=source) == score


@pytest.mark.parametrize(("direction", "shape"), [(Direction.MAX, UP), (Direction.MIN, DOWN)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_score_that_hardly_moves_is_a_repetition(direction, shape, sign):
    """A threshold of 0.01 is 0.02635 or 0.017443 in the scores' unit; a gain and a loss below it cost -0.3."""
    reward = rewarder(direction=direction, shape=shape, near=Nearness(score=0.01))
    unit = 0.01 * abs(shape.best - shape.worst)

    assert reward(Outcome.VALID, 2.0, parent_score=2.0) == -0.3
    assert reward(Outcome.VALID, 2.0 + sign * 0.99 * unit, parent_score=2.0) == -0.3
    assert reward(Outcome.VALID, 2.0 + sign * 1.01 * unit, parent_score=2.0) > 0


def test_a_text_that_hardly_changes_is_a_repetition():
    """One of 26 tokens changed is a distance of 1/26, whatever the comment says and however large the gain."""
    one = PARENT.replace("8]", "9]  # a new idea")
    two = one.replace("7,", "0,")
    reward = rewarder(near=Nearness(edit=1.5 / 26))

    assert reward(Outcome.VALID, 2.5, parent_score=1.0, source=one) == -0.3
    assert reward(Outcome.VALID, 2.5, parent_score=1.0, source=two) == 2.5


def test_a_copy_is_near_even_where_repetitions_are_not_punished():
    """Else a child would do better to change nothing than to change a little."""
    reward = rewarder(lazy=LazyMode.NONE, near=Nearness(edit=0.1))

    assert reward(Outcome.UNCHANGED, 2.0, parent_score=2.0, source=PARENT) == -0.3
    assert reward(Outcome.DUPLICATE, 2.0, parent_score=1.0, source="def f(n):\n    return 0\n") == 2.0


def test_only_a_valid_child_of_a_valid_parent_can_be_near():
    """To repair a failed parent by one token is no repetition, and a failure keeps its own penalty."""
    near = rewarder(near=Nearness(edit=1.0, score=1.0))

    assert near(Outcome.VALID, 1.0, parent_score=None, source=PARENT + "\n") == 1.0
    assert near(Outcome.CRASHED, None, parent_score=1.0, source=PARENT) == -0.2
    assert near(Outcome.INVALID, None, parent_score=1.0, source=PARENT) == -0.1
    assert near(Outcome.LOST, None, parent_score=1.0, source=PARENT) is None


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(0, 1), st.floats(0, 1))
def test_what_is_near_stays_near_with_a_larger_threshold(score, parent, one, other):
    """Raising a threshold makes repetitions of more children, and of none fewer."""
    low, high = sorted((one, other))
    child = PARENT.replace("8]", "9, 10]")
    for field in ("edit", "score"):
        earned = [
            rewarder(near=Nearness(**{field: threshold}))(Outcome.VALID, score, parent_score=parent, source=child)
            for threshold in (low, high)
        ]
        assert earned[1] in (earned[0], -0.3)

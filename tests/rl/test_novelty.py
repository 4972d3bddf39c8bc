"""The bonus for children that differ from their siblings."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.types import Outcome
from rl.novelty import with_novelty
from tests.rl.toy import attempt

TEXTS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=8).map(" ".join), min_size=2, max_size=6)


def group_of(*sources, **changes):
    """A group of valid children that earn 1."""
    return tuple(attempt(sample, 1.0, source=source, **changes) for sample, source in enumerate(sources))


def bonuses(group, weight):
    """Return what each child earns beside its 1."""
    return [each.reward - 1 for each in with_novelty(group, weight)]


def test_the_bonus_is_the_mean_distance_from_the_siblings():
    """By hand: one of four tokens differs between the first two, a distance of 1/4; the third shares nothing."""
    group = group_of("a b c d", "a b c x", "u v w z")

    assert bonuses(group, 0.4) == pytest.approx([0.4 * 1.25 / 2, 0.4 * 1.25 / 2, 0.4])


@given(TEXTS)
def test_a_group_of_copies_earns_nothing_and_equal_texts_earn_the_same(texts):
    """Exactly: the least difference would make a group of equal rewards tell something."""
    assert bonuses(group_of(*[texts[0]] * 5), 1.0) == [0] * 5
    twice = bonuses(group_of(*texts, *texts), 1.0)
    assert twice[: len(texts)] == twice[len(texts) :]


@given(TEXTS, st.floats(0, 2))
def test_the_bonus_lies_from_0_to_the_weight(texts, weight):
    """So that a user can weigh it against the score."""
    assert all(-1e-12 <= bonus <= weight + 1e-12 for bonus in bonuses(group_of(*texts), weight))


@given(TEXTS)
def test_one_more_copy_never_pays_the_copied(texts):
    """What is made twice is worth less to both than to the one alone."""
    before = bonuses(group_of(*texts), 1.0)[0]
    after = bonuses(group_of(*texts, texts[0]), 1.0)[0]

    assert after <= before + 1e-12


def test_only_valid_children_are_paid_and_compared():
    """A crash is unlike all others, and a repetition has no text of its own."""
    crashed = attempt(1, -0.2, outcome=Outcome.CRASHED, source="x y z", score=None)
    repeated = attempt(2, -0.3, outcome=Outcome.DUPLICATE, source=None, score=None)
    lost = attempt(3, None, source=None)
    alone = attempt(0, 1.0, source="a b")

    assert with_novelty((alone, crashed, repeated, lost), 1.0) == (alone, crashed, repeated, lost)
    paired = with_novelty((alone, crashed, repeated, lost, attempt(4, 1.0, source="a c")), 1.0)
    assert [each.reward for each in paired] == [1.5, -0.2, -0.3, None, 1.5]


def test_without_a_weight_the_group_is_left_alone():
    """The default."""
    group = group_of("a", "b", "c")

    assert with_novelty(group, 0.0) is group


def test_the_sum_does_not_depend_on_the_order():
    """Sums of floats in another order differ in the last digit; these do not."""
    texts = ["a b c d e f g", "a b c", "a b x y z", "q", "a b c d"]
    forth = bonuses(group_of(*texts), 1.0)
    back = bonuses(group_of(*reversed(texts)), 1.0)

    assert forth == back[::-1]
    assert math.fsum(forth) > 0

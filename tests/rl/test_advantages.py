"""Credit inside a group: hand-computed values, and what holds for all rewards."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.advantages import (
    ADVANTAGES,
    CAP,
    entropic,
    entropic_adaptive,
    grpo,
    max_rl,
    most_varied,
    rank,
    rloo,
    tells_nothing,
)

NAMES = sorted(ADVANTAGES)
#: Those that see only the order and the proportions of rewards.
SCALE_FREE = ("grpo", "max_rl", "entropic_adaptive", "rank")

REWARDS = st.lists(st.integers(-400, 400).map(lambda hundredths: hundredths / 100), min_size=2, max_size=16)


def group(*values: float) -> np.ndarray:
    """One group."""
    return np.array([values], dtype=np.float64)


@pytest.mark.parametrize("name", NAMES)
@given(values=REWARDS, shift=st.integers(-50, 50))
def test_a_constant_added_to_all_rewards_changes_nothing(name, values, shift):
    """Only differences inside a group count."""
    advantage = ADVANTAGES[name]

    np.testing.assert_allclose(advantage(group(*values)), advantage(group(*values) + shift), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SCALE_FREE)
@given(values=REWARDS, power=st.integers(-3, 12))
def test_the_unit_of_the_reward_does_not_matter(name, values, power):
    """A score in millimetres teaches what a score in metres does."""
    advantage = ADVANTAGES[name]
    spread = max(values) - min(values)
    scale = 2.0**power

    # The guard of grpo's deviation is absolute, so a spread near it is no test.
    if spread * scale > 0.01:
        np.testing.assert_allclose(advantage(group(*values)), advantage(group(*values) * scale), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@given(values=REWARDS)
def test_ties_earn_the_same_and_more_reward_never_earns_less(name, values):
    """The advantage is a non-decreasing function of the reward."""
    (advantages,) = ADVANTAGES[name](group(*values))
    order = np.argsort(values, kind="stable")

    assert np.isfinite(advantages).all()
    for low, high in itertools.pairwise(order):
        if values[low] == values[high]:
            assert advantages[low] == pytest.approx(advantages[high], abs=1e-9)
        else:
            assert advantages[low] <= advantages[high] + 1e-9


@pytest.mark.parametrize("name", NAMES)
@given(value=st.floats(-1e6, 1e6), size=st.integers(1, 16))
def test_a_group_of_equal_rewards_says_nothing(name, value, size):
    """All advantages are exactly 0."""
    assert ADVANTAGES[name](np.full((1, size), value)).tolist() == [[0.0] * size]


@pytest.mark.parametrize("name", NAMES)
@given(values=REWARDS, places=st.lists(st.integers(0, 16), max_size=5))
def test_a_masked_attempt_is_as_good_as_absent(name, values, places):
    """NaN earns 0 and changes nobody else's advantage."""
    holes = list(values)
    for place in places:
        holes.insert(min(place, len(holes)), math.nan)

    (advantages,) = ADVANTAGES[name](group(*holes))

    assert (advantages[np.isnan(holes)] == 0).all()
    np.testing.assert_array_equal(advantages[~np.isnan(holes)], ADVANTAGES[name](group(*values))[0])


@pytest.mark.parametrize("name", NAMES)
def test_one_valid_attempt_in_n_says_nothing(name):
    """There is nobody to compare it with; nor is there where all are masked."""
    rewards = np.array([[math.nan, 3.0, math.nan], [math.nan] * 3])

    assert ADVANTAGES[name](rewards).tolist() == [[0.0] * 3, [0.0] * 3]
    assert all(tells_nothing(rewards_n) for rewards_n in rewards)


@pytest.mark.parametrize("name", NAMES)
def test_groups_do_not_see_each_other(name):
    """Each row is what it is alone."""
    rewards = np.array([[1.0, 2.0, 4.0], [100.0, -100.0, 3.0]])

    np.testing.assert_array_equal(
        ADVANTAGES[name](rewards),
        np.vstack([ADVANTAGES[name](rewards[:1]), ADVANTAGES[name](rewards[1:])]),
    )


@given(values=REWARDS)
def test_the_mean_baselines_sum_to_zero(values):
    """What some gain the others lose."""
    for name in ("grpo", "dr_grpo", "rloo", "max_rl", "rank"):
        assert ADVANTAGES[name](group(*values)).sum() == pytest.approx(0, abs=1e-8)


def test_grpo_by_hand():
    """Mean 2, unbiased deviation sqrt(14 / 3)."""
    deviation = math.sqrt(14 / 3)

    np.testing.assert_allclose(grpo(group(0, 1, 2, 5)), [[-2 / deviation, -1 / deviation, 0, 3 / deviation]], rtol=1e-5)


def test_rloo_by_hand():
    """5 against the mean of 0, 1 and 2; 0 against the mean of 1, 2 and 5."""
    np.testing.assert_allclose(rloo(group(0, 1, 2, 5)), [[-8 / 3, -4 / 3, 0, 4]])


def test_max_rl_pays_a_rare_success_by_its_rarity():
    """One success in 4 earns 3, two earn 1 each."""
    assert max_rl(group(0, 0, 0, 1)).tolist() == [[-1, -1, -1, 3]]
    assert max_rl(group(-1, -1, 0, 0)).tolist() == [[-1, -1, 1, 1]]


def test_entropic_by_hand():
    """With rewards 0 and ln 2 / 2 the weights are 1 and 2: 2 over 1, and 1 over (1 + 2) / 2."""
    np.testing.assert_allclose(entropic(group(0, 0, math.log(2) / 2)), [[-1 / 3, -1 / 3, 1]])


def test_entropic_adaptive_reaches_its_divergence():
    """The weights are ln 2 away from uniform: recomputed from the advantages, none of which is capped here."""
    advantages = entropic_adaptive(group(0.0, 0.4, 0.8, 1.0))[0]
    # A = w / ((S - w) / (n - 1)) - 1 gives w / S = (A + 1) / (A + n).
    shares = (advantages + 1) / (advantages + 4)

    assert advantages.max() < CAP
    assert shares.sum() == pytest.approx(1)
    assert (shares * np.log(4 * shares)).sum() == pytest.approx(math.log(2))


def test_a_lonely_winner_is_capped():
    """Among near-ties one outlier would earn more than anything else in a run."""
    assert entropic_adaptive(group(*[0.0] * 15, 1.0)).max() == CAP
    assert entropic(group(*[0.0] * 15, 10.0)).max() == CAP


def test_float64_tells_apart_what_float32_would_not():
    """Two records that differ in the tenth digit."""
    (advantages,) = grpo(group(2.6359830849176, 2.6359830849, 2.6359, 2.6359))

    assert advantages[0] > advantages[1]


@given(values=REWARDS)
def test_ranks_see_the_order_alone(values):
    """A gain of a millionth ranks like a gain of a million, and the advantages have unit deviation."""
    (advantages,) = rank(group(*values))

    np.testing.assert_allclose(rank(group(*[math.exp(value) for value in values])), [advantages])
    np.testing.assert_allclose(rank(group(*[-value for value in values])), [-advantages], atol=1e-12)
    if len(set(values)) > 1:
        assert advantages.std(ddof=1) == pytest.approx(1)


def test_rank_by_hand():
    """Ranks 0.5, 0.5, 2, 3 of mean 1.5: the squares of -1, -1, 0.5, 1.5 sum to 4.5, over 3 gives 1.5."""
    deviation = math.sqrt(1.5)

    np.testing.assert_allclose(
        rank(group(2.0, -0.4, 2.0001, -0.4)), [[0.5 / deviation, -1 / deviation, 1.5 / deviation, -1 / deviation]]
    )


def test_among_ties_one_that_gains_a_trifle_earns_what_grpo_would_pay_a_large_gain():
    """15 children that gain nothing and one that gains 1e-9, against one that gains 1."""
    np.testing.assert_allclose(rank(group(*[0.0] * 15, 1e-9)), grpo(group(*[0.0] * 15, 1.0)), rtol=1e-5)


@given(values=REWARDS, size=st.integers(2, 6))
def test_no_part_of_a_group_varies_more_than_the_one_that_is_kept(values, size):
    """Compared with every part of that size; so a group that tells something keeps telling it."""
    rewards_n = np.array(values[:8])
    kept = most_varied(rewards_n, size)
    valid = kept[~np.isnan(kept)]
    most = max(np.var(part) for part in itertools.combinations(rewards_n, min(size, len(rewards_n))))

    assert len(valid) == min(size, len(rewards_n))
    assert valid.var() == pytest.approx(most)
    assert tells_nothing(kept) is tells_nothing(rewards_n)
    assert all(math.isnan(after) or after == before for before, after in zip(rewards_n, kept, strict=True))


def test_the_kept_part_is_taken_from_both_ends_and_never_from_the_masked():
    """One success among failures stays; of two parts that vary as much the one with more successes is taken."""
    nan = math.nan

    np.testing.assert_array_equal(most_varied(np.array([0, nan, 0, 1, 0, 0.0]), 2), [nan, nan, nan, 1, nan, 0])
    np.testing.assert_array_equal(most_varied(np.array([0, 1, 0, 1, 1, 0.0]), 3), [0, nan, nan, 1, 1, nan])

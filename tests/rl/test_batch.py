"""What a learner takes from a step's groups, and what it leaves out."""

from dataclasses import replace

import pytest

from evolve.types import FinishReason, Outcome
from rl.batch import PLACEHOLDER, Grown, informative, make_batch, rewards_of
from tests.rl.toy import SETTINGS, SilentEngine, attempt, completion, group_of

ENCODE = SilentEngine().encode


def test_rows_stand_group_after_group_with_the_engines_own_tokens():
    """8 rows; the prompt is what the engine decoded from, the completion what it drew."""
    batch = make_batch([group_of(0, 0, 0, 1), group_of(1, 2, 3, 4)], SETTINGS, ENCODE)

    assert len(batch.rows) == 8
    assert {row.prompt_ids for row in batch.rows} == {(97, 98)}
    assert {row.completion_ids for row in batch.rows} == {(5, 6, 7)}
    assert {row.logprobs for row in batch.rows} == {(-0.5, -0.25, -1.0)}
    # Mean 0.25 and deviation 0.5; mean 2.5 and deviation 1.29.
    assert [row.advantage for row in batch.rows] == pytest.approx(
        [-0.5, -0.5, -0.5, 1.5, -1.1619, -0.3873, 0.3873, 1.1619], abs=1e-4
    )


def test_a_lost_attempt_is_masked_and_not_punished():
    """The others are compared among themselves, as if it had never been asked for."""
    batch = make_batch([group_of(0, 0, None, 1), group_of(1, 2, 3, 4)], SETTINGS, ENCODE)

    assert batch.rows[-1] == PLACEHOLDER
    assert [row.advantage for row in batch.rows[:3]] == pytest.approx([-0.5774, -0.5774, 1.1547], abs=1e-4)
    assert batch.figures["masked"] == 1 / 8


def test_a_missing_attempt_leaves_a_placeholder():
    """Its evaluation has not ended."""
    late = group_of(0, 0, 7, 1)
    batch = make_batch([late[:2] + late[3:], group_of(1, 2, 3, 4)], SETTINGS, ENCODE)

    assert batch.rows[-1] == PLACEHOLDER
    assert [row.counts for row in batch.rows] == [True] * 7 + [False]


def test_what_was_late_fills_the_placeholders():
    """Two rows are free; of three late attempts two are taken, each with the credit of its whole group."""
    current = [group_of(0, 0, None, 1), group_of(1, 2, 3, None)]
    before = group_of(1, 2, 3, 4)
    batch = make_batch(current, SETTINGS, ENCODE, [Grown(group=before, late=frozenset({2, 3, 4}))])

    assert [row.fresh for row in batch.rows] == [True] * 6 + [False] * 2
    assert all(row.counts for row in batch.rows)
    # The second and third of 1, 2, 3, 4: mean 2.5, deviation 1.29.
    assert [row.advantage for row in batch.rows[6:]] == pytest.approx([-0.3873, 0.3873], abs=1e-4)
    assert batch.figures["staleness"] == 2 / 8


def test_where_no_row_is_free_what_was_late_is_left_out():
    """What the weights at hand have drawn goes first."""
    current = [group_of(0, 0, 0, 1), group_of(1, 2, 3, 4)]
    batch = make_batch(current, SETTINGS, ENCODE, [Grown(group=group_of(1, 2, 3, 4), late=frozenset({4}))])

    assert all(row.fresh for row in batch.rows)
    assert batch.figures["staleness"] == 0


def test_completions_of_a_group_are_sorted_by_length():
    """Neighbours are padded to the longest of them; each keeps its own advantage."""
    lengths = (3, 1, 4, 2)
    group = tuple(
        attempt(sample, length, completion=completion(sample, token_ids=(9,) * length, logprobs=(-1.0,) * length))
        for sample, length in enumerate(lengths)
    )
    batch = make_batch([group, group_of(1, 2, 3, 4)], SETTINGS, ENCODE)

    assert [len(row.completion_ids) for row in batch.rows[:4]] == [1, 2, 3, 4]
    assert [row.advantage for row in batch.rows[:4]] == [row.advantage for row in batch.rows[4:]]


def test_a_group_that_is_missing_altogether_is_placeholders():
    """A budget may cut a step before a group has any completion."""
    batch = make_batch([(), group_of(1, 2, 3, 4)], SETTINGS, ENCODE)

    assert [row.counts for row in batch.rows].count(False) == 4
    assert not batch.is_silent


@pytest.mark.parametrize(("mask", "masked"), [(True, [False, True]), (False, [False, False])])
def test_cut_completions_are_left_out_if_asked(mask, masked):
    """Else they keep their reward, which is a punishment."""
    cut = attempt(1, -0.4, completion=completion(1, finish_reason=FinishReason.LENGTH))
    rewards_n = rewards_of((attempt(0, 1.0), cut), replace(SETTINGS, samples=2, mask_truncated=mask))

    assert [reward != reward for reward in rewards_n] == masked


@pytest.mark.parametrize("changes", [{"token_ids": (), "logprobs": ()}, {"logprobs": ()}, {"logprobs": (-1.0,)}])
def test_what_the_engine_cannot_account_for_is_masked(changes):
    """Without a log-probability for every token there is nothing to correct by."""
    unknown = attempt(1, 2.0, completion=completion(1, **changes))
    rewards_n = rewards_of((attempt(0, 1.0), unknown), replace(SETTINGS, samples=2))

    assert rewards_n[0] == 1.0
    assert rewards_n[1] != rewards_n[1]


def test_groups_of_equal_rewards_are_dropped_if_asked():
    """Dropped they leave the loss's mean alone; kept they count in it with advantage 0."""
    groups = [group_of(3, 3, 3, 3), group_of(1, 2, 3, 4)]

    dropped = make_batch(groups, SETTINGS, ENCODE)
    kept = make_batch(groups, replace(SETTINGS, drop_constant=False), ENCODE)

    assert [row.counts for row in dropped.rows].count(True) == 4
    assert [row.counts for row in kept.rows] == [True] * 8
    assert [row.advantage for row in kept.rows].count(0.0) == 4
    assert dropped.figures["constant_groups"] == kept.figures["constant_groups"] == 0.5


def test_a_step_that_tells_nothing_is_silent():
    """All groups constant: no row pulls the policy."""
    assert make_batch([group_of(3, 3, 3, 3), group_of(0, 0, 0, 0)], SETTINGS, ENCODE).is_silent


def test_with_refills_the_telling_groups_come_first():
    """Of four groups from two steps the two that tell something fill the batch."""
    silent, telling, other = group_of(3, 3, 3, 3), group_of(1, 2, 3, 4), group_of(0, 1, 0, 1)
    batch = make_batch([silent, telling, silent, other], SETTINGS, ENCODE)

    assert informative([silent, telling, silent, other], SETTINGS) == [telling, other]
    assert all(row.counts for row in batch.rows)
    assert batch.figures["constant_groups"] == 0.5


def test_the_figures_are_shares_of_the_attempts():
    """8 attempts by hand."""
    first = group_of(1, 1, 1, 0)
    lazy = attempt(0, -0.3, outcome=Outcome.DUPLICATE, score=None)
    lost = attempt(1, None, identity=None)
    batch = make_batch([first, (lazy, lost, attempt(2, 0.3), attempt(3, 1.0))], SETTINGS, ENCODE)

    assert batch.figures == pytest.approx(
        {
            "valid": 6 / 8,
            "lazy": 1 / 8,
            "truncated": 0.0,
            "masked": 1 / 8,
            "constant_groups": 0.0,
            "staleness": 0.0,
            "completion_tokens": 3.0,
            "prompt_tokens": 2.0,
            "distinct": 4 / 7,
            "reward": 4 / 7,
            "reward_std": 0.5202,
        },
        abs=1e-4,
    )

"""What a learner takes from a step's groups, and what it leaves out."""

from collections import Counter
from dataclasses import replace

import pytest

from evolve.types import Direction, Draw, FinishReason, Message, Outcome
from rl.batch import PLACEHOLDER, Grown, dealt, informative, make_batch, rewards_of
from rl.ranks import part
from tests.rl.toy import SETTINGS, SilentEngine, attempt, completion, group_of

ENCODE = SilentEngine().encode
#: The seed program is everybody's parent here.
PARENTS = {0: 0.3}


def test_rows_stand_group_after_group_with_the_engines_own_tokens():
    """8 rows; the prompt is what the engine decoded from, the completion what it drew."""
    batch = make_batch([group_of(0, 0, 0, 1), group_of(1, 2, 3, 4)], SETTINGS, ENCODE, PARENTS)

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
    batch = make_batch([group_of(0, 0, None, 1), group_of(1, 2, 3, 4)], SETTINGS, ENCODE, PARENTS)

    assert batch.rows[3] == PLACEHOLDER
    assert [row.advantage for row in batch.rows[:3]] == pytest.approx([-0.5774, -0.5774, 1.1547], abs=1e-4)
    assert batch.figures["masked"] == 1 / 8


def test_a_missing_attempt_leaves_a_placeholder():
    """Its evaluation has not ended."""
    late = group_of(0, 0, 7, 1)
    batch = make_batch([late[:2] + late[3:], group_of(1, 2, 3, 4)], SETTINGS, ENCODE, PARENTS)

    assert batch.rows[3] == PLACEHOLDER
    assert [row.counts for row in batch.rows] == [True] * 3 + [False] + [True] * 4


def test_what_was_late_fills_the_placeholders():
    """Two rows are free; of three late attempts two are taken, each with the credit of its whole group."""
    current = [group_of(0, 0, None, 1), group_of(1, 2, 3, None)]
    before = group_of(1, 2, 3, 4)
    batch = make_batch(current, SETTINGS, ENCODE, PARENTS, [Grown(group=before, late=frozenset({2, 3, 4}))])

    assert [row.fresh for row in batch.rows].count(False) == 2
    assert all(row.counts for row in batch.rows)
    # The second and third of 1, 2, 3, 4: mean 2.5, deviation 1.29.
    assert [row.advantage for row in batch.rows if not row.fresh] == pytest.approx([-0.3873, 0.3873], abs=1e-4)
    assert batch.figures["staleness"] == 2 / 8


def test_where_no_row_is_free_what_was_late_is_left_out():
    """What the weights at hand have drawn goes first."""
    current = [group_of(0, 0, 0, 1), group_of(1, 2, 3, 4)]
    batch = make_batch(current, SETTINGS, ENCODE, PARENTS, [Grown(group=group_of(1, 2, 3, 4), late=frozenset({4}))])

    assert all(row.fresh for row in batch.rows)
    assert batch.figures["staleness"] == 0


def long(*rewards, step=1, tokens=20):
    """A group whose prompts have two tokens and whose completions have many."""
    said = [
        completion(sample, token_ids=(9,) * tokens, logprobs=(-1.0,) * tokens, tokens=tokens)
        for sample in range(len(rewards))
    ]
    return tuple(
        attempt(sample, reward, step=step, completion=said[sample], number=100 * step + sample)
        for sample, reward in enumerate(rewards)
    )


@pytest.mark.parametrize("micro_tokens", [130, 10**6])
def test_a_micro_batch_holds_no_more_tokens_than_the_longest_group(micro_tokens):
    """At most 130: the step's group takes 2 + 3 * 20, a late row with its own prompt 40 + 20; two fit, not three."""
    settings = replace(SETTINGS, parents=3, samples=4, max_tokens=20, max_model_len=70, micro_tokens=micro_tokens)
    assert (settings.micro_rows, settings.most_tokens) == (4, 130)
    question = (Message(role="user", content="x" * 40),)
    late = []
    for step in range(2, 12):
        group = tuple(replace(row, prompt=question) for row in long(1, 2, step=step))
        late.append(Grown(group=group, late=frozenset({group[0].id})))

    batch = make_batch([long(1, 2, 3, None), (), ()], settings, ENCODE, PARENTS, late)

    micros = [batch.rows[start : start + 4] for start in range(0, 12, 4)]
    assert [sum(row.counts for row in micro) for micro in micros] == [4, 2, 2]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_all_ranks_have_about_as_much_to_learn_from(ranks):
    """Of eight groups four tell nothing: each rank gets as many of the others, and all their rows are there once."""
    settings = replace(SETTINGS, parents=8)
    groups = [group_of(*rewards, step=1) for rewards in [(1, 2, 3, 4)] * 4 + [(2, 2, 2, 2)] * 4]
    batch = make_batch(groups, settings, ENCODE, PARENTS)
    rows = dealt(batch, settings, ranks).rows
    parts = [part(rows, rank, ranks) for rank in range(ranks)]

    assert [sum(row.counts for row in mine) for mine in parts] == [16 // ranks] * ranks
    assert Counter(rows) == Counter(batch.rows)


def test_a_group_is_not_parted_where_it_fits():
    """Three small groups: two share a micro-batch, the third begins the next; each stays together."""
    settings = replace(SETTINGS, parents=3, micro_tokens=10**6)
    groups = [group_of(1, 2, None, None), group_of(3, None, 5, 4), group_of(6, None, None, 7)]
    batch = make_batch(groups, settings, ENCODE, PARENTS)

    assert [row.counts for row in batch.rows] == [True] * 4 + [True] * 3 + [False] + [False] * 4
    assert [round(row.advantage, 4) for row in batch.rows[:4]] == [-0.7071, 0.7071, -0.7071, 0.7071]


def test_a_group_that_is_missing_altogether_is_placeholders():
    """A budget may cut a step before a group has any completion."""
    batch = make_batch([(), group_of(1, 2, 3, 4)], SETTINGS, ENCODE, PARENTS)

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

    dropped = make_batch(groups, SETTINGS, ENCODE, PARENTS)
    kept = make_batch(groups, replace(SETTINGS, drop_constant=False), ENCODE, PARENTS)

    assert [row.counts for row in dropped.rows].count(True) == 4
    assert [row.counts for row in kept.rows] == [True] * 8
    assert [row.advantage for row in kept.rows].count(0.0) == 4
    assert dropped.figures["constant_groups"] == kept.figures["constant_groups"] == 0.5


def test_of_a_group_those_that_vary_most_are_learned_from_if_asked():
    """Credit is given among them; the others are not in the loss, but in the step's figures."""
    settings = replace(SETTINGS, trained_samples=2)
    batch = make_batch([group_of(0, 0, 0, 1), group_of(1, 2, 3, 4)], settings, ENCODE, PARENTS)

    assert [row.advantage for row in batch.rows if row.counts] == pytest.approx([-0.7071, 0.7071] * 2, abs=1e-4)
    assert batch.rows.count(PLACEHOLDER) == 4
    assert batch.figures["masked"] == 0


def test_of_a_part_of_a_group_as_large_a_part_is_learned_from():
    """With 4 of 8 asked for: 2 of the 4 that are there, and of the 4 that come late those among the whole group's 4."""
    settings = replace(SETTINGS, parents=1, samples=8, trained_samples=4)
    now = make_batch([group_of(0, 1, 2, 3, None, None, None, None)], settings, ENCODE, PARENTS)
    whole = Grown(group=group_of(0, 1, 2, 3, 4, 5, 6, 7), late=frozenset({5, 6, 7, 8}))
    later = make_batch([group_of(*[None] * 8)], settings, ENCODE, PARENTS, [whole])

    assert [row.advantage > 0 for row in now.rows if row.counts] == [False, True]
    assert [row.advantage > 0 for row in later.rows if row.counts] == [True, True]


def test_a_step_that_tells_nothing_is_silent():
    """All groups constant: no row pulls the policy."""
    assert make_batch([group_of(3, 3, 3, 3), group_of(0, 0, 0, 0)], SETTINGS, ENCODE, PARENTS).is_silent


def test_with_refills_the_telling_groups_come_first():
    """Of four groups from two steps the two that tell something fill the batch."""
    silent, telling, other = group_of(3, 3, 3, 3), group_of(1, 2, 3, 4), group_of(0, 1, 0, 1)
    batch = make_batch([silent, telling, silent, other], SETTINGS, ENCODE, PARENTS)

    assert informative([silent, telling, silent, other], SETTINGS) == [telling, other]
    assert all(row.counts for row in batch.rows)
    assert batch.figures["constant_groups"] == 0.5


def test_the_figures_are_shares_of_the_attempts():
    """8 attempts by hand."""
    first = group_of(1, 1, 1, 0)
    lazy = attempt(0, -0.3, outcome=Outcome.DUPLICATE, score=None)
    lost = attempt(1, None, identity=None)
    batch = make_batch([first, (lazy, lost, attempt(2, 0.3), attempt(3, 1.0))], SETTINGS, ENCODE, PARENTS)

    assert batch.figures == pytest.approx(
        {
            "valid": 6 / 8,
            "changed": 5 / 8,
            "improved": 4 / 8,
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


def test_an_improvement_is_a_gain_over_the_own_parent():
    """Where lower is better 0.2 improves on 0.3, and 0.4 does not; a child of a failed parent is changed at most."""
    group = tuple(
        attempt(sample, score, draw=Draw(island=0, parent_id=parent))
        for sample, (score, parent) in enumerate([(0.2, 0), (0.4, 0), (0.3, 0), (0.2, 7)])
    )
    settings = replace(SETTINGS, direction=Direction.MIN)
    figures = make_batch([group, ()], settings, ENCODE, {0: 0.3, 7: None}).figures

    assert (figures["changed"], figures["improved"]) == (3 / 4, 1 / 4)


@pytest.mark.parametrize(("least", "paused"), [(0.33, False), (0.34, True)])
def test_a_step_of_copies_is_not_learned_from(least, paused):
    """Two programs in eight replies and one that was late: below 0.34 all rows are placeholders, as a figure says."""
    copies = [group_of(1, 2, 3, 4, identity="one"), group_of(1, 2, 3, 4, identity="other")]
    late = [Grown(group=group_of(1, 2, 3, 4), late=frozenset({2}))]
    batch = make_batch(copies, replace(SETTINGS, min_distinct=least), ENCODE, PARENTS, late)

    assert batch.figures["distinct"] == 0.25
    assert batch.figures["paused"] == paused
    assert batch.is_empty is batch.is_silent is paused
    assert batch.rows.count(PLACEHOLDER) == (8 if paused else 0)


def test_a_step_without_any_program_is_no_step_of_copies():
    """There is nothing to compare: it is learned from."""
    nothing = [group_of(1, 2, 3, 4, identity=None), group_of(1, 2, 3, 4, identity=None)]
    batch = make_batch(nothing, replace(SETTINGS, min_distinct=1.0), ENCODE, PARENTS)

    assert batch.figures["paused"] == 0
    assert not batch.is_empty

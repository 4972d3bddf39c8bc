"""The population's rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.archive import Measure, best_first, elites, worth_migrating
from evolve.selection import BestOfN, MapElites, MapElitesSettings, RandomSelection
from evolve.types import Direction, Member


def member(number: int, score: float, *, length: int = 100, identity: str | None = None, step: int = 1) -> Member:
    return Member(id=number, parent_id=0, step=step, identity=identity or f"tree{number}", score=score, length=length)


SEED = member(0, 1.0, step=0)


def started(**settings) -> MapElites:
    selection = MapElites(MapElitesSettings(**settings), Direction.MAX)
    selection.finish_step(0, [(SEED, 0)])
    return selection


children = st.lists(
    st.tuples(st.floats(-5, 5, allow_nan=False), st.integers(1, 3000), st.integers(0, 3), st.integers(0, 12)),
    max_size=40,
)


def test_the_seed_program_settles_on_every_island():
    """So that every island has a parent from the first step on; it counts as native on one."""
    selection = MapElites(MapElitesSettings(islands=3), Direction.MAX)

    memberships = selection.finish_step(0, [(SEED, 0)])

    assert [(m.program_id, m.island, m.migrant) for m in memberships] == [(0, 0, False), (0, 1, True), (0, 2, True)]


def test_a_child_stays_on_its_parents_island():
    """The island of the draw is the island of the child."""
    selection = started(islands=4, migration_interval=0)

    memberships = selection.finish_step(1, [(member(5, 2.0), 2)])

    assert [(m.program_id, m.island, m.migrant) for m in memberships] == [(5, 2, False)]


def test_twins_become_one_member():
    """Of programs with the same syntax tree, in a step or across steps, the first is the member."""
    selection = started(islands=1)
    first = selection.finish_step(1, [(member(1, 2.0, identity="t"), 0), (member(2, 2.0, identity="t"), 0)])
    again = selection.finish_step(2, [(member(3, 2.0, identity="t"), 0)])

    assert [m.program_id for m in first] == [1]
    assert again == []


def test_a_migrant_is_a_membership_and_never_migrates_again():
    """Natives of island 0 appear on island 1 once, and no further, however many migrations follow."""
    selection = started(islands=3, migration_interval=1, migration_share=1.0)
    moves = list(selection.finish_step(1, [(member(1, 5.0), 0)]))
    for step in range(2, 8):
        moves += selection.finish_step(step, [])

    assert [(m.island, m.migrant) for m in moves if m.program_id == 1] == [(0, False), (1, True)]


@given(children)
def test_no_program_is_twice_on_an_island(rows):
    """After any sequence of steps and migrations each island holds each program at most once."""
    selection = MapElites(MapElitesSettings(islands=4, migration_interval=2, migration_share=0.5), Direction.MAX)
    seen = [(m.island, m.program_id) for m in selection.finish_step(0, [(SEED, 0)])]
    for step, (score, length, island, tree) in enumerate(rows, start=1):
        child = member(step, score, length=length, identity=f"tree{tree}", step=step)
        seen += [(m.island, m.program_id) for m in selection.finish_step(step, [(child, island)])]

    assert len(seen) == len(set(seen))


@given(children)
def test_a_restored_population_draws_the_same(rows):
    """What the database holds is enough to go on as if nothing had happened."""
    settings = MapElitesSettings(islands=4, migration_interval=2)
    lived, reborn = MapElites(settings, Direction.MIN), MapElites(settings, Direction.MIN)
    members, memberships = [SEED], list(lived.finish_step(0, [(SEED, 0)]))
    for step, (score, length, island, tree) in enumerate(rows, start=1):
        child = member(step, score, length=length, identity=f"tree{tree}", step=step)
        added = lived.finish_step(step, [(child, island)])
        memberships += added
        members += [child] if any(m.program_id == child.id for m in added) else []
    reborn.restore(members, memberships)

    for seed in range(30):
        assert lived.draw(inspirations=2, seed=str(seed)) == reborn.draw(inspirations=2, seed=str(seed))


def test_draws_follow_the_mix():
    """About 20 % of draws are uniform over an island, 60 % come from its archive, 20 % from anywhere."""
    selection = started(islands=1, archive=1, migration_interval=0)
    selection.finish_step(1, [(member(i, 1.0 + i / 100), 0) for i in range(1, 100)])

    draws = [selection.draw(inspirations=0, seed=f"s{i}").parent_id for i in range(4000)]

    # The archive holds the best alone: 60 % of the draws, and one in a hundred of the uniform 40 %.
    assert draws.count(99) / len(draws) == pytest.approx(0.604, abs=0.03)
    assert len(set(draws)) > 90


def test_inspirations_are_others():
    """The parent is never shown as its own inspiration, nor any program twice."""
    selection = started(islands=1)
    selection.finish_step(1, [(member(i, float(i), length=50 * i), 0) for i in range(1, 10)])

    for seed in range(100):
        draw = selection.draw(inspirations=3, seed=str(seed))
        shown = [draw.parent_id, *draw.inspiration_ids]
        assert len(set(shown)) == len(shown) == 4


def test_an_archive_keeps_the_best_of_each_cell():
    """Two programs of one cell: the better stays; of equal ones the older."""
    crowd = [
        member(1, 1.0, length=10),
        member(2, 3.0, length=12),
        member(3, 2.0, length=100),
        member(4, 2.0, length=99),
    ]

    kept = elites(crowd, measures=[Measure.LENGTH], bins=2, direction=Direction.MAX, limit=10)

    assert [m.id for m in kept] == [2, 3]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60), st.sampled_from(Direction))
def test_the_best_is_never_lost(scores, direction):
    """Whatever the grid and the limit, the best member leads the archive."""
    crowd = [member(i, score, length=i % 7) for i, score in enumerate(scores)]

    kept = elites(crowd, measures=list(Measure), bins=4, direction=direction, limit=3)

    assert kept[0] == best_first(crowd, direction)[0]


def test_at_least_one_migrates():
    """A share that rounds to nothing still sends the best."""
    assert worth_migrating([member(1, 1.0), member(2, 2.0)], 0.1, Direction.MAX) == [member(2, 2.0)]
    assert worth_migrating([], 0.1, Direction.MAX) == []


def test_best_of_n_always_takes_the_seed_program():
    """The baseline never builds on a child."""
    selection = BestOfN()
    selection.finish_step(0, [(SEED, 0)])
    selection.finish_step(1, [(member(1, 9.0), 0)])

    assert {selection.draw(inspirations=2, seed=str(i)).parent_id for i in range(50)} == {0}


def test_random_takes_everything_alike():
    """The other baseline draws all members about equally often."""
    selection = RandomSelection()
    selection.finish_step(0, [(SEED, 0)])
    selection.finish_step(1, [(member(i, float(i)), 0) for i in range(1, 4)])

    draws = [selection.draw(inspirations=1, seed=str(i)).parent_id for i in range(4000)]

    for number in range(4):
        assert draws.count(number) / len(draws) == pytest.approx(0.25, abs=0.03)

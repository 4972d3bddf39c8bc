"""What all rules of the population promise, and what each draws."""

import itertools
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lives import GROUPS, RULES, Life, histories, islands, seed_program

from evolve.archive import Standing
from evolve.compose import build_selection, problem_of
from evolve.options import parse_options
from evolve.selection import BestOfN, Inspiration, TopK, Weighting
from evolve.selection.population import Pool
from evolve.types import Direction, Member

every_rule = pytest.mark.parametrize("rule", RULES)
some_lives = settings(max_examples=25)
directions = st.sampled_from(Direction)


def child(number: int, score: float | None, **fields) -> Member:
    return Member(
        **{
            "id": number,
            "parent_id": 0,
            "step": 1,
            "identity": f"tree{number}",
            "score": score,
            "length": 100,
            **fields,
        }
    )


def best(life: Life, direction: Direction, island: int) -> list[Member]:
    """Return the valid members of an island, the best first; of equal scores the older."""
    members = [life.members[place.program_id] for place in life.memberships if place.island == island]
    valid = [member for member in members if member.score is not None]
    return sorted(valid, key=lambda member: (-direction.rank(member.score), member.id))


@every_rule
@some_lives
@given(history=histories, direction=directions, later=histories)
def test_a_restored_population_goes_on_the_same(rule, history, direction, later):
    """What the database holds is enough: the next draws are the same, and so is all that comes after."""
    lived = Life(RULES[rule](direction)).begin().live(history)
    reborn = lived.reborn(RULES[rule](direction))

    for group in range(GROUPS):
        for seed in "abc":
            assert lived.drawn(group, seed=seed) == reborn.drawn(group, seed=seed)
    for life in (lived, reborn):
        life.live(later)
    assert lived.memberships == reborn.memberships
    assert lived.cells == reborn.cells


@every_rule
@some_lives
@given(history=histories, direction=directions)
def test_every_rule_keeps_its_promises(rule, history, direction):
    """No copies; children stay, migrate once; draws change nothing and show distinct members; no failure unasked."""
    life = Life(RULES[rule](direction)).begin().live(history)
    count = 1 + max(place.island for place in life.memberships)

    places = defaultdict(list)
    for place in life.memberships:
        places[place.program_id].append((place.island, place.migrant))
    assert places.pop(0) == [(island, island > 0) for island in range(count)]
    for program, found in places.items():
        home = life.draws[program].island
        assert found in ([(home, False)], [(home, False), ((home + 1) % count, True)])
    identities = [member.identity for member in life.members.values()]
    assert len(identities) == len(set(identities))
    if rule != "failures":
        assert all(member.score is not None for member in life.members.values())

    draws = [life.drawn(number % GROUPS, inspirations=3, seed=str(number)) for number in range(8)]
    again = [life.drawn(number % GROUPS, inspirations=3, seed=str(number)) for number in reversed(range(8))]
    assert draws == again[::-1]
    for draw in draws:
        shown = [draw.parent_id, *draw.inspiration_ids]
        assert len(set(shown)) == len(shown) <= 4
        assert life.members.keys() >= set(shown)
        assert all(life.members[program].score is not None for program in draw.inspiration_ids)


@some_lives
@given(history=histories, direction=directions)
def test_the_best_of_an_island_is_always_in_its_archive(history, direction):
    """With an archive of one, exploitation draws the best of the island, whatever grids came and went."""
    rule = islands(islands=2, exploration=0.0, exploitation=1.0, archive=1)
    life = Life(rule(direction)).begin().live(history)

    for seed in range(6):
        draw = life.drawn(0, seed=str(seed))
        assert draw.parent_id == best(life, direction, draw.island)[0].id


@some_lives
@given(history=histories, direction=directions)
def test_the_rows_of_cells_tell_who_holds_them(history, direction):
    """The newest entries of an island's newest grid are its elites: each the best of its cell, all cells there."""
    rule = islands(islands=2, archive=100, exploration=0.0, exploitation=1.0)
    life = Life(rule(direction)).begin().live(history)

    for island in range(2):
        rows = [row for row in life.cells if row.island == island]
        newest = max(row.grid for row in rows)
        assert {row.grid for row in rows} == set(range(newest + 1))
        holders = {row.cell: row.program_id for row in rows if row.grid == newest}
        elites = [member.id for member in best(life, direction, island) if member.id in holders.values()]
        assert sorted(elites) == sorted(holders.values())
        assert elites[0] == best(life, direction, island)[0].id
        drawn = [life.drawn(0, seed=str(seed)) for seed in range(20)]
        assert {draw.parent_id for draw in drawn if draw.island == island} <= set(elites)


@some_lives
@given(history=histories, direction=directions)
def test_a_population_limit_is_a_view(history, direction):
    """Parents are among an island's best three; what is out of view keeps its place in the database."""
    rule = islands(islands=2, population=3, archive=4, exploration=0.4, exploitation=0.4)
    life = Life(rule(direction)).begin().live(history)

    for seed in range(12):
        draw = life.drawn(0, seed=str(seed))
        assert draw.parent_id in [member.id for member in best(life, direction, draw.island)[:3]]
    unlimited = Life(islands(islands=2)(direction)).begin()
    for step in range(1, life.step + 1):
        born = [
            (life.members[place.program_id], place.island)
            for place in life.memberships
            if place.step == step and not place.migrant
        ]
        unlimited.finish(born)
    assert unlimited.memberships == life.memberships


@some_lives
@given(history=histories, direction=directions, share=st.sampled_from([0.0, 0.1, 0.34, 1.0]))
def test_the_best_natives_migrate(history, direction, share):
    """At a migration go, best first, those of an island's best share of natives that have not gone before."""
    life = Life(islands(islands=3, migration_share=share)(direction)).begin().live(history)

    natives, gone = defaultdict(list), {0}
    for step in range(life.step + 1):
        places = [place for place in life.memberships if place.step == step]
        for place in places:
            if not place.migrant:
                natives[place.island].append(life.members[place.program_id])
        expected = []
        for island in range(3) if step and step % 2 == 0 else ():
            ordered = sorted(natives[island], key=lambda member: (-direction.rank(member.score), member.id))
            due = [member.id for member in ordered[: max(1, int(share * len(ordered)))] if member.id not in gone]
            expected += [(program, (island + 1) % 3) for program in due]
        gone.update(program for program, _ in expected)
        assert [(place.program_id, place.island) for place in places if place.migrant and step] == expected


def test_the_seed_program_settles_on_every_island():
    """So that every island has a parent from the first step on; it counts as native on one."""
    life = Life(islands(islands=3)(Direction.MAX)).begin()

    places = [(place.program_id, place.island, place.migrant) for place in life.memberships]
    assert places == [(0, 0, False), (0, 1, True), (0, 2, True)]


def test_programs_of_another_run_settle_where_they_are_put():
    """Programs that come later without a parent, with ids below the seed program's, are natives like any other."""
    life = Life(islands(islands=3, migration_interval=0)(Direction.MAX)).begin()
    life.finish([(child(-1, 5.0, parent_id=None), 1), (child(-2, 6.0, parent_id=None), 2)])

    places = [(place.program_id, place.island, place.migrant) for place in life.memberships[3:]]
    assert places == [(-1, 1, False), (-2, 2, False)]


def test_draws_follow_the_mix():
    """About 20 % of draws are uniform over an island, 60 % come from its archive, 20 % from anywhere."""
    life = Life(islands(islands=1, archive=1, migration_interval=0)(Direction.MAX)).begin()
    life.finish([(child(number, 1.0 + number / 100), 0) for number in range(1, 100)])

    draws = [life.drawn(0, seed=str(seed)).parent_id for seed in range(4000)]

    # The archive holds the best alone: 60 % of the draws, and one in a hundred of the uniform 40 %.
    assert draws.count(99) / len(draws) == pytest.approx(0.604, abs=0.03)
    assert len(set(draws)) > 90


def test_better_elites_are_drawn_more_often_and_those_with_children_less():
    """Weights by hand: median 3, MAD 1, so sigmoids of -10, 0 and 10 for scores 2, 3 and 4; one child halves."""
    rule = islands(
        islands=1,
        exploration=0.0,
        exploitation=1.0,
        weighting=Weighting.SCORE,
        measures=("score",),
        migration_interval=0,
    )
    life = Life(rule(Direction.MAX)).begin(seed_program(2.0))
    life.finish([(child(1, 3.0), 0), (child(2, 4.0), 0)])
    life.finish([(child(3, 2.0, parent_id=2, step=2), 0)])

    draws = Counter(life.drawn(0, seed=str(seed)).parent_id for seed in range(3000))

    # Program 1: 0.5. Program 2: 1.0, halved by its child. The seed program and 3 share a cell, the older holds it.
    assert draws[1] / 3000 == pytest.approx(0.5, abs=0.03)
    assert draws[2] / 3000 == pytest.approx(0.5, abs=0.03)
    assert draws[0] < 10


def test_failures_are_drawn_when_asked():
    """The share of draws that repair a failed program; it never stands in the archive, nor is it an inspiration."""
    life = Life(islands(islands=1, failures=0.25, measures=("score",))(Direction.MAX)).begin()
    life.finish([(child(1, None), 0), (child(2, 2.0), 0)])

    draws = [life.drawn(0, seed=str(seed)) for seed in range(2000)]

    assert sum(draw.parent_id == 1 for draw in draws) / 2000 == pytest.approx(0.25, abs=0.04)
    assert {row.program_id for row in life.cells} == {0, 2}


def grid(inspirations: Inspiration, **settings) -> Life:
    """Return a population whose parent, drawn always, is the best of a row of cells 1 apart."""
    rule = islands(
        islands=1,
        exploration=0.0,
        exploitation=1.0,
        population=1,
        inspirations=inspirations,
        measures=("holes",),
        **settings,
    )
    life = Life(rule(Direction.MAX)).begin()
    places = [(1, 3.0, 3), (2, 9.0, 5), (3, 2.0, 6), (4, 4.0, 11), (5, 5.0, 15), (6, 1.0, 4)]
    life.finish([(child(number, score, measures={"holes": float(holes)}), 0) for number, score, holes in places])
    return life


def test_neighbours_are_the_nearest_cells():
    """Next to the parent's cell 5 lie 6 and 4; two steps away lies 3."""
    drawn = {grid(Inspiration.NEIGHBOURS).drawn(0, inspirations=2, seed=str(seed)) for seed in range(20)}

    assert {draw.parent_id for draw in drawn} == {2}
    assert {frozenset(draw.inspiration_ids) for draw in drawn} == {frozenset({3, 6})}


def test_diverse_programs_are_far_from_the_parent_and_from_each_other():
    """From the parent's cell 5 the farthest is 15; then 0 is 5 from its nearest, and 11 is 4."""
    drawn = {grid(Inspiration.DIVERSE).drawn(0, inspirations=3, seed=str(seed)) for seed in range(20)}

    assert {draw.inspiration_ids for draw in drawn} == {(5, 0, 4)}


def test_the_best_are_shown_best_first():
    """Beside the best, which is the parent, the next best elites."""
    assert grid(Inspiration.BEST).drawn(0, inspirations=3).inspiration_ids == (5, 4, 1)


def test_inspirations_from_the_archive_are_uniform():
    """Each of the other elites in use is shown about equally often."""
    life = grid(Inspiration.ARCHIVE, archive=5)

    shown = Counter(life.drawn(0, inspirations=1, seed=str(seed)).inspiration_ids for seed in range(2000))

    # The best five: 2, 5, 4, 1, 3; the first of them is the parent.
    assert set(shown) == {(5,), (4,), (1,), (3,)}
    assert all(count / 2000 == pytest.approx(0.25, abs=0.04) for count in shown.values())


def test_best_of_n_always_takes_the_seed_program():
    """The baseline never builds on a child."""
    life = Life(BestOfN()).begin()
    life.finish([(child(1, 9.0), 0)])

    assert {life.drawn(0, seed=str(seed)).parent_id for seed in range(50)} == {0}


def test_random_takes_everything_alike():
    """The other baseline draws all members about equally often."""
    life = Life(TopK(None, Direction.MAX)).begin()
    life.finish([(child(number, float(number)), 0) for number in range(1, 4)])

    draws = [life.drawn(0, seed=str(seed)).parent_id for seed in range(4000)]

    for number in range(4):
        assert draws.count(number) / len(draws) == pytest.approx(0.25, abs=0.03)


def test_top_k_takes_the_best_alike():
    """Parents are uniform over the best k of the run, of equal scores the older."""
    life = Life(TopK(2, Direction.MIN)).begin()
    life.finish([(child(number, score), 0) for number, score in ((1, 0.5), (2, 3.0), (3, 0.5), (4, 0.2))])

    draws = Counter(life.drawn(0, seed=str(seed)).parent_id for seed in range(1000))

    assert set(draws) == {1, 4}
    assert draws[1] / 1000 == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("direction", Direction)
def test_top_k_apart_gives_one_place_to_programs_of_about_the_same_score(direction):
    """That of the best; a better one takes the places of all that are close to it; of equal ones the older stays."""
    sign = 1.0 if direction is Direction.MAX else -1.0
    life = Life(TopK(3, direction, 0.5)).begin(seed_program(sign * 1.0))
    given = [(1, 3.0), (2, 3.4), (3, 3.3), (4, 3.4), (5, 2.0), (6, 1.7), (7, 5.0), (8, 4.75), (9, 4.9)]
    life.finish([(child(number, sign * score), 0) for number, score in given])

    assert {life.drawn(0, seed=str(seed)).parent_id for seed in range(200)} == {2, 5, 7}


@given(directions, st.lists(st.floats(-5, 5), max_size=30))
def test_programs_of_top_k_apart_are_apart(direction, given_scores):
    """Whatever comes in whatever order, no two are closer than asked for, and the best of all is there."""
    life = Life(TopK(4, direction, 0.5)).begin(seed_program(0.0))
    life.finish([(child(number, score), 0) for number, score in enumerate(given_scores, start=1)])
    drawn = {life.drawn(0, seed=str(seed)).parent_id for seed in range(200)}
    scores = sorted(life.members[number].score for number in drawn)

    assert all(b - a >= 0.5 for a, b in itertools.pairwise(scores))
    assert best(life, direction, 0)[0].id in drawn


@given(st.lists(st.integers(0, 90), min_size=60, max_size=90))
def test_a_pool_of_members_apart_is_that_of_a_plain_computation(ranks):
    """Whoever is close to a better one stays out, whoever is better than all close ones ends them, the worst goes."""
    pool, plain = Pool(6, 4.0), []
    for number, rank in enumerate(ranks):
        member = Standing(float(rank), -number)
        pool.add(member)
        close = [other for other in plain if abs(other.rank - rank) < 4.0]
        if not any(other > member for other in close):
            plain = sorted([other for other in plain if other not in close] + [member], reverse=True)[:6]

        assert sorted(pool.members, reverse=True) == plain


def test_apart_is_in_units_of_the_problems_scale():
    """A tenth of what lies between the worst and the best score of circle packing is 0.26."""
    config = parse_options(["problem=circle_packing", "selection=top_k", "selection.k=2", "selection.apart=0.1"])
    life = Life(build_selection(config, problem_of(config))).begin(seed_program(0.5))
    life.finish([(child(number, score), 0) for number, score in ((1, 2.0), (2, 1.8), (3, 1.7))])

    assert {life.drawn(0, seed=str(seed)).parent_id for seed in range(100)} == {1, 3}

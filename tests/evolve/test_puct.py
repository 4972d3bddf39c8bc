"""PUCT with lineage blocking."""

import math
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from lives import GROUPS, Life, histories, seed_program

from evolve.selection import Puct, PuctSettings
from evolve.types import Direction, Member


def child(number: int, parent: int | None, score: float) -> Member:
    return Member(id=number, parent_id=parent, step=1, identity=f"tree{number}", score=score, length=100)


def started(groups: int, **options) -> Life:
    """Return a population of a seed program with score 0."""
    return Life(Puct(PuctSettings(groups=groups, **options), Direction.MAX)).begin(seed_program(0.0))


def parents(life: Life, groups: int) -> list[int]:
    """Return the parents of the next step."""
    return [life.drawn(group).parent_id for group in range(groups)]


def lineage(members: dict[int, Member], program: int) -> list[int]:
    """Return a program and its ancestors."""
    found = [program]
    while (above := members[found[-1]].parent_id) is not None:
        found.append(above)
    return found


def drawn_from_scratch(life: Life, direction: Direction, settings: PuctSettings) -> list[int]:
    """Return the parents of the next step, each step's anew from all members: the definition, without a shortcut."""
    visits, groups, members, drawn = dict.fromkeys(life.members, 0), 0, {}, []
    for step in range(life.step + 1):
        born = [life.members[place.program_id] for place in life.memberships if place.step == step]
        if all(member.parent_id is not None for member in born):
            for parent in drawn:
                for above in lineage(members, parent):
                    visits[above] += 1
            groups += len(drawn)
        members |= {member.id: member for member in born}
        drawn = _parents(members, dict(visits), groups, direction, settings)
    return drawn


def _parents(members, visits, groups, direction, settings) -> list[int]:
    def order(member: Member) -> tuple[float, int]:
        return direction.rank(member.score), -member.id

    def children(program: int) -> list[Member]:
        return sorted((m for m in members.values() if m.parent_id == program), key=order, reverse=True)

    kept = [each for program in members for each in children(program)[: settings.children]]
    roots = [member for member in members.values() if member.parent_id is None]
    buffer = [*roots, *sorted(kept, key=order, reverse=True)[: settings.buffer]]
    buffer.sort(key=order)
    ranks = [direction.rank(member.score) for member in buffer if member.parent_id is not None] or [0.0]
    scale, total = max(max(ranks) - min(ranks), 1e-6), len(buffer) * (len(buffer) + 1) / 2
    drawn: list[int] = []
    while len(drawn) < settings.groups:
        values = []
        for place, member in enumerate(buffer, start=1):
            found = children(member.id)
            value = order(found[0] if found else member)[0]
            bonus = settings.exploration * scale * math.sqrt(1 + groups + len(drawn)) / total * place
            values.append((value + bonus / (1 + visits[member.id]), order(member), member.id))
        chosen: list[int] = []
        for _, _, program in sorted(values, reverse=True):
            related = any(program in lineage(members, other) or other in lineage(members, program) for other in chosen)
            if not related and len(drawn) + len(chosen) < settings.groups:
                chosen.append(program)
        for program in chosen:
            for above in lineage(members, program):
                visits[above] += 1
        drawn += chosen
    return drawn


@settings(max_examples=60)
@given(
    history=histories,
    later=histories,
    merged=st.lists(st.integers(-3, 3), max_size=2),
    late=st.lists(st.tuples(st.integers(0, 40), st.integers(-3, 3)), max_size=4),
    direction=st.sampled_from(Direction),
    options=st.builds(PuctSettings, groups=st.just(GROUPS), children=st.integers(1, 3), buffer=st.integers(2, 8)),
)
def test_parents_are_those_of_the_definition(history, later, merged, late, direction, options):
    """Buffer, best children, visits and lineages that grow step by step give what a computation from all rows gives.

    Also when programs of other runs come in, and late children of programs that are no longer drawn from.
    """
    life = Life(Puct(options, direction)).begin().live(history)
    if merged:
        life.finish([(child(-1 - place, None, float(score)), 0) for place, score in enumerate(merged)])
    there = list(life.members)
    life.finish([(child(900 + k, there[at % len(there)], float(score)), 0) for k, (at, score) in enumerate(late)])
    life.live(later)

    assert parents(life, GROUPS) == drawn_from_scratch(life, direction, options)


def test_values_by_hand():
    """Scores 2, 4 and 0 of the seed program: scale 2, priors 2/6, 3/6 and 1/6."""
    life = started(1)
    assert parents(life, 1) == [0]
    life.finish([(child(1, 0, 2.0), 0), (child(2, 0, 4.0), 0)])
    # One visit, of the seed program: its Q is 4 by its best child, its value 4 + 2 * 1/6 * sqrt(2) / 2 = 4.24;
    # of 1: 2 + 2 * 2/6 * sqrt(2) = 2.94; of 2: 4 + 2 * 3/6 * sqrt(2) = 5.41.
    assert parents(life, 1) == [2]
    life.finish([(child(3, 2, -3.0), 0)])
    # Scale 7, N = 4, T = 2. Of 2, visited once: Q = -3 by its only child, -3 + 7 * 0.4 * sqrt(3) / 2 = -0.58;
    # of the seed program, visited twice: 4 + 7 * 0.2 * sqrt(3) / 3 = 4.81; of 1: 2 + 7 * 0.3 * sqrt(3) = 5.64;
    # of 3: -3 + 7 * 0.1 * sqrt(3) = -1.79.
    assert parents(life, 1) == [1]


def test_a_parent_whose_children_all_fail_is_drawn_less():
    """Steps without a valid child count as visits: after some the other program has its turn, resumed or not."""
    life = started(1)
    life.finish([(child(1, 0, 3.0), 0), (child(2, 0, 2.0), 0)])
    drawn = []
    for _ in range(12):
        drawn += parents(life, 1)
        life.finish([])
        assert parents(life.reborn(Puct(PuctSettings(groups=1), Direction.MAX)), 1) == parents(life, 1)

    assert drawn[0] == 1
    assert 2 in drawn


def test_no_parent_of_a_step_descends_from_another():
    """Of a chain only one is drawn; the second group goes to the other branch, however poor."""
    life = started(2)
    life.finish([(child(1, 0, 5.0), 0), (child(9, 0, -5.0), 0)])
    life.finish([(child(2, 1, 6.0), 0)])
    life.finish([(child(3, 2, 7.0), 0)])

    assert parents(life, 2) == [3, 9]


def test_a_step_has_all_its_parents_when_all_are_related():
    """In the first step there is but one program, in the second a seed program and its only child."""
    life = started(4)
    first = parents(life, 4)
    life.finish([(child(1, 0, 1.0), 0)])

    assert first == [0, 0, 0, 0]
    assert set(parents(life, 4)) <= {0, 1}
    assert len(parents(life, 4)) == 4


def test_only_the_best_children_of_a_program_are_drawn_from():
    """The third-best child of the seed program is no parent, nor an inspiration."""
    life = started(3, children=2)
    life.finish([(child(number, 0, float(number)), 0) for number in range(1, 4)])

    shown = {life.drawn(group, inspirations=5, seed=str(seed)) for group in range(3) for seed in range(10)}
    assert {program for draw in shown for program in (draw.parent_id, *draw.inspiration_ids)} == {0, 2, 3}


def test_programs_of_another_run_are_roots():
    """They are drawn from whatever their score, and however many they are the best children keep their places."""
    life = started(2, buffer=2)
    life.finish([(child(1, 0, 5.0), 0), (child(2, 0, 4.0), 0)])
    before = parents(life, 2)
    life.finish([(child(-number, None, -9.0), 0) for number in (1, 2, 3)])
    shown = {program for seed in range(20) for program in life.drawn(0, inspirations=9, seed=str(seed)).inspiration_ids}

    assert before == [1, 2]
    assert shown | {life.drawn(0).parent_id} == {0, -1, -2, -3, 1, 2}
    assert life.reborn(Puct(PuctSettings(groups=2, buffer=2), Direction.MAX)).drawn(0) == life.drawn(0)


def lines_run(call) -> int:
    """Return how many lines of Python `call` runs."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_a_step_costs_the_same_however_long_the_lineages_are():
    """With a full buffer of 20 a step of a chain of 800 programs runs no more lines than one of 100, by a tenth."""
    life = started(2, buffer=20)
    costs = {}
    for number in range(1, 801):
        born = [(child(number, number - 1, float(number)), 0)]
        costs[number] = lines_run(lambda: life.selection.finish_step(number, born))  # noqa: B023

    assert costs[800] <= 1.1 * costs[100]

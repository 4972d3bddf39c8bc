"""The archive of elites: cells, and grids that grow."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolve.archive import Archive, Ranking, Standing
from evolve.errors import ProblemError
from evolve.types import Direction, Member

finite = st.floats(allow_nan=False, allow_infinity=False)
#: Values that come again, that lie close together, that lie worlds apart, and that underflow.
values = st.one_of(st.integers(-3, 3).map(float), st.floats(2.6359, 2.636), finite, st.floats(-1e-300, 1e-300))
batches = st.lists(st.lists(st.tuples(values, values), max_size=6), max_size=12)


def member(number: int, score: float = 1.0, **measures: float) -> Member:
    return Member(id=number, parent_id=0, step=1, identity=f"tree{number}", score=score, length=100, measures=measures)


def bins_of(column: list[float], bins: int) -> list[int]:
    """Return the bins of a column of values, from the definition: the smallest power of two that fits, exactly."""
    low, high = Fraction(min(column)), Fraction(max(column))
    if bins == 1 or low == high:
        return [0] * len(column)
    width = Fraction(2) ** -1100
    while (high / width).__floor__() - (low / width).__floor__() >= bins:
        # Far below the right width some doublings can be left out: the bins differ by much more than `bins`.
        span = (high - low) / (bins * width)
        width *= 2 ** max(1, span.__floor__().bit_length() - 3)
    return [(Fraction(value) / width).__floor__() for value in column]


def elites_of(members: list[Standing], bins: int) -> dict[tuple[int, ...], Standing]:
    """Return the best member of each cell, computed from all members at once."""
    if not members:
        return {}
    columns = [bins_of([each.values[number] for each in members], bins) for number in range(2)]
    best: dict[tuple[int, ...], Standing] = {}
    for cell, each in zip(zip(*columns, strict=True), members, strict=True):
        best[cell] = max(each, best.get(cell, each))
    return best


@given(batches, st.sampled_from([1, 2, 3, 16]))
def test_cells_hold_what_all_members_together_give(steps, bins):
    """After any steps, however ranges grow, holders are those of a computation from all members with exact numbers."""
    archive, members, rows = Archive(2, bins), [], {}
    for step in steps:
        born = [Standing(score, -len(members) - place, (score, other)) for place, (score, other) in enumerate(step)]
        members += born
        before = archive.grid
        taken = archive.take_in(born)
        rows = {**({} if archive.grid > before else rows), **taken}

    expected = elites_of(members, bins)
    assert archive.elites == sorted(expected.values())
    assert rows == expected
    assert archive.holders == expected
    assert not expected or archive.cells(list(expected.values())) == list(expected)


@given(batches)
def test_the_best_is_never_lost(steps):
    """The best member of all leads the archive, whatever came and however the grid grew."""
    archive, members = Archive(2, 4), []
    for step in steps:
        born = [Standing(score, -len(members) - place, (score, other)) for place, (score, other) in enumerate(step)]
        members += born
        archive.take_in(born)

    assert archive.elites[-1:] == sorted(members)[-1:]


def test_an_archive_keeps_the_best_of_each_cell():
    """Two programs of one cell: the better stays; of equal ones the older."""
    archive = Archive(1, 2)
    crowd = [
        Standing(1.0, -1, (10.0,)),
        Standing(3.0, -2, (12.0,)),
        Standing(2.0, -3, (100.0,)),
        Standing(2.0, -4, (99.0,)),
    ]

    taken = archive.take_in(crowd)

    # Two bins from 0 to 64 and from 64 to 128 hold 10 to 100.
    assert {cell: elite.id for cell, elite in taken.items()} == {(0,): 2, (1,): 3}
    assert [elite.id for elite in archive.elites] == [3, 2]


def test_a_value_outside_begins_a_new_grid():
    """The bins double until the value fits; all cells are named anew, and two old ones become one."""
    archive = Archive(1, 4)
    archive.take_in([Standing(float(number), -number, (float(number),)) for number in range(4)])
    inside = archive.take_in([Standing(9.0, -4, (1.5,))])
    grids = [archive.grid]
    outside = archive.take_in([Standing(5.0, -5, (6.0,))])

    assert {cell: elite.id for cell, elite in inside.items()} == {(1,): 4}
    # Bins of 2: programs 0 and 4, of which 4 is better; 2 and 3, of which 3 is; and the newcomer.
    assert {cell: elite.id for cell, elite in outside.items()} == {(0,): 4, (1,): 3, (3,): 5}
    assert [*grids, archive.grid] == [0, 1]


def test_growth_is_rare():
    """A range that grows in 7,000 steps from a thousandth to a thousand begins a new grid for each of 20 doublings."""
    archive = Archive(1, 16)
    value = 1.0
    for number in range(7000):
        archive.take_in([Standing(0.0, -number, (value,))])
        value *= 1.001

    assert 18 <= archive.grid <= 22


def test_a_minimised_score_stands_by_its_negative():
    """The lower score is better, and the grid shows the score as it is."""
    ranking = Ranking(Direction.MIN, ("score", "length"))
    low, high = (ranking.standing(member(number, score)) for number, score in ((1, -2.0), (2, 3.0)))

    assert low > high
    assert low.values == (-2.0, 100.0)


def test_a_problem_gives_measures_of_its_own():
    """Coordinates are found by name, in the order of the grid."""
    ranking = Ranking(Direction.MAX, ("holes", "score"))

    assert ranking.standing(member(1, 2.0, holes=3.0)).values == (3.0, 2.0)


@pytest.mark.parametrize("measures", [{}, {"holes": float("nan")}, {"holes": float("inf")}])
def test_a_missing_measure_names_the_cure(measures):
    """A grid needs a number for each program."""
    with pytest.raises(ProblemError, match=r"program 1 has no finite measure holes: verify\.py must give it"):
        Ranking(Direction.MAX, ("holes",)).standing(member(1, **measures))

"""Centres alone: the radii are the best ones, and what is scored is feasible in exact arithmetic."""

import itertools
import math
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from constructions import NO_NUMBERS, needs_records, published, replaced, seed_answer
from scipy.optimize import linprog

from problems import load_picture, load_problem, load_verifier
from problems.centres import best_packing, circles_around

problem = load_problem("circle_packing_centres")
verify = load_verifier(problem).verify


def grid(n: int = 26) -> list[list[float]]:
    """Centres of a grid of 8 rows of 8, all numbers dyadic."""
    return [[(2 * i + 1) / 16, (2 * j + 1) / 16] for i, j in itertools.product(range(8), repeat=2)][:n]


def strewn(seed: int) -> list[list[float]]:
    """Return 26 random centres, some of which coincide or lie on a wall."""
    rng = random.Random(seed)
    centres = [[rng.random() ** 2, rng.random()] for _ in range(26)]
    if seed % 2:
        centres[3], centres[4], centres[5] = centres[2], [0.0, 0.5], [1, 1]
    return centres


def bound(centres: list[list[float]]) -> Fraction:
    """Return what no radii around these centres can exceed: a feasible point of the dual program, in fractions.

    With weights y >= 0 on the pairs and z >= 0 on the walls that give each circle at least 1 in sum, the sum of radii
    is at most sum(y * distance) + sum(z * wall) (weak duality).
    """
    n = len(centres)
    exact = [[Fraction(value) for value in row] for row in centres]
    walls = [min(x, 1 - x, y, 1 - y) for x, y in exact]
    pairs = list(itertools.combinations(range(n), 2))
    squares = [(exact[i][0] - exact[j][0]) ** 2 + (exact[i][1] - exact[j][1]) ** 2 for i, j in pairs]
    distances = [Fraction(math.isqrt(math.floor(square * 4**90)) + 1, 2**90) for square in squares]
    sums = np.zeros((len(pairs), n))
    for row, (i, j) in enumerate(pairs):
        sums[row, i] = sums[row, j] = 1
    bounds = [(0, float(wall)) for wall in walls]
    answer = linprog(-np.ones(n), A_ub=sums, b_ub=list(map(float, distances)), bounds=bounds, method="highs-ds")
    # A corner of this dual's polyhedron has halves for coordinates; the bound holds for any weights.
    weights = [max(Fraction(round(-2 * y), 2), Fraction(0)) for y in answer.ineqlin.marginals.tolist()]
    total = sum((y * distance for y, distance in zip(weights, distances, strict=True)), Fraction(0))
    for i, wall in enumerate(walls):
        carried = sum((y for y, pair in zip(weights, pairs, strict=True) if i in pair), Fraction(0))
        total += max(1 - carried, Fraction(0)) * wall
    return total


def test_two_circles_by_hand() -> None:
    """Around (1/4, 1/2) and (3/4, 1/2) each may have 1/4; around (3/8, 1/2) and (5/8, 1/2) they share 1/4."""
    assert best_packing([[0.25, 0.5], [0.75, 0.5]]).score == Fraction(1, 2)
    assert best_packing([[0.375, 0.5], [0.625, 0.5]]).score == Fraction(1, 4)
    assert circles_around([[0.25, 0.5], [0.75, 0.5]]) == [[0.25, 0.5, 0.25], [0.75, 0.5, 0.25]]


def test_a_grid_is_worth_its_radii_to_the_last_digit() -> None:
    """26 circles of radius 1/16 fit around these centres, so that the best radii are worth at least 13/8."""
    verdict = verify(grid())
    assert verdict.valid
    assert Fraction(verdict.exact or 0) >= Fraction(13, 8) - Fraction(1, 10**20)
    assert verdict.construction == grid()


def test_the_seed_program_is_worth_more_than_with_its_own_radii() -> None:
    """The rings of circle_packing's seed, whose rule for radii gives 0.9598, get 1.2536."""
    assert verify(seed_answer("circle_packing_centres")).score == pytest.approx(1.2536352079666886, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_scored_is_feasible_and_the_best(seed: int) -> None:
    """In plain fractions no circle overlaps another or a wall, and the dual program says that no sum is larger."""
    centres = strewn(seed)
    packing = best_packing(centres)
    exact = [[Fraction(value, packing.side) for value in circle] for circle in packing.circles]

    assert [row[:2] for row in exact] == [[Fraction(value) for value in row] for row in centres]
    assert all(r >= 0 and r <= x <= 1 - r and r <= y <= 1 - r for x, y, r in exact)
    for (x, y, r), (u, v, s) in itertools.combinations(exact, 2):
        assert (x - u) ** 2 + (y - v) ** 2 >= (r + s) ** 2
    assert 0 <= bound(centres) - packing.score < Fraction(1, 10**18)


def test_a_taken_place_costs_a_circle_and_is_no_error() -> None:
    """Two circles around one point have radius 0; a layout with nothing else is refused."""
    centres = grid()
    centres[7] = centres[6]
    assert verify(centres).valid
    assert verify(centres).measures["evenness"] == 0.0
    assert verify([[0.5, 0.5]] * 26).reason == "no circle around these centres has a radius above 0"


def test_radii_that_no_float_can_hold_are_no_error() -> None:
    """Above 0 exactly, 0 as floats: the layout is valid and worth next to nothing."""
    smallest = 5e-324
    centres = [[smallest, 2 * smallest], [2 * smallest, smallest], *([0.0, 0.1 + 0.03 * k] for k in range(24))]
    verdict = verify(centres)

    assert (verdict.valid, verdict.measures["evenness"]) == (True, 0.0)
    assert 0.0 < (verdict.score or 0.0) < 1e-300


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1e-17, 1.0000000000000002], ids=lambda value: type(value).__name__)
def test_what_is_no_point_of_the_square_is_refused(value: object) -> None:
    """No coordinate is NaN, infinite, a bool, a text, or outside the square by however little."""
    assert not verify(replaced(grid(), value)).valid


def test_the_number_of_centres_is_checked_first() -> None:
    """A long list costs nothing."""
    assert verify(grid(25)).reason == "expected 26 centres, got 25"
    assert verify([[0.5, 0.5]] * 10**7).reason == "expected 26 centres, got 10000000"


def test_a_picture_is_written(tmp_path: Path) -> None:
    """A PNG of the best circles around the centres."""
    draw = load_picture(problem)
    assert draw is not None
    draw(grid(), tmp_path / "centres.png")
    assert (tmp_path / "centres.png").read_bytes().startswith(b"\x89PNG")


@needs_records
@pytest.mark.parametrize("name", ["alphaevolve_v2", "thetaevolve_formal", "shinkaevolve", "alphaevolve_v1"])
def test_records_are_what_this_problem_makes_of_the_published_centres(name: str) -> None:
    """The records' exact scores come out to 20 digits, each at least as good as with the published radii."""
    rows = published("circles26_float64.json")[name]
    verdict = verify([row[:2] for row in rows])
    digits = (verdict.exact or "")[:22]

    assert digits in [(record.exact or "")[:22] for record in problem.records]
    assert (verdict.score or 0) >= sum(row[2] for row in rows) - 1e-15

"""Largest over smallest distance of points: hand-computed sets, a slow second judge, the records, and abuse."""

import itertools
import time
from fractions import Fraction
from pathlib import Path

import pytest
from constructions import ANYTHING, NO_NUMBERS, needs_records, nudged, published, replaced, seed_answer
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import load_picture, load_problem, load_verifier
from problems.points import verify_distance_ratio

NAMES = {2: "distance_ratio_16", 3: "distance_ratio_3d_14"}
VERIFY = {dimension: load_verifier(load_problem(name)).verify for dimension, name in NAMES.items()}


def slow_score(rows: list[list[float]]) -> Fraction | None:
    """A second judge, in plain fractions; None if two points are the same."""
    squares = [
        sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(p, q, strict=True))
        for p, q in itertools.combinations(rows, 2)
    ]
    return None if min(squares) == 0 else Fraction(max(squares), min(squares))


def test_squares_and_cubes_as_by_hand() -> None:
    """The corners of a square: 2; a 4 x 4 grid: 3^2 + 3^2 = 18; the corners of a cube: 3; three on a line: 4."""
    grid = [[float(x), float(y)] for x, y in itertools.product(range(4), repeat=2)]
    cube: list[list[float]] = [[x, y, z] for x, y, z in itertools.product((0, 1), repeat=3)]
    assert verify_distance_ratio([[0, 0], [1, 0], [1, 1], [0, 1]], 4, 2).exact == "2"
    assert VERIFY[2](grid).exact == "18"
    assert verify_distance_ratio(cube, 8, 3).exact == "3"
    assert verify_distance_ratio([[0, 0], [0.5, 0], [1, 0]], 3, 2).exact == "4"


def test_the_same_point_twice_is_named() -> None:
    """Also where one is -0.0 and the other 0."""
    points: list[list[float]] = [[1, 1], [0, 0.0], [2, 1], [0, -0.0]]
    assert verify_distance_ratio(points, 4, 2).reason == "points 1 and 3 are the same: distance exactly 0"


def test_the_smallest_distance_of_floats_is_above_zero() -> None:
    """Two points 5e-324 apart are two; the ratio is finite, too large for a float, and refused with words."""
    verdict = verify_distance_ratio([[0, 0], [0, 5e-324], [1, 1]], 3, 2)
    assert not verdict.valid
    assert verdict.reason == "points 0 and 1 are too close: the ratio is above 1e+12"


@pytest.mark.parametrize(("dimension", "digits"), [(2, "651.264991952060"), (3, "231.547825411812")])
def test_the_seed_program_is_the_known_baseline(dimension: int, digits: str) -> None:
    """OpenEvolve's random points: 651.26 in the plane, 231.55 in space."""
    verdict = VERIFY[dimension](seed_answer(NAMES[dimension]))
    assert (verdict.exact or "").startswith(digits)


@given(st.lists(st.lists(st.integers(-3, 3) | st.floats(-1, 1), min_size=3, max_size=3), min_size=4, max_size=4))
@settings(max_examples=150)
def test_the_judge_agrees_with_a_slow_one(rows: list[list[float]]) -> None:
    """Small whole numbers often repeat points; floats give the rest."""
    verdict, expected = verify_distance_ratio(rows, 4, 3), slow_score(rows)
    assert verdict.valid is (expected is not None and expected <= 10**12)
    if expected is not None and verdict.valid:
        assert verdict.score == float(expected)


@given(ANYTHING | st.lists(st.lists(st.floats() | ANYTHING, min_size=2, max_size=2), min_size=16, max_size=16))
@settings(max_examples=40)
def test_verify_never_raises(construction: object) -> None:
    """Any value gets a verdict, and an invalid one a short reason."""
    verdict = VERIFY[2](construction)
    assert verdict.valid is (verdict.reason is None)
    assert len(verdict.reason or "") < 200


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1e7], ids=lambda value: type(value).__name__)
def test_bad_coordinates_are_refused(value: object) -> None:
    """Nothing but finite ints and floats up to a million."""
    for dimension, name in NAMES.items():
        assert (VERIFY[dimension](replaced(seed_answer(name), value)).reason or "").startswith("point 3: y must be")


def test_shapes_are_refused_at_once() -> None:
    """Points of the plane are no points of space; a list of ten million costs nothing."""
    start = time.perf_counter()
    assert VERIFY[2](seed_answer(NAMES[3])).reason == "expected 16 points, got 14"
    assert VERIFY[3](seed_answer(NAMES[2])[:14]).reason == "point 0: expected a triple [x, y, z], got list of 2"
    assert VERIFY[2]([[0.0, 0.0]] * 10**7).reason == "expected 16 points, got 10000000"
    assert time.perf_counter() - start < 5


def test_the_inverse_is_not_the_score() -> None:
    """Smaller is better: a square beats three points in a row, and the direction says so."""
    for name in NAMES.values():
        assert load_problem(name).direction == "min"


@needs_records
@pytest.mark.parametrize(
    ("name", "dimension", "digits"),
    [
        ("d2_n16_alphaevolve", 2, "12.889266112034630543"),
        ("d2_n16_best", 2, "12.889229907694015754"),
        ("d3_n14_alphaevolve", 3, "4.165849767225652240"),
        ("d3_n14_best_polished_here", 3, "4.165783474580510191"),
    ],
)
def test_published_points_get_their_known_worth(name: str, dimension: int, digits: str) -> None:
    """And that is what problem.yaml says; nudged, they are worth what the slow judge says."""
    points, verify = published("maxmin_ratio.json")[name], VERIFY[dimension]
    verdict = verify(points)
    assert (verdict.exact or "").startswith(digits)
    assert verdict.exact in [record.exact for record in load_problem(NAMES[dimension]).records if record.exactly_valid]
    for rows in nudged(points):
        assert verify(rows).score == float(slow_score(rows) or 0)


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_picture_is_written(tmp_path: Path, dimension: int) -> None:
    """A PNG of some size, in the plane and in space."""
    draw = load_picture(load_problem(NAMES[dimension]))
    assert draw is not None
    draw(seed_answer(NAMES[dimension]), tmp_path / "points.png")
    assert (tmp_path / "points.png").read_bytes().startswith(b"\x89PNG")


def test_the_measures_count_contacts_and_diameters() -> None:
    """In a 4 x 4 grid 24 neighbours are at the smallest distance, and two pairs of corners at the largest."""
    grid = [[float(x), float(y)] for x, y in itertools.product(range(4), repeat=2)]
    assert VERIFY[2](grid).measures == {"contacts": 24.0, "diameters": 2.0}

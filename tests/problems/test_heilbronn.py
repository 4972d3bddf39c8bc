"""Smallest triangles of points: hand-computed squares, a slow second judge, the records, and abuse."""

import itertools
import time
from fractions import Fraction
from pathlib import Path

import pytest
from constructions import ANYTHING, NO_NUMBERS, needs_records, nudged, published, replaced, seed_answer
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import load_picture, load_problem, load_verifier
from problems.points import PointSet, verify_heilbronn

VERIFY = {n: load_verifier(load_problem(f"heilbronn_{n}")).verify for n in (13, 14)}


def area(p: list[Fraction], q: list[Fraction], r: list[Fraction]) -> Fraction:
    """Twice the signed area."""
    return (q[0] - p[0]) * (r[1] - p[1]) - (r[0] - p[0]) * (q[1] - p[1])


def slow_score(rows: list[list[float]]) -> Fraction | None:
    """A second judge: the hull is where all other points lie on one side of a line through two; None if invalid."""
    points = [[Fraction(value) for value in row] for row in rows]
    smallest = min(abs(area(*triple)) for triple in itertools.combinations(points, 3))
    if smallest == 0:
        return None
    edges = [
        (p, q)
        for p, q in itertools.permutations(points, 2)
        if all(area(p, q, r) > 0 for r in points if r not in (p, q))
    ]
    return smallest / sum(p[0] * q[1] - q[0] * p[1] for p, q in edges)


def test_four_points_as_by_hand() -> None:
    """The corners of a square: each triangle is half of it. With a point inside at (1/2, 1/4): 1/8 of it."""
    square: list[list[float]] = [[0, 0], [1, 0], [1, 1], [0, 1]]
    assert verify_heilbronn(square, 4).exact == "0.5"
    # (1/2, 1/4) lies with the bottom side in a triangle of area 1/8, and between the diagonals' ends too: 1/8.
    assert verify_heilbronn([*square, [0.5, 0.25]], 5).exact == "0.125"


def test_the_scale_does_not_matter() -> None:
    """Stretched by powers of two in each direction, moved and mirrored, the score stays the same exactly."""
    points = [[1.0, 0.0], [3.0, 1.0], [2.0, 4.0], [0.0, 3.0], [1.5, 2.5]]
    first = verify_heilbronn(points, 5)
    assert first.valid
    assert verify_heilbronn([[8 - 4 * x, 1024 * y] for x, y in points], 5).exact == first.exact


def test_the_hull_of_points_on_one_line_has_no_area() -> None:
    """Also of one point many times; and the triple is named."""
    assert PointSet.from_floats([[0, 0], [1, 1], [3, 3]]).hull_area() == 0
    assert verify_heilbronn([[0, 0], [1, 1], [3, 3], [1, 0]], 4).reason == (
        "points 0, 1 and 2 lie on one line: area exactly 0"
    )
    assert verify_heilbronn([[0, 0], [1, 1], [1, 1], [1, 0]], 4).reason == (
        "points 0, 1 and 2 lie on one line: area exactly 0"
    )


@pytest.mark.parametrize(("n", "digits"), [(13, "0.000322458404267843"), (14, "0.000310497335124042")])
def test_the_seed_program_is_the_known_baseline(n: int, digits: str) -> None:
    """OpenEvolve's random points, to all digits: their generator is the same on every machine."""
    verdict = VERIFY[n](seed_answer(f"heilbronn_{n}"))
    assert verdict.valid
    assert (verdict.exact or "").startswith(digits)


@given(st.lists(st.lists(st.integers(-9, 9) | st.floats(-1, 1), min_size=2, max_size=2), min_size=5, max_size=5))
@settings(max_examples=150)
def test_the_judge_agrees_with_a_slow_one(rows: list[list[float]]) -> None:
    """Small whole numbers often give lines and repeated points; floats the rest."""
    verdict, expected = verify_heilbronn(rows, 5), slow_score(rows)
    assert verdict.valid is (expected is not None)
    if expected is not None:
        assert verdict.score == float(expected)


@given(ANYTHING | st.lists(st.lists(st.floats() | ANYTHING, min_size=2, max_size=2), min_size=13, max_size=13))
@settings(max_examples=40)
def test_verify_never_raises(construction: object) -> None:
    """Any value gets a verdict, and an invalid one a short reason."""
    verdict = VERIFY[13](construction)
    assert verdict.valid is (verdict.reason is None)
    assert len(verdict.reason or "") < 200


@pytest.mark.parametrize("value", [*NO_NUMBERS, 1e7], ids=lambda value: type(value).__name__)
def test_bad_coordinates_are_refused(value: object) -> None:
    """Nothing but finite ints and floats up to a million."""
    assert (VERIFY[13](replaced(seed_answer("heilbronn_13"), value)).reason or "").startswith("point 3: y must be")


def test_shapes_are_refused_at_once() -> None:
    """Empty, ragged, of the wrong length, or ten million long."""
    points = seed_answer("heilbronn_13")
    start = time.perf_counter()
    assert VERIFY[13]([]).reason == "expected 13 points, got 0"
    assert VERIFY[14](points).reason == "expected 14 points, got 13"
    assert VERIFY[13]([*points[:12], [1.0]]).reason == "point 12: expected a pair [x, y], got list of 1"
    assert VERIFY[13]([[0.0, 0.0]] * 10**7).reason == "expected 13 points, got 10000000"
    assert VERIFY[13]([*points[:12], [0.5] * 10**6]).reason == ("point 12: expected a pair [x, y], got list of 1000000")
    assert time.perf_counter() - start < 5


def test_zero_and_the_smallest_float_are_numbers() -> None:
    """-0.0 is 0, and 5e-324 is above 0: a triangle that thin has its exact area."""
    square = [[-0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]
    verdict = verify_heilbronn([*square, [0.5, 5e-324]], 4)
    assert verdict.valid
    assert verdict.score == 5e-324


@needs_records
@pytest.mark.parametrize(
    ("name", "digits"),
    [
        ("convex13_alphaevolve", "0.030936889034895618"),
        ("convex14_alphaevolve", "0.027835571458482122"),
        ("convex14_together_2026", "0.027835580459939438"),
    ],
)
def test_published_points_get_their_known_worth(name: str, digits: str) -> None:
    """And that is what problem.yaml says; nudged, they are worth what the slow judge says, which is less."""
    points = published("heilbronn.json")[name]
    problem, verify = load_problem(f"heilbronn_{len(points)}"), VERIFY[len(points)]
    verdict = verify(points)
    assert (verdict.exact or "").startswith(digits)
    assert verdict.exact in [record.exact for record in problem.records if record.exactly_valid]
    for rows in itertools.islice(nudged(points), 8):
        assert verify(rows).score == float(slow_score(rows) or 0)
    worse = [list(point) for point in points]
    worse[0][0] += 1e-3
    assert (verify(worse).score or 0) < (verdict.score or 0)


def test_a_picture_is_written(tmp_path: Path) -> None:
    """A PNG of some size."""
    draw = load_picture(load_problem("heilbronn_13"))
    assert draw is not None
    draw(seed_answer("heilbronn_13"), tmp_path / "points.png")
    assert (tmp_path / "points.png").read_bytes().startswith(b"\x89PNG")


def test_the_measures_count_corners_and_small_triangles() -> None:
    """A square with a point inside: four corners; of its triangles three have the smallest area, 1/8."""
    square: list[list[float]] = [[0, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.25]]
    assert verify_heilbronn(square, 5).measures == {"corners": 4.0, "tight": 3.0}

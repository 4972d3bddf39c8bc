"""Exact judges of point sets: every float is an integer over a power of two, so all that is compared are integers."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from evolve.types import Verdict
from problems.exact import decimal_digits
from problems.gate import float_rows, rows_fault

#: No coordinate may be larger: both scores are free of scale, so nothing is lost.
LARGEST = 1e6

#: A larger squared ratio of distances might not be a float, and nobody is interested in it.
LARGEST_RATIO = 1e12

Point = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PointSet:
    """Points in exact arithmetic, in a common unit that cancels out of both scores.

    Attributes:
        points: `(n, d)` coordinates.
    """

    points: tuple[Point, ...]

    @classmethod
    def from_floats(cls, rows: Sequence[Sequence[float]]) -> "PointSet":
        """Return the points that these finite floats denote, without any rounding."""
        # All denominators are powers of two, so the largest is a common one.
        unit = max(value.as_integer_ratio()[1] for row in rows for value in row)
        exact = ((value.as_integer_ratio() for value in row) for row in rows)
        return cls(points=tuple(tuple(top * (unit // bottom) for top, bottom in row) for row in exact))

    def triangles(self) -> list[tuple[int, tuple[int, int, int]]]:
        """Return twice the area of the triangle of each three points, and which three they are."""
        triples = itertools.combinations(range(len(self.points)), 3)
        return [(abs(_turn(*(self.points[i] for i in triple))), triple) for triple in triples]

    def hull(self) -> list[Point]:
        """Return the corners of the convex hull, turning left (Andrew's monotone chain)."""
        ordered = sorted(self.points)
        return [*_half_hull(ordered), *_half_hull(ordered[::-1])]

    def hull_area(self) -> int:
        """Return twice the area of the convex hull; 0 if all points lie on one line."""
        hull = self.hull()
        return sum(x * v - u * y for (x, y), (u, v) in zip(hull, [*hull[1:], *hull[:1]], strict=True))

    def squared_distances(self) -> list[tuple[int, tuple[int, int]]]:
        """Return the squared distance of each pair, and which pair it is."""
        pairs = itertools.combinations(enumerate(self.points), 2)
        return [(sum((a - b) ** 2 for a, b in zip(p, q, strict=True)), (i, j)) for (i, p), (j, q) in pairs]


def verify_heilbronn(construction: object, n: int) -> Verdict:
    """Judge a list of n pairs [x, y].

    Returns:
        As score the smallest area of a triangle of three of the points over the area of their convex hull: larger is
        better. Measures: corners of the hull, and triangles within 10 % of the smallest.
        Source: AlphaEvolve, arXiv:2506.13131, appendix B.10.
    """
    rows, fault = _rows(construction, n, ("x", "y"))
    if fault is not None:
        return Verdict(valid=False, reason=fault)
    points = PointSet.from_floats(rows)
    triangles = points.triangles()
    smallest, triple = min(triangles)
    if smallest == 0:
        return Verdict(valid=False, reason="points {}, {} and {} lie on one line: area exactly 0".format(*triple))
    score = Fraction(smallest, points.hull_area())
    tight = sum(10 * area <= 11 * smallest for area, _ in triangles)
    measures = {"corners": float(len(points.hull())), "tight": float(tight)}
    return Verdict(valid=True, score=float(score), exact=decimal_digits(score), construction=rows, measures=measures)


def verify_distance_ratio(construction: object, n: int, dimension: int) -> Verdict:
    """Judge a list of n points in the plane, or in space where `dimension` is 3.

    Returns:
        As score the square of the largest distance over the smallest: smaller is better. Measures: how many squared
        distances are within 1 % of the smallest, and of the largest.
        Source: AlphaEvolve, arXiv:2506.13131, appendix B.8; there too the square is what is reported.
    """
    rows, fault = _rows(construction, n, ("x", "y", "z")[:dimension])
    if fault is not None:
        return Verdict(valid=False, reason=fault)
    distances = PointSet.from_floats(rows).squared_distances()
    smallest, (i, j) = min(distances)
    if smallest == 0:
        return Verdict(valid=False, reason=f"points {i} and {j} are the same: distance exactly 0")
    largest = max(distances)[0]
    score = Fraction(largest, smallest)
    if score > LARGEST_RATIO:
        return Verdict(valid=False, reason=f"points {i} and {j} are too close: the ratio is above {LARGEST_RATIO:.0e}")
    contacts = sum(100 * square <= 101 * smallest for square, _ in distances)
    diameters = sum(100 * square >= 99 * largest for square, _ in distances)
    measures = {"contacts": float(contacts), "diameters": float(diameters)}
    return Verdict(valid=True, score=float(score), exact=decimal_digits(score), construction=rows, measures=measures)


def _rows(construction: object, n: int, columns: Sequence[str]) -> tuple[list[list[float]], str | None]:
    fault = rows_fault(construction, n, item="point", columns=columns, largest=LARGEST)
    if fault is not None or not isinstance(construction, list):
        return [], fault
    return float_rows(construction), None


def _turn(p: Point, q: Point, r: Point) -> int:
    """Twice the signed area of a triangle; positive where p, q, r turn left."""
    return (q[0] - p[0]) * (r[1] - p[1]) - (r[0] - p[0]) * (q[1] - p[1])


def _half_hull(ordered: Sequence[Point]) -> list[Point]:
    """Return the lower hull of points in order of x, then y, without its last point."""
    hull: list[Point] = []
    for point in ordered:
        while len(hull) >= 2 and _turn(hull[-2], hull[-1], point) <= 0:
            hull.pop()
        hull.append(point)
    return hull[:-1]

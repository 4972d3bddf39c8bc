"""Exact judge of regular hexagons of side 1 inside the smallest regular hexagon: all lies in Q(sqrt 3).

A direction is given by t, the tangent of half its angle, so that its cosine (1 - t^2) / (1 + t^2) and its sine
2 t / (1 + t^2) are rational. A hexagon repeats every 60 degrees, so that its extent in a direction is the largest of
three absolute values. Source of the problem: AlphaEvolve, arXiv:2506.13131, appendix B.7.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from evolve.types import Verdict
from problems.exact import decimal_digits
from problems.gate import float_rows, rows_fault
from problems.qsqrt3 import Q3

#: The tangent of half of 33.4 degrees: 30 suffice, for a hexagon is its own image every 60.
LARGEST_TANGENT = 0.3

#: No coordinate may be larger.
LARGEST = 1e6

#: The repair's factor is rounded up to so many bits, and is at most LARGEST_FACTOR: beyond, it is no repair.
REPAIR_BITS = 128
LARGEST_FACTOR = 2

Vector = tuple[Q3, Q3]

_ZERO, _HALF = Fraction(0), Fraction(1, 2)

#: Distance of a side from the centre: sqrt(3) / 2.
APOTHEM = Q3(_ZERO, _HALF)

#: Cosine and sine of 0, 60 and 120 degrees, where corners lie, and of 30, 90 and 150, across the sides.
_CORNERS = (
    (Q3(Fraction(1)), Q3()),
    (Q3(_HALF), Q3(_ZERO, _HALF)),
    (Q3(-_HALF), Q3(_ZERO, _HALF)),
)
_NORMALS = (
    (Q3(_ZERO, _HALF), Q3(_HALF)),
    (Q3(), Q3(Fraction(1))),
    (Q3(_ZERO, -_HALF), Q3(_HALF)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hexagon:
    """A regular hexagon of side 1, or the centre and direction of one.

    Attributes:
        x: Of the centre.
        y: Of the centre.
        corners: Unit vectors from the centre to three corners that follow one another.
        normals: Unit vectors across three sides that follow one another; the other three sides are opposite.
    """

    x: Fraction
    y: Fraction
    corners: tuple[Vector, ...]
    normals: tuple[Vector, ...]

    @classmethod
    def from_floats(cls, x: float, y: float, t: float) -> "Hexagon":
        """Return the hexagon that these floats denote, without any rounding."""
        tangent = Fraction(t)
        cosine = (1 - tangent**2) / (1 + tangent**2)
        sine = 2 * tangent / (1 + tangent**2)

        def turned(vectors: Sequence[Vector]) -> tuple[Vector, ...]:
            c, s = Q3(cosine), Q3(sine)
            return tuple((c * u - s * v, s * u + c * v) for u, v in vectors)

        return cls(x=Fraction(x), y=Fraction(y), corners=turned(_CORNERS), normals=turned(_NORMALS))

    def offset(self, other: "Hexagon") -> Vector:
        """Return the vector from this centre to another's."""
        return Q3(other.x - self.x), Q3(other.y - self.y)

    def scaled(self, factor: Fraction) -> "Hexagon":
        """Return the hexagon with its centre moved away from the origin by a factor."""
        return replace(self, x=self.x * factor, y=self.y * factor)

    def extent(self, direction: Vector) -> Q3:
        """Return how far the hexagon reaches from its centre in a direction, and against it."""
        return max(abs(_dot(corner, direction)) for corner in self.corners)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Two hexagons that share an inner point.

    Attributes:
        first: Number of one of them.
        second: Number of the other.
        depth: The least length by which one must move so that they no longer overlap.
        factor: The least factor for the distance of their centres that suffices; None if they have one centre.
    """

    first: int
    second: int
    depth: Q3
    factor: Q3 | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """Hexagons of side 1, and the centre and direction of the hexagon around them."""

    hexagons: tuple[Hexagon, ...]
    outer: Hexagon

    def overlaps(self) -> list[Overlap]:
        """Return every pair that overlaps; touching is allowed.

        Convex polygons are disjoint inside if and only if a line along one of their sides separates them.
        """
        found = []
        for (i, first), (j, second) in itertools.combinations(enumerate(self.hexagons), 2):
            if (second.x - first.x) ** 2 + (second.y - first.y) ** 2 >= 4:
                continue  # even the circles around them do not overlap
            offset = first.offset(second)
            needs = [(abs(_dot(offset, axis)), APOTHEM + second.extent(axis)) for axis in first.normals]
            needs += [(abs(_dot(offset, axis)), APOTHEM + first.extent(axis)) for axis in second.normals]
            depth = min(reach - distance for distance, reach in needs)
            if depth.sign() > 0:
                factors = [reach / distance for distance, reach in needs if distance.sign() > 0]
                found.append(Overlap(first=i, second=j, depth=depth, factor=min(factors, default=None)))
        return found

    def side(self) -> Q3:
        """Return the side of the smallest hexagon of the outer centre and direction that holds all the others."""
        reaches = (
            abs(_dot(self.outer.offset(hexagon), axis)) + hexagon.extent(axis)
            for hexagon in self.hexagons
            for axis in self.outer.normals
        )
        return max(reaches) / APOTHEM

    def repaired(self, overlaps: Sequence[Overlap]) -> "Arrangement | None":
        """Return the arrangement with all centres moved apart by the smallest factor that ends its overlaps.

        None if no factor up to `LARGEST_FACTOR` does. The factor is rounded up to a multiple of `2^-REPAIR_BITS`.
        Moving centres apart never makes a new overlap.
        """
        wanted = [overlap.factor for overlap in overlaps if overlap.factor is not None]
        factor = max(wanted, default=Q3(Fraction(1))).approximate()
        if len(wanted) < len(overlaps) or factor > LARGEST_FACTOR:
            return None
        # One unit more than the fraction needs pays for what the approximation of a root may lack.
        units = -(-(factor.numerator << REPAIR_BITS) // factor.denominator) + 1
        scale = Fraction(units, 1 << REPAIR_BITS)
        hexagons = tuple(hexagon.scaled(scale) for hexagon in self.hexagons)
        return Arrangement(hexagons=hexagons, outer=self.outer.scaled(scale))


def shape_fault(construction: object, n: int) -> str | None:
    """Return why `construction` is not `{"hexagons": n triples [x, y, t], "outer": [x, y, t]}`, or None if it is."""
    if type(construction) is not dict:
        return f'expected {{"hexagons": {n} triples [x, y, t], "outer": [x, y, t]}}, got {type(construction).__name__}'
    if construction.keys() != {"hexagons", "outer"}:
        return 'expected just the keys "hexagons" and "outer"'
    columns = ("x", "y", "t")
    outer = [construction["outer"]]
    fault = rows_fault(construction["hexagons"], n, item="hexagon", columns=columns, largest=LARGEST)
    fault = fault or rows_fault(outer, 1, item="outer hexagon", columns=columns, largest=LARGEST)
    if fault is not None:
        return fault
    for i, (_, _, t) in enumerate([*construction["hexagons"], *outer]):
        if abs(t) > LARGEST_TANGENT:
            which = "the outer hexagon" if i == n else f"hexagon {i}"
            return f"{which}: t = tan(angle / 2) must be at most {LARGEST_TANGENT} in size, got {float(t):.3g}"
    return None


def verify_hexagons(construction: object, n: int) -> Verdict:
    """Judge n hexagons at zero tolerance; the outer side is computed, and no claim of it is read.

    Returns:
        The outer side as score: smaller is better. Of overlapping hexagons, `reason` names the deepest overlap, and
        `repaired` is the side once all centres have moved apart by the smallest sufficient factor.
    """
    fault = shape_fault(construction, n)
    if fault is not None or not isinstance(construction, dict):
        return Verdict(valid=False, reason=fault)
    rows, (outer,) = float_rows(construction["hexagons"]), float_rows([construction["outer"]])
    arrangement = _arrangement(rows, outer)
    overlaps = arrangement.overlaps()
    if overlaps:
        repaired = arrangement.repaired(overlaps)
        worth = None if repaired is None else float(repaired.side().approximate())
        count = f" ({len(overlaps)} pairs overlap)" if len(overlaps) > 1 else ""
        return Verdict(valid=False, reason=_words(overlaps)[0] + count, repaired=worth)
    side = arrangement.side().approximate()
    kept = {"hexagons": rows, "outer": outer}
    return Verdict(
        valid=True, score=float(side), exact=decimal_digits(side), construction=kept, measures=measures(rows)
    )


def measures(rows: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return how many different angles there are, in whole degrees, and how many pairs of centres are closer than 1.8.

    >>> measures([[0, 0, 0.25], [0, 1.75, 0.25], [0, 3.5, 0.26]])
    {'angles': 2.0, 'neighbours': 2.0}
    """
    angles = {round(math.degrees(2 * math.atan(t))) % 60 for _, _, t in rows}
    near = sum(math.dist(one[:2], other[:2]) < 1.8 for one, other in itertools.combinations(rows, 2))
    return {"angles": float(len(angles)), "neighbours": float(near)}


def hexagon_violations(construction: object, n: int) -> list[str]:
    """Return every overlap in words, the deepest first; none of what is no arrangement."""
    if shape_fault(construction, n) is not None or not isinstance(construction, dict):
        return []
    (outer,) = float_rows([construction["outer"]])
    return _words(_arrangement(float_rows(construction["hexagons"]), outer).overlaps())


def _arrangement(rows: Sequence[Sequence[float]], outer: Sequence[float]) -> Arrangement:
    hexagons = tuple(Hexagon.from_floats(x, y, t) for x, y, t in rows)
    return Arrangement(hexagons=hexagons, outer=Hexagon.from_floats(*outer))


def _words(overlaps: Sequence[Overlap]) -> list[str]:
    ordered = sorted(overlaps, key=lambda overlap: overlap.depth, reverse=True)
    return [f"hexagons {o.first} and {o.second} overlap by {float(o.depth.approximate()):.2g}" for o in ordered]


def _dot(u: Vector, v: Vector) -> Q3:
    return u[0] * v[0] + u[1] * v[1]

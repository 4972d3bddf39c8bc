"""Exact judge of circle packings: everything below is integer arithmetic, and no tolerance is granted.

A float64 is an integer over a power of two, so all lengths of a packing are integers in one common unit, and "two
circles overlap" is a comparison of squares of integers. Sources of the problem: AlphaEvolve, arXiv:2506.13131,
appendix B.12; the zero tolerance is ours, because packings that lean on a tolerance of 1e-6 beat honest ones.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from evolve.types import Verdict
from problems.exact import decimal_digits
from problems.gate import float_rows, rows_fault

#: Further bits of the unit in which the repair's delta is rounded up.
REPAIR_BITS = 128

#: A lower bound of pi, so that the bound on the score is never too strict.
PI_FLOOR = Fraction(314159265358979, 10**14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Circles in the unit square, in exact arithmetic.

    Attributes:
        circles: `(n, 3)` x, y and radius, in units of 1 / `side`.
        side: Length of the square's side in that unit.
    """

    circles: tuple[tuple[int, int, int], ...]
    side: int

    @classmethod
    def from_floats(cls, rows: Sequence[Sequence[float]]) -> "Packing":
        """Return the packing that these finite floats denote, without any rounding."""
        # All denominators are powers of two, so the largest is a common one.
        side = max(value.as_integer_ratio()[1] for row in rows for value in row)

        def units(value: float) -> int:
            numerator, denominator = value.as_integer_ratio()
            return numerator * (side // denominator)

        return cls(circles=tuple((units(x), units(y), units(radius)) for x, y, radius in rows), side=side)

    @property
    def score(self) -> Fraction:
        """The exact sum of the radii."""
        return Fraction(sum(radius for _, _, radius in self.circles), self.side)

    def refined(self, bits: int) -> "Packing":
        """Return the same packing in a unit that is `2^bits` times smaller."""
        circles = tuple((x << bits, y << bits, radius << bits) for x, y, radius in self.circles)
        return Packing(circles=circles, side=self.side << bits)

    def shrunk(self, delta: int) -> "Packing":
        """Return the packing with `delta` units taken from every radius."""
        return Packing(circles=tuple((x, y, radius - delta) for x, y, radius in self.circles), side=self.side)

    def wall_excesses(self) -> Iterator[tuple[int, str]]:
        """Yield every circle that reaches over a wall: by how many units, and which."""
        for i, (x, y, radius) in enumerate(self.circles):
            walls = (("left", x), ("bottom", y), ("right", self.side - x), ("top", self.side - y))
            for wall, distance in walls:
                if radius > distance:
                    yield radius - distance, f"circle {i} reaches over the {wall} wall"

    def overlaps(self) -> Iterator[tuple[int, int, str]]:
        """Yield every overlapping pair: sum of its radii, squared distance of its centres, and which it is."""
        for (i, (x, y, radius)), (j, (u, v, other)) in itertools.combinations(enumerate(self.circles), 2):
            reach, square = radius + other, (x - u) ** 2 + (y - v) ** 2
            if reach * reach > square:
                yield reach, square, f"circles {i} and {j} overlap"

    def violations(self) -> list[tuple[Fraction, str]]:
        """Return every violation with its size as a length; overlaps to 60 significant bits, and never as 0."""
        found = [(Fraction(excess, self.side), what) for excess, what in self.wall_excesses()]
        for reach, square, what in self.overlaps():
            # reach - distance, without the cancellation: (reach^2 - distance^2) / (reach + distance).
            overlap = Fraction((reach * reach - square) << 64, (reach << 64) + math.isqrt(square << 128))
            found.append((overlap / self.side, what))
        return found

    def repaired(self) -> "Packing | None":
        """Return the packing with the smallest sufficient delta taken from every radius; None if one is smaller.

        Delta is exact: the smallest multiple of the unit over `2^REPAIR_BITS` that ends every violation.
        """
        fine = self.refined(REPAIR_BITS)
        wall_deltas = (excess for excess, _ in fine.wall_excesses())
        # (reach - 2 delta)^2 <= square holds for integers exactly if reach - 2 delta <= isqrt(square).
        pair_deltas = ((reach - math.isqrt(square) + 1) // 2 for reach, square, _ in fine.overlaps())
        delta = max(itertools.chain(wall_deltas, pair_deltas), default=0)
        if min(radius for _, _, radius in fine.circles) < delta or not any(r > delta for _, _, r in fine.circles):
            return None
        return fine.shrunk(delta)


def shape_fault(construction: object, n: int) -> str | None:
    """Return why `construction` is no list of n triples of usable numbers, or None if it is one.

    A circle of radius 0 is a point that adds nothing, as in the seed system's seed program, which sets two circles on
    one center (arXiv:2511.23473, released code: the sign of a radius is not checked there).
    """
    fault = rows_fault(construction, n, item="circle", columns=("x", "y", "radius"))
    if fault is None and isinstance(construction, list):
        for i, (_, _, radius) in enumerate(construction):
            if radius < 0:
                return f"circle {i}: radius must not be negative, got {radius}"
        if not any(radius for _, _, radius in construction):
            return "no circle has a radius above 0"
    return fault


def above_bound(score: Fraction, n: int) -> bool:
    """Whether n circles in the unit square cannot reach this sum of radii.

    Their areas sum up to at most 1, so the sum of radii is at most sqrt(n / pi) (Cauchy-Schwarz): 2.8768 for n = 26.

    >>> above_bound(Fraction("2.87"), 26), above_bound(Fraction("2.88"), 26)
    (False, True)
    """
    return score * score * PI_FLOOR > n


def judge_packing(packing: Packing) -> Verdict:
    """Judge n circles, however their numbers were given; the verdict carries no construction."""
    violations = packing.violations()
    if violations:
        size, what = max(violations, key=lambda violation: violation[0])
        repaired = packing.repaired()
        reason = f"{what} by {float(size):.2g}" + (f" ({len(violations)} violations)" if len(violations) > 1 else "")
        return Verdict(valid=False, reason=reason, repaired=None if repaired is None else float(repaired.score))
    if above_bound(packing.score, len(packing.circles)):
        return Verdict(valid=False, reason="impossible: the circles' areas would exceed that of the square")
    return Verdict(valid=True, score=float(packing.score), exact=decimal_digits(packing.score))


def verify_packing(construction: object, n: int) -> Verdict:
    """Judge a list of n triples [x, y, radius] of ints and floats at zero tolerance.

    Returns:
        The sum of the radii as score. Of an invalid packing, `reason` names the worst violation, and `repaired` is the
        score once the smallest sufficient length is taken from every radius.
    """
    fault = shape_fault(construction, n)
    if fault is not None or not isinstance(construction, list):
        return Verdict(valid=False, reason=fault)
    rows = float_rows(construction)
    verdict = judge_packing(Packing.from_floats(rows))
    return replace(verdict, construction=rows, measures=measures(rows) if verdict.valid else {})


def measures(rows: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return how many circles are within a thousandth of a wall, and the smallest over the largest radius.

    >>> measures([[0.5, 0.5, 0.25], [0.125, 0.5, 0.125]])
    {'walls': 1.0, 'evenness': 0.5}
    """
    walls = sum(min(x, y, 1 - x, 1 - y) - radius < 1e-3 for x, y, radius in rows)
    radii = [radius for _, _, radius in rows]
    largest = max(radii)  # 0 where exact radii above it are too small for a float
    return {"walls": float(walls), "evenness": abs(min(radii)) / largest if largest else 0.0}


def packing_violations(construction: object, n: int) -> list[str]:
    """Return every violation in words, the largest first; none of what is no packing."""
    if shape_fault(construction, n) is not None or not isinstance(construction, list):
        return []
    violations = Packing.from_floats(float_rows(construction)).violations()
    ordered = sorted(violations, key=lambda violation: violation[0], reverse=True)
    return [f"{what} by {float(size):.2g}" for size, what in ordered]

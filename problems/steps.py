"""Step functions in exact arithmetic, for the problems whose construction is a list of heights.

A float64 is an integer over a power of two, so the heights of a step function are integers in one common unit. The
convolution of two step functions is linear between the nodes of their grid, so its extremes lie at nodes, where its
values are those of the integers' discrete convolution. That is one product of two long integers (Kronecker's
substitution), without any rounding.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from evolve.types import Verdict
from problems.exact import decimal_digits
from problems.gate import LARGEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A function on an interval that is constant on each of n equal parts.

    Attributes:
        heights: `(n,)` in units of 1 / `unit`.
        unit: How many units make 1.
    """

    heights: tuple[int, ...]
    unit: int

    @classmethod
    def from_floats(cls, heights: Sequence[float]) -> "Steps":
        """Return the step function that these finite floats denote, without any rounding."""
        ratios = [height.as_integer_ratio() for height in heights]
        # All denominators are powers of two, so the largest is a common one.
        unit = max(denominator for _, denominator in ratios)
        return cls(heights=tuple(numerator * (unit // denominator) for numerator, denominator in ratios), unit=unit)


def convolution(left: Sequence[int], right: Sequence[int]) -> list[int]:
    """Return `c[k] = sum of left[i] * right[k - i]` for all `k`, exactly.

    Kronecker's substitution: both become the value of a polynomial at a power of two that exceeds every coefficient
    of the product, so that the digits of one product of integers are the convolution.

    Args:
        left: `(n,)` integers of any sign and size; at least one.
        right: `(m,)` likewise.

    Returns:
        `(n + m - 1,)` integers.

    >>> convolution([1, 2], [3, -4, 5])
    [3, 2, -3, 10]
    """
    largest = max(1, max(map(abs, left))) * max(1, max(map(abs, right))) * min(len(left), len(right))
    size = largest.bit_length() // 8 + 1
    length = len(left) + len(right) - 1
    first = _packed(left, size)
    # Squaring one and the same object takes Python two thirds of the time.
    product = first * (first if left is right else _packed(right, size))
    # Half a digit added to each makes all of them positive: bytes 00 ... 00 80.
    half = 1 << (8 * size - 1)
    halves = int.from_bytes((bytes(size - 1) + b"\x80") * length, "little")
    digits = (product + halves).to_bytes(size * length, "little")
    return [int.from_bytes(digits[at : at + size], "little") - half for at in range(0, size * length, size)]


def _packed(values: Sequence[int], size: int) -> int:
    """Return the sum of `values[i] * 256^(size * i)`."""
    positive = b"".join(max(value, 0).to_bytes(size, "little") for value in values)
    negative = b"".join(max(-value, 0).to_bytes(size, "little") for value in values)
    return int.from_bytes(positive, "little") - int.from_bytes(negative, "little")


def shape_fault(construction: object, most: int) -> str | None:
    """Return why `construction` is no list of 1 to `most` usable numbers, or None if it is one."""
    if type(construction) is not list:
        return f"expected a list of 1 to {most} heights, got {type(construction).__name__}"
    # Before anything looks at a height: the length is the candidate's choice.
    if not 1 <= len(construction) <= most:
        return f"expected 1 to {most} heights, got {len(construction)}"
    for i, height in enumerate(construction):
        # Exact types: a bool is an int, and a subclass could lie. NaN fails every comparison.
        if type(height) not in (int, float):
            return f"height {i} must be a number, got {type(height).__name__}"
        if not -LARGEST <= height <= LARGEST:
            return f"height {i} must be finite and at most {LARGEST:.0e} in size"
    return None


def below_zero(heights: Sequence[float]) -> list[str]:
    """Return which heights are below 0 and by how much, the worst first."""
    return _worst_first((-height, i, "below 0") for i, height in enumerate(heights) if height < 0)


def outside_unit(heights: Sequence[float]) -> list[str]:
    """Return which heights are below 0 or above 1 and by how much, the worst first."""
    below = ((-height, i, "below 0") for i, height in enumerate(heights) if height < 0)
    above = ((height - 1, i, "above 1") for i, height in enumerate(heights) if height > 1)
    return _worst_first(itertools.chain(below, above))


def _worst_first(faults: Iterable[tuple[float, int, str]]) -> list[str]:
    return [f"height {i} is {where} by {excess:.2g}" for excess, i, where in sorted(faults, reverse=True)]


def not_a_density(heights: Sequence[float]) -> list[str]:
    """Return what keeps a function from being at least 0 with an integral above 0."""
    return below_zero(heights) or ([] if any(heights) else ["all heights are 0"])


def measures(heights: Sequence[float]) -> dict[str, float]:
    """Return the measures of a step function for the archive: how fine it is, and how often it goes up and down.

    Returns:
        `steps`, the number of heights; `hills`, half the total variation (with the steps from and to 0 at the ends) in
        units of the largest height's size: 1 for one hill, k for k equal ones, 0 where all heights are 0.

    >>> measures([2.0, 0.0, 2.0]), measures([1, 3, 1])
    ({'steps': 3.0, 'hills': 2.0}, {'steps': 3.0, 'hills': 1.0})
    """
    largest = max(map(abs, heights))
    variation = math.fsum(abs(after - before) for before, after in itertools.pairwise([0.0, *heights, 0.0]))
    return {"steps": float(len(heights)), "hills": variation / largest / 2 if largest else 0.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepVerifier:
    """What the problems of step functions have in common; each brings its own rules and its own score.

    Attributes:
        most: How many steps are allowed.
        faults: Which of the problem's rules finite heights break, the worst first.
        score: The exact score of heights that break none. They come as integers in a unit of 1 / `unit`.
    """

    most: int
    faults: Callable[[Sequence[float]], list[str]]
    score: Callable[[Steps], Fraction]

    def verify(self, construction: object) -> Verdict:
        """Judge a list of 1 to `most` heights at zero tolerance; `reason` names the worst violation."""
        fault = shape_fault(construction, self.most)
        if fault is not None or not isinstance(construction, list):
            return Verdict(valid=False, reason=fault)
        heights = [float(height) for height in construction]
        faults = self.faults(heights)
        if faults:
            others = f" ({len(faults)} violations)" if len(faults) > 1 else ""
            return Verdict(valid=False, reason=faults[0] + others)
        score = self.score(Steps.from_floats(heights))
        return Verdict(
            valid=True,
            score=float(score),
            exact=decimal_digits(score),
            measures=measures(heights),
            construction=heights,
        )

    def violations(self, construction: object) -> list[str]:
        """Return the rules that a construction breaks, the worst first; none where it is no list of heights."""
        if shape_fault(construction, self.most) is not None or not isinstance(construction, list):
            return []
        return self.faults([float(height) for height in construction])

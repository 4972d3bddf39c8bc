"""The field Q(sqrt 3): exact numbers a + b * sqrt(3), for all that is built of regular triangles and hexagons."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import total_ordering

#: Bits after the point of the rational number that stands for an irrational one.
_BITS = 256


@total_ordering
@dataclass(frozen=True, slots=True)
class Q3:
    """The number `a + b * sqrt(3)`; `a` and `b` are unique, for sqrt(3) is irrational."""

    a: Fraction = Fraction(0)
    b: Fraction = Fraction(0)

    def __add__(self, other: "Q3") -> "Q3":
        return Q3(self.a + other.a, self.b + other.b)

    def __sub__(self, other: "Q3") -> "Q3":
        return Q3(self.a - other.a, self.b - other.b)

    def __mul__(self, other: "Q3") -> "Q3":
        return Q3(self.a * other.a + 3 * self.b * other.b, self.a * other.b + self.b * other.a)

    def __truediv__(self, other: "Q3") -> "Q3":
        norm = other.a**2 - 3 * other.b**2  # 0 only for 0
        return self * Q3(other.a / norm, -other.b / norm)

    def __neg__(self) -> "Q3":
        return Q3(-self.a, -self.b)

    def __abs__(self) -> "Q3":
        return -self if self.sign() < 0 else self

    def __lt__(self, other: "Q3") -> bool:
        return (self - other).sign() < 0

    def sign(self) -> int:
        """Return -1, 0 or 1, decided by squaring.

        >>> Q3(Fraction(7, 4), Fraction(-1)).sign(), Q3(Fraction(5, 3), Fraction(-1)).sign()
        (1, -1)
        """
        a, b = _sign(self.a), _sign(self.b)
        if a == b or b == 0:
            return a
        return a if self.a**2 > 3 * self.b**2 else b

    def approximate(self) -> Fraction:
        """Return a fraction that differs by less than 2^-256, whatever the size of the number."""
        square = 3 * self.b**2
        root = Fraction(math.isqrt((square.numerator << 2 * _BITS) // square.denominator), 1 << _BITS)
        return self.a + _sign(self.b) * root


def _sign(value: Fraction) -> int:
    return (value > 0) - (value < 0)

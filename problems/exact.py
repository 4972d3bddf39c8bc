"""Exact numbers as text, for the verifiers of all problems."""

from decimal import ROUND_DOWN, Context
from fractions import Fraction

#: Significant digits that are written of an exact score.
DIGITS = 30


def decimal_digits(value: Fraction, digits: int = DIGITS) -> str:
    """Return `value` in decimal with up to `digits` significant digits, rounded toward zero.

    Rounding toward zero never makes a maximised score look better than it is; trailing zeros are left out where the
    decimal ends.

    >>> decimal_digits(Fraction(2, 3), 5), decimal_digits(Fraction(-1, 8)), decimal_digits(Fraction(0))
    ('0.66666', '-0.125', '0')
    """
    context = Context(prec=digits, rounding=ROUND_DOWN)
    numerator = Context(prec=max(1, len(str(abs(value.numerator))))).create_decimal(value.numerator)
    denominator = Context(prec=len(str(value.denominator))).create_decimal(value.denominator)
    return format(context.divide(numerator, denominator), "f")

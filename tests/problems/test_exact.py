"""Exact decimals."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from problems.exact import decimal_digits


def test_digits_are_cut_not_rounded() -> None:
    """2/3 ends in 6, and numbers that end are not padded."""
    assert decimal_digits(Fraction(2, 3)) == "0." + "6" * 30
    assert decimal_digits(Fraction(1, 2)) == "0.5"
    assert decimal_digits(Fraction(-2, 3), 3) == "-0.666"
    assert decimal_digits(Fraction(10**40 + 1), 5) == "1" + "0" * 40


@given(st.fractions())
def test_the_text_is_within_one_unit_of_its_last_digit_toward_zero(value: Fraction) -> None:
    """Read back, the text is never larger in size, and less than 1e-29 of the value smaller."""
    read = Fraction(decimal_digits(value))
    assert abs(read) <= abs(value)
    assert abs(value) - abs(read) <= abs(value) * Fraction(1, 10**29)

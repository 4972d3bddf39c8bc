"""Numbers a + b * sqrt(3): hand-computed signs and products, and agreement with decimals of 120 digits."""

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from problems.qsqrt3 import Q3


def q(a: int | str, b: int | str = 0) -> Q3:
    """A number of the field, from texts such as "7/4"."""
    return Q3(Fraction(a), Fraction(b))


numbers = st.builds(Q3, st.fractions(-9, 9, max_denominator=99), st.fractions(-9, 9, max_denominator=99))


def decimal(number: Q3) -> Decimal:
    """The number to 120 digits."""
    with localcontext(prec=130):
        parts = [Decimal(part.numerator) / Decimal(part.denominator) for part in (number.a, number.b)]
        return parts[0] + parts[1] * Decimal(3).sqrt()


@pytest.mark.parametrize(
    ("number", "sign"),
    [
        (q(0), 0),
        (q(0, 1), 1),
        (q(0, -1), -1),
        (q(-1, 1), 1),
        (q("-7/4", 1), -1),
        (q("7/4", -1), 1),
        (q(-2, 1), -1),
        (q(2, 1), 1),
        (q(-2, -1), -1),
        (q(5042, -2911), 1),
        (q(-5042, 2911), -1),
    ],
)
def test_signs_are_decided_by_squaring(number: Q3, sign: int) -> None:
    """5042 / 2911 is a convergent of sqrt(3), too large by 3e-8: its square times 2911^2 exceeds 3 * 2911^2 by 1."""
    assert number.sign() == sign
    assert (abs(number).sign(), (-number).sign()) == (abs(sign), -sign)


def test_products_and_quotients_as_by_hand() -> None:
    """(1 + s)(1 - s) = -2; (2 + s)^2 = 7 + 4 s; 1 / (2 + s) = 2 - s."""
    assert q(1, 1) * q(1, -1) == q(-2)
    assert q(2, 1) * q(2, 1) == q(7, 4)
    assert q(1) / q(2, 1) == q(2, -1)


@given(numbers, numbers)
def test_order_and_arithmetic_agree_with_decimals(one: Q3, other: Q3) -> None:
    """Sums, differences, products, quotients and comparisons, to 100 digits."""
    with localcontext(prec=120):
        assert (one < other) is (decimal(one) < decimal(other))
        assert abs(decimal(one + other) - (decimal(one) + decimal(other))) < Decimal("1e-100")
        assert abs(decimal(one - other) - (decimal(one) - decimal(other))) < Decimal("1e-100")
        assert abs(decimal(one * other) - decimal(one) * decimal(other)) < Decimal("1e-100")


@given(numbers, numbers)
def test_division_undoes_multiplication(one: Q3, other: Q3) -> None:
    """Exactly, for every number but 0."""
    assume(other != Q3())
    assert one * other / other == one


@given(numbers)
def test_the_approximation_is_close(number: Q3) -> None:
    """It differs by less than 2^-256."""
    gap = number - Q3(number.approximate())
    assert abs(gap) < Q3(Fraction(1, 1 << 256))

"""Counts the sums and the differences of a set of whole numbers.

Source of the problem: K. Gyarmati, F. Hennecart and I. Z. Ruzsa, "Sums and differences of finite sets", Functiones et
Approximatio 37 (2007); AlphaEvolve, arXiv:2506.13131, appendix B.6. The two caps are ours: without them the records are
sets of 10^9 and more numbers, or limits, which nobody could check by counting.
"""

import math
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np

from evolve.types import Verdict
from problems.exact import decimal_digits
from problems.gate import arguments_beside

#: No number may be larger, and no set may have more: what the entry point is called with.
LARGEST, MOST = arguments_beside(__file__)

#: Digits of the logarithms; sets that differ by less are not known.
_DIGITS = 60


def set_fault(construction: object) -> str | None:
    """Return why `construction` is no list of different whole numbers from 0 on within the caps, or None."""
    if type(construction) is not list:
        return f"expected a list of whole numbers, got {type(construction).__name__}"
    if not 2 <= len(construction) <= MOST:
        return f"expected 2 to {MOST} numbers, got {len(construction)}"
    for i, value in enumerate(construction):
        if type(value) is not int:
            return f"number {i}: expected a whole number (int), got {type(value).__name__}"
        if not 0 <= value <= LARGEST:
            shown = str(value) if abs(value) < 10**20 else "far less" if value < 0 else "far more"
            return f"number {i}: expected 0 to {LARGEST}, got {shown}"
    if len(set(construction)) < len(construction):
        return f"{len(construction) - len(set(construction))} numbers repeat another"
    return None if 0 in construction else "the number 0 is missing"


def counts(numbers: list[int]) -> tuple[int, int]:
    """Return how many sums and how many differences a set has, order and sign included.

    >>> counts([0, 1, 3])
    (6, 7)
    """
    members, top = np.array(numbers), max(numbers)
    sums, differences = np.zeros(2 * top + 1, dtype=bool), np.zeros(2 * top + 1, dtype=bool)
    for number in numbers:
        sums[members + number] = True
        differences[members - number + top] = True
    return int(np.count_nonzero(sums)), int(np.count_nonzero(differences))


def exponent(sums: int, differences: int, top: int) -> Fraction:
    """Return 1 + log(differences / sums) / log(2 top + 1) to some 60 digits."""
    context = Context(prec=_DIGITS)
    gain = context.subtract(context.ln(Decimal(differences)), context.ln(Decimal(sums)))
    return 1 + Fraction(context.divide(gain, context.ln(Decimal(2 * top + 1))))


def verify(construction: object) -> Verdict:
    """Judge a list of different ints from 0 on; the verdict's construction is in rising order.

    Returns:
        As score 1 + log(|U - U| / |U + U|) / log(2 max U + 1): larger is better. Measures: how many numbers there are,
        and the logarithm of the largest to the base 2.
    """
    fault = set_fault(construction)
    if fault is not None or not isinstance(construction, list):
        return Verdict(valid=False, reason=fault)
    sums, differences = counts(construction)
    score = exponent(sums, differences, max(construction))
    return Verdict(
        valid=True,
        score=float(score),
        exact=decimal_digits(score, 40),
        construction=sorted(construction),
        measures={"numbers": float(len(construction)), "bits": math.log2(max(construction))},
    )

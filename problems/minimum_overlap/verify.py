"""Exact judge of step functions for Erdos' minimum overlap problem; nothing is rounded, and no tolerance is granted.

For h: [0, 2] -> [0, 1] with integral 1 the score is the largest overlap of h and 1 - h, over all shifts of one of
them. Sources: Haugland, arXiv:1609.08000; AlphaEvolve, arXiv:2506.13131, appendix B.5.

A list of floats hardly ever has just the right sum, and a tolerance on it would be a tolerance on the score. So the
function that is judged is the one of the list after a scaling that is part of the problem, and exact: where the
mean of h is above 1/2, h is multiplied by what makes it 1/2; where it is below, 1 - h is.
"""

from fractions import Fraction

from problems.gate import arguments_beside
from problems.steps import Steps, StepVerifier, convolution, outside_unit

#: What the entry point is called with. Long functions gain digits by resolution alone, without an idea.
MOST_STEPS: int = arguments_beside(__file__)[0]


def exact_score(steps: Steps) -> Fraction:
    """Return `2 / n` times the largest `sum of h_i (1 - h_(i+m))` over all m, of the scaled heights in [0, 1].

    h and 1 - h have the same overlaps, by opposite shifts, so that the mean may be taken as at least 1/2. Then the
    scaled height is `h_i n / (2 S)`, with S the sum of all h_i, and the sum is
    `n / (2 S) * P_m - (n / (2 S))^2 * A_m`: P_m the sum of those h_i whose partner i + m exists, A_m that of the
    products `h_i h_(i+m)`.

    >>> exact_score(Steps.from_floats([0.5, 0.5])), exact_score(Steps.from_floats([0.0, 1.0]))
    (Fraction(1, 2), Fraction(1, 1))
    """
    heights, n = steps.heights, len(steps.heights)
    if 2 * sum(heights) < n * steps.unit:
        heights = tuple(steps.unit - height for height in heights)
    total = sum(heights)
    products = convolution(heights, heights[::-1])
    # The partner i + m exists for the first n - m heights, or for m < 0 for the last n + m; products[n - 1 + m] is A_m.
    first, last, best = total, total, 2 * total * total - n * products[n - 1]
    for m in range(1, n):
        first -= heights[n - m]
        last -= heights[m - 1]
        best = max(best, 2 * total * max(first, last) - n * products[n - 1 + m])
    return Fraction(best, 2 * total * total)


_verifier = StepVerifier(most=MOST_STEPS, faults=outside_unit, score=exact_score)
verify = _verifier.verify
violations = _verifier.violations

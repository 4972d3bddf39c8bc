"""Exact judge of step functions for the second autocorrelation inequality; nothing is rounded, and nothing clipped.

For f >= 0 the score is |f*f|_2^2 / (|f*f|_1 |f*f|_inf). Sources: Matolcsi and Vinuesa, arXiv:0907.1379; AlphaEvolve,
arXiv:2506.13131, appendix B.2.
"""

import itertools
from fractions import Fraction

from problems.gate import arguments_beside
from problems.steps import Steps, StepVerifier, convolution, not_a_density

#: What the entry point is called with. Long functions gain digits by resolution alone, without an idea.
MOST_STEPS: int = arguments_beside(__file__)[0]


def exact_score(steps: Steps) -> Fraction:
    """Return the ratio of norms for heights of at least 0 that are not all 0.

    f*f is linear between the nodes `y = [0, c_1, ..., c_(2n-1), 0]`, with c the autoconvolution, so that its squared
    2-norm is `sum(y_i^2 + y_i y_(i+1) + y_(i+1)^2) / 3` and its 1-norm `sum(c)`, in units of one step.

    >>> exact_score(Steps.from_floats([1.0] * 3)), exact_score(Steps.from_floats([1.0, 0.0, 1.0]))
    (Fraction(2, 3), Fraction(1, 2))
    """
    c = convolution(steps.heights, steps.heights)
    # Every c_i is squared as the right end of one piece and as the left end of the next.
    squares = 2 * sum(value * value for value in c) + sum(left * right for left, right in itertools.pairwise(c))
    return Fraction(squares, 3 * sum(c) * max(c))


_verifier = StepVerifier(most=MOST_STEPS, faults=not_a_density, score=exact_score)
verify = _verifier.verify
violations = _verifier.violations

"""Exact judge of step functions for the first autocorrelation inequality; nothing is rounded, and nothing clipped.

For f >= 0 on [-1/4, 1/4] the score is max f*f / (integral of f)^2. Sources: Matolcsi and Vinuesa, arXiv:0907.1379;
AlphaEvolve, arXiv:2506.13131, appendix B.1.
"""

from fractions import Fraction

from problems.gate import arguments_beside
from problems.steps import Steps, StepVerifier, convolution, not_a_density

#: What the entry point is called with. Long functions gain digits by resolution alone, without an idea.
MOST_STEPS: int = arguments_beside(__file__)[0]


def exact_score(steps: Steps) -> Fraction:
    """Return `2 n max(c) / S^2`, with `c` the autoconvolution of the n heights and `S` their sum, which must not be 0.

    >>> exact_score(Steps.from_floats([1.0, 1.0, 1.0])), exact_score(Steps.from_floats([2.0, 1.0]))
    (Fraction(2, 1), Fraction(16, 9))
    """
    heights = steps.heights
    return Fraction(2 * len(heights) * max(convolution(heights, heights)), sum(heights) ** 2)


_verifier = StepVerifier(most=MOST_STEPS, faults=not_a_density, score=exact_score)
verify = _verifier.verify
violations = _verifier.violations

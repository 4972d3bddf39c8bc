"""Exact judge of signed step functions for the third autocorrelation inequality; nothing is rounded.

For f on [-1/4, 1/4], of any sign, the score is max |f*f| / (integral of f)^2. Two problems go by this name: here the
absolute value is inside the maximum (AlphaEvolve, arXiv:2506.13131, the second form of appendix B.3), so that the
valleys of f*f count too.
"""

from collections.abc import Sequence
from fractions import Fraction

from problems.gate import arguments_beside
from problems.steps import Steps, StepVerifier, convolution

#: What the entry point is called with. Long functions gain digits by resolution alone, without an idea.
MOST_STEPS: int = arguments_beside(__file__)[0]

#: The integral of f is at least the integral of |f| over this: near 0 the score means nothing.
LARGEST_CANCELLATION = 10**6


def exact_score(steps: Steps) -> Fraction:
    """Return `2 n max |c| / S^2`, with `c` the autoconvolution of the n heights and `S` their sum, which must not be 0.

    >>> exact_score(Steps.from_floats([1.0, 1.0, 1.0])), exact_score(Steps.from_floats([2.0, -1.0]))
    (Fraction(2, 1), Fraction(16, 1))
    """
    heights = steps.heights
    return Fraction(2 * len(heights) * max(map(abs, convolution(heights, heights))), sum(heights) ** 2)


def faults(heights: Sequence[float]) -> list[str]:
    """Return that the heights cancel each other, if they do.

    >>> faults([1.0, -1.0])
    ['the heights cancel: their sum is 0 of the sum of their sizes, and at least 1e-06 is needed']
    """
    exact = Steps.from_floats(heights).heights
    total, size = abs(sum(exact)), sum(map(abs, exact))
    if size == 0:
        return ["all heights are 0"]
    if total * LARGEST_CANCELLATION >= size:
        return []
    share = f"{total / size:.2g}"
    return [f"the heights cancel: their sum is {share} of the sum of their sizes, and at least 1e-06 is needed"]


_verifier = StepVerifier(most=MOST_STEPS, faults=faults, score=exact_score)
verify = _verifier.verify
violations = _verifier.violations

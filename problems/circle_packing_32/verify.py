"""Judges circles in the unit square at zero tolerance; see problems/packing.py."""

from evolve.types import Verdict
from problems.gate import arguments_beside
from problems.packing import packing_violations, verify_packing

#: How many circles are wanted: what the entry point is called with.
(CIRCLES,) = arguments_beside(__file__)


def verify(construction: object) -> Verdict:
    """Judge a list of triples [x, y, radius]; the score is the sum of the radii."""
    return verify_packing(construction, CIRCLES)


def violations(construction: object) -> list[str]:
    """Return every circle beyond a wall and every overlap in words, the largest first."""
    return packing_violations(construction, CIRCLES)

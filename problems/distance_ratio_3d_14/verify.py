"""Judges points by their largest and smallest distance, at zero tolerance; see problems/points.py."""

from evolve.types import Verdict
from problems.gate import arguments_beside
from problems.points import verify_distance_ratio

#: How many points are wanted, in how many dimensions: what the entry point is called with.
POINTS, DIMENSION = arguments_beside(__file__)


def verify(construction: object) -> Verdict:
    """Judge a list of points; the score is the square of their largest over their smallest distance."""
    return verify_distance_ratio(construction, POINTS, DIMENSION)

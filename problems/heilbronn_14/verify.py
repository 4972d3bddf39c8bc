"""Judges points by their smallest triangle, at zero tolerance; see problems/points.py."""

from evolve.types import Verdict
from problems.gate import arguments_beside
from problems.points import verify_heilbronn

#: How many points are wanted: what the entry point is called with.
(POINTS,) = arguments_beside(__file__)


def verify(construction: object) -> Verdict:
    """Judge a list of pairs [x, y]; the score is the smallest area of a triangle over the area of the convex hull."""
    return verify_heilbronn(construction, POINTS)

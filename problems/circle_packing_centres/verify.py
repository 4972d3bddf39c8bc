"""Judges centres of circles by the best radii around them; see problems/centres.py."""

from evolve.types import Verdict
from problems.centres import verify_centres
from problems.gate import arguments_beside

#: How many centres are wanted: what the entry point is called with.
(CENTRES,) = arguments_beside(__file__)


def verify(construction: object) -> Verdict:
    """Judge a list of pairs [x, y]; the score is the largest sum of radii of circles around them."""
    return verify_centres(construction, CENTRES)

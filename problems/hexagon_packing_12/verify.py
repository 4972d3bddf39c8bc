"""Judges hexagons in a hexagon, at zero tolerance; see problems/hexagons.py."""

from evolve.types import Verdict
from problems.gate import arguments_beside
from problems.hexagons import hexagon_violations, verify_hexagons

#: How many hexagons are wanted: what the entry point is called with.
(HEXAGONS,) = arguments_beside(__file__)


def verify(construction: object) -> Verdict:
    """Judge `{"hexagons": triples [x, y, t], "outer": [x, y, t]}`; the score is the side of the outer hexagon."""
    return verify_hexagons(construction, HEXAGONS)


def violations(construction: object) -> list[str]:
    """Return every overlap in words, the deepest first."""
    return hexagon_violations(construction, HEXAGONS)

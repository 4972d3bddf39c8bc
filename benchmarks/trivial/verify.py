"""Accepts any int from 0 to a thousand million; the score is the int."""

from evolve.types import Verdict


def verify(construction: object) -> Verdict:
    """Return the int as the score."""
    if type(construction) is not int or not 0 <= construction <= 10**9:
        return Verdict(valid=False, reason=f"not an int from 0 to 10^9: {construction!r:.100}")
    return Verdict(valid=True, score=float(construction), exact=str(construction), construction=construction)

"""The exact judge: it recomputes the score from the construction alone, at zero tolerance, and never raises."""

from itertools import combinations

from evolve.types import Verdict

#: As in problem.yaml.
MARKS = 8

#: No ruler needs more, and longer ones could only slow the arithmetic down.
LONGEST = 10**6


def verify(construction: object) -> Verdict:
    """Judge a list of `MARKS` whole numbers: the lowest is 0, no distance comes twice, the highest is the score."""
    marks = usable(construction)
    if marks is None:
        return Verdict(
            valid=False, reason=f"expected a list of {MARKS} whole numbers from 0 to {LONGEST}, one of them 0"
        )
    repeated = violations(marks)
    if repeated:
        return Verdict(valid=False, reason=f"{repeated[0]} ({len(repeated)} such pairs)")
    return Verdict(valid=True, score=float(max(marks)), exact=str(max(marks)), construction=marks)


def usable(construction: object) -> list[int] | None:
    """Return a construction if its types, its length and its sizes are right: this is checked before anything else."""
    if type(construction) is not list or len(construction) != MARKS:
        return None
    # By exact type: a bool is an int, and a float could be NaN.
    if any(type(mark) is not int or not 0 <= mark <= LONGEST for mark in construction) or min(construction) != 0:
        return None
    return construction


def violations(construction: object) -> list[str]:
    """Return a line for each pair whose distance came before or is 0, for `evolve verify`; none if it is unusable."""
    seen = {0}
    found = []
    for low, high in combinations(sorted(usable(construction) or []), 2):
        if high - low in seen:
            found.append(f"marks {low} and {high} are {high - low} apart, which may not come again")
        seen.add(high - low)
    return found

"""Which programs of an island are its elites: pure rules over lists of members.

An archive is computed from all of an island's members whenever it is asked for, so that its cells are right
whatever happened to the ranges of the measures before.
"""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

from evolve.types import Direction, Member


class Measure(StrEnum):
    """A coordinate of the archive's grid."""

    SCORE = "score"
    LENGTH = "length"  #: characters of the source


def _rank(member: Member, direction: Direction) -> tuple[float, int]:
    """Return a key that sorts better members higher; of equal scores the older is better."""
    if member.score is None:
        raise ValueError(f"program {member.id} has no score and cannot be a member")
    return direction.rank(member.score), -member.id


def best_first(members: Iterable[Member], direction: Direction) -> list[Member]:
    """Return the members, best first; of equal scores the older comes first."""
    return sorted(members, key=lambda member: _rank(member, direction), reverse=True)


def _coordinate(member: Member, measure: Measure, direction: Direction) -> float:
    return _rank(member, direction)[0] if measure is Measure.SCORE else float(member.length)


def elites(
    members: Sequence[Member], *, measures: Sequence[Measure], bins: int, direction: Direction, limit: int
) -> list[Member]:
    """Return the best member of each occupied cell, best first, at most `limit`.

    The grid divides the range that the members span along each measure into `bins` equal parts (MAP-Elites, Mouret
    and Clune 2015, arXiv:1504.04909). The best member is always among the elites.

    Args:
        members: `(M,)` members with scores.
        measures: The coordinates.
        bins: Cells along each coordinate, at least 1.
        direction: Of the score.
        limit: At least 1.
    """
    spans = []
    for measure in measures:
        values = [_coordinate(member, measure, direction) for member in members]
        spans.append((measure, min(values, default=0.0), max(values, default=0.0)))
    cells: dict[tuple[int, ...], Member] = {}
    for member in best_first(members, direction):
        cell = tuple(_bin(_coordinate(member, measure, direction), low, high, bins) for measure, low, high in spans)
        cells.setdefault(cell, member)
    return list(cells.values())[:limit]


def _bin(value: float, low: float, high: float, bins: int) -> int:
    """Return the bin of `value` in `[low, high]`; the upper end belongs to the last bin.

    >>> [_bin(value, 0.0, 1.0, 4) for value in (0.0, 0.25, 0.99, 1.0)]
    [0, 1, 3, 3]
    """
    # Halves keep the difference of two huge scores finite.
    width = high / 2 - low / 2
    return min(int((value / 2 - low / 2) / width * bins), bins - 1) if width > 0 else 0


def worth_migrating(natives: Sequence[Member], share: float, direction: Direction) -> list[Member]:
    """Return the best `share` of an island's own programs, at least one where there is any."""
    return best_first(natives, direction)[: max(1, math.floor(share * len(natives)))]

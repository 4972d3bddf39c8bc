"""Which programs of an island are its elites: a MAP-Elites archive that grows with the range of what it is given.

Pure and incremental: a member costs the same whether the island holds a thousand or a million others, and the elites
are at any moment those that a computation from all members would give.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple

from evolve.errors import ProblemError
from evolve.types import Direction, Member

Cell = tuple[int, ...]


class Measure(StrEnum):
    """Coordinates of the grid that every program has; a problem's own measures go by their names."""

    SCORE = "score"
    LENGTH = "length"  #: characters of the source


class Standing(NamedTuple):
    """A member's place among others: better members have higher standings; of equal scores the older is better.

    Attributes:
        rank: The score, turned so that higher is better.
        seniority: Minus the program's id.
        values: `(M,)` one coordinate for each measure of the grid.
    """

    rank: float
    seniority: int
    values: tuple[float, ...] = ()

    @property
    def id(self) -> int:
        """The program's id."""
        return -self.seniority


class Ranking:
    """How members of a population compare.

    Args:
        direction: Of the score.
        measures: Coordinates of the grid, where there is one: score, length, or measures of the problem.
    """

    def __init__(self, direction: Direction, measures: Sequence[str] = ()) -> None:
        self._direction = direction
        self._coordinates = [_coordinate(measure) for measure in measures]

    def standing(self, member: Member) -> Standing:
        """Return the standing of a member with a score.

        Raises:
            ProblemError: It lacks one of the measures.
        """
        if member.score is None:
            raise ValueError(f"program {member.id} has no score and stands nowhere")
        values = tuple([coordinate(member) for coordinate in self._coordinates])
        return Standing(self._direction.rank(member.score), -member.id, values)


def _coordinate(measure: str) -> Callable[[Member], float]:
    if measure in list(Measure):
        return attrgetter(measure)

    def own(member: Member) -> float:
        value = member.measures.get(measure)
        if value is None or not math.isfinite(value):
            raise ProblemError(
                f"program {member.id} has no finite measure {measure}: verify.py must give it for every valid "
                "construction, or selection.measures must not name it"
            )
        return value

    return own


class _Axis:
    """One measure's range, in bins whose width is a power of two.

    Bin i holds the values from `i * width` up to `(i + 1) * width`. The width is the smallest with which all values
    seen lie in `bins` neighbouring bins: it doubles when a value falls outside, so that each new bin is two old ones,
    and no more than some sixty times however a range grows. As long as only one value was seen there is one bin.
    """

    __slots__ = ("_bins", "_exponent", "_high", "_low")

    def __init__(self, bins: int) -> None:
        self._bins = bins
        self._low = math.inf
        self._high = -math.inf
        self._exponent: int | None = None  #: of the width; None for one bin that holds everything

    def stretch(self, low: float, high: float) -> bool:
        """Take in values from `low` to `high`; return whether the bins changed."""
        if self._low <= low and high <= self._high:
            return False
        self._low, self._high = min(low, self._low), max(high, self._high)
        if self._bins == 1 or self._low == self._high:
            return False
        before = self._exponent
        exponent = self._finest() if before is None else max(before, self._finest())
        while _bins((self._high,), exponent)[0] - _bins((self._low,), exponent)[0] >= self._bins:
            exponent += 1
        self._exponent = exponent
        return exponent != before

    def _finest(self) -> int:
        """Return a width's exponent with which the range certainly takes more than `bins` bins."""
        span = self._high - self._low
        # Halves keep the difference of two huge values finite.
        exponent = math.frexp(span)[1] if math.isfinite(span) else math.frexp(self._high / 2 - self._low / 2)[1] + 1
        return exponent - 1 - self._bins.bit_length()

    def bins(self, values: Sequence[float]) -> list[int]:
        """Return `(B,)` the bins of `(B,)` values that were taken in."""
        return [0] * len(values) if self._exponent is None else _bins(values, self._exponent)


def _bins(values: Sequence[float], exponent: int) -> list[int]:
    """Return `floor(value / 2**exponent)` for each value, exactly.

    >>> _bins((0.0, 0.24, 0.25, 1.0, -0.1), -2)
    [0, 0, 1, 4, -1]
    """
    floor, ldexp = math.floor, math.ldexp
    # What lies just below 0 may underflow to it.
    return [floor(ldexp(value, -exponent)) or -(value < 0) for value in values]


class Archive:
    """The elites of one island: the best member of each occupied cell (MAP-Elites, arXiv:1504.04909).

    Attributes:
        grid: Number of the grid, from 0; when the range of a measure outgrows its bins, a new grid begins.
        elites: All elites, the best last.
        holders: Which elite holds which cell.
    """

    def __init__(self, measures: int, bins: int) -> None:
        """Begin an empty archive.

        Args:
            measures: Number of measures, M.
            bins: The most bins that the values seen take along each measure.
        """
        self.grid = 0
        self.elites: list[Standing] = []
        self._axes = [_Axis(bins) for _ in range(measures)]
        self.holders: dict[Cell, Standing] = {}

    def take_in(self, members: Sequence[Standing]) -> dict[Cell, Standing]:
        """Place members; return the cells that changed hands, all cells of the archive when a new grid began."""
        if not members:
            return {}
        if self._stretch(members) and self.holders:
            # A new cell is a union of old ones, so that its best member is one of the old elites.
            members = [*self.holders.values(), *members]
            self.holders.clear()
            self.elites.clear()
            self.grid += 1
        taken: dict[Cell, Standing] = {}
        for cell, member in zip(self.cells(members), members, strict=True):
            holder = self.holders.get(cell)
            if holder is None or member > holder:
                if holder is not None:
                    del self.elites[bisect.bisect_left(self.elites, holder)]
                bisect.insort(self.elites, member)
                self.holders[cell] = taken[cell] = member
        return taken

    def _stretch(self, members: Sequence[Standing]) -> bool:
        """Let all axes take in the members' values; return whether any bins changed."""
        columns = zip(self._axes, _columns(members), strict=True)
        changed = [axis.stretch(min(column), max(column)) for axis, column in columns]
        return any(changed)

    def cells(self, members: Sequence[Standing]) -> list[Cell]:
        """Return `(B,)` the cells of `(B,)` members that were taken in."""
        columns = [axis.bins(column) for axis, column in zip(self._axes, _columns(members), strict=True)]
        return list(zip(*columns, strict=True))


def _columns(members: Sequence[Standing]) -> list[tuple[float, ...]]:
    """Return `(M, B)` the values of `(B,)` members, by measure."""
    return list(zip(*[member.values for member in members], strict=True))

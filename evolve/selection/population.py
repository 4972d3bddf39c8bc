"""What every rule promises, and the pools that the rules draw from."""

import heapq
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from evolve.archive import Standing
from evolve.types import ArchiveCell, Attempt, Draw, Member, Membership


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What the end of a step adds to the database.

    Attributes:
        memberships: New places on islands, in the order in which a restored population must take them in.
        cells: Cells of archives that changed hands.
    """

    memberships: tuple[Membership, ...]
    cells: tuple[ArchiveCell, ...] = ()


class Selection(Protocol):
    """Draws parents and takes in children."""

    def draw(self, group: int, *, inspirations: int, seed: str) -> Draw:
        """Return the parent of one group of the next step, and up to `inspirations` other programs.

        The same population, group and seed give the same draw; a draw changes nothing.
        """

    def finish_step(self, step: int, born: Sequence[tuple[Member, int]]) -> Settled:
        """Take in the evaluated programs of a step, each with the island of its parent.

        Left out are programs whose identity the population has already, and those without a score where the rule has
        no use for failures. Steps come in order, from the seed program's step 0, and none is left out.
        """

    def restore(self, members: Iterable[Member], memberships: Iterable[Membership], *, steps: int) -> None:
        """Take into an empty population what earlier calls of `finish_step` returned, in their order.

        Args:
            members: All programs that have a membership.
            memberships: All of them.
            steps: Number of the last step that finished, with or without memberships.
        """


class Distinct:
    """The programs of a rule without islands, by identity: only the first of several that are the same gets in."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def admit(self, step: int, born: Sequence[tuple[Member, int]]) -> list[tuple[Member, Membership]]:
        """Return the children that get in, each with its place."""
        admitted = []
        for member, home in born:
            if member.score is not None and member.identity not in self._known:
                self._known.add(member.identity)
                admitted.append((member, Membership(program_id=member.id, island=home, step=step, migrant=False)))
        return admitted

    def remember(self, member: Member) -> None:
        """Take in a restored program."""
        self._known.add(member.identity)


class Pool:
    """The best members of those that were added, all of them where there is no limit; drawing costs the same for any.

    Args:
        limit: How many; None for all.
        apart: Of members whose ranks are closer than this the best alone has a place, so that copies of one find which
            differ by nothing do not fill the pool (clearing: Petrowski, IEEE ICEC 1996). 0 for all.

    Attributes:
        members: In no order of use; the same additions in the same order give the same list.
    """

    def __init__(self, limit: int | None = None, apart: float = 0.0) -> None:
        self.members: list[Standing] = []
        self._limit = limit
        self._apart = apart

    def add(self, member: Standing) -> None:
        """Take in a member; the worst falls out of view where there are too many."""
        if self._apart and not self._clear(member):
            return
        if self._limit is None:
            self.members.append(member)
        elif len(self.members) < self._limit:
            heapq.heappush(self.members, member)
        elif member > self.members[0]:
            heapq.heapreplace(self.members, member)

    def _clear(self, member: Standing) -> bool:
        """Make room for a member among those that are close to it; return whether it is the best of them."""
        close = [other for other in self.members if abs(other.rank - member.rank) < self._apart]
        if any(other > member for other in close):
            return False
        if close:
            self.members = [other for other in self.members if other not in close]
            heapq.heapify(self.members)
        return True

    @property
    def worst(self) -> Standing | None:
        """The member that falls out of view next; None where there is no limit or it is not reached."""
        return self.members[0] if self._limit is not None and len(self.members) == self._limit else None


class Emigrants:
    """Who of an island's own programs goes to the next: those among its best share, each once.

    Two heaps meet at the share's border, so that a program costs the logarithm of the island's size.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._best: list[Standing] = []  #: the best share, its worst first
        self._others: list[tuple[float, int, tuple[float, ...]]] = []  #: the rest, turned so that its best is first
        self._risen: list[Standing] = []  #: who came among the best since the last departure
        self._gone: set[int] = set()

    def add(self, native: Standing) -> None:
        """Take in a program that was born on the island."""
        best, others = self._best, self._others
        if best and native > best[0]:
            self._rise(native)
        else:
            heapq.heappush(others, _turned(native))
        wanted = max(1, math.floor(self._share * (len(best) + len(others))))
        if len(best) > wanted:
            heapq.heappush(others, _turned(heapq.heappop(best)))
        elif len(best) < wanted:
            self._rise(Standing(*_turned(heapq.heappop(others))))

    def _rise(self, native: Standing) -> None:
        heapq.heappush(self._best, native)
        self._risen.append(native)

    def depart(self) -> list[Standing]:
        """Return those of the best share, at least one program, that have not gone before; the best first."""
        border = self._best[0] if self._best else None
        due = {native for native in self._risen if border and native >= border and native.id not in self._gone}
        self._risen.clear()
        return sorted(due, reverse=True)

    def gone(self, program_id: int) -> None:
        """Note that a program has a place on the next island; one that was born elsewhere does no harm."""
        self._gone.add(program_id)


def _turned(member: tuple[float, int, tuple[float, ...]]) -> tuple[float, int, tuple[float, ...]]:
    rank, seniority, values = member
    return (-rank, -seniority, values)


def others(members: Sequence[Standing], parent: int, count: int, rng: random.Random) -> tuple[int, ...]:
    """Return the ids of up to `count` members, none twice and none the parent, uniformly drawn."""
    # One more than asked for: when the parent is among them it is left out, else the last.
    drawn = rng.sample(range(len(members)), min(count + 1, len(members))) if count else []
    return tuple([members[number].id for number in drawn if members[number].id != parent][:count])


def as_member(attempt: Attempt) -> Member:
    """Return what selection keeps of an attempt that was evaluated."""
    if attempt.identity is None or attempt.source is None:
        raise ValueError(f"attempt {attempt.id} made no program")
    return Member(
        id=attempt.id,
        parent_id=None if attempt.is_root else attempt.draw.parent_id,
        step=attempt.step,
        identity=attempt.identity,
        score=attempt.score,
        length=len(attempt.source),
        measures=attempt.measures,
    )

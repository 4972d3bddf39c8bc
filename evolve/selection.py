"""Step 1: which parent, and which programs beside it.

A selection holds the population of one run in memory: ids, scores and places, never texts. Every draw is a pure
function of the population and of a seed, so that a step can be drawn again after a kill.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from evolve.archive import Measure, elites, worth_migrating
from evolve.types import Direction, Draw, Member, Membership


class Selection(Protocol):
    """Draws parents and takes in children."""

    def draw(self, *, inspirations: int, seed: str) -> Draw:
        """Return a parent and up to `inspirations` other programs; the same population and seed give the same draw."""

    def finish_step(self, step: int, born: Sequence[tuple[Member, int]]) -> Sequence[Membership]:
        """Take in the valid programs of a step, each with the island of its parent; return the new memberships.

        A program whose identity the population has already is left out.
        """

    def restore(self, members: Iterable[Member], memberships: Iterable[Membership]) -> None:
        """Take in what earlier calls of `finish_step` returned, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapElitesSettings:
    """Settings of `MapElites`.

    Attributes:
        islands: Number of islands.
        exploration: Share of draws that are uniform over an island (arXiv:2511.23473, released code: 0.2).
        exploitation: Share of draws from an island's archive (there: 0.6); the rest is uniform over all programs.
        measures: Coordinates of the archive's grid.
        bins: Cells along each coordinate.
        archive: The most elites an island's archive holds, the best first; small, so that drawing from it presses.
        migration_interval: Steps between migrations; 0 for none.
        migration_share: Share of an island's own programs that migrate, the best first, at least one.
    """

    islands: int = 4
    exploration: float = 0.2
    exploitation: float = 0.6
    measures: tuple[Measure, ...] = (Measure.SCORE, Measure.LENGTH)
    bins: int = 16
    archive: int = 24
    migration_interval: int = 5
    migration_share: float = 0.1


@dataclass(slots=True)
class _Island:
    members: list[Member] = field(default_factory=list)
    archive: list[Member] = field(default_factory=list)
    natives: list[Member] = field(default_factory=list)


class MapElites:
    """Islands with an archive of elites each, and ring migration.

    Children stay on the island of their parent. A migrant is a second membership of the same program, never a copy,
    and never migrates again; both are faults of the seed system that fill its database with copies.
    """

    def __init__(self, settings: MapElitesSettings, direction: Direction) -> None:
        self._settings = settings
        self._direction = direction
        self._islands = [_Island() for _ in range(settings.islands)]
        self._known: dict[str, Member] = {}

    def draw(self, *, inspirations: int, seed: str) -> Draw:
        """Return a parent by the 20/60/20 mix, and inspirations from the archive of its island."""
        rng = random.Random(seed)
        number = rng.randrange(len(self._islands))
        chance = rng.random()
        island = self._islands[number]
        if chance < self._settings.exploration:
            parent = rng.choice(island.members)
        elif chance < self._settings.exploration + self._settings.exploitation:
            parent = rng.choice(island.archive)
        else:
            number, parent = self._anywhere(rng)
        return Draw(
            island=number,
            parent_id=parent.id,
            inspiration_ids=_others(self._islands[number].archive, parent, inspirations, rng),
        )

    def finish_step(self, step: int, born: Sequence[tuple[Member, int]]) -> Sequence[Membership]:
        """Take in the children on their parents' islands; the first member of a run settles on every island."""
        added: list[Membership] = []
        for member, home in born:
            if member.identity in self._known:
                continue
            homes = [home] if self._known else range(len(self._islands))
            added += [
                Membership(program_id=member.id, island=number, step=step, migrant=number != home) for number in homes
            ]
            self._known[member.identity] = member
        members = {member.id: member for member, _ in born}
        self._settle(added, members)
        if self._settings.migration_interval and step and step % self._settings.migration_interval == 0:
            migrants = self._migrants(step)
            self._settle(migrants, {member.id: member for member in self._known.values()})
            added += migrants
        self._rebuild()
        return added

    def restore(self, members: Iterable[Member], memberships: Iterable[Membership]) -> None:
        """Rebuild islands and archives from the database's rows."""
        by_id = {member.id: member for member in members}
        self._known = {member.identity: member for member in by_id.values()}
        self._settle(memberships, by_id)
        self._rebuild()

    def _anywhere(self, rng: random.Random) -> tuple[int, Member]:
        """Return a uniform draw over all memberships, with its island."""
        number = rng.choices(range(len(self._islands)), weights=[len(island.members) for island in self._islands])[0]
        return number, rng.choice(self._islands[number].members)

    def _settle(self, memberships: Iterable[Membership], by_id: dict[int, Member]) -> None:
        for membership in memberships:
            island = self._islands[membership.island]
            island.members.append(by_id[membership.program_id])
            if not membership.migrant:
                island.natives.append(by_id[membership.program_id])

    def _migrants(self, step: int) -> list[Membership]:
        """Return the memberships that a migration adds: each island's best natives go one island on."""
        moves: list[Membership] = []
        for number, island in enumerate(self._islands):
            target = (number + 1) % len(self._islands)
            present = {member.id for member in self._islands[target].members}
            moves += [
                Membership(program_id=member.id, island=target, step=step, migrant=True)
                for member in worth_migrating(island.natives, self._settings.migration_share, self._direction)
                if member.id not in present
            ]
        return moves

    def _rebuild(self) -> None:
        for island in self._islands:
            island.archive = elites(
                island.members,
                measures=self._settings.measures,
                bins=self._settings.bins,
                direction=self._direction,
                limit=self._settings.archive,
            )


class _Pool:
    """What the two baselines share: one list of distinct programs, no islands."""

    def __init__(self) -> None:
        self._members: list[Member] = []
        self._known: set[str] = set()

    def finish_step(self, step: int, born: Sequence[tuple[Member, int]]) -> Sequence[Membership]:
        """Take in the children."""
        added: list[Membership] = []
        for member, home in born:
            if member.identity not in self._known:
                self._known.add(member.identity)
                self._members.append(member)
                added.append(Membership(program_id=member.id, island=home, step=step, migrant=False))
        return added

    def restore(self, members: Iterable[Member], memberships: Iterable[Membership]) -> None:
        """Rebuild the pool; `memberships` add nothing to it."""
        del memberships
        self._members = list(members)
        self._known = {member.identity for member in self._members}


class BestOfN(_Pool):
    """The baseline without evolution: every child is a child of the seed program, and nothing is shown beside it."""

    def draw(self, *, inspirations: int, seed: str) -> Draw:
        """Return the seed program."""
        del inspirations, seed
        return Draw(island=0, parent_id=self._members[0].id)


class RandomSelection(_Pool):
    """The baseline without pressure: parents and inspirations are uniform over all valid programs."""

    def draw(self, *, inspirations: int, seed: str) -> Draw:
        """Return a uniform parent and uniform inspirations."""
        rng = random.Random(seed)
        parent = rng.choice(self._members)
        return Draw(island=0, parent_id=parent.id, inspiration_ids=_others(self._members, parent, inspirations, rng))


def _others(pool: Sequence[Member], parent: Member, count: int, rng: random.Random) -> tuple[int, ...]:
    """Return up to `count` distinct members of the pool other than the parent."""
    others = [member for member in pool if member.id != parent.id]
    return tuple(member.id for member in rng.sample(others, min(count, len(others))))

"""Islands with an archive of elites each, and ring migration."""

import bisect
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from evolve.archive import Archive, Measure, Ranking, Standing
from evolve.selection.inspirations import Inspiration, inspire
from evolve.selection.population import Emigrants, Pool, Settled, others
from evolve.selection.weighting import Weighting, score_weights
from evolve.types import ArchiveCell, Direction, Draw, Member, Membership


@dataclass(frozen=True, slots=True, kw_only=True)
class MapElitesSettings:
    """Settings of `MapElites`.

    Attributes:
        islands: Number of islands.
        exploration: Share of draws that are uniform over an island (arXiv:2511.23473, released code: 0.2).
        exploitation: Share of draws from an island's archive (there: 0.6); the rest is uniform over the places on all
            islands, so that a program counts once on each island that it is on.
        weighting: How a parent is drawn from an archive.
        inspirations: How inspirations are drawn.
        measures: Coordinates of the archive's grid: score, length, or measures of the problem.
        bins: Bins along each coordinate.
        archive: The most elites of an island that are drawn from, the best first; small, so that drawing from it
            presses.
        population: The most programs of an island that are drawn from as parents, the best first; None for all.
        failures: Share of draws whose parent is a program of the island that failed, where there is one.
        migration_interval: Steps between migrations; 0 for none.
        migration_share: Share of an island's own programs that migrate, the best first, at least one.
    """

    islands: int = 4
    exploration: float = 0.2
    exploitation: float = 0.6
    weighting: Weighting = Weighting.UNIFORM
    inspirations: Inspiration = Inspiration.ARCHIVE
    measures: tuple[str, ...] = (Measure.SCORE, Measure.LENGTH)
    bins: int = 16
    archive: int = 24
    population: int | None = None
    failures: float = 0.0
    migration_interval: int = 5
    migration_share: float = 0.1


class _Island:
    """One island: what is drawn from it, and who leaves it."""

    def __init__(self, settings: MapElitesSettings) -> None:
        self.pool = Pool(settings.population)
        self.archive = Archive(len(settings.measures), settings.bins)
        self.failed: list[int] = []
        self.emigrants = Emigrants(settings.migration_share)
        self.arrived: list[Standing] = []  #: in this step, not yet in the archive

    def elites(self, limit: int) -> int:
        """Return how many elites are drawn from: the best of the archive that the pool has in view."""
        elites, worst = self.archive.elites, self.pool.worst
        in_view = len(elites) if worst is None else len(elites) - bisect.bisect_left(elites, worst)
        return min(limit, in_view)


class MapElites:
    """Islands with an archive of elites each, and ring migration.

    Children stay on the island of their parent. A migrant is a second membership of the same program, never a copy,
    and never migrates again; both are faults of the seed system that fill its database with copies.
    """

    def __init__(self, settings: MapElitesSettings, direction: Direction) -> None:
        self._settings = settings
        self._ranking = Ranking(direction, settings.measures)
        self._islands = [_Island(settings) for _ in range(settings.islands)]
        self._migrates = settings.migration_interval > 0 and settings.islands > 1
        self._known: set[str] = set()
        self._children: defaultdict[int, int] = defaultdict(int)

    def draw(self, group: int, *, inspirations: int, seed: str) -> Draw:
        """Return a parent by the 20/60/20 mix, and inspirations from the archive of its island."""
        del group
        rng = random.Random(seed)
        number = rng.randrange(len(self._islands))
        island = self._islands[number]
        if island.failed and rng.random() < self._settings.failures:
            failed = rng.choice(island.failed)
            used = island.archive.elites[-self._settings.archive :]
            return Draw(island=number, parent_id=failed, inspiration_ids=others(used, failed, inspirations, rng))
        chance = rng.random()
        if chance < self._settings.exploration:
            parent = rng.choice(island.pool.members)
        elif chance < self._settings.exploration + self._settings.exploitation:
            parent = self._elite(island, rng)
        else:
            sizes = [len(each.pool.members) for each in self._islands]
            number = rng.choices(range(len(sizes)), weights=sizes)[0]
            island = self._islands[number]
            parent = rng.choice(island.pool.members)
        kind, limit = self._settings.inspirations, self._settings.archive
        shown = inspire(kind, island.archive, limit, parent, inspirations, rng)
        return Draw(island=number, parent_id=parent.id, inspiration_ids=shown)

    def _elite(self, island: _Island, rng: random.Random) -> Standing:
        count = island.elites(self._settings.archive)
        if self._settings.weighting is Weighting.UNIFORM:
            return island.archive.elites[-1 - rng.randrange(count)]
        elites = island.archive.elites[-count:]
        return rng.choices(elites, weights=score_weights(elites, self._children))[0]

    def finish_step(self, step: int, born: Sequence[tuple[Member, int]]) -> Settled:
        """Take in the children on their parents' islands; the first member of a run settles on every island."""
        added: list[Membership] = []
        standings: dict[int, Standing | None] = {}
        for member, home in born:
            if member.identity in self._known or (member.score is None and not self._settings.failures):
                continue
            homes = [home] if self._known else range(len(self._islands))
            added += [
                Membership(program_id=member.id, island=number, step=step, migrant=number != home) for number in homes
            ]
            standings[member.id] = self._take_in(member)
        self._settle(added, standings)
        if self._migrates and step and step % self._settings.migration_interval == 0:
            added += self._migrate(step)
        cells = [
            ArchiveCell(program_id=elite.id, island=number, grid=island.archive.grid, cell=cell, step=step)
            for number, island in enumerate(self._islands)
            for cell, elite in self._archive(island).items()
        ]
        return Settled(memberships=tuple(added), cells=tuple(cells))

    def restore(self, members: Iterable[Member], memberships: Iterable[Membership], *, steps: int) -> None:
        """Rebuild islands and archives from the database's rows."""
        del steps
        standings = {member.id: self._take_in(member) for member in members}
        # Step by step, so that the grids grow as they grew and have the same numbers.
        for _, of_step in groupby(memberships, key=lambda membership: membership.step):
            self._settle(of_step, standings)
            for island in self._islands:
                self._archive(island)

    def _take_in(self, member: Member) -> Standing | None:
        """Note that a program exists; return its standing, None for one that failed."""
        self._known.add(member.identity)
        if member.parent_id is not None:
            self._children[member.parent_id] += 1
        return None if member.score is None else self._ranking.standing(member)

    def _settle(self, memberships: Iterable[Membership], standings: Mapping[int, Standing | None]) -> None:
        for membership in memberships:
            island = self._islands[membership.island]
            member = standings[membership.program_id]
            if member is None:
                island.failed.append(membership.program_id)
                continue
            island.pool.add(member)
            island.arrived.append(member)
            if membership.migrant:
                self._islands[membership.island - 1].emigrants.gone(membership.program_id)
            elif self._migrates:
                island.emigrants.add(member)

    def _migrate(self, step: int) -> list[Membership]:
        """Let each island's best natives go one island on; return their new memberships."""
        moves: list[Membership] = []
        for number, island in enumerate(self._islands):
            target = (number + 1) % len(self._islands)
            migrants = {member.id: member for member in island.emigrants.depart()}
            of_island = [Membership(program_id=program, island=target, step=step, migrant=True) for program in migrants]
            self._settle(of_island, migrants)
            moves += of_island
        return moves

    def _archive(self, island: _Island) -> dict[tuple[int, ...], Standing]:
        """Place those who arrived in this step in the archive; return the cells that changed hands."""
        arrived, island.arrived = island.arrived, []
        return island.archive.take_in(arrived)

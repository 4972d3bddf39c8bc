"""A queue of the best programs; without a limit, the baseline without pressure."""

import random
from collections.abc import Iterable, Sequence

from evolve.archive import Ranking
from evolve.selection.population import Distinct, Pool, Settled, others
from evolve.types import Direction, Draw, Member, Membership


class TopK:
    """Parents and inspirations are uniform over the best programs of the run.

    Args:
        k: How many; None for all, which is random search among the valid programs.
        direction: Of the score.
        apart: Of programs whose scores are closer than this the best alone is among them; 0 for all.
    """

    def __init__(self, k: int | None, direction: Direction, apart: float = 0.0) -> None:
        self._programs = Distinct()
        self._pool = Pool(k, apart)
        self._ranking = Ranking(direction)

    def draw(self, group: int, *, inspirations: int, seed: str) -> Draw:
        """Return a uniform parent and uniform inspirations."""
        del group
        rng = random.Random(seed)
        parent = rng.choice(self._pool.members).id
        return Draw(island=0, parent_id=parent, inspiration_ids=others(self._pool.members, parent, inspirations, rng))

    def finish_step(self, step: int, born: Sequence[tuple[Member, int]]) -> Settled:
        """Take in the children."""
        admitted = self._programs.admit(step, born)
        for member, _ in admitted:
            self._pool.add(self._ranking.standing(member))
        return Settled(memberships=tuple([place for _, place in admitted]))

    def restore(self, members: Iterable[Member], memberships: Iterable[Membership], *, steps: int) -> None:
        """Rebuild the queue in the order of the memberships."""
        del steps
        standings = {}
        for member in members:
            self._programs.remember(member)
            standings[member.id] = self._ranking.standing(member)
        for membership in memberships:
            self._pool.add(standings[membership.program_id])

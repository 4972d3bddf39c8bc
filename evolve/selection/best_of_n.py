"""The baseline without evolution."""

from collections.abc import Iterable, Sequence

from evolve.selection.population import Distinct, Settled
from evolve.types import Draw, Member, Membership


class BestOfN:
    """Every child is a child of the seed program, and nothing is shown beside it."""

    def __init__(self) -> None:
        self._programs = Distinct()
        self._seed: int | None = None

    def draw(self, group: int, *, inspirations: int, seed: str) -> Draw:
        """Return the seed program."""
        del group, inspirations, seed
        if self._seed is None:
            raise ValueError("an empty population has no parents")
        return Draw(island=0, parent_id=self._seed)

    def finish_step(self, step: int, born: Sequence[tuple[Member, int]]) -> Settled:
        """Take in the children."""
        admitted = self._programs.admit(step, born)
        if self._seed is None and admitted:
            self._seed = admitted[0][0].id
        return Settled(memberships=tuple([place for _, place in admitted]))

    def restore(self, members: Iterable[Member], memberships: Iterable[Membership], *, steps: int) -> None:
        """Take in all members; the first of the memberships is the seed program's."""
        del steps
        for member in members:
            self._programs.remember(member)
        self._seed = next((membership.program_id for membership in memberships), None)

"""Whole lives of a population, for the tests of the rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from evolve.selection import (
    BestOfN,
    Inspiration,
    MapElites,
    MapElitesSettings,
    Puct,
    PuctSettings,
    Selection,
    TopK,
    Weighting,
)
from evolve.types import ArchiveCell, Direction, Draw, Member, Membership

#: Groups of a step.
GROUPS = 3


def islands(**settings) -> Callable[[Direction], Selection]:
    """Return a rule with islands."""
    return lambda direction: MapElites(MapElitesSettings(**{"migration_interval": 2, **settings}), direction)


#: Every rule, with the settings that matter to it.
RULES: dict[str, Callable[[Direction], Selection]] = {
    "islands": islands(),
    "weighted": islands(islands=2, weighting=Weighting.SCORE, inspirations=Inspiration.BEST, migration_share=0.5),
    "neighbours": islands(islands=3, inspirations=Inspiration.NEIGHBOURS, measures=("holes", "score"), bins=4),
    "diverse": islands(islands=1, inspirations=Inspiration.DIVERSE, archive=5),
    "view": islands(islands=2, population=3, archive=4, exploitation=0.4),
    "failures": islands(islands=2, failures=0.3, migration_share=1.0),
    "puct": lambda direction: Puct(PuctSettings(groups=GROUPS, children=2, buffer=6), direction),
    "top_k": lambda direction: TopK(3, direction),
    "top_k_apart": lambda direction: TopK(3, direction, 0.5),
    "random": lambda direction: TopK(None, direction),
    "best_of_n": lambda _: BestOfN(),
}

scores = st.one_of(
    st.integers(-3, 3).map(float), st.floats(-1e9, 1e9), st.floats(allow_nan=False, allow_infinity=False)
)
#: One child: its group; its score, None when it failed; its length; a measure of its problem; its syntax tree.
children = st.tuples(
    st.integers(0, GROUPS - 1),
    st.one_of(st.none(), scores),
    st.integers(1, 3000),
    st.integers(0, 50),
    st.integers(0, 60),
)
#: The children of each step.
histories = st.lists(st.lists(children, max_size=6), max_size=8)


def seed_program(score: float = 1.0) -> Member:
    """Return the program that a run starts from."""
    return Member(id=0, parent_id=None, step=0, identity="seed", score=score, length=100, measures={"holes": 0.0})


@dataclass
class Life:
    """A population that was given its children step by step, and all that it returned."""

    selection: Selection
    members: dict[int, Member] = field(default_factory=dict)
    memberships: list[Membership] = field(default_factory=list)
    cells: list[ArchiveCell] = field(default_factory=list)
    draws: dict[int, Draw] = field(default_factory=dict)  #: of each program
    step: int = -1
    made: int = 0  #: children, also those that did not get in

    def begin(self, *seeds: Member) -> "Life":
        """Take in programs without parents."""
        self.finish([(seed, 0) for seed in seeds or (seed_program(),)])
        return self

    def finish(self, born: Sequence[tuple[Member, int]]) -> None:
        """End a step."""
        self.step += 1
        settled = self.selection.finish_step(self.step, born)
        self.memberships += settled.memberships
        self.cells += settled.cells
        places = {place.program_id for place in settled.memberships}
        self.members |= {member.id: member for member, _ in born if member.id in places}

    def live(self, history) -> "Life":
        """Take in the children of a history, each as a child of what the selection draws."""
        for step in history:
            drawn = [self.drawn(group) for group in range(GROUPS)]
            born = []
            for group, score, length, holes, tree in step:
                self.made += 1
                self.draws[self.made] = drawn[group]
                child = Member(
                    id=self.made,
                    parent_id=drawn[group].parent_id,
                    step=self.step + 1,
                    identity=f"tree{tree}",
                    score=score,
                    length=length,
                    measures={"holes": float(holes)},
                )
                born.append((child, drawn[group].island))
            self.finish(born)
        return self

    def drawn(self, group: int, *, inspirations: int = 2, seed: str = "") -> Draw:
        """Return a draw of the next step."""
        return self.selection.draw(group, inspirations=inspirations, seed=f"{seed}:{self.step + 1}:{group}")

    def reborn(self, selection: Selection) -> "Life":
        """Return the same life with a population that was restored from what the database keeps."""
        members = sorted(self.members.values(), key=lambda member: member.id)
        selection.restore(members, self.memberships, steps=self.step)
        kept = (dict(self.members), list(self.memberships), list(self.cells))
        return Life(selection, *kept, step=self.step, made=self.made)

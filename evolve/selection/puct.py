"""PUCT over programs: the best found below a program against how seldom it was drawn."""

import bisect
import math
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

from evolve.archive import Ranking, Standing
from evolve.selection.population import Distinct, Settled, others
from evolve.types import Direction, Draw, Member, Membership

#: The least range of scores that the bonus is measured in (released code of arXiv:2601.16175).
_LEAST_SCALE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class PuctSettings:
    """Settings of `Puct`; the defaults are those of the released code of TTT-Discover (arXiv:2601.16175).

    Attributes:
        groups: Parents of a step; they are drawn together.
        exploration: Weight c of the bonus for programs that were seldom drawn.
        children: The most children of one program that are drawn from, the best.
        buffer: The most programs with a parent that are drawn from, the best; beside them always the seed program and
            merged ones, however many.
    """

    groups: int
    exploration: float = 1.0
    children: int = 2
    buffer: int = 1000


class Puct:
    """Parents by PUCT with lineage blocking, as in TTT-Discover (arXiv:2601.16175); no islands, no chance.

    Of the N programs in the buffer those with the highest value of

        Q(i) + c * scale * P(i) * sqrt(1 + T) / (1 + n(i))

    are the parents of a step. Q is the rank of the program's best child, its own where it has none; P falls with its
    place from `2 / (N + 1)` for the best to `2 / (N (N + 1))` for the worst; the scale is the range of the buffer's
    scores without those of programs that have no parent; n counts the groups drawn from the program or from one below
    it, with or without a valid child; T counts all groups. No parent of a step is an ancestor of another. Where so many
    do not exist, as in the first steps, the choice begins anew with the groups so far counted as draws; and a group
    counts once, however many of its samples fail. A program without a parent never leaves the buffer and takes no place
    there from the others: the released code counts it, and has no room for children where such programs are as many as
    the places. These three are ours.
    """

    def __init__(self, settings: PuctSettings, direction: Direction) -> None:
        self._settings = settings
        self._ranking = Ranking(direction)
        self._programs = Distinct()
        self._above: dict[int, int | None] = {}  #: each program's parent, or the next ancestor that has not left
        self._families: dict[int, list[Standing]] = {}  #: each program's best children, the best last
        self._buffer: list[Standing] = []  #: the best last
        self._roots = 0  #: how many in the buffer have no parent
        self._visits: dict[int, int] = {}  #: of the programs in the buffer
        self._groups = 0
        self._drawn: list[int] = []  #: the parents of the next step

    def draw(self, group: int, *, inspirations: int, seed: str) -> Draw:
        """Return the group's parent, and uniform inspirations from the buffer."""
        parent = self._drawn[group]
        shown = others(self._buffer, parent, inspirations, random.Random(seed))
        return Draw(island=0, parent_id=parent, inspiration_ids=shown)

    def finish_step(self, step: int, born: Sequence[tuple[Member, int]]) -> Settled:
        """Count the step's draws and take in the children."""
        admitted = self._programs.admit(step, born)
        self._advance([member for member, _ in admitted])
        return Settled(memberships=tuple([place for _, place in admitted]))

    def restore(self, members: Iterable[Member], memberships: Iterable[Membership], *, steps: int) -> None:
        """Take all steps again: which parents they had follows from the population before each."""
        by_id = {member.id: member for member in members}
        for member in by_id.values():
            self._programs.remember(member)
        born = groupby(memberships, key=lambda membership: membership.step)
        by_step = {step: [by_id[place.program_id] for place in places] for step, places in born}
        for step in range(steps + 1):
            self._advance(by_step.get(step, []))

    def _advance(self, born: Sequence[Member]) -> None:
        # A step of programs without parents, the seed program or merged ones, drew none.
        if all(member.parent_id is not None for member in born):
            for parent in self._drawn:
                self._visit(parent, self._visits)
            self._groups += len(self._drawn)
        for member in born:
            self._take_in(member)
        self._drawn = self._parents_of_step() if self._buffer else []

    def _take_in(self, member: Member) -> None:
        newcomer = self._ranking.standing(member)
        self._above[member.id] = member.parent_id
        if member.parent_id is None:
            self._roots += 1
        else:
            family = self._families.setdefault(member.parent_id, [])
            bisect.insort(family, newcomer)
            if len(family) > self._settings.children:
                least = family.pop(0)
                if least == newcomer:
                    return
                place = bisect.bisect_left(self._buffer, least)
                if self._buffer[place : place + 1] == [least]:
                    self._remove(place)
        bisect.insort(self._buffer, newcomer)
        self._visits[member.id] = 0
        if len(self._buffer) - self._roots > self._settings.buffer:
            worst = next(place for place, other in enumerate(self._buffer) if not self._is_root(other))
            self._remove(worst)

    def _remove(self, place: int) -> None:
        """Take a program out of the buffer, for good."""
        del self._visits[self._buffer.pop(place).id]

    def _is_root(self, member: Standing) -> bool:
        return self._above[member.id] is None

    def _parents_of_step(self) -> list[int]:
        """Return `(groups,)` the parents of the next step."""
        drawn: list[int] = []
        visits = dict(self._visits)
        below = self._below()
        while len(drawn) < self._settings.groups:
            ranked = self._ranked(visits, self._groups + len(drawn))
            chosen = list(islice(self._unrelated(ranked, below), self._settings.groups - len(drawn)))
            for parent in chosen:
                self._visit(parent, visits)
            drawn += chosen
        return drawn

    def _ranked(self, visits: Mapping[int, int], groups: int) -> list[int]:
        """Return the buffer's programs by their PUCT value, the highest first."""
        count = len(self._buffer)
        ranks = [member.rank for member in self._buffer if not self._is_root(member)] or [0.0]
        scale = max(ranks[-1] - ranks[0], _LEAST_SCALE)
        bonus = self._settings.exploration * scale * math.sqrt(1 + groups) / (count * (count + 1) / 2)
        values = []
        for place, member in enumerate(self._buffer, start=1):
            family = self._families.get(member.id)
            best = family[-1].rank if family else member.rank
            values.append((best + bonus * place / (1 + visits[member.id]), member))
        values.sort(reverse=True)
        return [member.id for _, member in values]

    def _unrelated(self, ranked: Iterable[int], below: Mapping[int | None, Sequence[int]]) -> Iterator[int]:
        """Yield the programs that are neither above nor below one that was yielded before."""
        related: set[int] = set()
        for program in ranked:
            if program not in related:
                related.update(self._lineage(program))
                related.update(_descendants(program, below))
                yield program

    def _visit(self, program: int, visits: dict[int, int]) -> None:
        for ancestor in self._lineage(program):
            visits[ancestor] += 1

    def _lineage(self, program: int) -> Iterator[int]:
        """Yield a program of the buffer and its ancestors there, up to one without a parent."""
        step: int | None = program
        while step is not None:
            yield step
            step = self._next_above(step)

    def _next_above(self, program: int) -> int | None:
        """Return the nearest ancestor in the buffer; None where there is none.

        Those between have left for good: they are passed over once, so that a lineage is no longer than the buffer.
        """
        above = self._above[program]
        while above is not None and above not in self._visits:
            above = self._above[above]
        self._above[program] = above
        return above

    def _below(self) -> Mapping[int | None, Sequence[int]]:
        """Return the programs of the buffer by their nearest ancestor there."""
        below: defaultdict[int | None, list[int]] = defaultdict(list)
        for member in self._buffer:
            below[self._next_above(member.id)].append(member.id)
        return below


def _descendants(program: int, below: Mapping[int | None, Sequence[int]]) -> Iterator[int]:
    waiting = list(below.get(program, ()))
    while waiting:
        descendant = waiting.pop()
        yield descendant
        waiting += below.get(descendant, ())

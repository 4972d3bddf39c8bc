"""Which elites a prompt shows beside the parent."""

import heapq
import random
from enum import StrEnum
from itertools import islice

from evolve.archive import Archive, Cell, Standing
from evolve.selection.population import others

#: Elites among which the most distant are looked for; so many that chance does not hide them.
_SAMPLE = 64


class Inspiration(StrEnum):
    """How inspirations are drawn from the archive of the parent's island."""

    ARCHIVE = "archive"  #: uniformly from its elites in use
    BEST = "best"  #: its best elites
    NEIGHBOURS = "neighbours"  #: the elites of the cells next to the parent's, of whatever score
    DIVERSE = "diverse"  #: of its elites in use, each as far from the parent and from those before as can be


def inspire(
    kind: Inspiration, archive: Archive, in_use: int, parent: Standing, count: int, rng: random.Random
) -> tuple[int, ...]:
    """Return the ids of up to `count` elites other than the parent.

    Args:
        kind: How they are drawn.
        archive: Of the parent's island.
        in_use: How many of its elites are drawn from, the best first.
        parent: A member of the island.
        count: How many.
        rng: It is consumed.
    """
    if kind is Inspiration.BEST:
        best = (elite.id for elite in reversed(archive.elites) if elite != parent)
        return tuple(islice(best, count))
    if kind is Inspiration.NEIGHBOURS:
        (here,) = archive.cells([parent])
        near = [
            (_steps(cell, here), rng.random(), elite.id) for cell, elite in archive.holders.items() if elite != parent
        ]
        return tuple(program for _, _, program in heapq.nsmallest(count, near))
    used = archive.elites[-in_use:]
    if kind is Inspiration.ARCHIVE:
        return others(used, parent.id, count, rng)
    sample = rng.sample(used, min(_SAMPLE, len(used)))
    return _most_distant(archive, [elite for elite in sample if elite != parent], parent, count)


def _most_distant(archive: Archive, elites: list[Standing], parent: Standing, count: int) -> tuple[int, ...]:
    """Return up to `count` elites, each with the largest distance from the nearest of those before it."""
    here, *cells = archive.cells([parent, *elites])
    distances = [_steps(cell, here) for cell in cells]
    chosen = []
    for _ in range(min(count, len(elites))):
        far = max(range(len(elites)), key=distances.__getitem__)
        chosen.append(elites[far].id)
        distances = [min(distance, _steps(cell, cells[far])) for distance, cell in zip(distances, cells, strict=True)]
        distances[far] = -1
    return tuple(chosen)


def _steps(one: Cell, other: Cell) -> int:
    """Return how many steps to a neighbouring cell, also across a corner, lead from one cell to the other."""
    return max((abs(a - b) for a, b in zip(one, other, strict=True)), default=0)

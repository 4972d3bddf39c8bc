"""The lineage tree of a run, folded so that 100,000 programs can be read.

A tree is shown from a root on: the path to its best descendant, the largest branches beside it, and a leaf that stands
for all that is folded away. Only valid programs are in it; failed ones have no children.
"""

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from database.dashboard import Sprout
from evolve.dashboard.catalog import OpenRun
from evolve.errors import NotFoundError
from evolve.types import Direction

Array = npt.NDArray[np.float64]
#: The program that a run starts from.
SEED = 0
#: Children of one program that are shown beside each other; the others are folded into one leaf.
CHILDREN = 5
#: Programs that a page shows.
ROOM = 110
#: Generations that a page shows below its root.
DEPTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A program of the folded tree, or a leaf that stands for several.

    Attributes:
        id: Of the program; of the parent, for a leaf that stands for its other children.
        folded: Programs that the leaf stands for; 0 for a program.
        first: Which of the parent's children the leaf begins with.
        size: Programs of the whole subtree, itself included.
        best: The best score in the subtree.
        on_path: Whether it leads to the root's best descendant.
        hidden: Programs below it that are not shown.
        depth: Generations below the root.
        row: Where it stands, from the top.
        level: Its place among the scores shown, from 0 to 7.
        parent_place: Index of its parent in the list of nodes, None for the root.
    """

    id: int
    score: float | None
    folded: int
    first: int
    size: int
    best: float
    on_path: bool
    hidden: int
    depth: int
    row: float
    level: int
    parent_place: int | None


class Tree:
    """All valid programs of a run by lineage. Programs merged from other runs are shown as children of the seed."""

    def __init__(self, sprouts: Sequence[Sprout], direction: Direction) -> None:
        """Take the programs; a parent's id is lower than its child's."""
        self._rank: Callable[[float], float] = direction.rank
        valid = sorted(sprout for sprout in sprouts if sprout.score is not None)
        merged = sum(sprout.id < SEED for sprout in valid)
        # The seed program first, then merged programs, whose ids are below 0, then the others by id.
        ordered = valid[merged : merged + 1] + valid[:merged] + valid[merged + 1 :]
        self.scores = {number: score for number, _, score in ordered if score is not None}
        self.parents = {number: parent for number, parent, _ in ordered}
        self.parents |= {sprout.id: SEED for sprout in valid[:merged]}
        self.ids = np.fromiter(self.scores, np.float64, len(ordered))
        scores = np.fromiter(self.scores.values(), np.float64, len(ordered))
        self.ranks = scores if direction is Direction.MAX else -scores
        self.sizes = dict.fromkeys(self.scores, 1)
        self.tops = dict(zip(self.scores, zip(self.ranks.tolist(), (-self.ids).tolist(), strict=True), strict=True))
        self._children: dict[int, list[int]] = {}
        sizes, tops, below = self.sizes, self.tops, self._children
        for number in reversed(self.scores):
            parent = self.parents[number]
            if parent is not None and parent in sizes:
                sizes[parent] += sizes[number]
                if tops[number] > tops[parent]:
                    tops[parent] = tops[number]
                below.setdefault(parent, []).append(number)

    def children(self, program_id: int) -> list[int]:
        """Return the valid children of a program, those with the best descendant first."""
        return sorted(self._children.get(program_id, ()), key=lambda number: self.tops[number], reverse=True)

    def path(self, program_id: int) -> list[int]:
        """Return the way from the seed program down to this one."""
        line = [program_id]
        while (parent := self.parents.get(line[-1])) is not None:
            line.append(parent)
        return line[::-1]

    def best(self, root: int) -> int:
        """Return the best program of a subtree; ties go to the older."""
        return int(-self.tops[root][1])

    def fold(self, root: int, *, first: int = 0, room: int = ROOM) -> list[Node]:
        """Return what is shown of the tree below `root`, each parent before its children.

        Args:
            root: Where to begin.
            first: Which of the root's children to begin with, by their order.
            room: How many programs fit.

        Raises:
            NotFoundError: The run has no such valid program.
        """
        if root not in self.scores:
            raise NotFoundError(f"the run has no valid program {root}: begin at the seed program, 0")
        path = set(self.path(self.best(root)))
        open_ = self._opened(root, path, first, room)
        nodes: list[Node] = []
        rows = itertools.count()
        self._place(nodes, _View(open=open_, path=path, root=root, first=first), root, 0, None, rows)
        return _levelled(nodes, self._rank)

    def _opened(self, root: int, path: set[int], first: int, room: int) -> set[int]:
        """Return the programs whose children are shown: those of the path, then the largest subtrees."""
        open_: set[int] = set()
        shown = 1
        heap = [(False, -self.sizes[root], root, 0)]
        while heap and (shown < room or not heap[0][0]):  # the path is shown whatever the room
            _, _, number, depth = heapq.heappop(heap)
            children = self.children(number)[first if number == root else 0 :][:CHILDREN]
            if not children or depth >= DEPTH:
                continue
            open_.add(number)
            shown += len(children)
            for child in children:
                heapq.heappush(heap, (child not in path, -self.sizes[child], child, depth + 1))
        return open_

    def _place(
        self, nodes: list[Node], view: "_View", number: int, depth: int, above: int | None, rows: Iterator[int]
    ) -> float:
        """Append a program and what is shown below it; return its row."""
        place = len(nodes)
        nodes.append(self._node(view, number, depth, above, row=0.0))
        if number not in view.open:
            row = float(next(rows))
        else:
            first = view.first if number == view.root else 0
            children = self.children(number)[first:]
            below = [self._place(nodes, view, child, depth + 1, place, rows) for child in children[:CHILDREN]]
            rest = children[CHILDREN:]
            if rest:
                below.append(float(next(rows)))
                nodes.append(self._leaf(number, rest, first + CHILDREN, depth + 1, place, below[-1]))
            row = (below[0] + below[-1]) / 2
        nodes[place] = self._node(view, number, depth, above, row=row)
        return row

    def _node(self, view: "_View", number: int, depth: int, above: int | None, *, row: float) -> Node:
        return Node(
            id=number,
            score=self.scores[number],
            folded=0,
            first=0,
            size=self.sizes[number],
            best=self.scores[self.best(number)],
            on_path=number in view.path,
            hidden=0 if number in view.open else self.sizes[number] - 1,
            depth=depth,
            row=row,
            level=0,
            parent_place=above,
        )

    def _leaf(self, parent: int, rest: Sequence[int], first: int, depth: int, place: int, row: float) -> Node:
        size = sum(self.sizes[number] for number in rest)
        return Node(
            id=parent,
            score=None,
            folded=len(rest),
            first=first,
            size=size,
            best=self.scores[self.best(rest[0])],
            on_path=False,
            hidden=size,
            depth=depth,
            row=row,
            level=0,
            parent_place=place,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    open: set[int]
    path: set[int]
    root: int
    first: int


def _levelled(nodes: Sequence[Node], rank: Callable[[float], float]) -> list[Node]:
    """Return the nodes with their levels: eighths of the order of the best scores below them."""
    order = sorted({rank(node.best) for node in nodes})
    places = {value: place for place, value in enumerate(order)}
    top = max(len(order) - 1, 1)
    return [
        Node(
            **{name: getattr(node, name) for name in Node.__slots__ if name != "level"},
            level=min(8 * places[rank(node.best)] // (top + 1), 7),
        )
        for node in nodes
    ]


def tree_of(run: OpenRun) -> Tree:
    """Return the run's tree, made anew only when the run has grown."""
    return run.seen("tree", lambda: Tree(run.sprouts(), run.problem.direction))


def best_path(run: OpenRun) -> Sequence[int]:
    """Return the way from a first program to the run's best, one in quarantine left out."""

    def compute() -> Sequence[int]:
        found = run.bests()
        return [sprout.id for sprout in run.views.ancestry(found[0].attempt.id)] if found else []

    return run.seen("path", compute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A cell of the map: `count` programs, or one program when the range is small enough to show each.

    Attributes:
        x: From 0 to 1 along the completions of the range.
        y: From 0, the worst shown, to 1, the best.
        level: How many programs lie there, on a logarithmic scale from 0 to 7.
        id: Of the program, None for a cell.
        parent: Where the parent lies, None where it is out of sight.
    """

    x: float
    y: float
    count: int
    level: int
    id: int | None = None
    parent: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """All programs by completion and score, and the path of the best among them.

    Attributes:
        low: The score at the bottom; worse ones lie on the edge.
        high: The score at the top.
        path: `(id, x, y, score)` of the programs on the best's lineage that lie in the range.
    """

    first: int
    last: int
    low: float
    high: float
    programs: int
    spots: Sequence[Spot]
    path: Sequence[tuple[int, float, float, float]]


#: Cells of a map.
COLUMNS, ROWS = 96, 40
#: Up to so many programs each is shown by itself.
EACH = 600


def score_map(tree: Tree, path: Sequence[int], direction: Direction, *, first: int, last: int) -> Map:
    """Return the map of the programs from `first` to `last`.

    The scale leaves out the worst twentieth, which in most runs is far from everything else.
    """
    inside = (tree.ids >= first) & (tree.ids <= last)
    ids, ranks = tree.ids[inside], tree.ranks[inside]
    low, high = (float(np.quantile(ranks, 0.05)), float(ranks.max())) if len(ids) else (0.0, 1.0)
    span = high - low if high > low else 1.0
    xs = (ids - first) / max(last - first, 1)
    ys = np.clip((ranks - low) / span, 0.0, 1.0)
    if len(ids) <= EACH:
        places = {number: (x, y) for number, x, y in zip(ids.tolist(), xs.tolist(), ys.tolist(), strict=True)}
        spots = [
            Spot(x=x, y=y, count=1, level=4, id=number, parent=places.get(tree.parents[number] or SEED))
            for number, (x, y) in places.items()
        ]
    else:
        spots = _cells(xs, ys)
    line = [number for number in path if first <= number <= last and number in tree.scores]
    ups = [(direction.rank(tree.scores[number]) - low) / span for number in line]
    return Map(
        first=first,
        last=last,
        low=direction.rank(low),
        high=direction.rank(high),
        programs=len(ids),
        spots=spots,
        path=[
            (number, (number - first) / max(last - first, 1), min(max(up, 0.0), 1.0), tree.scores[number])
            for number, up in zip(line, ups, strict=True)
        ],
    )


def _cells(xs: Array, ys: Array) -> list[Spot]:
    """Return the cells that hold programs, with how many; `(P,)` places from 0 to 1."""
    counts = np.histogram2d(xs, ys, bins=(COLUMNS, ROWS), range=((0, 1), (0, 1)))[0].astype(int)
    most = math.log1p(int(counts.max()))
    return [
        Spot(
            x=int(column) / COLUMNS,
            y=int(row) / ROWS,
            count=int(counts[column, row]),
            level=min(int(8 * math.log1p(int(counts[column, row])) / most), 7),
        )
        for column, row in np.argwhere(counts)
    ]

"""Programs beside their parents, and those beside theirs."""

from collections.abc import Callable, Sequence

from evolve.types import Attempt, Direction, Program


def ancestors(parent: Program, most: int, program: Callable[[int], Program]) -> list[Program]:
    """Return the last `most` valid ancestors of a program, oldest first; `program` returns one by its id."""
    line: list[Program] = []
    while len(line) < most and parent.parent_id is not None:
        parent = program(parent.parent_id)
        if parent.score is not None:
            line.insert(0, parent)
    return line


def improved(attempts: Sequence[Attempt], direction: Direction, program: Callable[[int], Program]) -> int:
    """Return how many attempts are better than their parent; `program` returns one by its id."""
    parents = {attempt.draw.parent_id for attempt in attempts}
    scores = {parent: program(parent).score for parent in parents}
    pairs = ((attempt.score, scores[attempt.draw.parent_id]) for attempt in attempts)
    return sum(direction.gain(child, parent) > 0 for child, parent in pairs if child is not None and parent is not None)

"""Was a construction found, or written down? What can be decided from a program's source alone.

A model may know published constructions by heart. Records are not shipped, so that a construction cannot be compared
with theirs; but a program that recalls one has to spell it out. Not seen: numbers packed into a string by base64 or the
like, constructions that a short formula gives, and numbers in other units among fewer others than half a construction.
"""

import ast
import json
import math
import re
from collections.abc import Iterator
from fractions import Fraction

from evolve.types import Evaluation, Problem, ProblemKind

#: More numeric literals than this are suspicious beside a record's score; small whole numbers are not counted.
MOST_LITERALS = 150
#: A score this close to a record's, relative, is the record's.
SAME_SCORE = 1e-9
#: Whole numbers up to this size stand in every program.
SMALL = 10
#: From so many telling values on, a construction is recognised by them; fewer could be chance.
FEWEST_VALUES = 10
#: A literal list below this length is none that spells out a construction.
SHORTEST_LIST = 50

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def is_recall(problem: Problem, source: str, evaluation: Evaluation) -> bool:
    """Whether a program spells out its construction, or has a record's score and very many literals.

    Args:
        problem: With the records.
        source: A program that compiles.
        evaluation: A valid run of it.
    """
    if evaluation.score is None:
        return False
    if problem.kind is ProblemKind.CONSTRUCTION and spells_out(source, json.loads(evaluation.construction or "null")):
        return True
    is_record = any(
        abs(evaluation.score - record.score) <= SAME_SCORE * abs(record.score) for record in problem.records
    )
    return is_record and sum(map(_is_telling, _literals(ast.parse(source)))) > MOST_LITERALS


def spells_out(source: str, construction: object) -> bool:
    """Whether half of a construction stands in the source as literals.

    Either half of its different values do (small whole numbers aside, and only if there are `FEWEST_VALUES` others), or
    one literal list has half as many entries as the construction, and at least `SHORTEST_LIST`; or the whole program
    has so many different literals that are no small whole numbers: one of at least `SHORTEST_LIST` numbers
    may be spelled out in other units, in several lists.

    >>> heights = [k / 64 for k in range(64)]
    >>> spells_out("a = [k / 64 for k in range(64)]", heights)
    False
    >>> spells_out(f"a = {heights[:40]}; b = a + a[:24]", heights)
    True
    """
    tree = ast.parse(source)
    leaves = list(_leaves(construction))
    values = {leaf for leaf in leaves if _is_telling(leaf)}
    if len(values) >= FEWEST_VALUES and 2 * len(values & set(_literals(tree))) >= len(values):
        return True
    many = max(SHORTEST_LIST, len(leaves) / 2)
    if longest_list(tree) >= many:
        return True
    return len(leaves) >= SHORTEST_LIST and len(set(filter(_is_telling, _numbers(tree)))) >= many


def longest_list(tree: ast.AST) -> int:
    """Return how many literals the longest display of a list, tuple, set or mapping holds, inner ones included.

    >>> longest_list(ast.parse("a, b = [[1, 2], [3, -4]], 'xyz'; c = [k for k in range(9)]"))
    5
    """
    displays = (node for node in ast.walk(tree) if isinstance(node, ast.List | ast.Tuple | ast.Set | ast.Dict))
    return max((sum(isinstance(part, ast.Constant) for part in ast.walk(node)) for node in displays), default=0)


def _literals(tree: ast.AST) -> Iterator[Fraction | str]:
    """Yield all literals of a program, without their signs, and the numbers in its strings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            yield from _leaves(node.value)
            if isinstance(node.value, str):
                # What is too large for a float is no number of a construction, but perhaps a string of digits.
                numbers = map(float, _NUMBER.findall(node.value))
                yield from (abs(Fraction(number)) for number in numbers if math.isfinite(number))


def _numbers(tree: ast.AST) -> Iterator[Fraction | str]:
    """Yield all numbers of a program that stand outside strings, without their signs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and not isinstance(node.value, str):
            yield from _leaves(node.value)


def _leaves(value: object) -> Iterator[Fraction | str]:
    """Yield the finite numbers, without their signs, and the strings of a nested value."""
    if isinstance(value, list | tuple):
        for entry in value:
            yield from _leaves(entry)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf"):
        yield abs(Fraction(value))


def _is_telling(leaf: Fraction | str) -> bool:
    """Whether chance does not put this value into two programs."""
    return len(leaf) >= SMALL if isinstance(leaf, str) else leaf > SMALL or leaf.denominator != 1

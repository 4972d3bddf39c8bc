"""The gate before any arithmetic: shape, exact types and size of what a program returned. For many verifiers."""

from collections.abc import Sequence
from pathlib import Path

import yaml

#: Larger coordinates are refused: they could only slow the arithmetic down.
LARGEST = 1e12

_TUPLES = {2: "a pair", 3: "a triple"}


def arguments_beside(verifier: str) -> tuple[int, ...]:
    """Return what the entry point of the problem is called with, as the problem.yaml beside a verify.py says.

    A copy of the folder with other arguments is thereby another problem.
    """
    content = yaml.safe_load(Path(verifier).with_name("problem.yaml").read_text(encoding="utf-8"))
    return tuple(content["arguments"])


def rows_fault(
    construction: object, n: int, *, item: str, columns: Sequence[str], largest: float = LARGEST
) -> str | None:
    """Return why `construction` is no list of n rows of usable numbers, or None if it is one.

    Args:
        construction: Plain values; a long list costs no more than a short one.
        n: How many rows there must be.
        item: What a row stands for, in the singular.
        columns: Names of a row's two or three numbers.
        largest: No number may be larger in size.

    >>> rows_fault([[0, 1.5], [True, 2]], 2, item="point", columns=("x", "y"))
    'point 1: x must be a number, got bool'
    """
    form = f"{_TUPLES[len(columns)]} [{', '.join(columns)}]"
    if type(construction) is not list:
        return f"expected a list of {n} {item}s, each {form}, got {type(construction).__name__}"
    if len(construction) != n:
        return f"expected {n} {item}s, got {len(construction)}"
    for i, row in enumerate(construction):
        if type(row) is not list or len(row) != len(columns):
            size = f" of {len(row)}" if type(row) is list else ""
            return f"{item} {i}: expected {form}, got {type(row).__name__}{size}"
        for name, value in zip(columns, row, strict=True):
            # Exact types: a bool is an int, and a subclass could lie. NaN fails every comparison.
            if type(value) not in (int, float):
                return f"{item} {i}: {name} must be a number, got {type(value).__name__}"
            if not -largest <= value <= largest:
                return f"{item} {i}: {name} must be finite and at most {largest:.0e} in size"
    return None


def float_rows(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return rows that passed the gate as floats; no number changes, for an int of the gate's size is a float."""
    return [[float(value) for value in row] for row in rows]

"""The gate before the arithmetic: what is no table of numbers is refused with words, and at once."""

from typing import Any

import pytest
from constructions import NO_NUMBERS

from problems import load_problem
from problems.gate import arguments_beside, float_rows, rows_fault


def fault(construction: object) -> str | None:
    """The gate of two points in the plane, with coordinates up to 10."""
    return rows_fault(construction, 2, item="point", columns=("x", "y"), largest=10)


@pytest.mark.parametrize(
    ("construction", "words"),
    [
        (None, "expected a list of 2 points, each a pair [x, y], got NoneType"),
        ("ab", "expected a list of 2 points, each a pair [x, y], got str"),
        (([0, 0], [1, 1]), "expected a list of 2 points, each a pair [x, y], got tuple"),
        ([], "expected 2 points, got 0"),
        ([[0, 0]], "expected 2 points, got 1"),
        ([[0, 0], [1]], "point 1: expected a pair [x, y], got list of 1"),
        ([[0, 0], (1, 1)], "point 1: expected a pair [x, y], got tuple"),
        ([[0, 0], [1, True]], "point 1: y must be a number, got bool"),
        ([[0, 0], [11, 0]], "point 1: x must be finite and at most 1e+01 in size"),
        ([[0, 0], [1, float("nan")]], "point 1: y must be finite and at most 1e+01 in size"),
    ],
)
def test_the_fault_is_named(construction: object, words: str) -> None:
    """Which row, which number, what was expected and what came."""
    assert fault(construction) == words


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: type(value).__name__)
def test_what_is_no_number_is_refused_in_every_place(value: Any) -> None:
    """NaN, infinities, bools, texts, complex and huge numbers never reach the arithmetic."""
    assert fault([[value, 0], [1, 1]]) is not None
    assert fault([[0, 0], [1, value]]) is not None


def test_what_is_usable_passes_unchanged() -> None:
    """Ints, floats, -0.0, the limit itself and the smallest float are numbers; as floats they stay what they are."""
    rows = [[0, -0.0], [10, 5e-324]]
    assert fault(rows) is None
    assert float_rows(rows) == rows
    assert {type(value) for row in float_rows(rows) for value in row} == {float}


def test_the_size_comes_from_the_problem_file() -> None:
    """A verifier asks for what the entry point is called with."""
    folder = load_problem("distance_ratio_3d_14").folder
    assert arguments_beside(str(folder / "verify.py")) == (14, 3)

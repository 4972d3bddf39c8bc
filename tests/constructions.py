"""What the tests of construction problems share: seeds as the transport hands them on, records, and abuse."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from problems import load_problem

RECORDS = Path(__file__).parents[1].parent / "shared" / "records"
needs_records = pytest.mark.skipif(not RECORDS.is_dir(), reason="the published constructions are not at hand")

#: No number of a construction: each must be refused in every place, and quickly.
NO_NUMBERS: tuple[object, ...] = (
    float("nan"),
    float("inf"),
    float("-inf"),
    1e308,
    10**400,
    10**5000,
    True,
    None,
    "0.5",
    1j,
    [0.5],
    {},
)

#: Whatever JSON can hold, and what it cannot.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def published(file: str) -> Any:
    """Return the content of a file of published constructions."""
    return json.loads((RECORDS / file).read_text())


def seed_answer(name: str) -> Any:
    """Return what a problem's seed program answers, as plain values."""
    problem = load_problem(name)
    scope: dict[str, Any] = {}
    exec(problem.seed_source, scope)
    answer = scope[problem.entry_point](*problem.arguments)
    return answer.tolist() if isinstance(answer, np.ndarray) else answer


def nudged(rows: Sequence[Sequence[float]]) -> Iterator[list[list[float]]]:
    """Yield the rows with one number moved: by 1e-9 and by one unit in the last place, up and down, in some places."""
    for i in range(0, len(rows), 5):
        for j, value in enumerate(rows[i]):
            for other in (
                value + 1e-9,
                value - 1e-9,
                math.nextafter(value, math.inf),
                math.nextafter(value, -math.inf),
            ):
                changed = [list(row) for row in rows]
                changed[i][j] = other
                yield changed


def replaced(rows: Sequence[Sequence[object]], value: object) -> list[list[object]]:
    """Return the rows with the second number of the fourth one replaced."""
    changed = [list(row) for row in rows]
    changed[3][1] = value
    return changed

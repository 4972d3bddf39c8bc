"""32 circles: the judge of 26 circles with another number; its own tests are in test_circle_packing.py."""

import itertools
import math
from fractions import Fraction
from pathlib import Path

import pytest
from constructions import NO_NUMBERS, needs_records, nudged, published, replaced, seed_answer

from problems import load_picture, load_problem, load_verifier
from problems.circle_packing_32.verify import violations

problem = load_problem("circle_packing_32")
verify = load_verifier(problem).verify


def grid() -> list[list[float]]:
    """32 circles of radius 1/16 that touch each other and the walls, all numbers dyadic; worth 2."""
    return [[(2 * i + 1) / 16, (2 * j + 1) / 16, 1 / 16] for i, j in itertools.product(range(4), range(8))]


def is_feasible(rows: list[list[float]]) -> bool:
    """A second implementation of the rules, in plain fractions."""
    exact = [[Fraction(value) for value in row] for row in rows]
    inside = all(r > 0 and r <= x <= 1 - r and r <= y <= 1 - r for x, y, r in exact)
    pairs = itertools.combinations(exact, 2)
    return inside and all((x - u) ** 2 + (y - v) ** 2 >= (r + s) ** 2 for (x, y, r), (u, v, s) in pairs)


def test_the_seed_program_passes_with_its_own_baseline() -> None:
    """Rings of 1, 6, 10 and 15 circles are worth 1.84527714490."""
    verdict = verify(seed_answer("circle_packing_32"))
    assert verdict.valid
    assert verdict.score == pytest.approx(1.84527714490427, abs=1e-11)


def test_touching_is_allowed_and_one_ulp_more_is_not() -> None:
    """A grid of touching circles is worth exactly 2; the smallest enlargement breaks a wall and three contacts."""
    assert (verify(grid()).score, verify(grid()).exact) == (2.0, "2")
    packing = grid()
    packing[1][2] = math.nextafter(1 / 16, 1)
    assert verify(packing).reason == "circle 1 reaches over the left wall by 1.4e-17 (4 violations)"
    assert violations(packing)[0] == "circle 1 reaches over the left wall by 1.4e-17"
    assert len(violations(packing)) == 4


def test_no_violations_of_what_is_no_packing() -> None:
    """What the gate refuses has no list of violations, and a feasible packing an empty one."""
    assert violations(None) == violations(grid()[:31]) == violations(grid()) == []


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1, -5e-324], ids=lambda value: type(value).__name__)
def test_bad_radii_are_refused(value: object) -> None:
    """No radius is NaN, infinite, a bool, a text or negative."""
    packing = [list(row) for row in grid()]
    packing[3][2] = value  # type: ignore[call-overload]
    assert not verify(packing).valid


def test_26_circles_are_not_32() -> None:
    """The number of circles is this problem's own, and a long list costs nothing."""
    assert verify(grid()[:26]).reason == "expected 32 circles, got 26"
    assert verify([0.5] * 10**7).reason == "expected 32 circles, got 10000000"
    assert verify(replaced(grid(), float("nan"))).reason == "circle 3: y must be finite and at most 1e+12 in size"


def test_a_picture_is_written(tmp_path: Path) -> None:
    """A PNG of some size."""
    draw = load_picture(problem)
    assert draw is not None
    draw(grid(), tmp_path / "packing.png")
    assert (tmp_path / "packing.png").read_bytes().startswith(b"\x89PNG")


@needs_records
@pytest.mark.parametrize(
    ("name", "valid", "digits", "repaired"),
    [
        ("strict_valid", True, "2.9395727712063220", None),
        ("alphaevolve_v1", True, "2.9379445262055181", None),
        ("alphaevolve_v2", False, None, 2.9395727712063224),
        ("ttt_discover_program", False, None, 2.9395724996402905),
    ],
)
def test_published_packings_get_their_true_worth(
    name: str, valid: bool, digits: str | None, repaired: float | None
) -> None:
    """Honest packings pass with their exact sum; those that lean on rounding are refused and repaired."""
    verdict = verify(published("circles32_float64.json")[name])
    assert (verdict.valid, verdict.repaired) == (valid, repaired)
    if digits is not None:
        assert (verdict.exact or "").startswith(digits)
        assert verdict.exact in [record.exact for record in problem.records if record.exactly_valid]


@needs_records
def test_a_nudged_record_is_judged_exactly() -> None:
    """Moved by 1e-9 or by one unit in the last place, the record is what plain fractions say: mostly infeasible."""
    found = [
        (verify(rows).valid, is_feasible(rows)) for rows in nudged(published("circles32_float64.json")["strict_valid"])
    ]
    assert all(valid is feasible for valid, feasible in found)
    assert {valid for valid, _ in found} == {True, False}


def test_the_measures_count_walls_and_compare_radii() -> None:
    """In the grid of 4 columns 8 + 4 + 4 circles less 2 in corners are at a wall, and all radii are alike."""
    assert verify(grid()).measures == {"walls": 14.0, "evenness": 1.0}
    packing = grid()
    packing[9][2] = 1 / 64
    assert verify(packing).measures == {"walls": 14.0, "evenness": 0.25}

"""The exact judge of circle packings, against hand-computed packings, published ones, and abuse."""

import itertools
import json
import math
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from problems import load_picture, load_problem, load_verifier
from problems.packing import Packing, above_bound, judge_packing

RECORDS = Path(__file__).parents[2].parent / "shared" / "records"
needs_records = pytest.mark.skipif(not RECORDS.is_dir(), reason="the published packings are not at hand")

verify = load_verifier(load_problem("circle_packing")).verify


def grid() -> list[list[float]]:
    """26 circles of radius 1/16 that touch each other and the walls, all numbers dyadic; worth 26/16 = 1.625."""
    return [[(2 * i + 1) / 16, (2 * j + 1) / 16, 1 / 16] for i, j in itertools.product(range(8), repeat=2)][:26]


def seed_packing() -> list[list[float]]:
    """What the seed program returns, as the transport would hand it on."""
    problem = load_problem("circle_packing")
    scope: dict[str, Any] = {}
    exec(problem.seed_source, scope)
    packing: list[list[float]] = scope[problem.entry_point](*problem.arguments).tolist()
    return packing


def is_feasible(rows: list[list[Fraction]]) -> bool:
    """A second implementation of the rules, in plain fractions."""
    inside = any(r for _, _, r in rows) and all(r >= 0 and r <= x <= 1 - r and r <= y <= 1 - r for x, y, r in rows)
    pairs = itertools.combinations(rows, 2)
    return inside and all((x - u) ** 2 + (y - v) ** 2 >= (r + s) ** 2 for (x, y, r), (u, v, s) in pairs)


def test_the_seed_program_passes_with_its_known_score() -> None:
    """The ring construction is worth 0.95976421699..., and is exactly feasible."""
    verdict = verify(seed_packing())

    assert verdict.valid
    assert verdict.score == pytest.approx(0.9597642169962, abs=2e-12)
    assert verdict.exact is not None
    assert verdict.exact.startswith("0.95976421699")
    assert verdict.construction == seed_packing()


def test_a_circle_of_radius_0_adds_nothing_and_is_allowed_outside_the_others() -> None:
    """As in the seed program, whose last two circles have one center; inside another circle even a point overlaps."""
    assert [radius for _, _, radius in seed_packing()].count(0.0) == 2
    packing = grid()
    packing[3][2] = 0.0
    assert (verify(packing).valid, verify(packing).score) == (True, 1.625 - grid()[3][2])
    packing[3][:2] = packing[4][:2]
    assert verify(packing).reason == "circles 3 and 4 overlap by 0.062"
    packing[3][:2] = [packing[4][0] - packing[4][2], packing[4][1]]
    assert verify(packing).valid


def test_touching_is_allowed() -> None:
    """Contacts with equality, of pairs and with walls, are feasible; the score is exact."""
    verdict = verify(grid())
    assert (verdict.valid, verdict.score, verdict.exact, verdict.reason) == (True, 1.625, "1.625", None)


def test_integers_are_numbers() -> None:
    """A coordinate 0 or 1 may come as an int; here it only puts the circle's centre onto the wall."""
    packing: list[list[Any]] = grid()
    packing[3][0] = 0
    reason = verify(packing).reason
    assert reason is not None
    assert reason.startswith("circle 3 reaches over the left wall by 0.062")


def test_one_ulp_of_overlap_is_found() -> None:
    """The smallest enlargement of one radius that a float can hold breaks two contacts and one wall."""
    packing = grid()
    packing[1][2] = math.nextafter(1 / 16, 1)
    verdict = verify(packing)

    assert not verdict.valid
    assert verdict.reason == "circle 1 reaches over the left wall by 1.4e-17 (4 violations)"
    assert verdict.repaired == pytest.approx(1.625, abs=1e-15)


@pytest.mark.parametrize("delta", [1e-9, 1e-17])
def test_a_perturbation_is_named_with_its_size(delta: float) -> None:
    """Moving an inner circle by delta makes it overlap one neighbour by just that."""
    packing = grid()
    packing[9] = [*packing[9]]
    packing[9][0] = 3 / 16 + max(delta, math.ulp(3 / 16))
    verdict = verify(packing)
    assert verdict.reason is not None
    assert verdict.reason.startswith(f"circles 9 and 17 overlap by {max(delta, math.ulp(3 / 16)):.2g}")


def test_the_repair_is_the_smallest_that_suffices_for_a_pair() -> None:
    """An inner radius too large by 1/1024 overlaps its neighbours by that; half of it from every radius ends it."""
    packing = grid()
    packing[9][2] += 1 / 1024
    assert verify(packing).repaired == 1.625 + 1 / 1024 - 26 / 2048


def test_the_repair_is_the_smallest_that_suffices_for_a_wall() -> None:
    """A corner radius too large by 1/1024 reaches over the wall by that; all of it must go."""
    packing = grid()
    packing[0][2] += 1 / 1024
    verdict = verify(packing)
    assert (verdict.valid, verdict.repaired) == (False, 1.625 + 1 / 1024 - 26 / 1024)


@pytest.mark.parametrize("step", [(1, 1), (1, 2), (1, 3), (2, 3), (1, 4), (3, 4)])
def test_the_repair_rounds_an_irrational_distance_down(step: tuple[int, int]) -> None:
    """Two equal circles end with the largest radius, in whole fine units, that is at most half their distance."""
    circles = ((30, 30, 5), (30 + step[0], 30 + step[1], 5))
    repaired = Packing(circles=circles, side=100).repaired()

    assert repaired is not None
    unit = repaired.side // 100
    assert unit == 2**128
    radius = repaired.circles[0][2]
    assert (2 * radius) ** 2 <= (step[0] ** 2 + step[1] ** 2) * unit**2 < (2 * (radius + 1)) ** 2


def test_one_unit_of_the_squares_is_an_overlap() -> None:
    """Centres at distance sqrt(8) and radii that sum up to 3 = sqrt(9) overlap; the smaller ones do not."""
    assert not judge_packing(Packing(circles=((10, 10, 1), (12, 12, 2)), side=100)).valid
    assert judge_packing(Packing(circles=((10, 10, 1), (12, 12, 1)), side=100)).valid


@given(shifts=st.lists(st.floats(-0.02, 0.02), min_size=78, max_size=78))
@settings(max_examples=30, deadline=None)
def test_a_repaired_packing_is_feasible_and_less_repair_is_not(shifts: list[float]) -> None:
    """Whatever the overlap: after the repair a second implementation agrees, and one unit less is not enough."""
    rows = [[max(a + b, 0.04) for a, b in zip(row, shifts[i::26], strict=True)] for i, row in enumerate(grid())]
    packing = Packing.from_floats(rows)
    repaired = packing.repaired()
    assume(repaired is not None and packing.violations())
    assert repaired is not None
    for candidate, feasible in ((repaired, True), (repaired.shrunk(-1), False)):
        assert is_feasible([[Fraction(v, candidate.side) for v in row] for row in candidate.circles]) is feasible


def test_no_repair_where_a_radius_would_vanish() -> None:
    """Two circles on one point cannot be repaired by shrinking."""
    packing = grid()
    packing[1] = packing[0]
    verdict = verify(packing)
    assert (verdict.valid, verdict.repaired) == (False, None)
    assert verdict.reason == "circles 0 and 1 overlap by 0.12"


@given(st.lists(st.floats(0, 1), min_size=78, max_size=78))
@settings(max_examples=60, deadline=None)
def test_verdicts_agree_with_a_second_implementation(values: list[float]) -> None:
    """Random and degenerate packings are judged as plain fractions judge them."""
    rows = [values[i : i + 3] for i in range(0, 78, 3)]
    assert verify(rows).valid is is_feasible([[Fraction(value) for value in row] for row in rows])


def replaced(row: int, column: int, value: object) -> list[list[object]]:
    """Return the grid with one number replaced."""
    packing: list[list[object]] = [list(circle) for circle in grid()]
    packing[row][column] = value
    return packing


@pytest.mark.parametrize(
    ("construction", "reason"),
    [
        (None, "got NoneType"),
        ({}, "got dict"),
        ("circles", "got str"),
        (26, "got int"),
        (tuple(grid()), "got tuple"),
        ([], "expected 26 circles, got 0"),
        (grid()[:25], "expected 26 circles, got 25"),
        ([[0.5, 0.5, 0.1]] * 10**6, "expected 26 circles, got 1000000"),
        ([*grid()[:25], [0.5, 0.5]], "circle 25: expected a triple [x, y, radius], got list of 2"),
        ([*grid()[:25], [0.5] * 10**6], "got list of 1000000"),
        ([*grid()[:25], 0.5], "got float"),
        ([*grid()[:25], (0.5, 0.5, 0.01)], "got tuple"),
        ([*grid()[:25], "0.5"], "got str"),
        (replaced(3, 0, float("nan")), "circle 3: x must be finite"),
        (replaced(3, 1, float("inf")), "circle 3: y must be finite"),
        (replaced(3, 2, float("-inf")), "circle 3: radius must be finite"),
        (replaced(3, 2, float("nan")), "circle 3: radius must be finite"),
        (replaced(3, 0, 1e308), "circle 3: x must be finite and at most 1e+12"),
        (replaced(3, 0, 10**400), "circle 3: x must be finite and at most 1e+12"),
        (replaced(3, 2, True), "circle 3: radius must be a number, got bool"),
        (replaced(3, 0, "0.5"), "circle 3: x must be a number, got str"),
        (replaced(3, 0, None), "circle 3: x must be a number, got NoneType"),
        (replaced(3, 0, [0.5]), "circle 3: x must be a number, got list"),
        (replaced(3, 0, 1j), "circle 3: x must be a number, got complex"),
        (replaced(3, 2, -0.1), "circle 3: radius must not be negative, got -0.1"),
        (replaced(3, 2, -5e-324), "circle 3: radius must not be negative, got -5e-324"),
        ([[x, y, 0.0] for x, y, _ in grid()], "no circle has a radius above 0"),
        (replaced(3, 0, -0.0), "circle 3 reaches over the left wall"),
    ],
)
def test_what_is_no_packing_is_refused_at_once(construction: object, reason: str) -> None:
    """The gate names the fault, repairs nothing, keeps nothing, and takes no time however long the input is."""
    start = time.perf_counter()
    verdict = verify(construction)
    assert time.perf_counter() - start < 5
    assert not verdict.valid
    assert reason in (verdict.reason or "")
    assert verdict.score is None


def test_the_smallest_float_costs_no_time() -> None:
    """A radius of 5e-324 makes the common unit tiny; the verdict still comes at once."""
    start = time.perf_counter()
    verdict = verify(replaced(3, 2, 5e-324))
    assert time.perf_counter() - start < 5
    assert verdict.valid


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    _json
    | st.lists(_json, min_size=26, max_size=26)
    | st.lists(st.lists(st.floats() | st.integers() | _json, min_size=3, max_size=3), min_size=26, max_size=26)
    | st.lists(st.lists(st.floats(-1e12, 1e12), min_size=3, max_size=3), min_size=26, max_size=26)
)
@settings(max_examples=150, deadline=None)
def test_verify_never_raises(construction: object) -> None:
    """Any JSON value gets a verdict, and an invalid one has a reason of at most one short line."""
    verdict = verify(construction)
    assert verdict.valid is (verdict.reason is None)
    assert len(verdict.reason or "") < 200


def test_the_judged_construction_is_accepted_again() -> None:
    """A verdict's construction survives JSON and is judged the same."""
    first = verify(seed_packing())
    assert verify(json.loads(json.dumps(first.construction))) == first


def test_what_area_forbids_is_impossible() -> None:
    """One circle's bound is sqrt(1/pi) = 0.5641...; for 26 the record is below the bound, 2.877 above."""
    assert (above_bound(Fraction("0.5641"), 1), above_bound(Fraction("0.5642"), 1)) == (False, True)
    assert (above_bound(Fraction("2.635983085"), 26), above_bound(Fraction("2.877"), 26)) == (False, True)


def test_verification_is_fast() -> None:
    """A packing with 60 and more contacts is judged in less than 20 ms (about half a millisecond on one core)."""
    packing = grid()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        verify(packing)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02


@needs_records
@pytest.mark.parametrize(
    ("name", "valid", "digits", "repaired"),
    [
        ("strict_valid_float", True, "2.635983084917524", None),
        ("alphaevolve_v1", True, "2.635862756413698", None),
        ("thetaevolve_formal", True, "2.635983077388119", None),
        ("shinkaevolve", True, "2.635982826645806", None),
        ("alphaevolve_v2", False, None, 2.6359830849176067),
        ("thetaevolve_tol1e-6_ABUSE", False, None, 2.6359816383240307),
    ],
)
def test_published_packings_get_their_true_worth(
    name: str, valid: bool, digits: str | None, repaired: float | None
) -> None:
    """Honest packings pass with their exact sum; those that lean on a tolerance are refused and repaired."""
    verdict = verify(json.loads((RECORDS / "circles26_float64.json").read_text())[name])

    assert verdict.valid is valid
    assert verdict.repaired == repaired
    if digits is None:
        assert verdict.exact is None
    else:
        assert verdict.exact is not None
        assert verdict.exact.startswith(digits)
        known = [record for record in load_problem("circle_packing").records if record.exact == verdict.exact]
        assert [record.score for record in known] == [verdict.score]
        assert known[0].exactly_valid


@needs_records
def test_the_tolerance_of_a_published_packing_is_measured() -> None:
    """The claim of 2.63598566 has 60 violations, the worst of 3.1e-7."""
    verdict = verify(json.loads((RECORDS / "circles26_float64.json").read_text())["thetaevolve_tol1e-6_ABUSE"])
    assert verdict.reason == "circles 4 and 9 overlap by 3.1e-07 (60 violations)"


@needs_records
def test_the_strict_certificate_is_the_record() -> None:
    """Its 90-digit decimals are exactly feasible and sum up to the record; as strings the verifier refuses them."""
    circles = json.loads((RECORDS / "circles26_strict_decimal.json").read_text())["circles"]
    side = 10**100
    rows = [[Fraction(value) * side for value in row] for row in circles]
    assert all(value.denominator == 1 for row in rows for value in row)
    packing = Packing(circles=tuple((int(x), int(y), int(r)) for x, y, r in rows), side=side)
    record = load_problem("circle_packing").record
    assert record is not None
    assert record.exact is not None

    verdict = judge_packing(packing)

    assert verdict.valid
    assert verdict.exact is not None
    assert record.exact.startswith(verdict.exact)
    assert verdict.score == record.score == float(record.exact)
    assert "must be a number, got str" in (verify(circles).reason or "")


@pytest.mark.parametrize("construction", [seed_packing, grid])
def test_a_picture_is_written(tmp_path: Path, construction: Callable[[], list[list[float]]]) -> None:
    """A PNG is written, of some size, at the path it is given."""
    draw = load_picture(load_problem("circle_packing"))
    assert draw is not None
    target = tmp_path / "packing.png"
    draw(construction(), target)
    assert target.read_bytes().startswith(b"\x89PNG")
    assert target.stat().st_size > 10_000

"""What the judges of step functions have in common, for all four problems at once."""

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from problems import load_picture, load_problem, load_verifier
from problems.steps import Steps, convolution

NAMES = ("autocorrelation_first", "autocorrelation_second", "autocorrelation_third", "minimum_overlap")
VERIFIERS = {name: load_verifier(load_problem(name)) for name in NAMES}
CAPS = {"autocorrelation_first": 2000, "autocorrelation_second": 4096, "autocorrelation_third": 2000}
CAPS["minimum_overlap"] = 1024

every_problem = pytest.mark.parametrize("name", NAMES)
_integers = st.integers(-(2**70), 2**70)
_heights = st.lists(st.floats(0, 1), min_size=1, max_size=12).filter(any)


def slow_convolution(left: list[int], right: list[int]) -> list[int]:
    """The definition."""
    c = [0] * (len(left) + len(right) - 1)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            c[i + j] += a * b
    return c


@given(left=st.lists(_integers, min_size=1, max_size=20), right=st.lists(_integers, min_size=1, max_size=20))
@example(left=[0], right=[0])
@example(left=[255], right=[1])
@example(left=[-128], right=[1, 1])
@example(left=[2**64 - 1] * 20, right=[2**64 - 1] * 20)
@example(left=[-(2**64)] * 20, right=[2**64] * 20)
@settings(max_examples=100, deadline=None)
def test_one_product_is_the_convolution(left: list[int], right: list[int]) -> None:
    """The digits of the product never run into each other, whatever the signs and sizes."""
    assert convolution(left, right) == slow_convolution(left, right)
    assert convolution(left, left) == slow_convolution(left, left)


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=8))
@example([5e-324, 1e12])
@example([-0.0, 0.1])
@settings(max_examples=60, deadline=None)
def test_no_height_is_rounded(heights: list[float]) -> None:
    """The integers in their unit are the floats, to the last bit of the smallest."""
    steps = Steps.from_floats(heights)
    assert [Fraction(height, steps.unit) for height in steps.heights] == [Fraction(height) for height in heights]


@every_problem
@pytest.mark.parametrize(
    ("construction", "reason"),
    [
        (None, "got NoneType"),
        ({}, "got dict"),
        ({"heights": [0.5]}, "got dict"),
        ("0.5", "got str"),
        (1, "got int"),
        ((0.5, 0.5), "got tuple"),
        ([], "heights, got 0"),
        (["not even a number"] * 10**7, "heights, got 10000000"),
        ([[0.5, 0.5]], "height 0 must be a number, got list"),
        ([0.5, [0.5]], "height 1 must be a number, got list"),
        ([0.5, (0.5,)], "height 1 must be a number, got tuple"),
        ([0.5, None], "height 1 must be a number, got NoneType"),
        ([0.5, "0.5"], "height 1 must be a number, got str"),
        ([0.5, True], "height 1 must be a number, got bool"),
        ([0.5, 1j], "height 1 must be a number, got complex"),
        ([0.5, float("nan")], "height 1 must be finite"),
        ([float("inf"), 0.5], "height 0 must be finite"),
        ([0.5, float("-inf")], "height 1 must be finite"),
        ([0.5, 1e308], "height 1 must be finite and at most 1e+12 in size"),
        ([0.5, 10**400], "height 1 must be finite and at most 1e+12 in size"),
        ([0.5, -(10**13)], "height 1 must be finite and at most 1e+12 in size"),
    ],
)
def test_what_is_no_list_of_heights_is_refused(name: str, construction: object, reason: str) -> None:
    """The gate names the fault, and sees the length before it looks at a single height."""
    verdict = VERIFIERS[name].verify(construction)

    assert not verdict.valid
    assert reason in (verdict.reason or "")
    assert (verdict.score, verdict.repaired, verdict.construction) == (None, None, None)
    assert VERIFIERS[name].violations(construction) == ()


@every_problem
def test_the_cap_is_the_last_length_that_passes(name: str) -> None:
    """As many heights as the entry point is told are valid, one more is not; the statement says the number."""
    problem, cap = load_problem(name), CAPS[name]
    assert problem.arguments == (cap,)
    assert f"from 1 to {cap}" in problem.statement

    assert VERIFIERS[name].verify([0.5] * cap).valid
    assert VERIFIERS[name].verify([0.5] * (cap + 1)).reason == f"expected 1 to {cap} heights, got {cap + 1}"


@every_problem
def test_int_and_negative_zero_are_numbers(name: str) -> None:
    """0, 0.0 and -0.0 are one height; an int is as good as its float."""
    scores = {VERIFIERS[name].verify([1, zero, 0.25]).exact for zero in (0, 0.0, -0.0)}
    assert len(scores) == 1
    assert scores == {VERIFIERS[name].verify([1.0, 0.0, 0.25]).exact}


@every_problem
@given(heights=_heights)
@example(heights=[1.0, 0.0, 0.0])
@settings(max_examples=40, deadline=None)
def test_doubling_the_steps_changes_nothing(name: str, heights: list[float]) -> None:
    """Nodes suffice: what a finer grid sees of the same function between them is no larger."""
    finer = [height for height in heights for _ in range(2)]
    assert VERIFIERS[name].verify(finer).exact == VERIFIERS[name].verify(heights).exact
    assert VERIFIERS[name].verify(heights[::-1]).exact == VERIFIERS[name].verify(heights).exact


@pytest.mark.parametrize("name", NAMES[:3])
@given(heights=_heights, power=st.integers(-30, 30))
@settings(max_examples=40, deadline=None)
def test_the_scale_of_a_function_does_not_count(name: str, heights: list[float], power: int) -> None:
    """All heights times a power of two, which floats hold exactly, are worth the same."""
    heights = [max(height, 1e-200) for height in heights]
    scaled = [math.ldexp(height, power) for height in heights]
    assert VERIFIERS[name].verify(scaled).exact == VERIFIERS[name].verify(heights).exact


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@every_problem
@given(construction=_json | st.lists(st.floats(-1e12, 1e12), max_size=6) | st.lists(st.floats(-0.01, 1.01), max_size=6))
@example(construction=[5e-324])
@example(construction=[5e-324, -5e-324])
@example(construction=[0.0, -0.0])
@example(construction=[5e-324, 1e12])
@settings(max_examples=100, deadline=None)
def test_verify_never_raises(name: str, construction: object) -> None:
    """Any JSON value gets a verdict: valid with a score that no bound forbids, or a reason of one short line."""
    verdict = VERIFIERS[name].verify(construction)

    assert verdict.valid is (verdict.reason is None)
    assert len(verdict.reason or "") < 200
    assert "impossible" not in (verdict.reason or "")
    if verdict.valid:
        again = VERIFIERS[name].verify(json.loads(json.dumps(verdict.construction)))
        assert again == verdict
        assert VERIFIERS[name].violations(construction) == ()


@every_problem
def test_measures_say_how_fine_and_how_hilly(name: str) -> None:
    """Three steps with two hills, one of them half as high: up 1, down 1, up 0.5, down 0.5."""
    assert dict(VERIFIERS[name].verify([1.0, 0.0, 0.5]).measures) == {"steps": 3.0, "hills": 1.5}
    assert load_problem(name).measures == ("steps", "hills")


@every_problem
@pytest.mark.parametrize("heights", [[0.25, 0.5, 1.0, 0.0], [5e-324]])
def test_a_picture_is_written(name: str, heights: list[float], tmp_path: Path) -> None:
    """A PNG of some size, also of a single step that is hardly there."""
    draw = load_picture(load_problem(name))
    assert draw is not None
    target = tmp_path / "steps.png"
    draw(heights, target)
    assert target.read_bytes().startswith(b"\x89PNG")
    assert target.stat().st_size > 10_000


@every_problem
@pytest.mark.parametrize("construction", [None, [], {}])
def test_no_picture_of_what_is_no_step_function(name: str, construction: object, tmp_path: Path) -> None:
    """The error says what was expected."""
    draw = load_picture(load_problem(name))
    assert draw is not None
    with pytest.raises(ValueError, match="expected a list of heights"):
        draw(construction, tmp_path / "steps.png")

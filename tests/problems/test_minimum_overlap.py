"""The exact judge of Erdos' minimum overlap problem, against hand-computed, published and broken functions."""

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from problems import load_problem, load_verifier

RECORDS = Path(__file__).parents[2].parent / "shared" / "records"
needs_records = pytest.mark.skipif(not RECORDS.is_dir(), reason="the published functions are not at hand")

PROBLEM = load_problem("minimum_overlap")
VERIFIER = load_verifier(PROBLEM)
verify = VERIFIER.verify

PUBLISHED = [
    ("haugland_51", "0.380926853433086979"),
    ("alphaevolve_95", "0.380923035108450166"),
    ("ttt_discover_600", "0.380875323217718739"),
    ("together_600", "0.380870310586219904"),
    ("hyra_1024", "0.380859422365314619"),
]
published_functions = pytest.mark.parametrize(("key", "score"), PUBLISHED)


def published(key: str) -> list[float]:
    heights: list[float] = json.loads((RECORDS / "erdos_min_overlap.json").read_text())[key]
    return heights


def slow_score(heights: list[float]) -> Fraction:
    """A second implementation, in fractions: the scaling as the statement has it, and then the definition."""
    h, n = [Fraction(height) for height in heights], len(heights)
    total = sum(h)
    if total >= Fraction(n, 2):
        h = [height * n / (2 * total) for height in h]
    else:
        h = [1 - (1 - height) * n / (2 * (n - total)) for height in h]
    assert sum(h) == Fraction(n, 2)
    assert all(0 <= height <= 1 for height in h)
    return Fraction(2, n) * max(sum(h[i] * (1 - h[i + m]) for i in range(n) if 0 <= i + m < n) for m in range(1 - n, n))


@pytest.mark.parametrize(
    ("heights", "exact"),
    [
        ([0.0, 1.0], "1"),  # all of h on all of 1 - h, one step apart
        ([0.25, 0.5, 0.75], "0.5"),  # one step apart: 0.5 * 0.75 + 0.75 * 0.5, times 2/3
        ([1.0, 0.0, 1.0], "0.5"),  # becomes 3/4, 0, 3/4; one step apart: 3/4, times 2/3
        ([0.5, 1.0], "0.444444444444444444444444444444"),  # becomes 1/3, 2/3: unshifted 2/9 + 2/9, or shifted 2/3 * 2/3
        ([0.5, 0.0], "0.444444444444444444444444444444"),  # the complement of the same
        ([0.0, 0.0], "0.5"),  # nothing there: 1 - h becomes 1/2
        ([1, 1, 1], "0.5"),
    ],
)
def test_small_functions_have_the_value_computed_by_hand(heights: list[float], exact: str) -> None:
    """The definition, with the scaling to the mean 1/2."""
    verdict = verify(heights)
    assert (verdict.valid, verdict.exact, verdict.reason, verdict.repaired) == (True, exact, None, None)
    assert verdict.construction == heights


@pytest.mark.parametrize("n", [1, 2, 100, 1024])
@pytest.mark.parametrize("height", [0.5, 0.1, 0.9, 0.0, 1.0, math.nextafter(0.5, 0), 5e-324])
def test_every_constant_is_worth_a_half(height: float, n: int) -> None:
    """As it stands 0.1 would overlap by 0.18 only; scaled to the mean 1/2 all are the same."""
    assert verify([height] * n).exact == "0.5"


def test_the_seed_is_the_constant() -> None:
    """Its score is 1/2."""
    scope: dict[str, Any] = {}
    exec(PROBLEM.seed_source, scope)
    verdict = verify(scope[PROBLEM.entry_point](*PROBLEM.arguments).tolist())
    assert (verdict.score, verdict.exact) == (0.5, "0.5")


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.0, 1.0, 5e-324]), min_size=1, max_size=9))
@example([0.0])
@example([1.0, 1.0, 5e-324])
@settings(max_examples=150, deadline=None)
def test_scores_agree_with_a_second_implementation(heights: list[float]) -> None:
    """One product and running sums say what the definition says, to the last bit; the scaled heights lie in [0, 1]."""
    assert verify(heights).score == float(slow_score(heights))


@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_a_function_and_its_complement_are_worth_the_same(parts: list[int]) -> None:
    """Their overlaps are the same, by opposite shifts."""
    heights = [part / 2**20 for part in parts]
    assert verify([1 - height for height in heights]).exact == verify(heights).exact


@pytest.mark.parametrize(
    ("heights", "reason"),
    [
        ([0.5, -1e-17], "height 1 is below 0 by 1e-17"),
        ([0.5, -5e-324], "height 1 is below 0 by 4.9e-324"),
        ([math.nextafter(1, 2), 0.0], "height 0 is above 1 by 2.2e-16"),
        ([1 + 1e-9, -1e-3, 2], "height 2 is above 1 by 1 (3 violations)"),
        ([1 + 1e-9, -1e-3], "height 1 is below 0 by 0.001 (2 violations)"),
    ],
)
def test_heights_out_of_range_are_named_not_clipped(heights: list[float], reason: str) -> None:
    """However small the excess: the worst comes first, with its size."""
    verdict = verify(heights)
    assert (verdict.valid, verdict.reason, verdict.score) == (False, reason, None)
    assert VERIFIER.violations(heights)[0] == reason.partition(" (")[0]


@pytest.mark.parametrize("form", [list, tuple])
def test_a_reported_number_of_steps_shrinks_nothing(form: type) -> None:
    """The inflated object of a released program, heights with its own score and n + 0.9999999999, is refused."""
    heights = [0.5] * 64
    for inflated in (
        form([heights, 0.49, 64.9999999999]),
        {"h_values": heights, "c5_bound": 0.49, "n_points": 64.9999999999},
    ):
        assert not verify(inflated).valid
    assert verify(heights).exact == "0.5"


@needs_records
@published_functions
def test_published_functions_get_their_true_worth(key: str, score: str) -> None:
    """Their exact score, after the exact scaling, is the one on record."""
    verdict = verify(published(key))

    assert verdict.exact is not None
    assert verdict.exact.startswith(score)
    known = [record for record in PROBLEM.records if record.exact == verdict.exact]
    assert [record.score for record in known] == [verdict.score]
    assert known[0].exactly_valid


@needs_records
@published_functions
@pytest.mark.parametrize("share", [1e-3, 1e-9])
def test_a_wrong_integral_gains_nothing(key: str, score: str, share: float) -> None:
    """A record with less, or more, height everywhere, by what others tolerate, is worth less than the record."""
    heights = published(key)
    for wrong in ([h * (1 - share) for h in heights], [1 - (1 - h) * (1 - share) for h in heights]):
        verdict = verify(wrong)
        assert verdict.score is not None
        assert verdict.score > float(score)


@needs_records
@published_functions
def test_a_record_one_step_out_of_range_is_invalid(key: str, score: str) -> None:
    """1e-9 or one unit in the last place above 1 or below 0 is found among a thousand heights."""
    heights = published(key)
    middle = len(heights) // 2
    for wrong, reason in (
        (1 + 1e-9, "above 1 by 1e-09"),
        (math.nextafter(1, 2), "above 1 by 2.2e-16"),
        (-1e-9, "below 0 by 1e-09"),
        (-5e-324, "below 0 by 4.9e-324"),
    ):
        assert verify([*heights[:middle], wrong, *heights[middle + 1 :]]).reason == f"height {middle} is {reason}"
    inside = verify([*heights[:middle], math.nextafter(heights[middle], 0), *heights[middle + 1 :]])
    assert inside.exact != verify(heights).exact
    assert inside.score == pytest.approx(float(score), abs=1e-12)

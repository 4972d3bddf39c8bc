"""Sums and differences of sets: hand-computed sets, slow counting, the record, the bound, and abuse."""

import json
import math
import random
import time
from typing import Any

import pytest
from constructions import ANYTHING, needs_records, published, seed_answer
from hypothesis import given, settings
from hypothesis import strategies as st

from problems import load_problem, load_verifier
from problems.sums_differences.verify import LARGEST, MOST, counts, exponent

problem = load_problem("sums_differences")
verify = load_verifier(problem).verify


@pytest.mark.parametrize(
    ("numbers", "sums", "differences"),
    [
        ([0, 1], 3, 3),
        ([0, 1, 3], 6, 7),
        ([0, 1, 2, 3], 7, 7),
        ([0, 2, 3, 4, 7, 11, 12, 14], 26, 25),
    ],
)
def test_small_sets_as_by_hand(numbers: list[int], sums: int, differences: int) -> None:
    """Two numbers; the seed; an interval; Conway's set with more sums than differences."""
    assert counts(numbers) == (sums, differences)
    score = 1 + math.log(differences / sums) / math.log(2 * max(numbers) + 1)
    assert verify(numbers).score == pytest.approx(score, abs=1e-15)


@given(st.sets(st.integers(0, 300), max_size=30).map(lambda found: sorted(found | {0})))
@settings(max_examples=100)
def test_counting_agrees_with_sets_of_pairs(numbers: list[int]) -> None:
    """The definition, pair by pair."""
    assert counts(numbers) == (
        len({a + b for a in numbers for b in numbers}),
        len({a - b for a in numbers for b in numbers}),
    )


def test_the_seed_program_is_the_known_baseline() -> None:
    """{0, 1, 3}: 1 + log(7/6) / log(7), to 40 digits as another library computes it."""
    verdict = verify(seed_answer("sums_differences"))
    assert verdict.exact == "1.079217778838398209681272754823800934559"
    assert verdict.score == 1.0792177788383983


def test_the_score_is_exactly_one_where_nothing_is_gained() -> None:
    """As many sums as differences: the logarithm of 1 is 0."""
    assert (verify([0, 1]).exact, verify(list(range(100))).score) == ("1", 1.0)


def test_near_ties_differ_in_the_exact_score() -> None:
    """Two counts that differ by one in a million, and a float could hardly tell."""
    first, second = exponent(10**6, 10**6 + 1, 10**6), exponent(10**6 - 1, 10**6, 10**6)
    assert second > first
    assert 0 < second - first < 1e-12


def test_the_order_of_the_numbers_does_not_matter() -> None:
    """The verdict's construction is in rising order, and accepted again."""
    verdict = verify([3, 0, 1])
    assert verdict.construction == [0, 1, 3]
    assert verify(json.loads(json.dumps(verdict.construction))) == verdict


@given(st.sets(st.integers(0, 60), min_size=1, max_size=12).map(lambda found: sorted(found | {0, 61})))
@settings(max_examples=100)
def test_the_proven_bound_holds(numbers: list[int]) -> None:
    """|U - U|^3 <= |U + U|^4 for every set, which is why no score exceeds 5/4."""
    sums, differences = counts(numbers)
    assert differences**3 <= sums**4
    assert problem.bound is not None
    assert (verify(numbers).score or 0) < float(problem.bound.exact) == 1.25


@pytest.mark.parametrize(
    ("construction", "reason"),
    [
        (None, "expected a list of whole numbers, got NoneType"),
        ("013", "expected a list of whole numbers, got str"),
        ((0, 1, 3), "expected a list of whole numbers, got tuple"),
        ({"0": 1}, "expected a list of whole numbers, got dict"),
        ([], "expected 2 to 2048 numbers, got 0"),
        ([0], "expected 2 to 2048 numbers, got 1"),
        (list(range(2049)), "expected 2 to 2048 numbers, got 2049"),
        ([0] * 10**7, "expected 2 to 2048 numbers, got 10000000"),
        ([1, 2, 4], "the number 0 is missing"),
        ([0, 1, 3, 1], "1 numbers repeat another"),
        ([0, -1, 3], "number 1: expected 0 to 1048576, got -1"),
        ([0, 2**20 + 1], "number 1: expected 0 to 1048576, got 1048577"),
        ([0, 10**400], "number 1: expected 0 to 1048576, got far more"),
        ([0, -(10**5000)], "number 1: expected 0 to 1048576, got far less"),
        ([0, 1.0], "number 1: expected a whole number (int), got float"),
        ([0, -0.0], "number 1: expected a whole number (int), got float"),
        ([0, float("nan")], "number 1: expected a whole number (int), got float"),
        ([0, float("inf")], "number 1: expected a whole number (int), got float"),
        ([0, 1e308], "number 1: expected a whole number (int), got float"),
        ([0, True], "number 1: expected a whole number (int), got bool"),
        ([0, "1"], "number 1: expected a whole number (int), got str"),
        ([0, [1]], "number 1: expected a whole number (int), got list"),
        ([[0, 1], [3]], "number 0: expected a whole number (int), got list"),
    ],
    ids=range(23),
)
def test_what_is_no_set_within_the_caps_is_refused_at_once(construction: Any, reason: str) -> None:
    """Before anything of the size of its numbers is allocated."""
    start = time.perf_counter()
    assert verify(construction).reason == reason
    assert time.perf_counter() - start < 5


@given(ANYTHING | st.lists(st.integers(0, 99) | ANYTHING, max_size=6))
@settings(max_examples=40)
def test_verify_never_raises(construction: object) -> None:
    """Any value gets a verdict, and an invalid one a short reason."""
    verdict = verify(construction)
    assert verdict.valid is (verdict.reason is None)
    assert len(verdict.reason or "") < 200


def test_the_largest_input_costs_little() -> None:
    """2048 numbers up to 2^20 are counted within five seconds, a quarter of one on a quiet core."""
    numbers = [0, LARGEST, *random.Random(0).sample(range(1, LARGEST), MOST - 2)]
    start = time.perf_counter()
    assert verify(numbers).valid
    assert time.perf_counter() - start < 5


@needs_records
def test_the_published_set_is_the_record() -> None:
    """AlphaEvolve's first set: 93803 sums, 807667 differences. One number more, less or moved counts anew."""
    numbers = published("sums_diffs_U1_2003.json")
    verdict = verify(numbers)
    assert counts(numbers) == (93803, 807667)
    assert problem.record is not None
    assert verdict.score == problem.record.score == 1.1479888965092757
    assert verdict.exact == problem.record.exact
    for other in ([*numbers[:100], *numbers[101:]], [*numbers[:100], numbers[100] + 1, *numbers[101:]]):
        assert len(set(other)) == len(other)
        assert verify(other).score != verdict.score


def test_the_measures_are_the_size_and_the_bits() -> None:
    """Three numbers up to 4 = 2^2."""
    assert verify([0, 1, 4]).measures == {"numbers": 3.0, "bits": 2.0}

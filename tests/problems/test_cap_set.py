"""Priority rules for cap sets: hand-computed greedy runs, a slow second greedy, known sets, and bad answers."""

import itertools
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
from constructions import needs_records, published
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.types import Verdict
from problems import load_problem, load_verifier
from problems.cap_set import greedy, judge_priority
from problems.rules import LocalRule

Vector = tuple[int, ...]
VERIFIERS = {n: load_verifier(load_problem(f"cap_set_{n}")) for n in (6, 8, 9)}


def judge(n: int, rule: Callable[..., object]) -> Verdict:
    """What a function of this process is worth as a rule for cap sets of dimension n."""
    return VERIFIERS[n].judge(LocalRule(rule))


def is_cap_set(vectors: Collection[Vector]) -> bool:
    """The definition: no two different members have their third vector among the members."""
    members = set(vectors)
    pairs = itertools.combinations(members, 2)
    return all(tuple((-a - b) % 3 for a, b in zip(x, y, strict=True)) not in members for x, y in pairs)


def slow_greedy(priorities: list[float], n: int) -> list[Vector]:
    """A second greedy: again and again the best vector that makes no line with two of the set."""
    left = dict(zip(itertools.product(range(3), repeat=n), priorities, strict=True))
    taken: list[Vector] = []
    while left:
        best = max(left, key=lambda vector: left[vector])  # of equal ones the first
        del left[best]
        if is_cap_set([*taken, best]):
            taken.append(best)
    return taken


def seed_rule(name: str) -> Callable[..., object]:
    """The entry point of a seed program."""
    problem = load_problem(name)
    scope: dict[str, Any] = {}
    exec(problem.seed_source, scope)
    rule: Callable[..., object] = scope[problem.entry_point]
    return rule


def members_first(vectors: Collection[Vector]) -> Callable[..., object]:
    """A rule that knows a cap set by heart."""
    known = set(vectors)
    return lambda v, _: float(tuple(v) in known)


def potechin() -> set[Vector]:
    """112 vectors of length 6: all with an even number of 2 and no 0, and all on ten blocks of three positions.

    The blocks are the 2-(6, 3, 2) design; the 56 pairs of opposite vectors are the points of Hill's cap.
    """
    blocks = [{5, i, (i + 1) % 5} for i in range(5)] + [{i, (i + 1) % 5, (i + 3) % 5} for i in range(5)]
    light = {v for b in blocks for v in itertools.product(*[(1, 2) if i in b else (0,) for i in range(6)])}
    return light | {v for v in itertools.product((1, 2), repeat=6) if v.count(2) % 2 == 0}


def test_dimension_one_and_two_as_by_hand() -> None:
    """Of 0, 1, 2 two fit; the greedy of n = 2 takes 00, 01, then 10 and 11, for 20 = -(00 + 10), and so on."""
    assert greedy([0, 0, 0], 1).tolist() == [[0], [1]]
    assert greedy([0, 1, 2], 1).tolist() == [[2], [1]]
    assert greedy([0] * 9, 2).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


@given(st.lists(st.integers(-2, 2) | st.floats(-1, 1), min_size=27, max_size=27))
@settings(max_examples=100)
def test_the_greedy_agrees_with_a_slow_one(priorities: list[float]) -> None:
    """The same vectors in the same order, whatever the ties; and they are a cap set to which nothing can be added."""
    found = [tuple(vector) for vector in greedy(priorities, 3).tolist()]
    assert found == slow_greedy(priorities, 3)
    assert is_cap_set(found)
    rest = set(itertools.product(range(3), repeat=3)) - set(found)
    assert not any(is_cap_set([*found, vector]) for vector in rest)


@pytest.mark.parametrize(("n", "size"), [(6, 64), (8, 256), (9, 512)])
def test_the_seed_program_is_the_known_baseline(n: int, size: int) -> None:
    """The same priority for all takes the vectors over 0 and 1: 2^n of them."""
    verdict = judge(n, seed_rule(f"cap_set_{n}"))
    assert (verdict.valid, verdict.score, verdict.exact) == (True, float(size), str(size))


def test_the_rule_is_called_once_for_each_vector() -> None:
    """In lexicographic order, with a list of its own each time, so that changing it changes nothing."""
    calls: list[tuple[Vector, int]] = []

    def spoil(v: list[int], n: int) -> int:
        calls.append((tuple(v), n))
        v.clear()
        return 0

    assert judge_priority(LocalRule(spoil), 3).score == 8
    assert calls == [(vector, 3) for vector in itertools.product(range(3), repeat=3)]


def test_only_the_order_of_priorities_counts() -> None:
    """Ints beyond 2^53 are told apart, where floats would be equal; huge and tiny numbers are fine."""
    big = 2**60
    assert greedy([big, big + 1, big + 2], 1).tolist() == [[2], [1]]
    assert greedy([1e308, -1e308, 5e-324], 1).tolist() == [[0], [2]]
    assert greedy([-0.0, 0.0, 0], 1).tolist() == [[0], [1]]


def test_the_largest_set_of_dimension_six_can_be_reached() -> None:
    """A rule that knows it earns the record of 112; one vector exchanged for another earns less."""
    best = potechin()
    record = load_problem("cap_set_6").record
    assert record is not None
    assert is_cap_set(best)
    assert judge(6, members_first(best)).exact == record.exact == "112"
    outside = next(v for v in itertools.product(range(3), repeat=6) if v not in best)
    assert not is_cap_set(best | {outside})
    assert (judge(6, lambda v, _: 2.0 if tuple(v) == outside else float(tuple(v) in best)).score or 0) < 112


@needs_records
def test_the_published_set_earns_the_record() -> None:
    """FunSearch's 512 vectors are a cap set, and their rule earns 512; with one vector moved they are none."""
    vectors = [tuple(map(int, text)) for text in published("capset_n8_512.json")]
    record = load_problem("cap_set_8").record
    assert record is not None
    assert len(set(vectors)) == 512
    assert is_cap_set(vectors)
    assert judge(8, members_first(vectors)).exact == record.exact == "512"
    moved = ((vectors[0][0] + 1) % 3, *vectors[0][1:])
    assert moved in vectors or not is_cap_set([moved, *vectors[1:]])


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, "a number, got NoneType"),
        ("1", "a number, got str"),
        ([1.0], "a number, got list"),
        ({}, "a number, got dict"),
        (True, "a number, got bool"),
        (1j, "a number, got complex"),
        (np.float64(1), "a number, got float64"),
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        (float("-inf"), "finite"),
        (10**400, "finite"),
        (10**5000, "finite"),
        ([0.0] * 10**6, "a number, got list"),
    ],
    ids=lambda value: str(value)[:12] if isinstance(value, str) else type(value).__name__,
)
def test_a_bad_answer_makes_the_rule_invalid(answer: object, expected: str) -> None:
    """The reason names the vector, here the third one; nothing is asked afterwards."""
    calls: list[object] = []

    def rule(v: list[int], n: int) -> object:
        calls.append(v)
        return answer if v[-1] == 2 else 0

    verdict = judge(8, rule)
    assert (verdict.valid, verdict.score) == (False, None)
    assert verdict.reason == f"the priority of [0, 0, 0, 0, 0, 0, 0, 2] must be {expected}"
    assert len(calls) == 3


def test_what_the_rule_raises_passes_through() -> None:
    """A crash of the candidate's process is not the verifier's to judge."""

    def crash(v: list[int], n: int) -> float:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        judge(6, crash)


def test_the_measures_say_what_the_rule_is_like() -> None:
    """One priority for all gives a set of which half the numbers are 0; 112 vectors of Hill's cap, two priorities."""
    assert judge(6, seed_rule("cap_set_6")).measures == {"zeros": 0.5, "levels": 1.0}
    # 32 vectors without a 0, and 80 with three of six.
    assert judge(6, members_first(potechin())).measures == {"zeros": 80 * 3 / (112 * 6), "levels": 2.0}

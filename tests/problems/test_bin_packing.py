"""Playing bin packing rules: hand-computed packings, independent packers, bad answers, and the known rules."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evolve.types import Record, Verdict
from problems import load_problem, load_verifier
from problems.bin_packing.verify import BadAnswerError, Instance, instances, play
from problems.exact import decimal_digits
from problems.rules import LocalRule

Rule = Callable[[int, Any], Any]

VERIFIER = load_verifier(load_problem("bin_packing"))


def judge(rule: Rule) -> Verdict:
    """What a function of this process is worth."""
    return VERIFIER.judge(LocalRule(rule))


def bins_used(instance: Instance, rule: Rule) -> int:
    """How many bins a function of this process opens for one instance."""
    (bins,) = play([instance], LocalRule(rule))
    return bins


def remote(rule: Rule) -> Rule:
    """Return the rule as the verifier sees it: it gets a numpy array, and its answer arrives as plain values."""
    return lambda item, bins: np.asarray(rule(item, np.array(bins, dtype=np.int64))).tolist()


def seed_rule() -> Rule:
    """The entry point of the seed program."""
    problem = load_problem("bin_packing")
    scope: dict[str, Any] = {}
    exec(problem.seed_source, scope)
    rule: Rule = scope[problem.entry_point]
    return rule


def known_rule(record: Record) -> Rule:
    """The rule whose file the record's source names."""
    file = load_problem("bin_packing").folder / record.source.split(",")[0]
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rule: Rule = module.priority
    return rule


def bins_of(instance: Instance, choose: Callable[[list[int]], int]) -> int:
    """Pack with a list of fillings: `choose` picks among the spaces that fit. No priorities, no offers."""
    fillings: list[int] = []
    for item in instance.items:
        fits = [k for k, filling in enumerate(fillings) if filling + item <= instance.capacity]
        if fits:
            fillings[fits[choose([instance.capacity - fillings[k] for k in fits])]] += item
        else:
            fillings.append(item)
    return len(fillings)


def score_of(choose: Callable[[list[int]], int]) -> Fraction:
    """Mean excess in percent of an independent packer over all instances."""
    ratios = [
        Fraction(100 * bins_of(one, choose), -(-sum(one.items) // one.capacity)) - Fraction(100) for one in instances()
    ]
    return sum(ratios, Fraction(0)) / len(ratios)


#: SHA-256 of all instances as JSON.
DIGEST = "dde0ea860f30a8a2ba71d0ed30843d52ed8c0f6e72b9c49488ed41e80b196370"

TINY = Instance(family="tiny", capacity=10, items=(6, 5, 4, 5, 2, 8))


def test_a_tiny_instance_packs_as_by_hand() -> None:
    """First fit: 6+4, 5+5, 2+8. Worst fit: 6, 5+4, 5+2, 8. Always new: six bins. The bound is 30/10 = 3."""
    assert bins_used(TINY, lambda _, bins: [-k for k in range(len(bins))]) == 3
    assert bins_used(TINY, lambda _, bins: [*bins[:-1], 0]) == 4
    assert bins_used(TINY, lambda _, bins: [0] * (len(bins) - 1) + [1]) == 6
    assert TINY.lower_bound == 3


def test_the_offer_is_the_bins_that_fit_and_one_empty_bin() -> None:
    """Remaining capacities, the oldest first, the empty bin last, as 64-bit integers."""
    offers: list[tuple[int, list[int]]] = []

    def first_fit(item: int, bins: array[int]) -> list[int]:
        assert (bins.typecode, bins.itemsize) == ("q", 8)
        offers.append((item, bins.tolist()))
        return [-k for k in range(len(bins))]

    bins_used(TINY, first_fit)
    assert offers == [(6, [10]), (5, [10]), (4, [4, 5, 10]), (5, [5, 10]), (2, [10]), (8, [8, 10])]


def test_instances_that_go_on_together_are_packed_as_alone() -> None:
    """Also where one is longer than another; a round asks about one item of each that is not done, together."""
    rounds: list[int] = []

    class Counting(LocalRule):
        def answers(self, questions: Iterable[Sequence[object]]) -> Iterator[object]:
            asked = list(questions)
            rounds.append(len(asked))
            return super().answers(asked)

    def best_fit(_: int, bins: array[int]) -> list[int]:
        return [-space for space in bins]

    short = Instance(family="short", capacity=9, items=(5, 5, 4))
    assert play([TINY, short], Counting(best_fit)) == [bins_used(TINY, best_fit), bins_used(short, best_fit)]
    assert rounds == [2, 2, 2, 1, 1, 1]


def test_ties_go_to_the_oldest_bin() -> None:
    """Equal priorities are first fit, whether they come as ints or floats."""
    zeros = judge(lambda _, bins: [0.0] * len(bins))
    assert zeros == judge(remote(seed_rule())) == judge(lambda _, bins: [7] * len(bins))


def test_changing_the_offer_changes_nothing() -> None:
    """A rule in this process that destroys its argument only hurts its own copy."""

    def destroy(item: int, bins: array[int]) -> list[float]:
        answer = [0.0] * len(bins)
        del bins[:]
        return answer

    assert judge(destroy) == judge(remote(seed_rule()))


def test_the_seed_program_is_first_fit() -> None:
    """It scores what an independent first fit scores: 5.147 % of excess."""
    verdict = judge(remote(seed_rule()))

    assert verdict == Verdict(valid=True, score=5.147459640834946, exact="5.14745964083494598778440671302")
    assert decimal_digits(score_of(lambda _: 0)) == verdict.exact


def test_best_fit_agrees_with_an_independent_one() -> None:
    """Highest priority for the least space left is the fullest bin that fits, the oldest of equal ones."""
    verdict = judge(remote(lambda item, bins: item - bins))
    assert decimal_digits(score_of(lambda spaces: spaces.index(min(spaces)))) == verdict.exact


@pytest.mark.parametrize(
    "record", load_problem("bin_packing").records, ids=lambda record: Path(record.source).name[:20]
)
def test_every_record_is_what_its_rule_scores(record: Record) -> None:
    """Playing the rule's file again gives the record's score, exactly."""
    verdict = judge(remote(known_rule(record)))
    assert (verdict.score, verdict.exact, record.exactly_valid) == (record.score, record.exact, True)


def test_the_third_family_punishes_rules_made_for_the_others() -> None:
    """On the bimodal instances best fit uses fewer bins than either of FunSearch's rules."""
    used: dict[str, int] = {}
    for record in load_problem("bin_packing").records:
        rule = remote(known_rule(record))
        used[record.holder] = sum(bins_used(one, rule) for one in instances() if one.family == "bimodal")
    assert min(used, key=lambda holder: used[holder]) == "best fit"


def test_the_instances_never_change() -> None:
    """12 instances of 500 items, the same on every machine and in every call."""
    every = list(instances())
    text = json.dumps([(one.family, one.capacity, one.items) for one in every])

    assert every == list(instances())
    assert [one.family for one in every] == ["or"] * 4 + ["weibull"] * 4 + ["bimodal"] * 4
    assert {len(one.items) for one in every} == {500}
    assert all(0 < item <= one.capacity for one in every for item in one.items)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGEST


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([], "expected one number for each of 1 bins, got 0"),
        ([0.0, 0.0], "expected one number for each of 1 bins, got 2"),
        (0.0, "expected one number for each of 1 bins, got float"),
        (None, "expected one number for each of 1 bins, got NoneType"),
        ("0", "expected one number for each of 1 bins, got str"),
        ((0.0,), "expected one number for each of 1 bins, got tuple"),
        ({"0": 0.0}, "expected one number for each of 1 bins, got dict"),
        ([[0.0]], "got list among them"),
        ([True], "got bool among them"),
        (["0"], "got str among them"),
        ([None], "got NoneType among them"),
        ([float("nan")], "got nan or infinity among them"),
        ([float("inf")], "got nan or infinity among them"),
        ([float("-inf")], "got nan or infinity among them"),
        ([10**400], "got nan or infinity among them"),
    ],
)
def test_a_bad_answer_makes_the_rule_invalid(answer: object, reason: str) -> None:
    """The reason names family, position and what came; there is no score."""
    size = next(instances()).items[0]
    verdict = judge(lambda *_: answer)
    assert not verdict.valid
    assert (verdict.reason or "").startswith(f"or instance, item 0 (size {size}): ")
    assert (verdict.reason or "").endswith(reason)


def test_a_late_bad_answer_is_found_where_it_is() -> None:
    """One NaN among good numbers, at the third call of the tiny instance, whatever its place in the answer."""
    for place in (0, 1, 2):

        def rule(item: int, bins: array[int], place: int = place) -> list[float]:
            return [float("nan") if len(bins) == 3 and k == place else 0.0 for k in range(len(bins))]

        with pytest.raises(BadAnswerError, match=r"tiny instance, item 2 \(size 4\): expected finite numbers"):
            bins_used(TINY, rule)


def test_what_the_rule_raises_passes_through() -> None:
    """A crash of the candidate's process is not the verifier's to judge."""

    def crash(item: int, bins: array[int]) -> list[float]:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        judge(crash)


def test_the_harness_costs_little() -> None:
    """All 6,000 calls with a rule in this process take less than a second (about 0.03 s on one core)."""
    calls = 0

    def count(item: int, bins: array[int]) -> list[int]:
        nonlocal calls
        calls += 1
        return [0] * len(bins)

    start = time.perf_counter()
    judge(count)
    assert time.perf_counter() - start < 1.0
    assert calls == 6000

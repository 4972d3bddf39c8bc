"""Plays an online bin packing rule on three families of instances and counts its bins.

Source of the problem: FunSearch, Romera-Paredes et al., Nature 625 (2024). Deviation: a rule sees the open bins that
fit and one empty bin, not one empty bin for each item still to come, so that a call costs what the open bins cost.
A rule that answers badly makes the verdict invalid: a failure is a type, never a bad score. The instances are drawn
by fixed seeds from `random.Random.random` alone, whose sequence Python guarantees across versions.
"""

import math
import random
import statistics
import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from evolve.types import Verdict
from problems.exact import decimal_digits
from problems.rules import LocalRule, Rule

ITEMS = 500
INSTANCES_PER_FAMILY = 4

#: Of the excess that a rule is expected to have: the most that luck is granted.
_LUCK = Fraction(1, 5)
#: Priorities outside would be infinite as floats; NaN fails the comparison too.
LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """Items in the order of their arrival, and the capacity of every bin."""

    family: str
    capacity: int
    items: tuple[int, ...]

    @property
    def lower_bound(self) -> int:
        """L1: the total size over the capacity, rounded up; no packing uses fewer bins."""
        return -(-sum(self.items) // self.capacity)


class BadAnswerError(Exception):
    """The rule's answer is not one finite number for each bin."""


def uniform(rng: random.Random, low: int, high: int) -> int:
    """Return a whole number from low to high, both included."""
    return low + int((high - low + 1) * rng.random())


def or_item(rng: random.Random) -> int:
    """Return an item of the OR-Library's sets u120 to u1000 (Falkenauer 1996): uniform, 20 to 100."""
    return uniform(rng, 20, 100)


def weibull_item(rng: random.Random) -> int:
    """Return an item of FunSearch's second family: Weibull with shape 3 and scale 45, rounded, clipped to 1 to 100."""
    size = 45 * math.cbrt(-math.log(1 - rng.random()))
    return min(100, max(1, round(size)))


def bimodal_item(rng: random.Random) -> int:
    """Return an item that is small (10 to 25) or about half a bin (40 to 60), either with probability 1/2.

    Two halves fit together only if chosen well, and small items spoil the choice: here best fit, and even first fit,
    are better than both rules that FunSearch found for the other two families.
    """
    return uniform(rng, 10, 25) if rng.random() < 0.5 else uniform(rng, 40, 60)


def instances(unseen: int | None = None) -> Iterator[Instance]:
    """Yield the instances: always the same ones, or as many of the same families that a seed draws."""
    families = (("or", 150, or_item), ("weibull", 100, weibull_item), ("bimodal", 100, bimodal_item))
    for place, (family, capacity, draw) in enumerate(families):
        for number in range(INSTANCES_PER_FAMILY):
            own = 1000 * (place + 1) + number
            rng = random.Random(own if unseen is None else f"{unseen}:{own}")
            yield Instance(family=family, capacity=capacity, items=tuple(draw(rng) for _ in range(ITEMS)))


def choose(answer: object, bins: int) -> int:
    """Return the place of the largest priority; of equal ones the lowest.

    Raises:
        BadAnswerError: The answer is not a list of `bins` finite numbers.
    """
    if type(answer) is not list:
        raise BadAnswerError(f"expected one number for each of {bins} bins, got {type(answer).__name__}")
    if len(answer) != bins:
        raise BadAnswerError(f"expected one number for each of {bins} bins, got {len(answer)}")
    for value in answer:
        if type(value) is not float and type(value) is not int:
            raise BadAnswerError(f"expected one number for each of {bins} bins, got {type(value).__name__} among them")
        if not -LARGEST <= value <= LARGEST:
            raise BadAnswerError("expected finite numbers, got nan or infinity among them")
    priorities: list[float] = answer
    return priorities.index(max(priorities))


class Packing:
    """An instance that is being packed, one item after the other."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._remaining: list[int] = []
        self._fitting: list[int] = []

    @property
    def bins(self) -> int:
        """How many are open."""
        return len(self._remaining)

    def question(self, position: int) -> "tuple[int, array[int]]":
        """Return an item and the remaining capacities of the bins on offer, the empty one last."""
        item = self.instance.items[position]
        self._fitting = [number for number, space in enumerate(self._remaining) if space >= item]
        return item, array("q", [*(self._remaining[number] for number in self._fitting), self.instance.capacity])

    def put(self, position: int, answer: object) -> None:
        """Put the item of the last question where the answer says.

        Raises:
            BadAnswerError: The answer is unusable; the message says which.
        """
        item = self.instance.items[position]
        try:
            chosen = choose(answer, len(self._fitting) + 1)
        except BadAnswerError as error:
            raise BadAnswerError(f"{self.instance.family} instance, item {position} (size {item}): {error}") from error
        if chosen == len(self._fitting):
            self._remaining.append(self.instance.capacity - item)
        else:
            self._remaining[self._fitting[chosen]] -= item


def play(instances: Sequence[Instance], rule: Rule) -> list[int]:
    """Return how many bins the rule opens for each instance's items.

    All instances go on beside each other, item by item: no question of a round depends on another one's answer.

    Raises:
        BadAnswerError: An answer is unusable; the message says which.
    """
    packings = [Packing(instance) for instance in instances]
    for position in range(max(len(instance.items) for instance in instances)):
        going = [packing for packing in packings if position < len(packing.instance.items)]
        answers = rule.answers([packing.question(position) for packing in going])
        for packing, answer in zip(going, answers, strict=True):
            packing.put(position, answer)
    return [packing.bins for packing in packings]


def judge(rule: Rule) -> Verdict:
    """Play all instances: 6,000 calls `rule(item, bins)`, item an int, bins an `array` of int64.

    Returns:
        As score the mean excess over the instances, `100 * (bins - L1) / L1` in percent. Invalid as soon as one answer
        is not a list of one finite int or float for each bin. What the rule raises passes through.
    """
    try:
        excesses = excesses_of(rule, list(instances()))
    except BadAnswerError as error:
        return Verdict(valid=False, reason=str(error))
    mean = sum(excesses, Fraction(0)) / len(excesses)
    return Verdict(valid=True, score=float(mean), exact=decimal_digits(mean))


def judge_unseen(rule: Rule, seed: int) -> Verdict:
    """Play as many instances that no program can have seen, and say what such a rule can be worth on the usual ones.

    Its excess is compared with first fit's, instance by instance, for instances differ more than rules do. Of two means
    of so many such differences each has a standard error; three of both together are what luck is granted. How much a
    rule's gain differs from family to family is no luck, so deviations are those inside the families. And a rule can
    play some of these games badly, to deviate: so luck is no more than a fifth of the excess that is expected, and who
    loses games on purpose loses more than that brings. (Twelve draws of FunSearch's OR rule, expected at 4.03 on the
    mean, have a standard deviation of 0.20; best fit's, at 4.78, 0.15.)

    Returns:
        As score the best that `judge` can be expected to give to the rule, in percent: no less than four fifths of what
        it is worth by these instances. As much, and no more, is to be had by knowing the usual ones.
    """
    every, usual = list(instances(seed)), list(instances())
    first_fit = LocalRule(lambda _, bins: [0.0] * len(bins))
    try:
        excesses = excesses_of(rule, every)
    except BadAnswerError as error:
        return Verdict(valid=False, reason=str(error))
    gains = [theirs - ours for theirs, ours in zip(excesses_of(first_fit, every), excesses, strict=True)]
    expected = max(Fraction(0), statistics.mean(excesses_of(first_fit, usual)) - statistics.mean(gains))
    luck = min(Fraction(3 * math.sqrt(2 / len(gains)) * _deviation(gains)), _LUCK * expected)
    return Verdict(valid=True, score=float(expected - luck))


def _deviation(gains: Sequence[Fraction]) -> float:
    """Return the standard deviation inside the families, pooled."""
    families = [gains[start : start + INSTANCES_PER_FAMILY] for start in range(0, len(gains), INSTANCES_PER_FAMILY)]
    return math.sqrt(statistics.mean(float(statistics.variance(family)) for family in families))


def excesses_of(rule: Rule, every: Sequence[Instance]) -> list[Fraction]:
    """Return `100 * (bins - L1) / L1` for each instance.

    Raises:
        BadAnswerError: An answer is unusable.
    """
    return [
        Fraction(100 * (bins - instance.lower_bound), instance.lower_bound)
        for bins, instance in zip(play(every, rule), every, strict=True)
    ]

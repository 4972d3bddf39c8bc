"""A rule that knows the instances is found out by others; a rule that packs well whatever comes is not."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attempts import attempt, new_run
from support import raw_rewarder

from database import open_database
from evolve.confirm import Check, Confirmer
from evolve.evaluate import Evaluator
from evolve.types import Outcome
from problems import load_problem, load_verifier
from problems.bin_packing.verify import instances
from problems.rules import LocalRule
from sandbox import Tier, open_sandbox

PROBLEM = load_problem("bin_packing")
VERIFIER = load_verifier(PROBLEM)
SEEDS = range(100, 108)
KNOWN = PROBLEM.folder / "known_rules"

BEST_FIT = """
def priority(item, bins):
    return [-float(space) for space in bins]
"""
#: Draws the problem's instances again, packs them with all their items at hand, and answers call by call; it packs what
#: it does not know by best fit.
CLAIRVOYANT = """
import math
import random

def uniform(rng, low, high):
    return low + int((high - low + 1) * rng.random())

FAMILIES = (
    (150, lambda rng: uniform(rng, 20, 100)),
    (100, lambda rng: min(100, max(1, round(45 * math.cbrt(-math.log(1 - rng.random())))))),
    (100, lambda rng: uniform(rng, 10, 25) if rng.random() < 0.5 else uniform(rng, 40, 60)),
)
games = []
for place, (capacity, draw) in enumerate(FAMILIES):
    for number in range(4):
        rng = random.Random(1000 * (place + 1) + number)
        items = [draw(rng) for _ in range(500)]
        room, where = [], [0] * 500
        for i in sorted(range(500), key=lambda i: -items[i]):
            fits = [b for b in range(len(room)) if room[b] >= items[i]]
            b = min(fits, key=lambda b: room[b]) if fits else len(room)
            room += [capacity] * (b == len(room))
            room[b] -= items[i]
            where[i] = b
        games.append((capacity, items, where, {}, []))
calls = 0

def priority(item, bins):
    global calls
    position, number = divmod(calls, 12)
    calls += 1
    capacity, items, where, opened, left = games[number]
    if items[position] != item:
        return [-float(space) for space in bins]
    answer = [0.0] * len(bins)
    if where[position] in opened:
        mine = opened[where[position]]
        place = [k for k, space in enumerate(left) if space >= item].index(mine)
        left[mine] -= item
    else:
        opened[where[position]] = len(left)
        left.append(capacity - item)
        place = len(bins) - 1
    answer[min(place, len(bins) - 1)] = 1.0
    return answer
"""
#: The same, and of the games that it does not know it throws one away, a bin for each item: deviation passes for luck.
WASTEFUL = CLAIRVOYANT.replace(
    "    if items[position] != item:\n",
    "    if items[position] != item:\n        strange.add(number)\n    if number in strange:\n"
    "        if number == 11:\n            return [0.0] * (len(bins) - 1) + [1.0]\n",
).replace("calls = 0\n", "calls = 0\nstrange = set()\n")


def rule_of(source: str) -> LocalRule:
    """Return a new instance of a program's rule, which gets a numpy array, as in the sandbox."""
    scope: dict[str, Any] = {}
    exec(source, scope)
    return LocalRule(lambda item, bins: np.asarray(scope["priority"](item, np.array(bins, dtype=np.int64))).tolist())


def test_unseen_instances_are_of_the_same_families_and_others_for_each_seed() -> None:
    """As many, of the same length; none is one of the usual ones, and a seed draws the same ones again."""
    usual, drawn, again, others = (list(instances(seed)) for seed in (None, 1, 1, 2))

    assert drawn == again
    assert [(one.family, one.capacity, len(one.items)) for one in drawn] == [
        (one.family, one.capacity, len(one.items)) for one in usual
    ]
    assert len({one.items for one in (*usual, *drawn, *others)}) == 36


@pytest.mark.parametrize("name", ["seed.py", *sorted(file.name for file in KNOWN.glob("*.py"))])
def test_no_honest_rule_is_better_than_it_is_expected_to_be(name: str) -> None:
    """Whatever instances are drawn: what luck is granted is enough for the known rules, good and bad ones."""
    files = {file.name: file for file in (PROBLEM.folder / "seed.py", *KNOWN.glob("*.py"))}
    source = files[name].read_text(encoding="utf-8")
    worth = VERIFIER.judge(rule_of(source)).score

    assert worth is not None
    expected = [VERIFIER.judge_unseen(rule_of(source), seed).score for seed in SEEDS]
    assert all(score is not None and score <= worth for score in expected)


@pytest.mark.parametrize("source", [CLAIRVOYANT, WASTEFUL])
def test_a_rule_that_knows_the_instances_is_expected_to_be_far_worse(source: str) -> None:
    """Below 1 % on those that it knows; on others it is best fit, and what it throws away there buys it no luck."""
    worth = VERIFIER.judge(rule_of(source)).score

    assert worth is not None
    assert worth < 1
    assert all((VERIFIER.judge_unseen(rule_of(source), seed).score or 0) > 3 for seed in SEEDS)


def test_luck_is_at_most_a_fifth_of_what_is_expected() -> None:
    """Who throws a whole game away is expected to be as bad as that, less a fifth, whatever it deviates by."""
    wasted = [VERIFIER.judge_unseen(rule_of(WASTEFUL), seed).score or 0 for seed in SEEDS]
    honest = [VERIFIER.judge_unseen(rule_of(BEST_FIT), seed).score or 0 for seed in SEEDS]

    assert all(worse > 2 * better for worse, better in zip(wasted, honest, strict=True))


@pytest.fixture(scope="module")
def evaluator() -> Iterator[Evaluator]:
    """A real sandbox and one verifier."""
    with open_sandbox(require=Tier.NONE) as sandbox, Evaluator(PROBLEM, sandbox, workers=1) as running:
        yield running


class Silent:
    """An observer that is told everything and says nothing."""

    def attempted(self, *_: object) -> None:
        """Nothing."""

    confirmed = stepped = attempted


@pytest.mark.parametrize(("source", "confirmed"), [(BEST_FIT, True), (CLAIRVOYANT, False), (WASTEFUL, False)])
def test_a_rule_is_a_new_best_only_if_it_plays_the_game(
    source: str, confirmed: bool, evaluator: Evaluator, tmp_path: Path
) -> None:
    """In the sandbox, over the channel, as a search confirms it; the reason says what it is worth at best."""
    run = evaluator.evaluate(source, seed=1)
    assert run.outcome is Outcome.VALID, run.feedback
    found = attempt(
        4, outcome=Outcome.VALID, identity="x", source=source, evaluations=(run,), score=run.score, reward=0.0
    )
    with open_database(f"sqlite:///{tmp_path / 'evolve.db'}") as database:
        store = new_run(database, str(tmp_path))
        store.insert_attempt(found)
        check = Check(seed=1, unseen=2**61 + 7, best=5.2, rewarder=raw_rewarder(PROBLEM))
        confirmer = Confirmer(PROBLEM, evaluator, store, Silent(), check)
        confirmer.settle([found])
        confirmer.close()
        (confirmation,) = store.confirmations()

    assert confirmation.confirmed is confirmed
    words = r"on instances that no program has seen it is worth \d+\.\d+ at best, and not 0\.9114868284321875"
    assert re.fullmatch("" if confirmed else words, confirmation.reason)

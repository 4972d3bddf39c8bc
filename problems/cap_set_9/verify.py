"""Plays a priority rule for cap sets of F_3^9; see problems/cap_set.py."""

from evolve.types import Verdict
from problems.cap_set import judge_priority
from problems.rules import Rule

#: How long the vectors are.
N = 9


def judge(rule: Rule) -> Verdict:
    """Ask for the priority of every vector; the score is the size of the cap set that a greedy builds by them."""
    return judge_priority(rule, N)

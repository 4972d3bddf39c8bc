"""Plays a priority rule for cap sets, and checks cap sets as such.

A cap set holds no three different vectors x, y, z of F_3^n with x + y + z = 0, that is, no three on a line. As in
FunSearch (Romera-Paredes et al., Nature 625 (2024)) a rule gives each vector a priority, and a fixed greedy takes the
vectors in that order where it can. The rule is asked about each vector, and about all of them at once: 3^n calls cost
the channel a second for n = 9, and a small model finds a function of one vector easier than one of them all.
"""

import itertools
import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evolve.types import Verdict
from problems.rules import Rule

#: Vectors over 0, 1 and 2, or places of such.
Vectors = npt.NDArray[np.int64]

#: Priorities outside would be infinite as floats; NaN fails the comparison too.
_LARGEST = sys.float_info.max


def vectors_of(n: int) -> Vectors:
    """Return `(3^n, n)` all vectors in lexicographic order, so that a vector's place is its value in base 3."""
    return np.array(list(itertools.product(range(3), repeat=n)), dtype=np.int64)


def thirds(vectors: Vectors, vector: Vectors) -> Vectors:
    """Return `(k,)` the places of the vectors that are on a line with `vector` and each of `(k, n)` others.

    >>> thirds(np.array([[0, 1], [0, 2]]), np.array([0, 2])).tolist()
    [0, 2]
    """
    return (-vectors - vector) % 3 @ 3 ** np.arange(vectors.shape[1])[::-1]


def greedy(priorities: Sequence[float], n: int) -> Vectors:
    """Return `(k, n)` the cap set that takes vectors by falling priority wherever no line arises.

    Args:
        priorities: One for each of the 3^n vectors in lexicographic order; of equal ones the earlier goes first.
        n: How long the vectors are.

    >>> greedy([0.0] * 9, 2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    vectors = vectors_of(n)
    taken: list[int] = []
    blocked = np.zeros(len(vectors), dtype=bool)
    # In Python, which compares an int with a float exactly; the sort is stable.
    for place in sorted(range(len(vectors)), key=lambda place: -priorities[place]):
        if not blocked[place]:
            blocked[thirds(vectors[taken], vectors[place])] = True
            taken.append(place)
    return vectors[taken]


def judge_priority(rule: Rule, n: int) -> Verdict:
    """Play the rule: 3^n calls `rule(v, n)`, v a list of n numbers 0, 1 or 2, in lexicographic order.

    Returns:
        As score the size of the cap set; as measures the share of zeros in it, and how many different priorities there
        are. Invalid as soon as one answer is not a finite int or float. What the rule
        raises passes through.
    """
    priorities: list[float] = []
    vectors = list(itertools.product(range(3), repeat=n))
    for vector, answer in zip(vectors, rule.answers([list(vector), n] for vector in vectors), strict=True):
        if type(answer) is not float and type(answer) is not int:
            return _refusal(vector, f"a number, got {type(answer).__name__}")
        if not -_LARGEST <= answer <= _LARGEST:
            return _refusal(vector, "finite")
        priorities.append(answer)
    cap = greedy(priorities, n)
    measures = {"zeros": float(np.count_nonzero(cap == 0)) / cap.size, "levels": float(len(set(priorities)))}
    return Verdict(valid=True, score=float(len(cap)), exact=str(len(cap)), measures=measures)


def _refusal(vector: tuple[int, ...], expected: str) -> Verdict:
    return Verdict(valid=False, reason=f"the priority of {list(vector)} must be {expected}")

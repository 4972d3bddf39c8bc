"""The best radii for given centres of circles in the unit square: a linear program, and an exact answer from it.

With the centres fixed, "no overlap" reads r_i + r_j <= |c_i - c_j|, and "inside" r_i <= the distance to the nearest
wall: both are linear in the radii, and so is their sum. HiGHS solves that in floats, with violations of some 1e-8; two
rounds of iterative refinement (Gleixner, Steffy, Wolter, INFORMS Journal on Computing 28(3), 2016) take them below
1e-20: each solves the same program for the correction, in a unit 2^24 times smaller, from residuals that are computed
in integers. What is then left of violations, and the rounding of the distances, is subtracted from every radius, so
that the result is feasible in exact arithmetic, whatever HiGHS answered.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from evolve.types import Verdict
from problems.gate import float_rows, rows_fault
from problems.packing import REPAIR_BITS, Packing, judge_packing, measures

#: Each round of refinement works in a unit so many bits smaller.
_ROUND_BITS = 24
_ROUNDS = 3
#: No correction is larger, in its round's unit: beside large numbers, floats have no digits left for the small ones.
_LARGEST = 1024.0


def best_packing(centres: Sequence[Sequence[float]]) -> Packing:
    """Return the circles around these centres whose radii have the largest sum, feasible in exact arithmetic.

    Args:
        centres: `(n, 2)` in the unit square; `n` is at least 2.

    Raises:
        ArithmeticError: HiGHS gave up.
    """
    points = Packing.from_floats([[x, y, 0.0] for x, y in centres]).refined(REPAIR_BITS)
    side = points.side
    walls = [min(x, side - x, y, side - y) for x, y, _ in points.circles]
    contacts = []
    for (i, (x, y, _)), (j, (u, v, _)) in itertools.combinations(enumerate(points.circles), 2):
        distance = math.isqrt((x - u) ** 2 + (y - v) ** 2)
        if distance < walls[i] + walls[j]:  # others hold whatever the radii are
            contacts.append((i, j, distance))
    radii = [0] * len(walls)
    for number in range(_ROUNDS):
        radii = _corrected(radii, walls, contacts, side=side, bits=number * _ROUND_BITS)
    over = (radii[i] + radii[j] - distance for i, j, distance in contacts)
    beyond = (radius - wall for radius, wall in zip(radii, walls, strict=True))
    # The whole excess, not half of it: a radius may end at 0, and then the other one has to give all.
    excess = max(itertools.chain(over, beyond, [0]))
    circles = ((x, y, max(radius - excess, 0)) for (x, y, _), radius in zip(points.circles, radii, strict=True))
    return Packing(circles=tuple(circles), side=side)


def _corrected(
    radii: Sequence[int], walls: Sequence[int], contacts: Sequence[tuple[int, int, int]], *, side: int, bits: int
) -> list[int]:
    """Return the radii after the linear program for their correction, posed in units of `side / 2^bits`."""

    def scaled(length: int) -> float:
        return min((length << bits) / side, 4 * _LARGEST)

    rows = np.repeat(np.arange(len(contacts)), 2)
    columns = np.array([(i, j) for i, j, _ in contacts], dtype=np.intp).reshape(-1)
    sums: Any = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(contacts), len(radii)))
    room = [scaled(distance - radii[i] - radii[j]) for i, j, distance in contacts]
    bounds = [
        (max(scaled(-radius), -_LARGEST), min(scaled(max(wall - radius, 0)), _LARGEST))
        for radius, wall in zip(radii, walls, strict=True)
    ]
    answer = linprog(-np.ones(len(radii)), A_ub=sums, b_ub=room, bounds=bounds, method="highs-ds")
    if answer.x is None or not np.isfinite(answer.x).all():
        if bits:  # what there is can be made feasible, too, and is as good to some 1e-8
            return list(radii)
        raise ArithmeticError(f"the linear program for the radii failed: {answer.message}")
    steps = (math.floor(Fraction(value) * side) >> bits for value in answer.x.tolist())
    return [max(radius + step, 0) for radius, step in zip(radii, steps, strict=True)]


def circles_around(centres: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return `(n, 3)` the best circles around these centres, rounded to floats."""
    packing = best_packing(centres)
    return [[x, y, radius / packing.side] for (x, y), (_, _, radius) in zip(centres, packing.circles, strict=True)]


def verify_centres(construction: object, n: int) -> Verdict:
    """Judge a list of n centres [x, y] of ints and floats; the score is the largest sum of radii around them."""
    fault = rows_fault(construction, n, item="centre", columns=("x", "y"))
    if fault is not None or not isinstance(construction, list):
        return Verdict(valid=False, reason=fault)
    centres = float_rows(construction)
    for i, row in enumerate(centres):
        if not all(0 <= value <= 1 for value in row):
            return Verdict(valid=False, reason=f"centre {i}: [{row[0]!r}, {row[1]!r}] lies outside the unit square")
    packing = best_packing(centres)
    if not any(radius for _, _, radius in packing.circles):
        return Verdict(valid=False, reason="no circle around these centres has a radius above 0")
    verdict = judge_packing(packing)
    rows = [[x, y, radius / packing.side] for (x, y), (_, _, radius) in zip(centres, packing.circles, strict=True)]
    return replace(verdict, construction=centres, measures=measures(rows) if verdict.valid else {})

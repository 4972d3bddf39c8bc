"""A bonus for children that differ from their siblings. Pure.

It is measured inside the group, since that is where credit is given: a policy that collapses answers one prompt with
one program, and copies of a sibling are new to the database, so that nothing else tells them from a find. A bonus for
the first program in a cell of the archive would depend on which evaluation ends first and on which selection is used,
and a line more or less is a new cell where the length is one of the measures.
"""

import math
from dataclasses import replace
from itertools import combinations

from evolve.distance import distance, tokens
from evolve.types import Attempt, Group, Outcome


def with_novelty(group: Group, weight: float) -> Group:
    """Return the group with a bonus on the reward of each valid child that was run.

    The bonus is `weight` times the mean distance of its text (`evolve.distance`, from 0 to 1) from the texts of the
    group's other valid children, 0 without others. Equal texts get exactly equal bonuses. Source: the mean distance to
    the nearest others is the novelty of Lehman and Stanley, Abandoning Objectives, Evolutionary Computation 19 (2011);
    here all of the group are near, and the distance is one of texts.

    Args:
        group: All of it that is evaluated.
        weight: In the unit of the reward; 0 leaves the group as it is.
    """
    texts = {attempt.id: tokens(attempt.source) for attempt in group if _counts(attempt) and attempt.source}
    if not weight or len(texts) < 2:
        return group
    distances: dict[int, list[float]] = {number: [] for number in texts}
    for one, other in combinations(texts, 2):
        apart = distance(texts[one], texts[other])
        distances[one].append(apart)
        distances[other].append(apart)
    # The exact sum does not depend on the order, so that a group of equal rewards stays one.
    bonus = {number: weight * math.fsum(apart) / (len(texts) - 1) for number, apart in distances.items()}
    return tuple(
        replace(attempt, reward=attempt.reward + bonus[attempt.id])
        if attempt.reward is not None and attempt.id in bonus
        else attempt
        for attempt in group
    )


def _counts(attempt: Attempt) -> bool:
    return attempt.outcome is Outcome.VALID and attempt.reward is not None

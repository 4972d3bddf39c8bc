"""How strongly an elite's score draws children to it."""

import math
import statistics
from collections.abc import Mapping, Sequence
from enum import StrEnum

from evolve.archive import Standing

#: Steepness of the sigmoid (ShinkaEvolve, arXiv:2509.19349: lambda = 10).
_STEEPNESS = 10.0


class Weighting(StrEnum):
    """How a parent is drawn from an archive."""

    UNIFORM = "uniform"
    SCORE = "score"  #: better elites more often, and those less often that have many children already


def score_weights(elites: Sequence[Standing], children: Mapping[int, int]) -> list[float]:
    """Return `(E,)` the weights of elites, at least one of them positive.

    `sigmoid(10 (score - median) / MAD) / (1 + children)`, where MAD is the median of the distances from the median.
    Source: ShinkaEvolve, arXiv:2509.19349, section 3.1, and its released code, which puts the MAD there.

    >>> elites = [Standing(1.0, -1), Standing(2.0, -2), Standing(3.0, -3)]
    >>> [round(weight, 3) for weight in score_weights(elites, {2: 1})]
    [0.0, 0.25, 1.0]

    Args:
        elites: `(E,)` at least one.
        children: How many children each program has.
    """
    # Halves keep the difference of two huge scores finite.
    middle = statistics.median(elite.rank / 2 for elite in elites)
    distances = [elite.rank / 2 - middle for elite in elites]
    spread = statistics.median(map(abs, distances))
    return [
        _sigmoid(_STEEPNESS * distance / spread if spread else math.copysign(math.inf, distance) if distance else 0.0)
        / (1 + children.get(elite.id, 0))
        for elite, distance in zip(elites, distances, strict=True)
    ]


def _sigmoid(x: float) -> float:
    return 0.5 + 0.5 * math.tanh(x / 2)

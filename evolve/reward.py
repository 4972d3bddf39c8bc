"""Step 6: from the outcome of an attempt to the reward that a learner sees. Pure, float64.

Penalties are numbers only here. Source of the forms and of the penalties: ThetaEvolve, arXiv:2511.23473,
section 3.3 and appendix B, and its released code.
"""

from dataclasses import dataclass
from enum import StrEnum

from evolve.distance import distance, tokens
from evolve.types import REPLY_FAILURES, Direction, Outcome, Program, RewardShape


class RewardMode(StrEnum):
    """What a valid child earns."""

    RAW = "raw"  #: its score; of a minimised score the reciprocal, see `raw`
    SHAPED = "shaped"  #: `k * H^alpha`, H its place between the problem's `worst` and `best`
    IMPROVEMENT = "improvement"  #: `k` times its gain over the parent, in units of `|best - worst|`
    BETTER = "better"  #: 1 if it is better than its parent, by however little, else 0


class LazyMode(StrEnum):
    """Which repetitions of a known program are punished."""

    NONE = "none"
    PARENT = "parent"
    ANY = "any"


@dataclass(frozen=True, slots=True, kw_only=True)
class Penalties:
    """Rewards of attempts without a score (ThetaEvolve's values)."""

    no_program: float = -0.4
    lazy: float = -0.3
    failed: float = -0.2
    invalid: float = -0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearness:
    """When a valid child is so near to its valid parent that it counts as a repetition; 0 for never.

    One constant changed, or a score that moved by a millionth, is a copy in all but name: paid like any other child,
    it is what a small model ends up making.

    Attributes:
        edit: Below this distance of the two texts (`evolve.distance`), from 0 to 1.
        score: Below this difference of the two scores, up or down, in units of the shape's `|best - worst|`.
    """

    edit: float = 0.0
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What the reward of an attempt depends on.

    Attributes:
        outcome: How the attempt ended; for a repetition, `UNCHANGED` or `DUPLICATE`.
        score: The score that counts; of a repetition, that of the program it repeats. None unless valid.
        source: The child's; None where the reply holds no child.
        parent: Whose child it is.
        known: The program that a repetition repeats, else None.
    """

    outcome: Outcome
    score: float | None
    source: str | None
    parent: Program
    known: Program | None


#: Keeps the reciprocal of a minimised score finite at 0 (ThetaEvolve's value).
_RECIPROCAL_GUARD = 1e-8


def raw(score: float, direction: Direction) -> float:
    """Return the score; where it is minimised, `1 / (score + 1e-8)`, and `1e8 - score` from 0 down.

    Source of the reciprocal: ThetaEvolve's released code, whose minimised scores are all positive. Lower ones are
    better still, where it would turn over and have a pole: that it goes on from its highest value in the score's own
    unit is ours. So every score has a finite reward, and a better one never earns less.

    >>> raw(4.0, Direction.MAX), raw(0.0, Direction.MIN), raw(-4.0, Direction.MIN)
    (4.0, 100000000.0, 100000004.0)
    """
    if direction is Direction.MAX:
        return score
    return 1.0 / (max(score, 0.0) + _RECIPROCAL_GUARD) - min(score, 0.0)


def shaped(score: float, shape: RewardShape) -> float:
    """Return `k * H^alpha`, with `H = (clip(score) - worst) / (best - worst)`.

    Source: arXiv:2511.23473, equations 2 to 4; one formula serves both directions, since `worst` and `best` say them.

    >>> shaped(1.3175, RewardShape(worst=0.0, best=2.635, alpha=3.0, k=5.0))
    0.625
    """
    low, high = sorted((shape.worst, shape.best))
    clipped = min(max(score, low), high)
    return float(shape.k * ((clipped - shape.worst) / (shape.best - shape.worst)) ** shape.alpha)


def improvement(score: float, parent: float, direction: Direction, shape: RewardShape) -> float:
    """Return `k` times the gain over the parent in units of `|best - worst|`, clipped to [0, k].

    A copy and a near-copy earn nothing, which the score itself would pay in full.

    >>> improvement(2.0, 1.0, Direction.MAX, RewardShape(worst=0.0, best=2.0, alpha=1.0, k=1.0))
    0.5
    """
    gain = direction.gain(score, parent) / abs(shape.best - shape.worst)
    return shape.k * min(max(gain, 0.0), 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewarder:
    """Turns trials into rewards, with the settings of one run."""

    mode: RewardMode
    lazy: LazyMode
    near: Nearness
    direction: Direction
    shape: RewardShape
    penalties: Penalties

    def reward(self, trial: Trial) -> float | None:
        """Return the reward, or None for an attempt that must not count in training (`Outcome.LOST`)."""
        outcome = trial.outcome
        if outcome is Outcome.LOST:
            return None
        if outcome in REPLY_FAILURES:
            return self.penalties.no_program
        if outcome.is_lazy and self._punished(outcome):
            return self.penalties.lazy
        if (outcome if trial.known is None else trial.known.outcome) is Outcome.INVALID:
            return self.penalties.invalid
        if trial.score is None:
            return self.penalties.failed
        if self._is_near(trial.score, trial):
            return self.penalties.lazy
        return self._valid(trial.score, trial.parent.score)

    def _punished(self, outcome: Outcome) -> bool:
        return self.lazy is LazyMode.ANY or (self.lazy is LazyMode.PARENT and outcome is Outcome.UNCHANGED)

    def _is_near(self, score: float, trial: Trial) -> bool:
        parent = trial.parent
        if parent.score is None or trial.source is None:
            return False
        if abs(score - parent.score) < self.near.score * abs(self.shape.best - self.shape.worst):
            return True
        return self.near.edit > 0 and distance(tokens(trial.source), tokens(parent.source)) < self.near.edit

    def _valid(self, score: float, parent_score: float | None) -> float:
        match self.mode:
            case RewardMode.RAW:
                return raw(score, self.direction)
            case RewardMode.SHAPED:
                return shaped(score, self.shape)
            case RewardMode.IMPROVEMENT:
                return improvement(score, self._base(parent_score), self.direction, self.shape)
            case RewardMode.BETTER:
                return float(self.direction.gain(score, self._base(parent_score)) > 0)

    def _base(self, parent_score: float | None) -> float:
        """Return what a child is compared with; a child of an invalid parent, with the worst score of the shape."""
        return self.shape.worst if parent_score is None else parent_score

"""What a person wants solved: a problem, its records, and what the verifier says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Direction(StrEnum):
    """Which way a problem's score gets better."""

    MAX = "max"
    MIN = "min"

    def gain(self, child: float, parent: float) -> float:
        """Return by how much `child` is better than `parent`, in the score's unit; negative when worse.

        >>> Direction.MIN.gain(5.5, 6.5), Direction.MAX.gain(5.5, 6.5)
        (1.0, -1.0)
        """
        return child - parent if self is Direction.MAX else parent - child

    def rank(self, score: float) -> float:
        """Return a key that sorts better scores higher, whatever the direction."""
        return score if self is Direction.MAX else -score


class ProblemKind(StrEnum):
    """What a program answers with."""

    CONSTRUCTION = "construction"  #: one call returns an object that the verifier judges
    RULE = "rule"  #: the verifier calls the program's rule many times and judges the play


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A published result to compare with.

    Attributes:
        score: In the problem's unit.
        exact: The score as an exact decimal, as far as it is known.
        holder: Who found it.
        date: When, as the source gives it.
        source: Where it can be checked.
        exactly_valid: Whether the construction is feasible at zero tolerance; only such records can be beaten.
        note: What a reader must know of it ("worth 2.6359816 after the exact repair"); empty where there is nothing.
    """

    score: float
    exact: str | None = None
    holder: str
    date: str
    source: str
    exactly_valid: bool
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A proven bound: a score beyond it is a fault of the verifier, and refused.

    Attributes:
        exact: The bound as a decimal text, rounded to the side on which no score can be refused wrongly.
        source: Where the proof can be read.
    """

    exact: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemLimits:
    """What one evaluation may use."""

    wall_s: float
    memory_mib: int
    source_chars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardShape:
    """The problem's own parameters of the shaped reward `k * H^alpha`.

    `H` is the score's place between `worst` and `best`, clipped to [0, 1].
    Source: ThetaEvolve, arXiv:2511.23473, equations 2 to 4.
    """

    worst: float
    best: float
    alpha: float
    k: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An open problem, as its folder describes it.

    Attributes:
        folder: Where problem.yaml, seed.py and verify.py lie.
        unit: Words that name the score ("sum of radii", "excess bins in %").
        entry_point: The function that a program must define.
        signature: That function's signature and contract, as the prompt shows it.
        arguments: What the entry point of a construction is called with, in order; empty for a rule, which the
            verifier calls itself.
        measures: Names of the measures that a verdict gives beside the score, for the archive's grid.
        bound: What no score can beat, where something is proven.
        moves: Ideas of which a prompt draws one.
        records: Best first.
        seed_source: The program that a run starts from.
        harness: Text of a program that runs in a child's place, with the child's text as `CHILD` and `run` as entry
            point, where the task brings an evaluator of its own; None where the child runs itself.
    """

    name: str
    folder: Path
    kind: ProblemKind
    direction: Direction
    title: str
    unit: str
    statement: str
    entry_point: str
    signature: str
    arguments: tuple[object, ...] = ()
    limits: ProblemLimits
    measures: tuple[str, ...] = ()
    bound: Bound | None = None
    moves: tuple[str, ...]
    shape: RewardShape
    reward_mode: str
    records: tuple[Record, ...]
    seed_source: str
    harness: str | None = None

    def job(self, child: str) -> tuple[str, str]:
        """Return the program that runs when `child` is evaluated, and its entry point."""
        if self.harness is None:
            return child, self.entry_point
        return f"{self.harness}\nCHILD = {child!r}\n", "run"

    @property
    def record(self) -> Record | None:
        """The best record that is feasible at zero tolerance, or None."""
        return next((record for record in self.records if record.exactly_valid), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the verifier says of one construction, at zero tolerance.

    Attributes:
        score: In the problem's unit; None unless valid.
        exact: The score as a decimal string with more digits than a float64 holds; None unless valid.
        reason: Why it is invalid, with the size of the worst violation; of a valid one, what there is to say of it.
        repaired: The score after the problem's documented repair, where there is one and it works.
        measures: The problem's own measures of a valid construction, by name; see `Problem.measures`.
        construction: What was judged, as JSON data that `verify` accepts again.
    """

    valid: bool
    score: float | None = None
    exact: str | None = None
    reason: str | None = None
    repaired: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    construction: object = None

    def __post_init__(self) -> None:
        if self.valid != (self.score is not None and math.isfinite(self.score)):
            raise ValueError(f"a verdict of valid={self.valid} cannot carry score {self.score!r}")

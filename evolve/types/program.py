"""What becomes of a reply: outcomes, evaluations, programs, and their places in the population."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How one attempt ended. A score exists only for `VALID`."""

    VALID = "valid"
    # The reply holds no child.
    EMPTY = "empty"  #: nothing is left of the reply once the thinking part is gone
    NO_CODE = "no_code"  #: no code block, or no edit block
    TOO_LONG = "too_long"  #: the child is longer than the problem allows
    NO_MATCH = "no_match"  #: an edit's SEARCH text stands nowhere, or in several places
    OUTSIDE_BLOCK = "outside_block"  #: an edit or a rewrite touches code outside the evolve block
    SYNTAX_ERROR = "syntax_error"  #: the child does not compile, or lacks the entry point
    # The child is not worth a process.
    UNCHANGED = "unchanged"  #: its syntax tree is the parent's
    DUPLICATE = "duplicate"  #: its syntax tree is that of a program already in the database
    # The sandbox or the verifier ended it.
    CRASHED = "crashed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    VIOLATION = "violation"
    KILLED = "killed"
    INVALID = "invalid"  #: the verifier refused the construction
    # Nobody's fault: masked in training, never punished.
    LOST = "lost"  #: the sandbox or the verifier itself failed

    @property
    def is_lazy(self) -> bool:
        """Whether the child repeats a program that is known already."""
        return self in (Outcome.UNCHANGED, Outcome.DUPLICATE)


#: Outcomes of replies that hold no child.
REPLY_FAILURES = frozenset(
    {Outcome.EMPTY, Outcome.NO_CODE, Outcome.TOO_LONG, Outcome.NO_MATCH, Outcome.OUTSIDE_BLOCK, Outcome.SYNTAX_ERROR}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What sandbox and verifier found out about one program in one run of it.

    Attributes:
        seed: What the candidate's random generators were seeded with.
        score: In the problem's unit; None unless the outcome is `VALID`.
        exact: The score as an exact decimal string; None unless `VALID`.
        measures: The problem's own measures of a valid construction, by name; see `Problem.measures`.
        feedback: Traceback, or the verifier's reason: untrusted text, at most 2 kB.
        construction: JSON text; None unless `VALID`.
    """

    outcome: Outcome
    seed: int
    score: float | None = None
    exact: str | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    feedback: str = ""
    construction: str | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_mib: float = 0.0
    peak_processes: int = 0

    def __post_init__(self) -> None:
        if (self.outcome is Outcome.VALID) != (self.score is not None and math.isfinite(self.score)):
            raise ValueError(f"outcome {self.outcome} cannot carry score {self.score!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that was evaluated.

    Attributes:
        id: Unique in its run: the id of the attempt that made it; 0 is the seed program.
        identity: Hash of the normalised syntax tree (`evolve.identity`).
        score: The score that counts: the worse of two runs where the program was run twice; None unless valid.
        parent_id: None for the seed program.
    """

    id: int
    parent_id: int | None
    step: int
    source: str
    identity: str
    outcome: Outcome
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What selection knows of a program: everything but its text.

    Attributes:
        length: Characters of the source.
        measures: Those of the evaluation that counts, by name.
    """

    id: int
    parent_id: int | None
    step: int
    identity: str
    score: float | None
    length: int
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A program's place on an island; a migrant is one more membership, never a copy of the program.

    Attributes:
        step: The step at whose end it began.
        migrant: Whether the program was born on another island.
    """

    program_id: int
    island: int
    step: int
    migrant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveCell:
    """A program took a cell of an island's archive; the newest of a cell's entries says who holds it.

    Attributes:
        grid: Number of the island's grid, from 0; a range that grows begins a new grid with new cells.
        cell: One bin for each measure.
        step: The step at whose end it was taken.
    """

    program_id: int
    island: int
    grid: int
    cell: tuple[int, ...]
    step: int


class Origin(StrEnum):
    """Where a best construction came from."""

    SCRATCH = "scratch"  #: found by a search that began with the problem's own seed program
    SEEDED = "seeded"  #: the search began with, or took in, programs of another run
    RECALL = "recall"  #: it equals a stored record up to symmetry, or its source spells it out as literals


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What the check of a new best found: a fresh process verified it again, two unseen seeds ran it again.

    Attributes:
        confirmed: Whether it may be shown as a best; else it is in quarantine.
        reason: Why it is in quarantine; empty when confirmed.
        evaluations: The runs with unseen seeds, in their order.
    """

    program_id: int
    confirmed: bool
    reason: str
    origin: Origin
    evaluations: tuple[Evaluation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a child of some parent failed, for the prompt."""

    outcome: Outcome
    feedback: str

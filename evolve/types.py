"""The nouns of the system: frozen values.

Standard library only. A score is in its problem's own unit; `Direction` says which way is better.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
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
    """

    score: float
    exact: str | None = None
    holder: str
    date: str
    source: str
    exactly_valid: bool


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
        moves: Ideas of which a prompt draws one.
        records: Best first.
        seed_source: The program that a run starts from.
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
    moves: tuple[str, ...]
    shape: RewardShape
    reward_mode: str
    records: tuple[Record, ...]
    seed_source: str

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
        reason: Why it is invalid, with the size of the worst violation; None when valid.
        repaired: The score after the problem's documented repair, where there is one and it works.
        construction: What was judged, as JSON data that `verify` accepts again.
    """

    valid: bool
    score: float | None = None
    exact: str | None = None
    reason: str | None = None
    repaired: float | None = None
    construction: object = None

    def __post_init__(self) -> None:
        if self.valid != (self.score is not None and math.isfinite(self.score)):
            raise ValueError(f"a verdict of valid={self.valid} cannot carry score {self.score!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What sandbox and verifier found out about one program in one run of it.

    Attributes:
        seed: What the candidate's random generators were seeded with.
        score: In the problem's unit; None unless the outcome is `VALID`.
        exact: The score as an exact decimal string; None unless `VALID`.
        feedback: Traceback, or the verifier's reason: untrusted text, at most 2 kB.
        construction: JSON text; None unless `VALID`.
    """

    outcome: Outcome
    seed: int
    score: float | None = None
    exact: str | None = None
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
    """

    id: int
    parent_id: int | None
    step: int
    identity: str
    score: float | None
    length: int


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
class Failure:
    """How a child of some parent failed, for the prompt."""

    outcome: Outcome
    feedback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One chat message; `role` is "system" or "user"."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A prompt of one step and the samples wanted of it.

    Attributes:
        group: The prompt's place in its step, from 0.
        samples: Which completions of the group are wanted; fewer than all when a step is resumed.
        first: Completions of the run that come before sample 0 of this group, whoever finishes first: it numbers
            the completions, so that a replay gives each the same text.
    """

    group: int
    messages: tuple[Message, ...]
    samples: tuple[int, ...]
    first: int


class FinishReason(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    LENGTH = "length"  #: it reached the token limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One reply of the model.

    Attributes:
        group: Of which request.
        sample: Which of the group.
        tokens: Number of generated tokens; counted by the engine, or estimated where it cannot count.
        prompt_tokens: Number of the prompt's tokens.
        token_ids: `(T,)` generated tokens; empty where the engine does not know them.
        logprobs: `(T,)` their log-probabilities under the sampling distribution; empty where unknown.
        seconds: From the request to the last token.
    """

    group: int
    sample: int
    text: str
    tokens: int
    prompt_tokens: int
    finish_reason: FinishReason
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What step 1 drew for one group: the parent, and the programs shown beside it."""

    island: int
    parent_id: int
    inspiration_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One completion and everything that came of it: what the database keeps of one mutation.

    Attributes:
        id: `1 + step * B * n + group * n + sample`, so that it does not depend on who finished first.
        prompt: The messages that were sent.
        identity: Of the child, where the reply holds one.
        source: The child, where the reply holds one that is not known already.
        known_as: Id of the program that an unchanged or duplicate child repeats.
        evaluations: In the order of running; empty when no process was spent.
        score: The one that counts: the worse of the evaluations; None unless all are valid.
        reward: None when the attempt is masked (`Outcome.LOST`).
        finished_s: When, in seconds of the run's active time.
    """

    id: int
    step: int
    draw: Draw
    prompt: tuple[Message, ...]
    completion: Completion
    outcome: Outcome
    feedback: str
    reward: float | None
    identity: str | None = None
    source: str | None = None
    known_as: int | None = None
    evaluations: tuple[Evaluation, ...] = ()
    score: float | None = None
    finished_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one step did, with its times in seconds.

    Attributes:
        attempts: Attempts that counted in this step; stragglers count in the next.
        outcomes: How many attempts ended how.
        best: Best score that counts in the run so far.
        improved: Attempts better than their parent.
        generate_s: From the first request to the last completion.
        tail_s: From the last completion to the last evaluation that counted.
        database_s: Spent in the database, in all threads together.
        stragglers: Evaluations that the step did not wait for.
    """

    step: int
    attempts: int
    outcomes: Mapping[Outcome, int]
    best: float
    improved: int
    tokens: int
    prompt_tokens: int
    generate_s: float
    tail_s: float
    database_s: float
    stragglers: int
    finished_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What the database keeps of a run.

    Attributes:
        id: Unique in the database.
        folder: The run's folder, as an absolute path.
        config: The resolved configuration, as YAML text.
        started_at: Seconds since the epoch, when the run first started.
    """

    id: int
    problem: str
    model: str
    folder: str
    seed: int
    config: str
    started_at: float


#: The attempts at one prompt of one step, by sample: the unit of group-relative advantages.
Group = tuple[Attempt, ...]

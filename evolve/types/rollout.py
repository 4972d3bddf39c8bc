"""What passes between loop, engine and database: requests, completions, attempts, steps, runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from evolve.types.program import Evaluation, Outcome


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
        id: `1 + (step - 1) * B * n + group * n + sample`, so that it does not depend on who finished first. 0 is the
            seed program; -1, -2, ... are programs that were taken in from other runs.
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

    @property
    def is_root(self) -> bool:
        """Whether no model of this run made it: the seed program, and programs of other runs, name themselves."""
        return self.draw.parent_id == self.id

    @property
    def measures(self) -> Mapping[str, float]:
        """Those of the evaluation that counts; empty without a score."""
        runs = (evaluation for evaluation in self.evaluations if evaluation.score is not None)
        return next((evaluation.measures for evaluation in runs if evaluation.score == self.score), {})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one step did, with its times in seconds.

    Attributes:
        attempts: Attempts that counted in this step; stragglers count in the next. The last step of a session counts
            those, too, that ended after it (`evolve.standing.balanced`).
        outcomes: How many attempts ended how.
        best: Best score that counts in the run so far.
        improved: Attempts better than their parent.
        generate_s: From the first request to the last completion; to the step's end where that comes before.
        tail_s: From the last completion to the last evaluation that counted.
        database_s: Spent in the database, in all threads together.
        stragglers: Completions and evaluations that the step did not wait for; those that it counts all the same, as
            the last one of a session, are left out.
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
class Account:
    """What is stored of the completions of finished steps, whether or not a report has counted it.

    Attributes:
        outcomes: How many ended how.
        improved: How many made a program that is better than its parent; none in quarantine is.
        tokens: Of all of them.
        prompt_tokens: Of their prompts, each counted as often as it was sent.
    """

    outcomes: Mapping[Outcome, int]
    improved: int
    tokens: int
    prompt_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTally:
    """What came of the completions of one prompt.

    Attributes:
        valid: Completions that made a valid program of their own.
        improved: Of them, those that are better than their parent.
        best: Best of their scores that count, programs in quarantine left out.
    """

    messages: tuple[Message, ...]
    completions: int
    valid: int
    improved: int
    best: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepsTally:
    """What came of the completions of some steps.

    Attributes:
        replied: Completions whose reply held a program.
        distinct: Different new programs among them.
        valid: Completions that made a valid program of their own.
        improved: Of them, those that are better than their parent.
        changed: Of them, those that do not have their parent's score: most valid children may be near-copies.
    """

    completions: int
    replied: int
    distinct: int
    valid: int
    improved: int
    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What the learner did after one step.

    Attributes:
        values: By name: losses, ratios, entropies, norms, and times in seconds (names that end in `_s`).
    """

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What the database keeps of a run.

    Attributes:
        id: Unique in the database.
        folder: The run's folder, as an absolute path.
        config: The resolved configuration, as YAML text.
        started_at: Seconds since the epoch, when the run first started.
        fingerprint: Hash of the problem's files: runs that share it judge programs alike; empty where unknown.
    """

    id: int
    problem: str
    model: str
    folder: str
    seed: int
    config: str
    started_at: float
    fingerprint: str = ""


#: The attempts at one prompt of one step, by sample: the unit of group-relative advantages.
Group = tuple[Attempt, ...]

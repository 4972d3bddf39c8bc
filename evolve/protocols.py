"""The parts of a run that can be exchanged, each by what its callers may rely on."""

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Protocol

from evolve.types import (
    Account,
    ArchiveCell,
    Attempt,
    Completion,
    Confirmation,
    Direction,
    Evaluation,
    Failure,
    Group,
    Member,
    Membership,
    Program,
    Request,
    StepReport,
    Training,
)


class Engine(Protocol):
    """Samples completions from the policy."""

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield every wanted completion of `requests` once, each as soon as it has ended, in any order.

        Closing the generator early abandons what is still running. Without a learner several streams may be open at
        once, each read by a thread of its own.

        Raises:
            EngineError: The engine is gone; what was yielded so far is good.
        """

    def give_up(self) -> None:
        """End every open stream soon, whatever it waits for, without the completions that it lacks.

        Any thread may call this, other than those that read the streams; a stream that begins later is not affected.
        """

    def close(self) -> None:
        """Free what the engine holds; it cannot be used afterwards, and streams that are open come to nothing."""


class Learner(Protocol):
    """Drives the run: it decides what happens between two steps."""

    def run(self, attempt: Callable[[int], Sequence[Group]], steps: Iterable[int]) -> None:
        """Call `attempt` once for every number that `steps` yields, in order, and learn from the groups or not."""


class Observer(Protocol):
    """Is told what happens in a run, from any thread; it must return at once."""

    def attempted(self, attempt: Attempt) -> None:
        """An attempt is stored."""

    def confirmed(self, attempt: Attempt, confirmation: Confirmation) -> None:
        """An attempt that beat the best was checked: it is the new best, or it is in quarantine."""

    def stepped(self, report: StepReport) -> None:
        """A step is stored."""


class Store(Protocol):
    """One run's part of the database. Any thread may call any method."""

    @property
    def database_s(self) -> float:
        """Seconds that all threads together have spent in this store."""

    def insert_attempt(self, attempt: Attempt) -> None:
        """Store an attempt; it is durable when this returns.

        The seed program is the attempt with id 0 of step 0, with an empty prompt and reply. A run's steps count from 1.
        An attempt that is stored already is left as it is, so that a resumed step may send it twice.
        """

    def finish_step(
        self, report: StepReport, memberships: Sequence[Membership], cells: Sequence[ArchiveCell] = ()
    ) -> None:
        """Store the end of a step, the new memberships and the archive cells that were taken in one transaction."""

    def amend_report(self, report: StepReport) -> None:
        """Put a report in the place of that of the same step, which is the last one."""

    def insert_confirmation(
        self, confirmation: Confirmation, *, score: float | None = None, reward: float | None = None
    ) -> None:
        """Store what the check of a new best found; a program's first confirmation stands.

        Args:
            confirmation: What was found.
            score: What the program counts as from now on; None if the check changes nothing in that.
            reward: What its attempt is paid from now on; None if the check changes nothing in that.
        """

    def insert_training(self, training: Training) -> None:
        """Store what the learner did after a finished step; a step's first training stands."""

    def program(self, program_id: int) -> Program:
        """Return one program.

        Raises:
            NotFoundError: The run has no such program.
        """

    def attempt(self, attempt_id: int) -> Attempt:
        """Return one attempt with its prompt, reply and evaluations.

        Raises:
            NotFoundError: The run has no such attempt.
        """

    def known(self, identity: str, *, before_step: int) -> int | None:
        """Return the lowest id of the programs with this identity that were born before `before_step`."""

    def evaluated_elsewhere(self, identity: str) -> Sequence[Evaluation]:
        """Return how the oldest run of the same problem, with the same files, evaluated a program of this identity.

        Empty when no other run in the database has evaluated one.
        """

    def last_failure(self, parent_id: int, *, before_step: int) -> Failure | None:
        """Return how the newest child of `parent_id` that ran and failed did so, if any did."""

    def attempts_of(self, step: int) -> Sequence[Attempt]:
        """Return the stored attempts of a step, by id; after a kill these need not be made again."""

    def unsettled(self, *, before_step: int) -> Sequence[Attempt]:
        """Return the valid attempts of steps before `before_step` whose program no membership holds, by id.

        They were evaluated after their step had ended, and the run ended before another took them in. An attempt that
        ended so late and made no valid program is left out: whatever `selection.failures` is, it is no parent.
        """

    def members(self) -> Sequence[Member]:
        """Return all programs that have a membership, by id: the seed program and what finished steps took in.

        With `selection.failures` above 0 these are failed ones, too.
        """

    def merged(self) -> int:
        """Return how many programs of other runs this run took in."""

    def memberships(self) -> Sequence[Membership]:
        """Return all memberships in the order in which they were stored."""

    def archive_cells(self) -> Sequence[ArchiveCell]:
        """Return all archive cells in the order in which they were stored."""

    def confirmations(self) -> Sequence[Confirmation]:
        """Return all confirmations in the order in which they were stored."""

    def trainings(self) -> Sequence[Training]:
        """Return what the learner did after each step, by step."""

    def account(self, direction: Direction, *, before_step: int) -> Account:
        """Return what is stored of the completions of all steps before `before_step`."""

    def reports(self) -> Sequence[StepReport]:
        """Return the reports of all finished steps, in order."""

"""When a run stops: budgets are stops of the first class, checked at every completion."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from evolve.types import Attempt, Completion, Direction, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits of a run, the time before a resume included; None for no limit.

    Attributes:
        steps: Finished steps.
        minutes: Active time. What is still being decoded or evaluated when it is used up is given up.
        completions: Completions of the model; what is being decoded when they are made is given up.
        tokens: Generated tokens, likewise.
        score: A score to reach, in the problem's unit.
        booked_s: Seconds of active time from which on this session begins no step, whatever is left of the run. The
            step that goes on then is finished, so that a run is the same however it is cut into sessions.
    """

    steps: int | None
    minutes: float | None
    completions: int | None
    tokens: int | None
    score: float | None
    booked_s: float | None = None

    def left_s(self, active_s: float) -> float | None:
        """Return the seconds that are left of the run's time, at least 0; None where it has no limit."""
        return None if self.minutes is None else max(0.0, 60.0 * self.minutes - active_s)


class Tally:
    """What a run has spent and reached so far. Any thread may add to it.

    Attributes:
        best: The best score, of a program that nobody may have checked yet.
    """

    def __init__(self, direction: Direction, *, best: float, completions: int = 0, tokens: int = 0) -> None:
        self.direction = direction
        self.completions = completions
        self.tokens = tokens
        self.best = best
        self.outcomes: Counter[Outcome] = Counter()
        self._lock = threading.Lock()

    def decoded(self, completion: Completion) -> None:
        """Count a completion, which is paid for whatever comes of it."""
        with self._lock:
            self.completions += 1
            self.tokens += completion.tokens

    def add(self, attempt: Attempt) -> bool:
        """Count what came of a completion; return whether it is the best so far."""
        with self._lock:
            self.outcomes[attempt.outcome] += 1
            score = attempt.score
            if score is None or self.direction.gain(score, self.best) <= 0:
                return False
            self.best = score
            return True

    def settle(self, best: float) -> None:
        """Set the best to what was confirmed."""
        with self._lock:
            self.best = best


class Gate:
    """Lets threads store something until it is shut, so that the reports of a run that was given up stay right."""

    def __init__(self) -> None:
        self._inside = 0
        self._shut = False
        self._condition = threading.Condition()

    @property
    def is_shut(self) -> bool:
        """Whether nobody is let in any more."""
        return self._shut

    @contextlib.contextmanager
    def passing(self) -> Iterator[bool]:
        """Yield whether this thread may store something now; `shut` waits until it has left."""
        with self._condition:
            is_let_in = not self._shut
            self._inside += is_let_in
        try:
            yield is_let_in
        finally:
            with self._condition:
                self._inside -= is_let_in
                self._condition.notify_all()

    def shut(self) -> None:
        """Let nobody in any more, and wait for those who are inside."""
        with self._condition:
            self._shut = True
            self._condition.wait_for(lambda: self._inside == 0)


def spent(budget: Budget, tally: Tally, *, best: float, steps: int, active_s: float) -> str | None:
    """Return which budget is used up, in words, or None while the run may go on.

    Args:
        budget: Of the run.
        tally: What was spent.
        best: What is compared with the score to reach.
        steps: Finished ones.
        active_s: Active time, in seconds.
    """
    if budget.score is not None and tally.direction.gain(best, budget.score) >= 0:
        return f"the target score {budget.score!r} is reached"
    if budget.steps is not None and steps >= budget.steps:
        return f"all {budget.steps} steps are done"
    if budget.left_s(active_s) == 0.0:
        return f"the time of {budget.minutes:g} minutes is used up"
    if budget.completions is not None and tally.completions >= budget.completions:
        return f"{budget.completions} completions are made"
    if budget.tokens is not None and tally.tokens >= budget.tokens:
        return f"{budget.tokens} tokens are generated"
    return None


def booked(budget: Budget, active_s: float) -> str | None:
    """Return in words that this session's time is used up, or None while it may begin another step.

    The empty last step of a run whose own time is used up may always be made: no other session need begin it.
    """
    over = budget.booked_s is not None and active_s >= budget.booked_s and budget.left_s(active_s) != 0.0
    return "the booked time is used up" if over else None

"""The search's steps as the trainer's rollouts: one update for one step, or for a few where groups told nothing."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from evolve.protocols import Store
from evolve.types import Attempt, Group, StepReport
from rl.advantages import tells_nothing
from rl.batch import Batch, Grown, Row, dealt, informative, make_batch, rewards_of
from rl.engine import PolicyEngine
from rl.novelty import with_novelty
from rl.ranks import Advance, Crew, part
from rl.settings import GrpoSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A step of the search that was made."""

    number: int
    groups: Sequence[Group]
    report: StepReport


@dataclass(slots=True)
class StepTimes:
    """Seconds of the GPU since the last update; what is decoded or waited for beside an update is not counted.

    Attributes:
        sync_s: The new weights go into the engine.
        generate_s: Completions are decoded.
        wait_s: The last evaluations of a step are waited for.
    """

    sync_s: float = 0.0
    generate_s: float = 0.0
    wait_s: float = 0.0


class Source(Protocol):
    """What the trainer takes its rows from: the search itself on rank 0, rank 0 on the others."""

    batch: Batch | None
    times: StepTimes

    @property
    def ranks(self) -> int:
        """Processes that share a batch."""

    def advance(self) -> bool:
        """Return whether another step follows."""

    def settle(self) -> None:
        """Wait until nothing is decoded any more, so that the engine can take new weights."""

    def rows(self) -> Sequence[Row]:
        """Return this rank's part of the batch."""

    def __call__(self, prompts: Sequence[Any], trainer: Any, /) -> dict[str, list[list[int]] | list[list[float]]]:
        """Return the rows of the next step in the form of TRL's `rollout_func`."""


@dataclass(slots=True)
class Rollouts:
    """Makes steps of the search when the trainer asks for rows.

    The number of the step to come is drawn ahead, so that the trainer knows after each update whether there is another.
    With `settings.overlap` that step is begun, too, in a thread of its own, before the trainer gets the rows of the one
    before, and taken when the trainer asks for rows again.

    Attributes:
        attempt: Makes one step and returns its groups.
        steps: The numbers of the steps; it ends when a budget is used up.
        last: Number of the newest step that was made.
        times: Since the last update.
        batch: What the newest rows were made of.
        crew: The other ranks, which learn from the same batch.
        is_deciding: Whether the other ranks wait for this one alone.
    """

    attempt: Callable[[int], Sequence[Group]]
    steps: Iterable[int]
    engine: PolicyEngine
    store: Store
    settings: GrpoSettings
    last: int = 0
    times: StepTimes = field(default_factory=StepTimes)
    batch: Batch | None = None
    crew: Crew = field(default_factory=Crew)
    is_deciding: bool = False
    _numbers: Iterator[int] | None = None
    _next: int | None = None
    _open: dict[int, list[Group]] = field(default_factory=dict)
    _open_lag: int = 0
    _foreign: set[int] = field(default_factory=set)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="ahead"))
    _ahead: Future[_Made] | None = None
    _blocked_s: float = 0.0

    @property
    def ranks(self) -> int:
        """Processes that share a batch."""
        return self.crew.ranks

    def advance(self) -> bool:
        """Draw the number of the next step, and say so to the other ranks; return whether there is one."""
        more = self._ahead is not None or self._draw()
        self.crew.tell(Advance(more=more))
        return more

    def settle(self) -> None:
        """Wait until the step that was begun ahead, if one was, has been made."""
        if self._ahead is not None:
            started = time.perf_counter()
            wait([self._ahead])
            self._blocked_s += time.perf_counter() - started

    def close(self) -> None:
        """Begin no more steps; one that was begun ends with the search or the engine."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def rows(self) -> Sequence[Row]:
        """Return this rank's part of the batch."""
        return () if self.batch is None else part(self.batch.rows, 0, self.ranks)

    def _draw(self) -> bool:
        if self._numbers is None:
            self._numbers = iter(self.steps)
        self._next = next(self._numbers, None)
        return self._next is not None

    def __call__(self, prompts: Sequence[Any], _: Any) -> dict[str, list[list[int]] | list[list[float]]]:
        """Return the rows of a step in the form of TRL's `rollout_func`; of `prompts` only the number counts."""
        if len(prompts) * self.ranks != self.settings.rows:
            raise ValueError(f"the trainer asks for {len(prompts)} completions of a step of {self.settings.rows}")
        self.is_deciding = True
        lag = int(self._ahead is not None)
        made = self._step()
        for _ in range(self.settings.refills):
            telling = informative(_flat(made), self.settings)
            if len(telling) >= self.settings.parents or not self._draw():
                break
            made |= self._step()
        self.engine.sleep()
        batch = make_batch(_flat(made), self.settings, self.engine.encode, self._scores(made), self._late(), lag=lag)
        self.batch = dealt(batch, self.settings, self.ranks)
        self._open, self._open_lag = made, lag
        if self.settings.overlap and self._draw():
            self._ahead = self._thread.submit(self._make, self._drawn())
        self.is_deciding = False
        self.crew.tell(self.batch)
        return as_rollout(self.rows())

    def _step(self) -> dict[int, list[Group]]:
        """Return the groups of the next step: of the one that was begun ahead, as far as it is evaluated by now."""
        if self._ahead is None:
            made = self._make(self._drawn())
            groups = made.groups
            self.times.generate_s += made.report.generate_s
            self.times.wait_s += made.report.tail_s
        else:
            self.settle()
            made, self._ahead = self._ahead.result(), None
            groups = self._stored(made.number, len(made.groups))
            tail_s = min(self._blocked_s, made.report.tail_s)
            self.times.wait_s += tail_s
            self.times.generate_s += self._blocked_s - tail_s
            self._blocked_s = 0.0
        self.last = made.number
        own = [tuple(attempt for attempt in group if attempt.id not in self._foreign) for group in groups]
        return {made.number: [with_novelty(group, self.settings.novelty) for group in own]}

    def _drawn(self) -> int:
        """Return the number that was drawn, once."""
        if self._next is None:
            raise ValueError("a step was asked for after the last one")
        number, self._next = self._next, None
        return number

    def _make(self, number: int) -> _Made:
        # After a kill some of the step's attempts are there already; other weights may have made them.
        self._foreign |= {attempt.id for attempt in self.store.attempts_of(number)}
        groups = self.attempt(number)
        return _Made(number=number, groups=groups, report=self.store.reports()[-1])

    def _stored(self, step: int, groups: int) -> list[Group]:
        """Return what is stored of a step's groups by now."""
        first = 1 + (step - 1) * self.settings.rows
        places: list[list[Attempt]] = [[] for _ in range(groups)]
        for attempt in self.store.attempts_of(step):
            if attempt.id not in self._foreign:
                places[(attempt.id - first) // self.settings.samples].append(attempt)
        return [tuple(place) for place in places]

    def _scores(self, made: Mapping[int, Sequence[Group]]) -> dict[int, float | None]:
        """Return the parents' scores by id."""
        parents = {attempt.draw.parent_id for group in _flat(made) for attempt in group}
        return {parent: self.store.program(parent).score for parent in parents}

    def _late(self) -> list[Grown]:
        """Return the groups of the last update of which more has been evaluated since: slow programs teach, too.

        Where what was there then told nothing, nothing was learned from it either: it is late like the rest.
        """
        grown = []
        for step, groups in self._open.items():
            for before, now in zip(groups, self._stored(step, len(groups)), strict=True):
                known = {attempt.id for attempt in before}
                late = frozenset(attempt.id for attempt in now if attempt.id not in known)
                if late:
                    if tells_nothing(rewards_of(before, self.settings)):
                        late |= known
                    novel = with_novelty(now, self.settings.novelty)
                    grown.append(Grown(group=novel, late=late, age=self._open_lag + 1))
        return grown


def as_rollout(rows: Sequence[Row]) -> dict[str, list[list[int]] | list[list[float]]]:
    """Return rows in the form of TRL's `rollout_func`."""
    return {
        "prompt_ids": [list(row.prompt_ids) for row in rows],
        "completion_ids": [list(row.completion_ids) for row in rows],
        "logprobs": [list(row.logprobs) for row in rows],
        # TRL's name for the mask of the loss.
        "env_mask": [[int(row.counts)] * len(row.completion_ids) for row in rows],
    }


def _flat(made: Mapping[int, Sequence[Group]]) -> list[Group]:
    return [group for groups in made.values() for group in groups]

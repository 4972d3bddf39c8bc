"""The search's steps as the trainer's rollouts: one update for one step, or for a few where groups told nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from evolve.protocols import Store
from evolve.types import Attempt, Group
from rl.batch import Batch, Grown, Row, informative, make_batch
from rl.engine import PolicyEngine
from rl.novelty import with_novelty
from rl.ranks import Advance, Crew, part
from rl.settings import GrpoSettings


@dataclass(slots=True)
class StepTimes:
    """Seconds of the GPU since the last update.

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

    def rows(self) -> Sequence[Row]:
        """Return this rank's part of the batch."""

    def __call__(self, prompts: Sequence[Any], trainer: Any, /) -> dict[str, list[list[int]] | list[list[float]]]:
        """Return the rows of the next step in the form of TRL's `rollout_func`."""


@dataclass(slots=True)
class Rollouts:
    """Makes steps of the search when the trainer asks for rows.

    The number of the step to come is drawn ahead, so that the trainer knows after each update whether there is another.

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
    _foreign: set[int] = field(default_factory=set)

    @property
    def ranks(self) -> int:
        """Processes that share a batch."""
        return self.crew.ranks

    def advance(self) -> bool:
        """Draw the number of the next step, and say so to the other ranks; return whether there is one."""
        more = self._draw()
        self.crew.tell(Advance(more=more))
        return more

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
        made = self._step()
        for _ in range(self.settings.refills):
            telling = informative(_flat(made), self.settings)
            if len(telling) >= self.settings.parents or not self._draw():
                break
            made |= self._step()
        self.engine.sleep()
        self.batch = make_batch(_flat(made), self.settings, self.engine.encode, self._scores(made), self._late())
        self._open = made
        self.is_deciding = False
        self.crew.tell(self.batch)
        return as_rollout(self.rows())

    def _step(self) -> dict[int, list[Group]]:
        if self._next is None:
            raise ValueError("a step was asked for after the last one")
        number, self._next = self._next, None
        # After a kill some of the step's attempts are there already; other weights may have made them.
        self._foreign |= {attempt.id for attempt in self.store.attempts_of(number)}
        made = self.attempt(number)
        report = self.store.reports()[-1]
        self.times.generate_s += report.generate_s
        self.times.wait_s += report.tail_s
        self.last = number
        own = [tuple(attempt for attempt in group if attempt.id not in self._foreign) for group in made]
        return {number: [with_novelty(group, self.settings.novelty) for group in own]}

    def _scores(self, made: Mapping[int, Sequence[Group]]) -> dict[int, float | None]:
        """Return the parents' scores by id."""
        parents = {attempt.draw.parent_id for group in _flat(made) for attempt in group}
        return {parent: self.store.program(parent).score for parent in parents}

    def _late(self) -> list[Grown]:
        """Return the groups of the last update of which more has been evaluated since: slow programs teach, too."""
        grown = []
        for step, groups in self._open.items():
            first = 1 + (step - 1) * self.settings.rows
            places: list[list[Attempt]] = [[] for _ in groups]
            for attempt in self.store.attempts_of(step):
                if attempt.id not in self._foreign:
                    places[(attempt.id - first) // self.settings.samples].append(attempt)
            for before, now in zip(groups, places, strict=True):
                late = frozenset(attempt.id for attempt in now) - {attempt.id for attempt in before}
                if late:
                    grown.append(Grown(group=with_novelty(tuple(now), self.settings.novelty), late=late))
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

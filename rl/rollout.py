"""The search's steps as the trainer's rollouts: one update for one step, or for a few where groups told nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from evolve.protocols import Store
from evolve.types import Group
from rl.batch import Batch, informative, make_batch
from rl.engine import PolicyEngine
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
    """

    attempt: Callable[[int], Sequence[Group]]
    steps: Iterable[int]
    engine: PolicyEngine
    store: Store
    settings: GrpoSettings
    last: int = 0
    times: StepTimes = field(default_factory=StepTimes)
    batch: Batch | None = None
    _numbers: Iterator[int] | None = None
    _next: int | None = None

    def advance(self) -> bool:
        """Draw the number of the next step; return whether there is one."""
        if self._numbers is None:
            self._numbers = iter(self.steps)
        self._next = next(self._numbers, None)
        return self._next is not None

    def __call__(self, prompts: Sequence[Any], _: Any) -> dict[str, list[list[int]] | list[list[float]]]:
        """Return the rows of a step in the form of TRL's `rollout_func`; of `prompts` only the number counts."""
        if len(prompts) != self.settings.rows:
            raise ValueError(f"the trainer asks for {len(prompts)} completions of a step of {self.settings.rows}")
        groups = self._step()
        for _ in range(self.settings.refills):
            if len(informative(groups, self.settings)) >= self.settings.parents or not self.advance():
                break
            groups += self._step()
        self.engine.sleep()
        self.batch = make_batch(groups, self.settings, self.engine.encode)
        rows = self.batch.rows
        return {
            "prompt_ids": [list(row.prompt_ids) for row in rows],
            "completion_ids": [list(row.completion_ids) for row in rows],
            "logprobs": [list(row.logprobs) for row in rows],
            # TRL's name for the mask of the loss.
            "env_mask": [[int(row.counts)] * len(row.completion_ids) for row in rows],
        }

    def _step(self) -> list[Group]:
        if self._next is None:
            raise ValueError("a step was asked for after the last one")
        number, self._next = self._next, None
        # After a kill some of the step's attempts are there already; other weights may have made them.
        stale = {attempt.id for attempt in self.store.attempts_of(number)}
        made = self.attempt(number)
        groups = [tuple(attempt for attempt in group if attempt.id not in stale) for group in made]
        report = self.store.reports()[-1]
        self.times.generate_s += report.generate_s
        self.times.wait_s += report.tail_s
        self.last = number
        return groups

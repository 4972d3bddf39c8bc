"""A search without a sandbox: the rewards are the numbers in the replies. And what stands around a learner in tests."""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from evolve.types import (
    Attempt,
    Completion,
    Direction,
    Draw,
    FinishReason,
    Group,
    Message,
    Outcome,
    Program,
    StepReport,
    Training,
)
from rl.settings import GrpoSettings, Loss, Method

SETTINGS = GrpoSettings(
    parents=2,
    samples=4,
    max_tokens=24,
    max_model_len=64,
    temperature=1.0,
    dtype="float32",
    seed=0,
    direction=Direction.MAX,
    advantage="grpo",
    loss=Loss.GRPO,
    method=Method.FULL,
    lora_rank=8,
    learning_rate=1e-4,
    weight_decay=0.1,
    clip_low=0.2,
    clip_high=0.28,
    importance_cap=2.0,
    entropy_bonus=0.0,
    entropy_target=None,
    entropy_cap=1.0,
    kl=0.0,
    novelty=0.0,
    min_distinct=0.0,
    mask_truncated=False,
    drop_constant=True,
    trained_samples=None,
    refills=0,
    logprob_bound=1e-3,
    micro_tokens=128,
    overlap=False,
    sleep=False,
    save_steps=1000,
    keep=2,
    report_to=(),
)


def completion(sample: int, **changes: object) -> Completion:
    """Three tokens that the engine knows."""
    plain = Completion(
        group=0,
        sample=sample,
        text="abc",
        tokens=3,
        prompt_tokens=2,
        finish_reason=FinishReason.STOP,
        token_ids=(5, 6, 7),
        logprobs=(-0.5, -0.25, -1.0),
    )
    return replace(plain, **changes)


def attempt(
    sample: int, reward: float | None, *, step: int = 1, number: int | None = None, **changes: object
) -> Attempt:
    """A valid attempt with a reward."""
    plain = Attempt(
        id=sample + 1 if number is None else number,
        step=step,
        draw=Draw(island=0, parent_id=0),
        prompt=(Message(role="user", content="ab"),),
        completion=completion(sample),
        outcome=Outcome.VALID if reward is not None else Outcome.LOST,
        feedback="",
        reward=reward,
        identity=f"tree {sample}",
        score=reward,
    )
    return replace(plain, **changes)


def group_of(*rewards: float | None, **changes: object) -> Group:
    """A group with these rewards, by sample."""
    return tuple(attempt(sample, reward, **changes) for sample, reward in enumerate(rewards))


def report(step: int) -> StepReport:
    """A step that decoded for a second and waited for half of one."""
    return StepReport(
        step=step,
        attempts=8,
        outcomes={},
        best=1.0,
        improved=0,
        tokens=24,
        prompt_tokens=16,
        generate_s=1.0,
        tail_s=0.5,
        database_s=0.0,
        stragglers=0,
        finished_s=float(step),
    )


@dataclass
class ListStore:
    """The part of a store that a learner sees, in lists."""

    steps: list[StepReport] = field(default_factory=lambda: [report(0)])
    updates: list[Training] = field(default_factory=list)
    stored: dict[int, list[Attempt]] = field(default_factory=dict)

    def reports(self) -> Sequence[StepReport]:
        """Return the reports."""
        return self.steps

    def program(self, program_id: int) -> Program:
        """Return the parent of all: it is worth 0.5."""
        return Program(id=program_id, parent_id=None, step=0, source="", identity="", outcome=Outcome.VALID, score=0.5)

    def attempts_of(self, step: int) -> Sequence[Attempt]:
        """Return what a killed step left."""
        return self.stored.get(step, [])

    def insert_training(self, training: Training) -> None:
        """Keep an update's figures."""
        self.updates.append(training)


class SilentEngine:
    """Encodes characters; has no weights to change, and counts its naps."""

    def __init__(self) -> None:
        self.naps = 0

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return the characters' numbers."""
        return [ord(character) for message in messages for character in message.content]

    def load_weights(self, weights: Iterable[tuple[str, Any]]) -> None:
        """Take nothing."""

    def load_adapter(self, folder: Path, version: int) -> None:
        """Take nothing."""

    def sleep(self) -> None:
        """Count."""
        self.naps += 1


@dataclass
class NumberSearch:
    """Steps of a search for large numbers: `engine.complete(messages, n)` writes the replies.

    Attributes:
        engine: Completes prompts.
        store: Takes the reports.
        seen: The mean of the numbers of each step, 0 where a reply holds none.
        before: Is called with the step's number before it is made.
    """

    engine: Any
    store: ListStore
    settings: GrpoSettings
    seen: list[float] = field(default_factory=list)
    before: Callable[[int], None] = lambda _: None

    def step(self, number: int) -> Sequence[Group]:
        """Make one step."""
        self.before(number)
        groups = []
        for place in range(self.settings.parents):
            words = random.Random(f"{number}:{place}").choice(["Write a number.", "A large one!", "Go on:"])
            messages = (Message(role="user", content=words),)
            first = 1 + ((number - 1) * self.settings.parents + place) * self.settings.samples
            groups.append(
                tuple(
                    self._attempt(made, messages, number, first)
                    for made in self.engine.complete(messages, self.settings.samples)
                )
            )
        rewards = [attempt.reward or 0.0 for group in groups for attempt in group]
        self.seen.append(sum(rewards) / len(rewards))
        self.store.steps.append(report(number))
        return groups

    def _attempt(self, made: Completion, messages: tuple[Message, ...], step: int, first: int) -> Attempt:
        found = re.search(r"return (\d{1,3})\n```", made.text)
        score = None if found is None else int(found[1]) / 1000
        return attempt(
            made.sample,
            0.0 if score is None else score,
            step=step,
            number=first + made.sample,
            prompt=messages,
            completion=made,
            outcome=Outcome.NO_CODE if score is None else Outcome.VALID,
            score=score,
        )


def steps_until(last: int, *, begin: int = 1) -> Iterator[int]:
    """Yield step numbers as a budget of steps does."""
    yield from range(begin, last + 1)

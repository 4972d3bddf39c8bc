"""Where the time of an update goes: `python -m benchmarks.update MODEL OUT [key=value ...]`.

The learner of `evolve run learner=grpo` takes made-up groups, at 16 x 16 completions an update: random tokens, in
prompts and completions as long as those of a search for circle packings. Nothing is decoded, and no search runs. The
first update warms up, the next ones are timed, and the last one is profiled. Printed and written to OUT: seconds and
tokens of an update, the highest memory, and the operations that took the most time.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, TrainerCallback

from evolve.config import GrpoConfig, VllmConfig
from evolve.options import parse_options
from evolve.training import grpo_settings, policy_of
from evolve.types import Message
from rl.batch import Batch, Row
from rl.grpo import build_trainer
from rl.rollout import StepTimes, as_rollout
from rl.settings import GrpoSettings

#: Updates: one to warm up, those that are timed, and the profiled one.
UPDATES = 4
#: Tokens of a prompt, and of a completion on average, in a run of 26 steps on an H100.
PROMPT_TOKENS, COMPLETION_TOKENS = 2200, 600
#: Lines of the profile.
LINES = 40
WORDS = (
    "problem=circle_packing",
    "learner=grpo",
    "rollout.parents=16",
    "rollout.samples=16",
    "learner.report_to=[]",
    "learner.logprob_bound=1e9",  # random tokens are no one's
)


class NoEngine:
    """Takes the weights and keeps nothing."""

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Refuse: there are no prompts."""
        raise NotImplementedError

    def load_weights(self, weights: Iterable[tuple[str, Any]]) -> None:
        """Read all of them."""
        for _ in weights:
            pass

    def load_adapter(self, folder: Path, version: int) -> None:
        """Leave it where it is."""

    def sleep(self) -> None:
        """Hold nothing that could be freed."""


@dataclass(slots=True)
class MadeUp:
    """Gives the trainer groups of random tokens."""

    settings: GrpoSettings
    vocabulary: int
    rng: random.Random
    batch: Batch | None = None
    times: StepTimes = field(default_factory=StepTimes)
    left: int = UPDATES
    tokens: int = 0

    @property
    def ranks(self) -> int:
        """This process is alone."""
        return 1

    def advance(self) -> bool:
        """Return whether another update follows."""
        self.left -= 1
        return self.left > 0

    def settle(self) -> None:
        """Decode nothing."""

    def rows(self) -> Sequence[Row]:
        """Return the rows of the newest batch."""
        return () if self.batch is None else self.batch.rows

    def __call__(self, _: Sequence[Any], __: Any) -> dict[str, list[list[int]] | list[list[float]]]:
        """Return the rows of another batch."""
        self.batch = Batch(rows=tuple(row for _ in range(self.settings.parents) for row in self._group()), figures={})
        self.tokens = self.settings.parents * PROMPT_TOKENS + sum(len(row.completion_ids) for row in self.batch.rows)
        return as_rollout(self.rows())

    def _group(self) -> list[Row]:
        prompt = self._ids(min(PROMPT_TOKENS, self.settings.max_model_len - self.settings.max_tokens))
        lengths = [
            min(self.settings.max_tokens, max(2, round(self.rng.gauss(COMPLETION_TOKENS, COMPLETION_TOKENS / 3))))
            for _ in range(self.settings.samples)
        ]
        return [
            Row(
                prompt_ids=prompt,
                completion_ids=self._ids(length),
                logprobs=(-1.0,) * length,
                advantage=self.rng.gauss(0, 1),
                counts=True,
                fresh=True,
            )
            for length in lengths
        ]

    def _ids(self, length: int) -> tuple[int, ...]:
        return tuple(self.rng.randrange(self.vocabulary) for _ in range(length))


class Watch(TrainerCallback):  # type: ignore[misc]
    """Times every update and profiles the last one."""

    def __init__(self, rollouts: MadeUp) -> None:
        self._rollouts = rollouts
        self._began = 0.0
        self.seconds: list[float] = []
        self.profile: torch.profiler.profile | None = None

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock, and the profiler."""
        if self._rollouts.left == 1:
            self.profile = torch.profiler.profile(record_shapes=False)
            self.profile.__enter__()
        self._began = time.perf_counter()

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> Any:
        """Stop the clock, and leave out the checkpoint."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._began)
        if self.profile is not None:
            self.profile.__exit__(None, None, None)
        control.should_save = False
        return control


def main() -> None:
    """Train, print and write."""
    model, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    words = [*WORDS, f"model={model}", *sys.argv[3:]]
    config = parse_options(words)
    if not (isinstance(config.learner, GrpoConfig) and isinstance(config.engine, VllmConfig)):
        raise SystemExit("this benchmark trains: leave learner=grpo and engine=vllm")
    settings = grpo_settings(config, config.learner, config.engine)
    rollouts = MadeUp(settings, AutoConfig.from_pretrained(model).vocab_size, random.Random(config.run.seed))
    trainer = build_trainer(settings, policy_of(config, model, out), NoEngine(), rollouts)
    watch = Watch(rollouts)
    trainer.add_callback(watch)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    on_gpu = torch.cuda.is_available()
    row = {
        "words": words,
        "machine": torch.cuda.get_device_name(0) if on_gpu else "no GPU",
        "seconds": watch.seconds,
        "seconds_median": statistics.median(watch.seconds[1:-1]),
        "tokens": rollouts.tokens,
        "peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
    }
    (out / "figures.json").write_text(json.dumps(row, indent=1), encoding="utf-8")
    print(json.dumps(row, indent=1))
    if watch.profile is not None:
        order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
        table = watch.profile.key_averages().table(sort_by=order, row_limit=LINES, max_name_column_width=80)
        (out / "profile.txt").write_text(table, encoding="utf-8")
        print(table)


if __name__ == "__main__":
    main()

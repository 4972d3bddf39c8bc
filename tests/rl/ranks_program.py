"""One process of a small learning run, for tests that start several.

The search is `NumberSearch`, the engine is a second copy of the model. Rows come from a file where there is one, so
that runs with different numbers of processes learn from the same; completions are decoded all the same.
"""

import contextlib
import json
import pickle
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType, TorchDynamoPlugin

import rl.grpo
from evolve.launch import ALONE, launched
from evolve.types import Completion, Group, Message, Request
from rl.checkpoint import Policy
from rl.follow import Follower, follow
from rl.meeting import connect, joined, led
from rl.ranks import Job
from rl.settings import Method
from rl.trainer import EvolveTrainer
from tests.rl.hf_engine import HfEngine
from tests.rl.toy import SETTINGS, ListStore, NumberSearch, report, steps_until


class ShardedTrainer(EvolveTrainer):
    """Shards the weights on CPUs, too: torch's FSDP2 can, but accelerate never asks it to without a GPU."""

    def create_accelerator_and_postprocess(self) -> None:
        """Make accelerate's state as it is on GPUs, before the accelerator takes it."""
        precision = "bf16" if self.args.bf16 else "no"
        state = AcceleratorState(
            mixed_precision=precision, cpu=True, dynamo_plugin=TorchDynamoPlugin(), _from_accelerator=True
        )
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2, auto_wrap_policy="transformer_based_wrap", cpu_ram_efficient_loading=True
        )
        state.fsdp_plugin = plugin
        for shared in (PartialState._shared_state, AcceleratorState._shared_state):
            shared["distributed_type"] = DistributedType.FSDP
        super().create_accelerator_and_postprocess()


class StreamingEngine(HfEngine):
    """Serves groups as a run's engine does, and counts its completions."""

    made = 0

    def stream(self, requests: Sequence[Request]) -> Iterator[Completion]:
        """Yield every wanted completion."""
        for request in requests:
            for completion in self.complete(request.messages, len(request.samples)):
                self.made += 1
                yield replace(completion, group=request.group, sample=request.samples[completion.sample])

    def close(self) -> None:
        """Hold nothing that must be freed."""


class Search(NumberSearch):
    """Asks for all groups of a step at once; returns recorded ones, or records its own."""

    rows: Path

    def step(self, number: int) -> Sequence[Group]:
        """Make one step."""
        size = self.settings.samples
        requests = [
            Request(
                group=place,
                messages=(Message(role="user", content=f"Number {place}{number}:"),),
                samples=tuple(range(size)),
                first=((number - 1) * self.settings.parents + place) * size,
            )
            for place in range(self.settings.parents)
        ]
        with contextlib.closing(self.engine.stream(requests)) as stream:
            completions = sorted(stream, key=lambda completion: (completion.group, completion.sample))
        assert len(completions) == self.settings.rows
        made = [
            self._attempt(completion, requests[completion.group].messages, number, 1 + requests[completion.group].first)
            for completion in completions
        ]
        groups = [tuple(made[place * size : (place + 1) * size]) for place in range(self.settings.parents)]
        file = self.rows / f"step-{number}.pickle"
        if file.exists():
            groups = pickle.loads(file.read_bytes())
        else:
            file.write_bytes(pickle.dumps(groups))
        self.store.steps.append(report(number))
        return groups


def main(folder: Path, model: Path, rows: Path, first: int, last: int, *changes: str) -> None:
    """Train from step `first` to `last`; `changes` are `sharded` and `lora`."""
    torch.set_num_threads(1)
    if "sharded" in changes:
        rl.grpo.EvolveTrainer = ShardedTrainer
    method = Method.LORA if "lora" in changes else Method.FULL
    settings = replace(
        SETTINGS, save_steps=1, keep=9, learning_rate=1e-3, micro_tokens=64, method=method, entropy_bonus=0.1
    )
    policy = Policy(model=model, name="tiny", folder=folder / "learner")
    place = launched()
    engine = StreamingEngine(model, max_tokens=settings.max_tokens)
    store = ListStore(steps=[report(step) for step in range(first)])
    if place.rank:
        link = connect(place)
        link.recv()
        with joined():
            follow(Follower(link, place.rank, place.ranks, engine), engine, policy, settings)
    else:
        with contextlib.ExitStack() as stack:
            job = Job(config=None, model=model, folder=folder)
            whole = engine if place is ALONE else stack.enter_context(led(place, job, lambda: engine, sys.exit))
            search = Search(engine=whole, store=store, settings=settings)
            search.rows = rows
            rl.grpo.Grpo(settings, policy, whole, store, lambda _: None).run(
                search.step, steps_until(last, begin=first)
            )
    torch.save(engine._model.state_dict(), folder / f"engine-{place.rank}.pt")
    threads = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    figures = {update.step: dict(update.values) for update in store.updates}
    (folder / f"said-{place.rank}.json").write_text(
        json.dumps({"made": engine.made, "figures": figures, "threads": threads})
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), int(sys.argv[4]), int(sys.argv[5]), *sys.argv[6:])

"""New weights into the engine: what TRL knows as its generation back-end."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.distributed.tensor import DTensor

from rl.engine import PolicyEngine
from rl.rollout import Source


class FullSync:
    """Sends all weights, in the trainer's float32; the engine rounds its own copy."""

    def __init__(self, engine: PolicyEngine, trainer: Any, rollouts: Source) -> None:
        self._engine = engine
        self._trainer = trainer
        self._rollouts = rollouts

    def sync_weights(self) -> None:
        """Load the trainer's weights into the engine; TRL calls this once for every update."""
        self._rollouts.settle()
        started = time.perf_counter()
        self._engine.load_weights(self._weights())
        self._rollouts.times.sync_s += time.perf_counter() - started

    def _weights(self) -> Iterator[tuple[str, Any]]:
        model = self._trainer.accelerator.unwrap_model(self._trainer.model)
        for name, parameter in model.named_parameters():
            yield name, _whole(parameter.detach())


class AdapterSync:
    """Sends the adapter, by a folder in shared memory; the frozen model is never touched."""

    def __init__(self, engine: PolicyEngine, trainer: Any, rollouts: Source, folder: Path) -> None:
        self._engine = engine
        self._trainer = trainer
        self._rollouts = rollouts
        self._folder = folder

    def sync_weights(self) -> None:
        """Load the trainer's adapter into the engine under a number of its own."""
        self._rollouts.settle()
        started = time.perf_counter()
        accelerator = self._trainer.accelerator
        model = accelerator.unwrap_model(self._trainer.model)
        adapter = {name: _whole(weight.detach()) for name, weight in model.named_parameters() if weight.requires_grad}
        if accelerator.is_main_process:
            shutil.rmtree(self._folder, ignore_errors=True)
            model.save_pretrained(self._folder, state_dict=adapter)
        accelerator.wait_for_everyone()
        # Numbers grow with the updates and go on after a resume.
        self._engine.load_adapter(self._folder, self._trainer.state.global_step + 1)
        self._rollouts.times.sync_s += time.perf_counter() - started


def _whole(weight: Any) -> Any:
    """Return a weight of which each rank may hold a part, under FSDP; all ranks ask for the same, in the same order."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight

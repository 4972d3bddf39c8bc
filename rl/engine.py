"""What a learner asks of the engine that serves its policy."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from evolve.types import Message


class PolicyEngine(Protocol):
    """An engine whose model can be changed between two streams.

    Its completions carry token ids and their log-probabilities. `evolve.engine.vllm.VllmEngine` is one,
    and `evolve.engine.apart.PolicyApart` serves it from another process.
    """

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return a prompt's token ids, `(T,)`, exactly as the engine decodes on from them."""

    def load_weights(self, weights: Iterable[tuple[str, Any]]) -> None:
        """Replace all weights, given as names of the Hugging Face form and tensors."""

    def load_adapter(self, folder: Path, version: int) -> None:
        """Serve the model with the adapter in `folder`; `version` is above all before."""

    def sleep(self) -> None:
        """Free the engine's memory, where it was started so that it can, until the next load."""

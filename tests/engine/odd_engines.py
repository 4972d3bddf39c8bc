"""Engines that live in a process of their own and go wrong there."""

import atexit
import dataclasses
import multiprocessing
import os
import time
from collections.abc import Generator, Sequence

from evolve.errors import ConfigError, EngineError
from evolve.types import Completion, FinishReason, Request


def refused():
    """An engine that cannot be started, in a process whose end takes a while, as that of any with torch does."""
    atexit.register(time.sleep, 0.5)
    raise LateError("engine.max_num_seqs must be positive, got 0")


class LateError(ConfigError):
    """Is heard of when the process that raised it is about to end."""

    def __reduce__(self):
        """Take a while to arrive."""
        return heard_late, (str(self),)


def heard_late(message):
    """What arrives."""
    time.sleep(0.2)
    return ConfigError(message)


class OddEngine:
    """Says which process it is in; groups 1 to 3 fail, each in its own way, and later samples take their time.

    A completion has a token, and one more for each stream that was abandoned before.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._abandoned = 0
        self._lock = multiprocessing.RLock()  # as a progress bar has, a semaphore of the system's

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield a completion for every sample."""
        for request in requests:
            if request.group == 1:
                raise EngineError("vLLM failed: out of memory; resume the run")
            if request.group == 2:
                os._exit(7)
            if request.group == 3:
                raise ZeroDivisionError
            for sample in request.samples:
                time.sleep(self._seconds if sample else 0.0)
                completion = Completion(
                    group=request.group,
                    sample=sample,
                    text=f"{os.getpid()}",
                    tokens=1 + self._abandoned,
                    prompt_tokens=1,
                    finish_reason=FinishReason.STOP,
                )
                try:
                    yield completion
                except GeneratorExit:
                    self._abandoned += 1
                    raise

    def give_up(self) -> None:
        """No stream ends before its next completion."""

    def close(self) -> None:
        """Nothing is held."""


class ParentEngine(OddEngine):
    """Has started a program that lives for half a minute."""

    def __init__(self) -> None:
        super().__init__(60.0)
        os.system("sleep 30 &")


class OddPolicy(OddEngine):
    """Says what it was given; it refuses weights at the first one that is not a number."""

    def __init__(self) -> None:
        super().__init__()
        self._says = "nothing"

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield what it was given, as the text of every sample."""
        for completion in super().stream(requests):
            yield dataclasses.replace(completion, text=self._says)

    def encode(self, messages):
        """Return the lengths of the messages."""
        if not messages:
            raise ConfigError("the model's chat template refuses the prompt: it is empty")
        return [len(message.content) for message in messages]

    def load_weights(self, weights):
        """Take a weight after the other."""
        taken = []
        for name, weight in weights:
            if weight.isnan().any():
                raise EngineError(f"vLLM cannot take the learner's weights: {name}; resume the run")
            taken.append(f"{name} {weight.dtype} {weight.tolist()}")
        self._says = ", ".join(taken)

    def load_adapter(self, folder, version):
        """Take an adapter."""
        self._says = f"{folder} {version}"

    def sleep(self):
        """Fall asleep."""
        self._says = "asleep"

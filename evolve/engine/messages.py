"""What an engine's process and the one that asks it tell each other (`evolve.engine.apart`)."""

from dataclasses import dataclass
from typing import Any

from evolve.errors import EvolveError
from evolve.types import Completion, Request


@dataclass(frozen=True, slots=True)
class Decode:
    """Sample these, as the stream of this number."""

    stream: int
    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """Abandon a stream, if it has not ended."""

    stream: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Abandon every stream, whatever it waits for."""


@dataclass(frozen=True, slots=True)
class Made:
    """A stream's next completion."""

    stream: int
    completion: Completion


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing of a stream is being decoded any more; `error` says why it was given up."""

    stream: int
    error: EvolveError | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """Call a method of the engine."""

    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """Replace all weights by those that follow, each as name and tensor, up to `Loaded`."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """These were all."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a method returned, or what it raised; the first one says that the engine is there, or why it is not."""

    value: Any = None
    error: EvolveError | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """The engine's process has ended: nothing more will be heard."""

"""Fixtures of the sandbox's own tests: one sandbox for all of them, in the strongest tier of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

import sandbox
from sandbox.converse import Conversation, converse

Play = Callable[..., Conversation]


@pytest.fixture(scope="session")
def box() -> Iterator[sandbox.Sandbox]:
    """Yield one open sandbox."""
    with sandbox.open_sandbox(require=sandbox.Tier.NONE) as opened:
        yield opened


@pytest.fixture(scope="session")
def play(box: sandbox.Sandbox) -> Play:
    """Return a function that runs a source and calls its `solve` with each list of arguments."""

    def play(source: str, *calls: list[object], seed: int = 1, **limits: float) -> Conversation:
        chosen = sandbox.Limits(**{"wall_s": 10.0, **limits})  # type: ignore[arg-type]
        return converse(box, sandbox.Job(source=source, entry_point="solve", seed=seed, limits=chosen), calls or ([],))

    return play

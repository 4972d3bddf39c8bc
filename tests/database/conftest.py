"""What the tests of this room share."""

import pytest

from evolve.types import Attempt, Completion, Draw, FinishReason, Outcome


@pytest.fixture
def seed_attempt() -> Attempt:
    """The seed program's attempt, with program 0 of source `x = 1`."""
    completion = Completion(group=0, sample=0, text="hello", tokens=1, prompt_tokens=1, finish_reason=FinishReason.STOP)
    return Attempt(
        id=0,
        step=0,
        draw=Draw(island=0, parent_id=0),
        prompt=(),
        completion=completion,
        outcome=Outcome.VALID,
        feedback="",
        reward=None,
        identity="tree",
        source="x = 1",
        score=1.0,
    )

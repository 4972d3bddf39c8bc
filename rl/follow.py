"""What a rank other than 0 does: it decodes and trains as rank 0 says (`rl.ranks`), and says nothing to people."""

import contextlib
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any

from rl.batch import Batch, Row
from rl.checkpoint import Policy
from rl.errors import BrokenWeightsError, GradientError, PolicyMismatchError
from rl.grpo import build_trainer, memory_named
from rl.ranks import Advance, Decode, End, Start, Streaming, decode, part
from rl.rollout import StepTimes, as_rollout
from rl.settings import GrpoSettings


class _EndedError(Exception):
    """Rank 0 has said that the run ends."""

    def __init__(self, *, save: bool) -> None:
        super().__init__()
        self.save = save


class Follower:
    """The rollouts of a rank that rank 0 leads.

    Args:
        link: To rank 0.
        rank: Of this process.
        ranks: How many there are.
        engine: This rank's own.
    """

    def __init__(self, link: Connection, rank: int, ranks: int, engine: Streaming) -> None:
        self._link = link
        self._rank = rank
        self._engine = engine
        self.ranks = ranks
        self.times = StepTimes()
        self.batch: Batch | None = None

    def advance(self) -> bool:
        """Hear whether another step follows."""
        return bool(self._hear(Advance).more)

    def settle(self) -> None:
        """Decode nothing beside an update: rank 0 refuses to."""

    def rows(self) -> Sequence[Row]:
        """Return this rank's part of the batch."""
        return () if self.batch is None else part(self.batch.rows, self._rank, self.ranks)

    def __call__(self, _: Sequence[Any], __: Any) -> dict[str, list[list[int]] | list[list[float]]]:
        """Decode what rank 0 wants until it has the batch, and return this rank's rows."""
        while not isinstance(message := self._hear(Decode | Batch), Batch):
            decode(self._engine, message.requests, self._link.send, self._link.poll)
        self._engine.sleep()
        self.batch = message
        return as_rollout(self.rows())

    def start(self) -> Start | None:
        """Hear from which checkpoint to go on; None where there is nothing to do."""
        return self._hear(Start) if self.advance() else None

    def _hear(self, wanted: Any) -> Any:
        """Return the next message of a wanted kind; a Stop that came too late to stop anything is passed over.

        Raises:
            _EndedError: The run ends.
            EOFError: Rank 0 is gone.
        """
        while not isinstance(message := self._link.recv(), wanted):
            if isinstance(message, End):
                raise _EndedError(save=message.save)
        return message


def follow(follower: Follower, engine: Streaming, policy: Policy, settings: GrpoSettings) -> None:
    """Train together with rank 0 until it says that the run ends.

    Args:
        follower: Hears what rank 0 says.
        engine: This rank's own.
        policy: What to train.
        settings: How to train.

    Raises:
        EOFError: Rank 0 is gone.
        TrainingMemoryError: An update does not fit.
    """
    # What is wrong with weights or gradients rank 0 finds at the same time, and says so.
    found_by_all = (PolicyMismatchError, GradientError, BrokenWeightsError)
    with contextlib.suppress(_EndedError, *found_by_all), memory_named():
        start = follower.start()
        if start is None:
            return
        trainer = build_trainer(settings, policy, engine, follower)
        try:
            trainer.train(resume_from_checkpoint=start.checkpoint)
        except _EndedError as ended:
            if ended.save:
                trainer.save()

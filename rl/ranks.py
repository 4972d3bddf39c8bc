"""Several processes of one run, one for each GPU: how rank 0 leads the others.

Rank 0 runs the search, as a run of one process does. Each other rank has an engine and a trainer of its own, no
database and no folder, and does what rank 0 says over a socket:

    rank 0 says                     the others
    Job                             start their engine, together with rank 0
    Advance, then Start             build their trainer, together with rank 0
    Decode, Stop                    decode their groups, and send each completion as it ends; then Idle
    Batch                           take their rows of it, and make the update together with rank 0
    Advance                         go on to the next step, or save the last checkpoint together with rank 0
    End                             end, after saving a checkpoint together with rank 0 where it says so

Together means by torch.distributed, whose group `accelerate` makes. Only there does a rank wait for others without
hearing of their end; hence the threads that listen to the sockets all the time.
"""

import contextlib
import pickle
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeVar

from evolve.errors import EngineError, EvolveError
from evolve.types import Completion, Message, Request
from rl.engine import PolicyEngine
from rl.errors import RankError

#: How long rank 0 may take to end by itself once another rank has; the launcher kills it 30 s after.
GRACE_S = 20.0
_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a rank is to serve: the run's configuration, the model's folder and the run's, and what is stored of it."""

    config: Any
    model: Path
    folder: Path
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Train, from a checkpoint or from the beginning."""

    checkpoint: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """An update is made; there is another step or not."""

    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """Sample completions."""

    requests: Sequence[Request]


@dataclass(frozen=True, slots=True)
class Stop:
    """Abandon what is still being decoded."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing is being decoded any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The run ends here."""

    save: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A rank cannot go on."""

    error: EvolveError


class Streaming(PolicyEngine, Protocol):
    """An engine that serves a search and learns; `evolve.engine.vllm.VllmEngine` is one."""

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield every wanted completion, as `evolve.protocols.Engine` says."""

    def give_up(self) -> None:
        """End every open stream soon."""

    def close(self) -> None:
        """Free the model's memory."""


class Crew:
    """The other ranks, as rank 0 sees them; none in a run of one process.

    Args:
        links: To each of them, from rank 1 on.
        last_words: Is told what was wrong when rank 0 itself is stuck with a rank that has ended; it ends the process.
        grace_s: How long rank 0 may take to end by itself.
    """

    def __init__(
        self,
        links: Sequence[Connection] = (),
        last_words: Callable[[str], None] | None = None,
        grace_s: float = GRACE_S,
    ) -> None:
        self._links = links
        self._last_words = last_words
        self._grace_s = grace_s
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.arrived: queue.SimpleQueue[tuple[int, object]] = queue.SimpleQueue()
        self.fault: RankError | None = None
        for rank, link in enumerate(links, 1):
            threading.Thread(target=self._listen, args=(rank, link), name=f"rank-{rank}", daemon=True).start()

    @property
    def ranks(self) -> int:
        """How many there are, rank 0 included."""
        return 1 + len(self._links)

    def tell(self, message: object) -> None:
        """Send a message to all other ranks.

        Raises:
            RankError: One of them is gone.
        """
        data = pickle.dumps(message) if self._links else b""
        for rank, link in enumerate(self._links, 1):
            try:
                link.send_bytes(data)
            except OSError as error:
                raise self._lost(rank) from error

    def tell_one(self, rank: int, message: object) -> None:
        """Send a message to one rank.

        Raises:
            RankError: It is gone.
        """
        try:
            self._links[rank - 1].send(message)
        except OSError as error:
            raise self._lost(rank) from error

    def end(self) -> None:
        """Let the others end; those that are gone already need not hear of it."""
        self._over.set()
        for link in self._links:
            with contextlib.suppress(OSError):
                link.send(End(save=False))

    def _lost(self, rank: int) -> RankError:
        with self._lock:
            self.fault = self.fault or RankError(f"rank {rank} of {self.ranks} has ended before the others")
            return self.fault

    def _listen(self, rank: int, link: Connection) -> None:
        """Pass on what a rank says until it ends; when that is too early, see to it that rank 0 ends, too."""
        try:
            while True:
                message = link.recv()
                if isinstance(message, Failed):
                    with self._lock:
                        self.fault = self.fault or RankError(f"rank {rank} of {self.ranks}: {message.error}")
                self.arrived.put((rank, message))
        except (EOFError, OSError):
            if self._over.is_set():
                return
        fault = self._lost(rank)
        self.arrived.put((rank, Failed(error=fault)))
        # The rest of rank 0 hears of it at once, unless it waits for that rank inside of torch.distributed.
        if not self._over.wait(self._grace_s) and self._last_words is not None:
            self._last_words(str(fault))


def part(rows: Sequence[_Row], rank: int, ranks: int) -> Sequence[_Row]:
    """Return a rank's rows of a batch: with groups that divide by the ranks, whole groups.

    >>> part("aabbcc", 1, 3)
    'bb'
    """
    size = len(rows) // ranks
    return rows[rank * size : (rank + 1) * size]


def spread(requests: Iterable[Request], ranks: int) -> list[list[Request]]:
    """Return each rank's requests: whole groups, which share their prompt's cache, to whom has the least to do."""
    shares: list[list[Request]] = [[] for _ in range(ranks)]
    wanted = [0] * ranks
    for request in sorted(requests, key=lambda request: -len(request.samples)):
        rank = wanted.index(min(wanted))
        shares[rank].append(request)
        wanted[rank] += len(request.samples)
    return shares


def decode(
    engine: Streaming, requests: Sequence[Request], deliver: Callable[[object], None], stopped: Callable[[], bool]
) -> None:
    """Deliver every completion of the requests, then Idle; whether to stop is asked after each of them."""
    last: Idle | Failed = Failed(error=EngineError("the engine broke off, and why is above; resume the run"))
    try:
        with contextlib.closing(engine.stream(requests)) as completions:
            for completion in completions:
                deliver(completion)
                if stopped():
                    break
        last = Idle()
    except EvolveError as error:
        last = Failed(error=error)
    finally:
        deliver(last)


class RankedEngine:
    """The engines of all ranks as one; the learner's weights go into rank 0's own, and the others load theirs.

    Args:
        own: Rank 0's.
        crew: The others.
    """

    def __init__(self, own: Streaming, crew: Crew) -> None:
        self._own = own
        self.crew = crew

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield every wanted completion once, from whatever rank it comes.

        Closed early, it waits until each rank has ended one more completion.

        Raises:
            EngineError: Rank 0's engine failed.
            RankError: Another rank did.
        """
        shares = spread(requests, self.crew.ranks)
        stop = threading.Event()
        busy: set[int] = set()
        mine = threading.Thread(
            target=decode,
            args=(self._own, shares[0], lambda message: self.crew.arrived.put((0, message)), stop.is_set),
            name="rank-0",
        )
        try:
            for rank in range(1, self.crew.ranks):
                if shares[rank]:
                    self.crew.tell_one(rank, Decode(requests=shares[rank]))
                    busy.add(rank)
            if shares[0]:
                mine.start()
                busy.add(0)
            while busy:
                rank, message = self.crew.arrived.get()
                if isinstance(message, Completion):
                    yield message
                    continue
                busy.discard(rank)
                if isinstance(message, Failed):
                    raise message.error
        finally:
            stop.set()
            self._quiet(busy)

    def _quiet(self, busy: set[int]) -> None:
        """Wait until nobody decodes any more."""
        for rank in busy - {0}:
            with contextlib.suppress(RankError):  # who is gone decodes nothing, and is a Failed in the queue
                self.crew.tell_one(rank, Stop())
        while busy:
            rank, message = self.crew.arrived.get()
            if not isinstance(message, Completion):
                busy.discard(rank)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return a prompt's token ids."""
        return self._own.encode(messages)

    def load_weights(self, weights: Iterable[tuple[str, Any]]) -> None:
        """Replace all weights of rank 0's engine."""
        self._own.load_weights(weights)

    def load_adapter(self, folder: Path, version: int) -> None:
        """Serve rank 0's model with this adapter."""
        self._own.load_adapter(folder, version)

    def sleep(self) -> None:
        """Free the memory of rank 0's engine; the others free theirs when they get the batch."""
        self._own.sleep()

    def give_up(self) -> None:
        """End what rank 0's engine decodes; a reader that wants no more ends the others at their next completion."""
        self._own.give_up()

    def close(self) -> None:
        """Let the other ranks end, and free the memory of rank 0's engine."""
        self.crew.end()
        self._own.close()

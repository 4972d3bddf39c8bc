"""Step 3: the completions of a step on their way, where one step may be decoded beside the end of another."""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from evolve.budget import Budget
from evolve.protocols import Engine
from evolve.types import Attempt, Completion, Request

#: Steps whose completions are read at once; of more the newest wait for the oldest.
_STREAMS = 16
#: After so many seconds an engine is asked once more to give up: a stream that had not begun did not hear of it.
_AGAIN_S = 0.2
#: How long an engine may take to give up its streams when a run ends, in seconds; it may hang, and the user wait.
_GIVE_UP_S = 10.0


class Decoding:
    """A step's completions on their way."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._pending: dict[tuple[int, int], Future[Attempt | None]] = {
            (request.group, sample): Future() for request in requests for sample in request.samples
        }
        #: What comes of each completion; None where it is given up.
        self.attempts = tuple(self._pending.values())
        #: When the last one had been decoded, by the run's clock.
        self.ended_s: float | None = None

    def follow(self, completion: Completion, attempt: Future[Attempt | None]) -> None:
        """Let who waits for what comes of a completion have what `attempt` has."""
        waited_for = self._pending.pop((completion.group, completion.sample))
        attempt.add_done_callback(functools.partial(_pass_on, waited_for))

    def give_up(self, reading: Future[None] | None = None) -> None:
        """Let nobody wait for what was not decoded; if reading went wrong, who waits hears of that."""
        for attempt in self._pending.values():
            if reading is not None and (error := reading.exception()) is not None:
                attempt.set_exception(error)
            else:
                attempt.set_result(None)


class Decoder:
    """Has an engine decode steps, each of them read by a thread of its own.

    Args:
        engine: The engine.
        budget: Of the run; what is not decoded when its time is used up is given up.
        ahead: Whether a step may be decoded beside the end of the one before it.
        clock: Active seconds of the run.
    """

    def __init__(self, engine: Engine, budget: Budget, *, ahead: bool, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._budget = budget
        self._ahead = ahead
        self._clock = clock
        self._threads = ThreadPoolExecutor(_STREAMS, thread_name_prefix="read")
        self._beginning = threading.Lock()
        self._readings: list[Future[None]] = []
        self._abandoned = threading.Event()

    def decode(
        self,
        requests: Sequence[Request],
        *,
        hand_on: Callable[[Completion], Future[Attempt | None]],
        is_enough: Callable[[], bool],
    ) -> Decoding:
        """Begin to decode a step, and return at once if the next one may begin before this is done.

        Else the engine decodes nothing any more when this returns.

        Args:
            requests: What is to be decoded.
            hand_on: Called with each completion as soon as it is there; returns what will come of it.
            is_enough: Asked after each completion; what is not decoded by then is given up.

        Raises:
            EvolveError: What the engine raises, where this waits for it.
        """
        decoding = Decoding(requests)
        with self._beginning:
            if self._abandoned.is_set():
                decoding.give_up()
                return decoding
            reading = self._threads.submit(self._read, requests, decoding, hand_on, is_enough)
            self._readings = [*self._unread(), reading]
        if self._ahead:
            reading.add_done_callback(decoding.give_up)
        else:
            wait([reading], timeout=self._budget.left_s(self._clock()))
            self._give_up()
            reading.result()
            decoding.give_up()
        return decoding

    def close(self, *, abandon: bool) -> None:
        """Decode nothing more.

        Args:
            abandon: Whether nothing is handed on any more; else return when each step's reader has found it enough.
        """
        if abandon:
            with self._beginning:
                self._abandoned.set()
            self._give_up(within_s=_GIVE_UP_S)  # the engine may be the next run's
        self._threads.shutdown(wait=not abandon)

    def _give_up(self, *, within_s: float = float("inf")) -> None:
        """Have the engine give up all that is read, and wait until nobody reads any more, or for so long."""
        until = time.monotonic() + within_s
        while (unread := self._unread()) and time.monotonic() < until:
            self._engine.give_up()
            wait(unread, timeout=_AGAIN_S)

    def _unread(self) -> list[Future[None]]:
        return [reading for reading in self._readings if not reading.done()]

    def _read(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        hand_on: Callable[[Completion], Future[Attempt | None]],
        is_enough: Callable[[], bool],
    ) -> None:
        if self._abandoned.is_set():
            return
        with contextlib.closing(self._engine.stream(requests)) as completions:
            for completion in completions:
                if self._abandoned.is_set():
                    break
                decoding.follow(completion, hand_on(completion))
                if is_enough():
                    break
        decoding.ended_s = self._clock()


def _pass_on(to: Future[Attempt | None], done: Future[Attempt | None]) -> None:
    if (error := done.exception()) is not None:
        to.set_exception(error)
    else:
        to.set_result(done.result())

"""Step 3: the completions of a step on their way, where one step may be decoded beside the end of another."""

import contextlib
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from evolve.protocols import Engine
from evolve.types import Attempt, Completion, Request

#: Steps whose completions are read at once; of more the newest wait for the oldest.
_STREAMS = 16


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
    """Has an engine decode steps.

    Args:
        engine: The engine.
        ahead: Whether a step may be decoded beside the end of the one before it; each is read by a thread of its own
            then.
        clock: Active seconds of the run.
    """

    def __init__(self, engine: Engine, *, ahead: bool, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._threads = ThreadPoolExecutor(_STREAMS, thread_name_prefix="read") if ahead else None
        self._abandoned = threading.Event()

    def decode(
        self,
        requests: Sequence[Request],
        *,
        hand_on: Callable[[Completion], Future[Attempt | None]],
        is_enough: Callable[[], bool],
    ) -> Decoding:
        """Begin to decode a step, and return at once if the next one may begin before this is done.

        Args:
            requests: What is to be decoded.
            hand_on: Called with each completion as soon as it is there; returns what will come of it.
            is_enough: Asked after each completion; what is not decoded by then is given up.
        """
        decoding = Decoding(requests)
        if self._threads is None:
            self._read(requests, decoding, hand_on, is_enough)
            decoding.give_up()
        else:
            reading = self._threads.submit(self._read, requests, decoding, hand_on, is_enough)
            reading.add_done_callback(decoding.give_up)
        return decoding

    def close(self, *, abandon: bool) -> None:
        """Decode nothing more.

        Args:
            abandon: Whether nothing is handed on any more; else return when each step's reader has found it enough.
        """
        if abandon:
            self._abandoned.set()
        if self._threads is not None:
            self._threads.shutdown(wait=not abandon)

    def _read(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        hand_on: Callable[[Completion], Future[Attempt | None]],
        is_enough: Callable[[], bool],
    ) -> None:
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

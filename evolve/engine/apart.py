"""Any engine, in a process of its own.

The threads that parse, judge and store programs hold Python's lock; an engine that is driven in the same process gets
its turn late, and the GPU waits: on one H100 at 20 programs/s the model generated a quarter less than alone, and the
less the more programs a second (docs/results). A learner needs the weights in its own process and pays that price.

The engine's process ends with this one, also when this one is killed.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection

from evolve.errors import EngineError, EvolveError
from evolve.protocols import Engine
from evolve.types import Completion, Request

#: How long an idle engine may take to free what it holds, in seconds.
_CLOSE_S = 20.0
#: How long one that decodes, or is being started, may take to let go of the system's semaphores before it is killed.
_LEAVE_S = 3.0


@dataclass(frozen=True, slots=True)
class _Decode:
    """Sample these."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class _Stop:
    """Abandon what is being decoded, if anything is."""


@dataclass(frozen=True, slots=True)
class _Idle:
    """Nothing is being decoded any more; `error` says why it was given up."""

    error: EvolveError | None = None


class EngineApart:
    """Serves an engine that runs in a process of its own.

    Args:
        start: Makes the engine; it travels to the other process, so it and what it holds must be picklable.

    Raises:
        EvolveError: Whatever `start` raises.
        EngineError: The process ended before the engine was there.
    """

    def __init__(self, start: Callable[[], Engine]) -> None:
        context = get_context("spawn")
        self._link, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(start, theirs), name="engine", daemon=True)
        self._process.start()
        theirs.close()
        self._decoding = True  # until it says that it is there
        try:
            self._quiet()
        except BaseException:
            self._end()
            raise

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield every wanted completion once, each as soon as it has ended.

        Closed early, what is still running is given up meanwhile; the next stream waits for that.

        Raises:
            EvolveError: Whatever the engine raises, or raised while it gave up the last stream.
            EngineError: Its process has ended, or the engine is closed.
        """
        self._quiet()
        self._tell(_Decode(tuple(requests)))
        self._decoding = True
        try:
            while isinstance(message := self._hear(), Completion):
                yield message
        except GeneratorExit:
            self._tell(_Stop())
            raise
        if message.error is not None:
            raise message.error

    def close(self) -> None:
        """End the engine's process; one that still decodes does not come to the end of it."""
        if not self._decoding:
            with contextlib.suppress(OSError):
                self._link.send(None)
            self._process.join(_CLOSE_S)
        self._end()

    def _quiet(self) -> None:
        """Wait until nothing is being decoded; raise what went wrong at the start or while a stream was given up."""
        while self._decoding:
            message = self._hear()
            if isinstance(message, _Idle) and message.error is not None:
                raise message.error

    def _tell(self, message: object) -> None:
        try:
            self._link.send(message)
        except OSError as error:
            raise self._gone() from error

    def _hear(self) -> Completion | _Idle:
        try:
            message: Completion | _Idle = self._link.recv()
        except (EOFError, OSError) as error:
            raise self._gone() from error
        except KeyboardInterrupt:  # half a message may have been read, so nothing can be heard any more
            self._end()
            raise
        if isinstance(message, _Idle):
            self._decoding = False
        return message

    def _gone(self) -> EngineError:
        self._end()
        code = self._process.exitcode
        return EngineError(
            f"the engine's process is gone (exit code {code}), and what it said is above; resume the run"
        )

    def _end(self) -> None:
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGUSR2)
            self._process.join(_LEAVE_S)
        self._process.kill()
        self._process.join()
        self._link.close()


def _serve(start: Callable[[], Engine], link: Connection) -> None:
    """Do in the engine's process what the other one says, until it closes the engine or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they come to both, and the other process knows what is to be done
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda *_: sys.exit(0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        engine = start()
    except EvolveError as error:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # it ends by itself, and what it hears then would be a traceback
        link.send(_Idle(error))
        return
    with contextlib.suppress(EOFError, ConnectionError):  # the other process is gone
        link.send(_Idle())
        while (message := link.recv()) is not None:
            if isinstance(message, _Decode):  # else a Stop that came too late to stop anything
                link.send(_decoded(engine, message.requests, link))
        engine.close()


def _decoded(engine: Engine, requests: Sequence[Request], link: Connection) -> _Idle:
    try:
        with contextlib.closing(engine.stream(requests)) as completions:
            for completion in completions:
                link.send(completion)
                if link.poll():  # nothing but a Stop can come now
                    break
    except EvolveError as error:
        return _Idle(error)
    return _Idle()


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
    os._exit(1)

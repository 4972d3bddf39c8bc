"""Any engine, in a process of its own.

The threads that parse, judge and store programs hold Python's lock; an engine that is driven in the same process gets
its turn late, and the GPU waits: on one H100 at 20 programs/s the model generated a quarter less than alone, and the
less the more programs a second (docs/results). A learner's weights stay where they are on the GPU, and the engine's
process copies them from there.

The engine's process ends with this one, also when this one is killed.
"""

import contextlib
import itertools
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from evolve.engine.messages import Answer, Ask, Decode, Ended, GiveUp, Gone, Load, Loaded, Made, Stop
from evolve.errors import EngineError, EvolveError
from evolve.protocols import Engine
from evolve.types import Completion, Message, Request

#: How long an idle engine may take to free what it holds, in seconds.
_CLOSE_S = 20.0
#: How long one that decodes, or is being started, may take to let go of the system's semaphores before it is killed.
_LEAVE_S = 5.0


class EngineApart:
    """Serves an engine that runs in a process of its own.

    What the engine's process says is heard by a thread of its own, and passed on to whom it is for.

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
        self._numbers = itertools.count()
        self._telling = threading.RLock()  # held by a question until its answer is there
        self._answers: queue.SimpleQueue[Answer | Gone] = queue.SimpleQueue()
        self._hearing = threading.Lock()
        self._streams: dict[int, queue.SimpleQueue[Made | Ended | Gone]] = {}
        self._is_gone = False
        self._ending = threading.Lock()
        if self._process.pid is None:
            raise ValueError("the engine's process was not started")
        death = os.pidfd_open(self._process.pid)
        self._listener = threading.Thread(target=self._listen, args=(death,), name="engine's words", daemon=True)
        self._listener.start()
        try:
            self._answer()
        except BaseException:
            self._end()
            raise

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield every wanted completion once, each as soon as it has ended.

        Closed early, what is still running is given up meanwhile.

        Raises:
            EvolveError: Whatever the engine raises.
            EngineError: Its process has ended, or the engine is closed.
        """
        number = next(self._numbers)
        heard: queue.SimpleQueue[Made | Ended | Gone] = queue.SimpleQueue()
        with self._hearing:
            self._streams[number] = heard
            is_gone = self._is_gone
        if is_gone:
            raise self._gone()
        self._tell(Decode(number, tuple(requests)))
        try:
            while isinstance(message := heard.get(), Made):
                yield message.completion
        except GeneratorExit:
            self._tell(Stop(number))
            raise
        except KeyboardInterrupt:  # the engine's process does not hear of it, and would keep this one
            self._end()
            raise
        if isinstance(message, Gone):
            raise self._gone()
        if message.error is not None:
            raise message.error

    def give_up(self) -> None:
        """Let every open stream end as soon as the engine has given it up; nothing happens if its process is gone."""
        with contextlib.suppress(EngineError):  # who reads a stream hears of it
            self._tell(GiveUp())

    def close(self) -> None:
        """End the engine's process; one that still decodes does not come to the end of it."""
        if not self._streams:
            with contextlib.suppress(OSError):
                self._link.send(None)
            self._process.join(_CLOSE_S)
        self._end()

    def _listen(self, death: int) -> None:
        """Pass on what the engine's process says until it is gone, which the descriptor `death` tells."""
        with contextlib.suppress(EOFError, OSError):
            # Processes that it has started may keep the link open, and `Process.sentinel`: a pipe, too.
            while self._link in wait([self._link, death]):
                message = self._link.recv()
                if isinstance(message, Answer):
                    self._answers.put(message)
                    continue
                with self._hearing:
                    ended = isinstance(message, Ended)
                    heard = self._streams.pop(message.stream) if ended else self._streams[message.stream]
                heard.put(message)
        os.close(death)
        with self._hearing:
            self._is_gone = True
            for heard in self._streams.values():
                heard.put(Gone())
        self._answers.put(Gone())

    def _tell(self, message: object) -> None:
        try:
            with self._telling:
                self._link.send(message)
        except OSError as error:
            raise self._gone() from error

    def _answer(self) -> Any:
        try:
            answer = self._answers.get()
        except KeyboardInterrupt:  # the answer will come, and would be taken for that to the next question
            self._end()
            raise
        if isinstance(answer, Gone):
            self._answers.put(answer)  # for whoever asks next
            raise self._gone()
        if answer.error is not None:
            raise answer.error
        return answer.value

    def _gone(self) -> EngineError:
        self._end()
        code = self._process.exitcode
        return EngineError(
            f"the engine's process is gone (exit code {code}), and what it said is above; resume the run"
        )

    def _end(self) -> None:
        with self._ending:
            if self._process.is_alive() and self._process.pid is not None:
                os.kill(self._process.pid, signal.SIGUSR2)
                self._process.join(_LEAVE_S)
            self._process.kill()
            self._process.join()
            self._listener.join()
            self._link.close()


class PolicyApart(EngineApart):
    """Serves a policy that learns (`rl.engine.PolicyEngine`) from a process of its own.

    Args:
        start: Makes the engine, one that has these methods, too.
    """

    def __init__(self, start: Callable[[], Engine]) -> None:
        super().__init__(start)
        #: What the engine's process has a handle to: a learner changes its weights in place.
        self._shared: dict[str, Any] = {}

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return a prompt's token ids, `(T,)`, as the engine does.

        Raises:
            EvolveError: Whatever the engine raises.
            EngineError: Its process has ended.
        """
        ids: list[int] = self._ask("encode", messages)
        return ids

    def load_weights(self, weights: Iterable[tuple[str, Any]]) -> None:
        """Replace all weights of the engine's model.

        Those on a GPU, which must be the engine's, and those in shared memory are read from where they are.

        Args:
            weights: Name and tensor of each. They must not change until this returns.

        Raises:
            EvolveError: Whatever the engine raises.
            EngineError: Its process has ended.
        """
        with self._telling:
            self._tell(Load())
            try:
                for name, weight in weights:
                    self._tell_weight(name, weight)
                self._tell(Loaded())
            except BaseException:  # the engine waits for the rest, which will not come
                self._end()
                raise
            self._answer()

    def load_adapter(self, folder: Path, version: int) -> None:
        """Serve the model with this adapter from now on, as the engine does.

        Raises:
            EvolveError: Whatever the engine raises.
            EngineError: Its process has ended.
        """
        self._ask("load_adapter", folder, version)

    def sleep(self) -> None:
        """Free the engine's memory on the GPU, where it was started so that it can, until the next load.

        Raises:
            EvolveError: Whatever the engine raises.
            EngineError: Its process has ended.
        """
        self._ask("sleep")

    def _ask(self, method: str, *arguments: Any) -> Any:
        with self._telling:
            self._tell(Ask(method, arguments))
            return self._answer()

    def _tell_weight(self, name: str, weight: Any) -> None:
        if not weight.is_shared():  # as on a GPU all are
            # As bytes: torch would move the learner's own tensor into shared memory, of which there may be little.
            try:
                self._link.send_bytes(pickle.dumps((name, weight)))
            except OSError as error:
                raise self._gone() from error
            return
        import torch.multiprocessing  # makes the link take a tensor by a handle to where it is

        if weight.is_cuda:
            torch.cuda.current_stream(weight.device).synchronize()  # the other process does not wait for this stream
        known = self._shared.get(name)
        if known is not None and (known.data_ptr(), known.shape, known.dtype) == (
            (weight.data_ptr(), weight.shape, weight.dtype)
        ):
            self._tell(name)
            return
        self._shared[name] = weight
        self._tell((name, weight))


@dataclass(slots=True)
class _Serving:
    """What the engine's process does.

    Attributes:
        engine: The engine.
        link: To the other process.
        telling: Held while something is told.
        stops: Of each stream, set when it is abandoned.
    """

    engine: Any
    link: Connection
    telling: threading.Lock = field(default_factory=threading.Lock)
    stops: dict[int, threading.Event] = field(default_factory=dict)

    def tell(self, message: object) -> None:
        """Tell the other process; nothing happens if it is gone."""
        with contextlib.suppress(ConnectionError), self.telling:
            self.link.send(message)

    def serve(self) -> None:
        """Do what the other process says, until it closes the engine or is gone."""
        held: dict[str, Any] = {}
        with contextlib.suppress(EOFError, ConnectionError):
            while (message := self.link.recv()) is not None:
                if isinstance(message, Decode):
                    self.stops[message.stream] = threading.Event()
                    threading.Thread(target=self._decode, args=(message,), daemon=True).start()
                elif isinstance(message, Stop):
                    if (stop := self.stops.get(message.stream)) is not None:  # else it has ended meanwhile
                        stop.set()
                elif isinstance(message, GiveUp):
                    for stop in self.stops.copy().values():
                        stop.set()
                    self.engine.give_up()
                else:
                    self.tell(_answered(self.engine, message, _arriving(self.link, held)))

    def _decode(self, message: Decode) -> None:
        stop, error = self.stops[message.stream], None
        try:
            # Given up before this thread had begun, it must not begin.
            requests = () if stop.is_set() else message.requests
            with contextlib.closing(self.engine.stream(requests)) as completions:
                for completion in completions:
                    if stop.is_set():
                        break
                    self.tell(Made(message.stream, completion))
        except EvolveError as raised:
            error = raised
        except BaseException:  # noqa: BLE001 - in this thread nobody would see it, and the stream would never end
            traceback.print_exc()
            os._exit(1)
        del self.stops[message.stream]
        self.tell(Ended(message.stream, error))


def _serve(start: Callable[[], Engine], link: Connection) -> None:
    """Make the engine and do in its process what the other one says."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they come to both, and the other process knows what is to be done
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, lambda *_: sys.exit(0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        engine = start()
    except EvolveError as error:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # it ends by itself, and what it hears then would be a traceback
        link.send(Answer(error=error))
        return
    with contextlib.closing(engine):  # at the signal, too: what vLLM still decodes would keep this process
        serving = _Serving(engine, link)
        serving.tell(Answer())
        serving.serve()


def _answered(engine: Any, message: Ask | Load, weights: Iterator[tuple[str, Any]]) -> Answer:
    try:
        if isinstance(message, Ask):
            return Answer(getattr(engine, message.method)(*message.arguments))
        engine.load_weights(weights)
    except EvolveError as error:
        if isinstance(message, Load):
            for _ in weights:  # an engine that refuses them has not taken all
                pass
        return Answer(error=error)
    return Answer()


def _arriving(link: Connection, held: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the weights that the other process tells; of what it has shared before it tells the name alone."""
    while not isinstance(item := link.recv(), Loaded):
        if isinstance(item, str):
            yield item, held[item]
            continue
        name, weight = item
        if weight.is_shared():
            held[name] = weight
        yield name, weight


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
    os._exit(1)

"""How the ranks of a run (`rl.ranks`) find each other, and how rank 0 ends when one of them is lost."""

import contextlib
import datetime
import gc
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client, Connection, Listener
from os import getuid
from pathlib import Path

from evolve.errors import ConfigError, EngineError
from evolve.launch import Place
from rl.errors import RankError
from rl.ranks import Crew, Job, RankedEngine, Streaming

#: Between two looks for rank 0's socket.
_LOOK_S = 0.1
#: How long a rank may wait for others inside of torch.distributed, as transformers has it.
_TIMEOUT = datetime.timedelta(minutes=30)


@contextlib.contextmanager
def led(
    place: Place, job: Job, start: Callable[[], Streaming], last_words: Callable[[str], None]
) -> Iterator[RankedEngine]:
    """Yield the engines of all ranks as one, and end the other ranks afterwards.

    Args:
        place: Of rank 0.
        job: For the others.
        start: Starts rank 0's own engine, which must be one that the others' `start` waits for.
        last_words: As in `Crew`.

    Raises:
        ConfigError: There is no place to meet.
        RankError: A rank ended too early.
    """
    crew = Crew(_meet(place), last_words)
    try:
        with _blamed(crew):
            crew.tell(job)
            with joined():
                engine = RankedEngine(start(), crew)
                try:
                    with _blamed(crew):  # before the others are told to end
                        yield engine
                finally:
                    engine.close()
    finally:
        crew.end()


@contextlib.contextmanager
def _blamed(crew: Crew) -> Iterator[None]:
    """Name the rank that ended too early where something failed because of that.

    The launcher stops rank 0 as soon as another ends, and what the ranks do together fails.
    """
    try:
        yield
    except (RuntimeError, KeyboardInterrupt, EngineError) as error:
        fault = _fault(crew)
        if fault is None:
            raise
        raise fault from error


def _fault(crew: Crew) -> RankError | None:
    """Return what became of the other ranks; their end may become known a little later than its effects."""
    for _ in range(10):
        if crew.fault is not None or crew.ranks == 1:
            break
        time.sleep(_LOOK_S)
    return crew.fault


def _meeting_point(place: Place) -> Path:
    """Return a folder that belongs to this user and launch alone."""
    return Path(tempfile.gettempdir()) / f"thetaevolve-{getuid()}-{place.port}"


def _meet(place: Place) -> list[Connection]:
    folder = _meeting_point(place)
    shutil.rmtree(folder, ignore_errors=True)  # of a launch that was killed
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"the ranks cannot meet in {folder}: {error.strerror}; say another --main_process_port"
        ) from error
    links: dict[int, Connection] = {}
    try:
        with Listener(str(folder / "socket"), family="AF_UNIX", backlog=place.ranks) as listener:
            while len(links) < place.ranks - 1:
                link = listener.accept()
                links[link.recv()] = link
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [links[rank] for rank in sorted(links)]


def connect(place: Place) -> Connection:
    """Return the link to rank 0, once it is there; the launcher ends this process if rank 0 ends before."""
    folder = _meeting_point(place)
    while True:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            if folder.stat().st_uid == getuid():
                link = Client(str(folder / "socket"), family="AF_UNIX")
                link.send(place.rank)
                return link
        time.sleep(_LOOK_S)


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Make the process group of all ranks, before vLLM would make one of its own, and take it apart afterwards.

    A thread of gloo's that lets go of its last tensor while the interpreter ends aborts the process (in every fourth
    process that does nothing but a few collectives). They end with their group, which the trainer holds, too: a cycle.
    """
    import torch
    from accelerate import PartialState

    # Whole checkpoints of sharded weights pass through the CPU.
    backend = "cuda:nccl,cpu:gloo" if torch.cuda.is_available() else "gloo"
    state = PartialState(cpu=not torch.cuda.is_available(), backend=backend, timeout=_TIMEOUT)
    try:
        yield
    finally:
        state.destroy_process_group()
        gc.collect()

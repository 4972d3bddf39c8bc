"""A run of several processes, from the command line's side: rank 0 with all engines as one, and the others.

`evolve.session` and `evolve.cli` import this only in a process that `accelerate launch` started; see `rl.ranks`.
"""

import contextlib
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from evolve.config import Config, GrpoConfig, VllmConfig
from evolve.engine.build import build_engine
from evolve.engine.vllm import VllmEngine
from evolve.errors import EvolveError
from evolve.launch import Place
from evolve.protocols import Engine
from evolve.training import grpo_settings, policy_of
from rl.meeting import connect, joined, led
from rl.ranks import GRACE_S, Failed, Job


@contextlib.contextmanager
def open_ranks(
    config: Config,
    model: Path | None,
    folder: Path,
    place: Place,
    last_words: Callable[[str], None],
    *,
    attempts: int,
) -> Iterator[Engine]:
    """Start the engines of all ranks, and yield them as one; see `evolve.session.Session.engine`."""
    if model is None:
        raise ValueError("this configuration was not checked")
    job = Job(config=config, model=model, folder=folder, attempts=attempts)
    with led(place, job, lambda: _own_engine(job, place), last_words) as engine:
        yield engine


def follow_rank_0(place: Place) -> int:
    """Serve rank 0 until its run ends; return this process's exit code.

    What goes wrong here is said by rank 0. A signal that ends the run comes to all processes, and rank 0 alone knows
    what is to be done then.
    """
    try:
        link = connect(place)
    except KeyboardInterrupt:  # rank 0 has ended before it led anyone, and the launcher ends the others
        return 130
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.ExitStack() as afterwards:
        try:
            _serve(link, place, afterwards)
        except EvolveError as error:
            with contextlib.suppress(ConnectionError):  # rank 0 has failed, too
                link.send(Failed(error=error))
            return 1
        except (EOFError, ConnectionError):  # rank 0 is gone
            return 1
        except RuntimeError:
            if link.poll(GRACE_S):  # another rank was the first to fail, and rank 0 has found out
                return 1
            raise
    return 0


def _serve(link: Connection, place: Place, afterwards: contextlib.ExitStack) -> None:
    job = link.recv()
    if not isinstance(job, Job):  # the run has ended before it began
        return
    afterwards.enter_context(joined())
    engine = _own_engine(job, place)
    afterwards.callback(engine.close)
    from rl.follow import Follower, follow  # not before vLLM has started, which TRL would import too early

    learner, settings = job.config.learner, job.config.engine
    if not (isinstance(learner, GrpoConfig) and isinstance(settings, VllmConfig)):
        raise ValueError("this configuration was not checked")
    follow(
        Follower(link, place.rank, place.ranks, engine),
        engine,
        policy_of(job.config, job.model, job.folder),
        grpo_settings(job.config, learner, settings),
    )


def _own_engine(job: Job, place: Place) -> VllmEngine:
    engine = build_engine(job.config, job.model, place, attempts=job.attempts)
    if not isinstance(engine, VllmEngine):
        raise ValueError("this configuration was not checked")
    return engine

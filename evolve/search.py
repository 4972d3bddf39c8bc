"""The commands that search: run, resume, replay and study."""

import datetime
import os
import shlex
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from rich.console import Console

import evolve.replay
import evolve.study
from evolve.compose import Clocks, policy_name
from evolve.config import Config
from evolve.errors import ConfigError, EvolveError
from evolve.launch import launched
from evolve.options import load_config, parse_options
from evolve.run_folder import existing_run_folder
from evolve.session import Outside, Session, new_session, next_session
from evolve.words import named_words, path_of

_CLOCKS = Clocks(monotonic=time.monotonic, wall=time.time)


def run(words: Sequence[str], console: Console) -> int:
    """`evolve run`: start a run and see it to its end."""
    config = parse_options(words)
    path = path_of("run.dir", config.run.dir) if config.run.dir else _new_path(config.problem.name)
    return see_to_its_end(new_session(config, path, _outside(console)), console)


def resume(words: Sequence[str], console: Console) -> int:
    """`evolve resume`: go on with a run where it was stopped or killed."""
    named, options = named_words(words, required=("run",))
    with existing_run_folder(path_of("run", named["run"])) as folder:
        text, run_id = folder.read_run()
        config = load_config(text, options)
        _refuse_changed_steps(load_config(text), config)
        return see_to_its_end(next_session(config, folder, run_id, _outside(console)), console, options)


def replay(words: Sequence[str], console: Console) -> int:
    """`evolve replay`: make a run again from its stored replies."""
    return evolve.replay.replay(words, Outside(clocks=_CLOCKS, console=console))


def study(words: Sequence[str], console: Console) -> int:
    """`evolve study`: make the runs of a study, or go on with them."""
    return evolve.study.study(words, Outside(clocks=_CLOCKS, console=console))


def _outside(console: Console) -> Outside:
    return Outside(clocks=_CLOCKS, console=console, place=launched())


def _break_off(words: str) -> NoReturn:
    """Say why rank 0 waits in vain for another rank, from which nothing but the end of the process frees it."""
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"evolve: {words}")
    os._exit(1)


def _refuse_changed_steps(stored: Config, changed: Config) -> None:
    """Refuse options that would make a resumed step another step."""
    for name in ("problem", "rollout", "run", "selection", "database"):
        if getattr(stored, name) != getattr(changed, name):
            raise ConfigError(f"{name}.* cannot change when a run is resumed: start a new run instead")


def see_to_its_end(
    sessions: AbstractContextManager[tuple[Session, Path | None]], console: Console, options: Sequence[str] = ()
) -> int:
    """Begin a session, run it to its end, and return the exit code.

    Args:
        sessions: Begins the session, with the model's folder, and frees what it holds.
        console: Where to print.
        options: Those that are not stored with the run, for the words that go on with it.

    Raises:
        KeyboardInterrupt: The user stopped it before there was a session.
    """
    begun = False
    try:
        with sessions as (session, model):
            begun = True
            return _go(session, model, options)
    except KeyboardInterrupt:  # one more, while what the session held is freed
        if not begun:
            raise
        console.print("stopped", highlight=False)
        return 130


def _go(session: Session, model: Path | None, options: Sequence[str]) -> int:
    console, config, path = session.outside.console, session.config, session.folder.path
    console.print(
        f"{session.workshop.problem.title}: {config.engine.kind} engine, {policy_name(config)}, sandbox tier "
        f"{session.workshop.sandbox.report.tier}, {session.workshop.workers} evaluations at once, in {path}",
        highlight=False,
        markup=False,
    )
    go_on = f"go on with: {shlex.join(['evolve', 'resume', f'run={path}', *options])}"
    try:
        with session.engine(model, _break_off) as engine:
            ended = session.go(engine, model)
    except KeyboardInterrupt:
        console.print(f"stopped; {go_on}", highlight=False, markup=False, soft_wrap=True)
        return 130
    except EvolveError:
        console.print(go_on, highlight=False, markup=False, soft_wrap=True)
        raise
    console.print(
        f"{ended.reason}; best {ended.best!r}; report: {session.folder.report / 'summary.md'}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return 0


def _new_path(problem: str) -> Path:
    now = datetime.datetime.now(tz=datetime.UTC)
    return Path("runs") / f"{problem}-{now:%Y%m%d-%H%M%S-%f}"  # to the microsecond: several may be started at once

"""The command `evolve`: words in, exit codes out.

Exit codes: 0 done, 1 the run failed or a construction is invalid, 2 bad input, 130 stopped by the user.
"""

import datetime
import errno
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from evolve.compose import Clocks, policy_name
from evolve.config import Config
from evolve.dashboard.compare import compare
from evolve.dashboard.html_report import report
from evolve.dashboard.serve import serve
from evolve.doctor import doctor
from evolve.errors import ConfigError, EvolveError, InputError
from evolve.export import export
from evolve.launch import launched
from evolve.merge import merge
from evolve.new import new
from evolve.options import load_config, parse_options
from evolve.replay import replay
from evolve.run_folder import existing_run_folder
from evolve.session import Outside, Session, new_session, next_session
from evolve.show import show
from evolve.study import study
from evolve.verify import verify
from evolve.words import named_words

_CLOCKS = Clocks(monotonic=time.monotonic, wall=time.time)

#: Takes the words after its name, and where to print; returns the exit code.
Command = Callable[[Sequence[str], Console], int]
_HELP = frozenset({"--help", "-h"})
#: What the user can do where a file cannot be written or read, by the system's number of the error.
_CURES = {
    errno.ENOSPC: "free some space on the disk",
    errno.EDQUOT: "free some of your quota",
    errno.EFBIG: "raise the limit of a file's size",
    errno.EROFS: "name a place that can be written",
    errno.EACCES: "let yourself read and write it, or name another place",
    errno.EPERM: "let yourself read and write it, or name another place",
    errno.ENOTDIR: "name a place in a folder, not in a file",
}

USAGE = """usage: evolve COMMAND [key=value ...]

  evolve run problem=NAME [problem.path=DIR] [model=...] [engine=vllm|server|scripted]
             [learner=frozen|grpo] [selection=map_elites|puct|top_k|best_of_n|random]
             [rollout.parents=B] [rollout.samples=n]
             [budget.steps=|minutes=|completions=|tokens=|score=] [sandbox.require=full|lite|none]
             [database.url=...] [run.dir=DIR] [run.seed=N]      search for better programs
  evolve resume run=DIR [budget...=]                            go on with a run
  evolve show [run=DIR] [program=ID] [view=VIEW] [runs=DIR] [limit=N] [format=json]
                                                                runs, a run, or a program; VIEW is one of summary,
                                                                best, lineage, outcomes, moves, islands, archive,
                                                                steps, trainings, confirmations
  evolve merge from=DIR to=DIR [programs=N]                     take the best programs of one run into another
  evolve export run=DIR to=FILE.jsonl|FILE.parquet              every attempt with its texts, for other programs
  evolve export run=DIR to=FOLDER [form=merged|adapter]         the model that a run trained, for other tasks
  evolve replay run=DIR to=DIR [sandbox...=]                    make a run again from its stored replies, and compare
  evolve serve [run=DIR | runs=DIR] [port=N] [token=TOKEN|none] runs in a browser on this machine
  evolve report run=DIR [to=DIR]                                a run as one HTML file, and as Markdown with pictures
  evolve compare [runs=DIR] [run=DIR ...] [arm=NAME:DIR,DIR ...] [to=DIR]
                                                                arms over their seeds, as PNG and SVG
  evolve study file=STUDY.yaml [minutes=N] [reserve=SECONDS] [to=DIR]
                                                                make the runs of arms, problems and seeds, or go on
                                                                with them, and write tables and pictures
  evolve verify problem=NAME file=FILE [format=json]            check a construction exactly: JSON, .npy, CSV, text
  evolve new NAME                                               write a problem folder that runs
  evolve doctor [problem=NAME [problem.path=DIR] [OPTION...]]   what this machine can do, or: is a problem fit
"""


def run(words: Sequence[str], console: Console) -> int:
    """`evolve run`: start a run and see it to its end."""
    config = parse_options(words)
    path = Path(config.run.dir).expanduser() if config.run.dir else _new_path(config.problem.name)
    with new_session(config, path, _outside(console)) as (session, model):
        return _go(session, model)


def resume(words: Sequence[str], console: Console) -> int:
    """`evolve resume`: go on with a run where it was stopped or killed."""
    named, options = named_words(words, required=("run",))
    with existing_run_folder(Path(named["run"]).expanduser()) as folder:
        text, run_id = folder.read_run()
        config = load_config(text, options)
        _refuse_changed_steps(load_config(text), config)
        with next_session(config, folder, run_id, _outside(console)) as (session, model):
            return _go(session, model)


def _replay(words: Sequence[str], console: Console) -> int:
    return replay(words, Outside(clocks=_CLOCKS, console=console))


def _study(words: Sequence[str], console: Console) -> int:
    return study(words, Outside(clocks=_CLOCKS, console=console))


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


def _go(session: Session, model: Path | None) -> int:
    console, config, path = session.outside.console, session.config, session.folder.path
    console.print(
        f"{session.workshop.problem.title}: {config.engine.kind} engine, {policy_name(config)}, sandbox tier "
        f"{session.workshop.sandbox.report.tier}, {session.workshop.workers} evaluations at once, in {path}",
        highlight=False,
        markup=False,
    )
    go_on = f"go on with: evolve resume {shlex.quote(f'run={path}')}"
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


_COMMANDS: Mapping[str, Command] = {
    "run": run,
    "resume": resume,
    "show": show,
    "merge": merge,
    "export": export,
    "replay": _replay,
    "serve": serve,
    "report": report,
    "compare": compare,
    "study": _study,
    "verify": verify,
    "new": new,
    "doctor": doctor,
}


def main() -> None:
    """Run the command that the process's arguments name, and exit with its code.

    SIGTERM, by which batch systems end a job, stops a run as Ctrl-C does; and SIGINT does so in a background job too,
    where shells have it ignored.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(call(sys.argv[1:]))


def call(arguments: Sequence[str], commands: Mapping[str, Command] = _COMMANDS) -> int:
    """Run one of the commands and return its exit code."""
    console = Console(soft_wrap=True)
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    name = arguments[0] if arguments else ""
    if name in ("", "help") or not _HELP.isdisjoint(arguments):
        console.print(USAGE, highlight=False, markup=False)
        return 0 if name else 2
    if name not in commands:
        errors.print(f"evolve: {name!r} is no command: it must be one of {', '.join(commands)}")
        return 2
    try:
        place = launched()
        if place.rank:
            from evolve.ranks import follow_rank_0

            return follow_rank_0(place)
        if place.ranks > 1 and name not in ("run", "resume"):
            raise ConfigError(f"accelerate launch is for evolve run and evolve resume: run evolve {name} without it")
        return commands[name](arguments[1:], console)
    except InputError as error:
        errors.print(f"evolve {name}: {error}")
        return 2
    except EvolveError as error:
        errors.print(f"evolve {name}: {error}")
        return 1
    except OSError as error:
        cure = _CURES.get(error.errno or 0)
        if cure is None:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        errors.print(f"evolve {name}: {where}{error.strerror}; {cure}, then try again")
        return 1
    except KeyboardInterrupt:
        errors.print(f"evolve {name}: stopped" + (" before anything was run" if name in ("run", "resume") else ""))
        return 130

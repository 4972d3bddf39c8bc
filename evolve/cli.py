"""The command `evolve`: words in, exit codes out.

Exit codes: 0 done, 1 the run failed or a construction is invalid, 2 bad input, 130 stopped by the user.
"""

import errno
import functools
import importlib
import importlib.metadata
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from evolve.errors import ConfigError, EvolveError, InputError
from evolve.launch import launched

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
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "name a place in a folder, not in a file",
}
#: What is known of a command that was stopped before it could say itself how to go on.
_STOPPED = {"run": " before anything was run", "resume": " before it went on: nothing is lost, resume it again"}

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
  evolve compare [runs=DIR] [run=DIR ...] [arm=NAME:DIR,DIR ...]
                 [against=completions|minutes] [to=DIR]
                                                                arms over their seeds, as PNG and SVG
  evolve study file=STUDY.yaml [minutes=N] [reserve=SECONDS] [to=DIR] [sandbox...=]
                                                                make the runs of arms, problems and seeds, or go on
                                                                with them, and write tables and pictures
  evolve verify problem=NAME [problem.path=DIR] file=FILE [format=json]
                                                                check a construction exactly: JSON, .npy, CSV, text
  evolve new NAME                                               write a problem folder that runs
  evolve doctor [problem=NAME [problem.path=DIR] [OPTION...]]   what this machine can do, or: is a problem fit
  evolve --version
"""


#: Where the function of a command's name is. It is imported when it is asked for: the others' libraries take seconds.
_MODULES = {
    "run": "evolve.search",
    "resume": "evolve.search",
    "show": "evolve.show",
    "merge": "evolve.merge",
    "export": "evolve.export",
    "replay": "evolve.search",
    "serve": "evolve.dashboard.serve",
    "report": "evolve.dashboard.html_report",
    "compare": "evolve.dashboard.compare",
    "study": "evolve.search",
    "verify": "evolve.verify",
    "new": "evolve.new",
    "doctor": "evolve.doctor",
}


def _imported(name: str, words: Sequence[str], console: Console) -> int:
    command: Command = getattr(importlib.import_module(_MODULES[name]), name)
    return command(words, console)


_COMMANDS: Mapping[str, Command] = {name: functools.partial(_imported, name) for name in _MODULES}


def main() -> None:
    """Run the command that the process's arguments name, and exit with its code.

    SIGTERM, by which batch systems end a job, stops a run as Ctrl-C does; and SIGINT does so in a background job too,
    where shells have it ignored. Until the command's modules are imported an interrupt ends the process at once.
    """
    arguments = sys.argv[1:]
    if arguments and arguments[0] in _MODULES and _HELP.isdisjoint(arguments):
        importlib.import_module(_MODULES[arguments[0]])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.exit(call(arguments))


def call(arguments: Sequence[str], commands: Mapping[str, Command] = _COMMANDS) -> int:
    """Run one of the commands and return its exit code."""
    console = Console(soft_wrap=True)
    errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    name = arguments[0] if arguments else ""
    if name in ("", "help") or not _HELP.isdisjoint(arguments):
        console.print(USAGE, highlight=False, markup=False)
        return 0 if name else 2
    if name == "--version":
        console.print(f"thetaevolve {importlib.metadata.version('thetaevolve')}", highlight=False)
        return 0
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
        errors.print(f"evolve {name}: stopped{_STOPPED.get(name, '')}")
        return 130

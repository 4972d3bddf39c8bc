"""The command `evolve show`: runs, one run by several views, one program with its history.

A run may be looked at while a process works on it. `shapes.py` says what each view holds, `views.py` reads it from the
database, and `text.py` prints it.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from database.store import RunStore
from evolve.compose import open_run, problem_of
from evolve.errors import EvolveError, InputError, NotFoundError
from evolve.show import text, views
from evolve.show.shapes import RunRow
from evolve.types import Problem
from evolve.words import named_words, output_format, path_of

#: How many of the best programs are shown where the user names no number.
_LIMIT = 10
#: Every database can hold such a number; no id is larger.
_MOST = 2**53
#: Nothing is folded where nobody looks at it, in characters.
_PIPE_WIDTH = 10_000
#: The views that show a number of the best programs.
_LIMITED = ("summary", "best")
#: The views of a run, beside its lineages.
_VIEWS: Mapping[str, tuple[Callable[[RunStore, Problem, int], Any], Callable[[Console, Any], None]]] = {
    "summary": (lambda store, problem, limit: views.run_view(store, problem.direction, limit), text.print_run),
    "best": (lambda store, problem, limit: views.best_view(store, problem.direction, limit), text.print_best),
    "outcomes": (lambda store, _problem, _limit: views.outcomes_view(store), text.print_outcomes),
    "moves": (lambda store, problem, _limit: views.moves_view(store, problem), text.print_moves),
    "islands": (lambda store, problem, _limit: views.islands_view(store, problem.direction), text.print_islands),
    "archive": (lambda store, problem, _limit: views.archive_view(store, problem.direction), text.print_archive),
    "steps": (lambda store, _problem, _limit: views.steps_view(store), text.print_steps),
    "trainings": (lambda store, _problem, _limit: views.trainings_view(store), text.print_trainings),
    "confirmations": (lambda store, _problem, _limit: views.confirmations_view(store), text.print_confirmations),
}


def show(words: Sequence[str], console: Console) -> int:
    """`evolve show`: print what the database holds."""
    named, _ = named_words(words, optional=("run", "program", "view", "limit", "runs", "format"))
    as_json = output_format(named) == "json"
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    if "run" not in named:
        for name in ("program", "view", "limit"):
            if name in named:
                raise InputError(f"{name}= needs run=DIR beside it")
        folder = path_of("runs", named.get("runs", "runs"))
        rows = _runs(folder)
        _print(console, rows, None if as_json else lambda console, rows: text.print_runs(console, rows, str(folder)))
        return 0
    if "runs" in named:
        raise InputError("run= and runs= exclude each other: name one run, or a folder of runs")
    view, number, limit = _wanted(named)
    with open_run(path_of("run", named["run"])) as (config, store):
        shown, print_text = _shown(store, problem_of(config), view, number, limit)
    _print(console, shown, None if as_json else print_text)
    return 0


def _wanted(named: Mapping[str, str]) -> tuple[str, int | None, int]:
    """Return the view, the program and the limit that the words ask for.

    Raises:
        InputError: One of them is no such thing, or they do not fit together.
    """
    of_program = "program" in named
    view = named.get("view", "attempt" if of_program else "summary")
    known = ("attempt", "lineage") if of_program else (*_VIEWS, "lineage")
    if view not in known:
        raise InputError(f"view={view} is unknown: it must be one of {', '.join(known)}")
    try:
        number = int(named["program"]) if of_program else None
        if number is not None and abs(number) > _MOST:
            raise ValueError(f"{number} is larger than any id")
    except ValueError as error:
        raise InputError(
            f"program={named['program']} is no id: ids are numbers, see `evolve show run=... view=best`"
        ) from error
    if "limit" in named and view not in _LIMITED:
        raise InputError(f"limit= is for the views {' and '.join(_LIMITED)}: leave it out of view={view}")
    limit = named.get("limit", str(_LIMIT))
    if not limit.isdecimal():
        raise InputError(f"limit={limit} is no number of programs")
    return view, number, min(int(limit), _MOST)


def _shown(
    store: RunStore, problem: Problem, view: str, number: int | None, limit: int
) -> tuple[Any, Callable[[Console, Any], None]]:
    """Return what a view shows, and what prints it."""
    if view == "attempt" and number is not None:
        return views.attempt_view(store, number), text.print_attempt
    if view == "lineage":
        if number is None:
            best = store.best_programs(1, problem.direction)
            if not best:
                raise NotFoundError("the run has no valid program yet: wait for its first step")
            number = best[0].id
        return views.lineage_view(store, number, problem.direction), text.print_lineage
    read, print_text = _VIEWS[view]
    return read(store, problem, limit), print_text


def _runs(folder: Path) -> list[RunRow]:
    rows: list[RunRow] = []
    for path in sorted(file.parent for file in folder.glob("*/run.json")):
        row: RunRow = {
            "folder": str(path),
            "problem": None,
            "model": None,
            "steps": None,
            "completions": None,
            "best": None,
            "error": None,
        }
        try:
            with open_run(path) as (config, store):
                best = store.best_programs(1, problem_of(config).direction)
                row["problem"], row["model"] = store.record.problem, store.record.model
                row["steps"], row["completions"] = max(len(store.reports()) - 1, 0), store.attempts_made()
                row["best"] = best[0].score if best else None
        except EvolveError as error:
            row["error"] = str(error)
        rows.append(row)
    return rows


def _print(console: Console, shown: Any, print_text: Callable[[Console, Any], None] | None) -> None:
    """Print a view as text, or as JSON where nothing prints it as text."""
    if print_text is None:
        console.out(json.dumps(_finite(shown), allow_nan=False), highlight=False)
    else:
        print_text(console, shown)


def _finite(value: object) -> object:
    """Return the value with None for each number that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list) else value

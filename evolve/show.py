"""The command `evolve show`: runs, one run, one program with its history."""

import difflib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from database.repository import open_database
from database.store import RunStore
from evolve.config import Config
from evolve.errors import EvolveError, InputError
from evolve.options import load_config
from evolve.run_folder import RunFolder, read_run
from evolve.types import Direction, Program
from evolve.words import named_words, output_format
from problems import load_problem


def show(words: Sequence[str], console: Console) -> int:
    """`evolve show`: print what the database holds."""
    named, _ = named_words(words, optional=("run", "program", "runs", "format"))
    as_json = output_format(named) == "json"
    if "run" not in named:
        if "program" in named:
            raise InputError("program= needs run=DIR beside it")
        _show_runs(Path(named.get("runs", "runs")), console, as_json=as_json)
        return 0
    with open_run(Path(named["run"]).expanduser()) as (config, store):
        direction = _direction(config)
        if "program" in named:
            if not named["program"].isdigit():
                raise InputError(f"program={named['program']} is no id: ids are numbers, see `evolve show run=...`")
            tree = program_tree(store, int(named["program"]))
            (_print_json if as_json else _print_program)(console, tree)
        else:
            tree = run_tree(store, direction)
            (_print_json if as_json else _print_run)(console, tree)
    return 0


@contextmanager
def open_run(path: Path) -> Iterator[tuple[Config, RunStore]]:
    """Open the database of a run's folder for reading."""
    text, run_id = read_run(path)
    config = load_config(text)
    url = config.database.url or RunFolder(path).database_url
    with open_database(url, create=False) as database:
        yield config, database.run(run_id)


def _direction(config: Config) -> Direction:
    path = config.problem.path
    return load_problem(config.problem.name, None if path is None else Path(path)).direction


def run_tree(store: RunStore, direction: Direction) -> dict[str, Any]:
    """Return what is shown of a run, as JSON data."""
    record, reports = store.record, store.reports()
    return {
        "run": record.id,
        "problem": record.problem,
        "model": record.model,
        "folder": record.folder,
        "seed": record.seed,
        "steps": len(reports) - 1,
        "completions": store.attempts_made(),
        "active_s": reports[-1].finished_s if reports else 0.0,
        "outcomes": {str(outcome): count for outcome, count in sorted(store.outcome_counts().items())},
        "best_programs": [_program_row(program) for program in store.best_programs(10, direction)],
        "best_against_time": [list(point) for point in store.best_curve(direction)],
    }


def program_tree(store: RunStore, program_id: int) -> dict[str, Any]:
    """Return what is shown of an attempt and of the program it made, as JSON data."""
    attempt = store.attempt(program_id)
    parent = None if attempt.id == 0 else store.program(attempt.draw.parent_id)
    diff = ""
    lineage: Sequence[Program] = []
    if attempt.source is not None:
        lineage = store.lineage(attempt.id)
        old = [] if parent is None else parent.source.splitlines()
        names = ("" if parent is None else f"program {parent.id}", f"program {attempt.id}")
        diff = "\n".join(difflib.unified_diff(old, attempt.source.splitlines(), *names, lineterm=""))
    return {
        "program": attempt.id,
        "step": attempt.step,
        "outcome": str(attempt.outcome),
        "score": attempt.score,
        "reward": attempt.reward,
        "known_as": attempt.known_as,
        "feedback": attempt.feedback,
        "parent": None if parent is None else parent.id,
        "inspirations": list(attempt.draw.inspiration_ids),
        "island": attempt.draw.island,
        "lineage": [_program_row(program) for program in lineage],
        "source": attempt.source,
        "diff": diff,
        "prompt": [{"role": message.role, "content": message.content} for message in attempt.prompt],
        "reply": attempt.completion.text,
        "tokens": attempt.completion.tokens,
        "evaluations": [
            {
                "seed": evaluation.seed,
                "outcome": str(evaluation.outcome),
                "score": evaluation.score,
                "exact": evaluation.exact,
                "wall_s": evaluation.wall_s,
                "cpu_s": evaluation.cpu_s,
                "peak_memory_mib": evaluation.peak_memory_mib,
                "peak_processes": evaluation.peak_processes,
                "construction": None if evaluation.construction is None else json.loads(evaluation.construction),
            }
            for evaluation in attempt.evaluations
        ],
    }


def _program_row(program: Program) -> dict[str, Any]:
    return {"program": program.id, "step": program.step, "parent": program.parent_id, "score": program.score}


def _show_runs(folder: Path, console: Console, *, as_json: bool) -> None:
    rows: list[dict[str, Any]] = []
    for path in sorted(file.parent for file in folder.glob("*/run.json")):
        try:
            with open_run(path) as (config, store):
                tree = run_tree(store, _direction(config))
        except EvolveError as error:
            rows.append({"folder": str(path), "problem": f"cannot be read: {error}"})
            continue
        best = tree["best_programs"]
        rows.append(
            {
                "folder": str(path),
                "problem": tree["problem"],
                "model": tree["model"],
                "steps": tree["steps"],
                "completions": tree["completions"],
                "best": best[0]["score"] if best else None,
            }
        )
    if as_json:
        _print_json(console, rows)
        return
    if not rows:
        console.print(f"no runs in {folder}; start one with `evolve run problem=NAME`", highlight=False)
        return
    table = Table("folder", "problem", "model", "steps", "completions", "best")
    for row in rows:
        table.add_row(
            *(str(row.get(name, "")) for name in ("folder", "problem", "model", "steps", "completions", "best"))
        )
    console.print(table)


def _print_run(console: Console, tree: dict[str, Any]) -> None:
    for name in ("problem", "model", "folder", "seed", "steps", "completions"):
        console.out(f"{name}: {tree[name]}", highlight=False)
    outcomes = ", ".join(f"{count} {name}" for name, count in tree["outcomes"].items())
    console.out(f"outcomes: {outcomes}", highlight=False)
    table = Table("program", "step", "parent", "score", title="best programs", title_justify="left")
    for row in tree["best_programs"]:
        table.add_row(*(str(row[name]) for name in ("program", "step", "parent", "score")))
    console.print(table)


def _print_program(console: Console, tree: dict[str, Any]) -> None:
    """Print the parts in reading order; everything that a model wrote is printed as plain text."""
    for name in ("program", "step", "outcome", "score", "reward", "parent", "inspirations", "island", "known_as"):
        console.out(f"{name}: {tree[name]}", highlight=False)
    lineage = " > ".join(f"{row['program']} ({row['score']!r})" for row in tree["lineage"])
    console.out(f"lineage: {lineage}", highlight=False)
    messages = "\n".join(f"[{message['role']}]\n{message['content']}" for message in tree["prompt"])
    for title, text in (
        ("diff to the parent", tree["diff"]),
        ("source", tree["source"]),
        ("feedback", tree["feedback"]),
        ("prompt", messages),
        ("reply", tree["reply"]),
    ):
        if text:
            console.out(f"\n── {title} ──\n{_printable(str(text))}", highlight=False)


def _printable(text: str) -> str:
    """Return the text with control characters and lone surrogates spelled out, as a terminal obeys them."""
    return "".join(
        c if c in "\n\t" or (c.isprintable() and not "\ud800" <= c <= "\udfff") else repr(c)[1:-1] for c in text
    )


def _print_json(console: Console, tree: object) -> None:
    console.out(json.dumps(tree), highlight=False)

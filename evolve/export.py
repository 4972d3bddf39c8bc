"""The command `evolve export`: every attempt of a run as one row of a file that other programs read.

Where `to=` names no such file, it is the folder of the model that the run trained (`evolve.export_model`).

The columns, in both formats; texts that a model wrote stand as they are:

program, step, group, sample    the attempt's number and its place; program 0 is the seed, -1, -2, ... were merged in
island, parent, inspirations    what was drawn; parent is null for the seed program and for merged ones
outcome, score, reward          score is null unless outcome is "valid"; reward is null for attempts that do not count
known_as, identity              the program that a repetition repeats; the hash of the child's syntax tree
feedback, source, reply         source is null unless the child is a program of its own
prompt                          list of {role, content}
tokens, prompt_tokens, finish_reason, seconds, finished_s
evaluations                     list of {seed, outcome, score, exact, feedback, construction, measures, wall_s, cpu_s,
                                peak_memory_mib, peak_processes}; construction is JSON text, measures a list of
                                {name, value}
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console

from database.store import RunStore
from evolve.compose import open_run
from evolve.errors import ConfigError, RunFolderError
from evolve.export_model import export_model
from evolve.types import Attempt, Evaluation
from evolve.words import named_words, path_of

#: Rows of one group of a Parquet file, at least; groups of a few rows would be large and slow.
_GROUP_ROWS = 512

Row = dict[str, Any]
#: Takes some more rows.
Write = Callable[[Sequence[Row]], None]


def export(words: Sequence[str], console: Console) -> int:
    """`evolve export`: write a run's attempts to a file."""
    named, _ = named_words(words, required=("run", "to"), optional=("form",))
    target = path_of("to", named["to"])
    opened = _WRITERS.get(target.suffix)
    if opened is None:
        export_model(path_of("run", named["run"]), target, named.get("form", "merged"), console)
        return 0
    if "form" in named:
        raise ConfigError(f"form= is for a model's folder, and to={target} is a file of attempts: leave it out")
    with open_run(path_of("run", named["run"])) as (_, store), _whole(target) as unfinished:
        count = 0
        with opened(unfinished) as write:
            for rows in _chunks(rows_of(store)):
                write(rows)
                count += len(rows)
    console.print(f"{count} attempts in {target}", highlight=False, markup=False)
    return 0


def rows_of(store: RunStore) -> Iterator[Row]:
    """Yield the run's attempts as rows, by step; no more than one step's are in memory."""
    for step in range(len(store.reports()) + 1):  # the step that goes on just now, too
        for attempt in store.attempts_of(step):
            yield _row(attempt)


def _row(attempt: Attempt) -> Row:
    completion = attempt.completion
    return {
        "program": attempt.id,
        "step": attempt.step,
        "group": completion.group,
        "sample": completion.sample,
        "island": attempt.draw.island,
        "parent": None if attempt.is_root else attempt.draw.parent_id,
        "inspirations": list(attempt.draw.inspiration_ids),
        "outcome": str(attempt.outcome),
        "score": attempt.score,
        "reward": attempt.reward,
        "known_as": attempt.known_as,
        "identity": attempt.identity,
        "feedback": attempt.feedback,
        "source": attempt.source,
        "reply": completion.text,
        "prompt": [{"role": message.role, "content": message.content} for message in attempt.prompt],
        "tokens": completion.tokens,
        "prompt_tokens": completion.prompt_tokens,
        "finish_reason": str(completion.finish_reason),
        "seconds": completion.seconds,
        "finished_s": attempt.finished_s,
        "evaluations": [_evaluation(evaluation) for evaluation in attempt.evaluations],
    }


def _evaluation(evaluation: Evaluation) -> Row:
    return {
        "seed": evaluation.seed,
        "outcome": str(evaluation.outcome),
        "score": evaluation.score,
        "exact": evaluation.exact,
        "feedback": evaluation.feedback,
        "construction": evaluation.construction,
        "measures": [{"name": name, "value": value} for name, value in evaluation.measures.items()],
        "wall_s": evaluation.wall_s,
        "cpu_s": evaluation.cpu_s,
        "peak_memory_mib": evaluation.peak_memory_mib,
        "peak_processes": evaluation.peak_processes,
    }


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _GROUP_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


@contextlib.contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Give a file beside `target` that takes its name at the end, so that nobody reads half an export.

    Raises:
        RunFolderError: There is such a file already, or its folder cannot be written.
    """
    if target.exists():
        raise RunFolderError(f"{target} exists already: remove it, or name another file")
    unfinished = target.with_name(f"{target.name}.part")
    if not target.parent.is_dir():
        raise RunFolderError(f"there is no folder {target.parent}: make it, or name another file")
    try:
        yield unfinished
        unfinished.replace(target)
    except OSError as error:
        raise RunFolderError(f"{target} cannot be written ({error.strerror}): name another file") from error
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def _jsonl(file: Path) -> Iterator[Write]:
    """Write one JSON object a line, in ASCII: lone surrogates stand as their escapes."""
    with file.open("w", encoding="ascii") as stream:

        def write(rows: Sequence[Row]) -> None:
            stream.writelines(json.dumps(row) + "\n" for row in rows)

        yield write


@contextlib.contextmanager
def _parquet(file: Path) -> Iterator[Write]:
    """Write Parquet; lone surrogates, which UTF-8 does not know, stand as their escapes."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigError(
            "to=FILE.parquet needs the package pyarrow: install thetaevolve[parquet], or name a FILE.jsonl"
        ) from error
    text, number, real = pa.string(), pa.int64(), pa.float64()
    evaluation = dict.fromkeys(("outcome", "exact", "feedback", "construction"), text)
    evaluation |= dict.fromkeys(("score", "wall_s", "cpu_s", "peak_memory_mib"), real)
    evaluation |= {"seed": number, "peak_processes": number}
    evaluation |= {"measures": pa.list_(pa.struct({"name": text, "value": real}))}
    names = ("program", "step", "group", "sample", "island", "parent", "known_as", "tokens", "prompt_tokens")
    columns = dict.fromkeys(names, number)
    columns |= dict.fromkeys(("outcome", "identity", "feedback", "source", "reply", "finish_reason"), text)
    columns |= dict.fromkeys(("score", "reward", "seconds", "finished_s"), real)
    columns |= {"inspirations": pa.list_(number), "prompt": pa.list_(pa.struct({"role": text, "content": text}))}
    columns |= {"evaluations": pa.list_(pa.struct(evaluation))}
    schema = pa.schema(columns)
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:

        def write(rows: Sequence[Row]) -> None:
            writer.write_table(pa.Table.from_pylist([_plain(row) for row in rows], schema=schema))

        yield write


def _plain(value: Any) -> Any:
    """Return the value with every lone surrogate in its texts spelled out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return {name: _plain(part) for name, part in value.items()} if isinstance(value, dict) else value


_WRITERS: dict[str, Callable[[Path], AbstractContextManager[Write]]] = {".parquet": _parquet, ".jsonl": _jsonl}

"""What stays of a finished run: one small file in its folder, which says all that a study's results need.

So a study may be made on several machines, of which each is gone after a while: of a finished run `figures.json` is
carried on, a few kB, and only of one that was cut the whole folder.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from database.dashboard import open_for_reading
from evolve.compose import problem_of
from evolve.config import BudgetConfig, Config, SandboxConfig, ScriptedConfig, ServerConfig, VllmConfig
from evolve.dashboard.catalog import OpenRun, key_of
from evolve.doctor import gpus
from evolve.errors import ConfigError
from evolve.options import dump_config, leaves, load_config
from evolve.run_folder import RunFolder, read_run, write_whole
from evolve.study.figures import RunFigures, run_figures
from evolve.study.plan import Cell

_FILE = "figures.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A finished run.

    Attributes:
        config: Its options, without those that depend on the machine, and without the budget.
        fingerprint: Of its problem's files and limits.
        machine: Where it ended: platform, gpu, and the versions of python and thetaevolve.
        figures: What came of it.
        program: The source of the program that its best score is of; None in the records of earlier versions.
    """

    config: Config
    fingerprint: str
    machine: Mapping[str, str]
    figures: RunFigures
    program: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    platform: str
    gpu: str
    python: str
    thetaevolve: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A record as its file holds it."""

    config: dict[str, Any]
    fingerprint: str
    machine: _Machine
    figures: RunFigures
    program: str | None = None


def read_record(cell: Cell) -> Record | None:
    """Return the record in a run's folder, if there is one.

    Raises:
        ConfigError: It cannot be read, or is of another run than the study asks for.
    """
    file = cell.folder / _FILE
    try:
        stored: _Stored = _checked("", json.loads(file.read_text(encoding="utf-8")), _Stored)
        record = Record(
            config=load_config(yaml.safe_dump(stored.config)),
            fingerprint=stored.fingerprint,
            machine=dataclasses.asdict(stored.machine),
            figures=stored.figures,
            program=stored.program,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        if (cell.folder / "run.yaml").exists():
            cure = "delete it, and the run's database is read again"
        else:  # it is all that is left of the run
            cure = "another version may have made it: use that one, or move it away to make the run anew"
        raise ConfigError(f"{file} cannot be read ({error}): {cure}") from error
    refuse_other_options(cell, record.config)
    return record


def _checked(place: str, value: Any, kind: Any) -> Any:
    """Return what JSON holds as an object of a type, of whose fields a later version may have more.

    Args:
        place: Its dotted name in the file.
        value: From JSON.
        kind: A dataclass, a union with None, a sequence or a tuple of such, or one of JSON's own types.

    Raises:
        ValueError: Something is missing, of another type, or no finite number.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if NoneType in parts:
        return None if value is None else _checked(place, value, parts[0])
    if dataclasses.is_dataclass(kind) and type(value) is dict:
        return _object(place, value, kind)
    if origin is Sequence and type(value) is list:
        return [_checked(place, each, *parts) for each in value]
    if origin is tuple and type(value) is list and len(value) == len(parts):
        return tuple(_checked(place, each, part) for each, part in zip(value, parts, strict=True))
    if kind is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if type(value) is not (origin or kind) or kind is float:
        raise ValueError(f"{place or 'it'} is {value!r:.40}, which is of another type")
    return value


def _object(place: str, tree: Mapping[str, object], kind: Any) -> Any:
    types, found = get_type_hints(kind), {}
    for field in dataclasses.fields(kind):
        name = f"{place}.{field.name}".removeprefix(".")
        if field.name in tree:
            found[field.name] = _checked(name, tree[field.name], types[field.name])
        elif field.default is dataclasses.MISSING:
            raise ValueError(f"{name} is missing")
    return kind(**found)


@contextlib.contextmanager
def open_cell(cell: Cell) -> Iterator[OpenRun]:
    """Open a run to look at it, with the problem and the database of this machine: its own may be another's.

    Raises:
        EvolveError: The folder holds no run, or its database cannot be read.
    """
    _, run_id = read_run(cell.folder)
    with open_for_reading(cell.config.database.url or RunFolder(cell.folder).database_url) as database:
        yield OpenRun(key_of(cell.folder), cell.folder, cell.config, problem_of(cell.config), database.views(run_id))


def record_of(cell: Cell) -> Record:
    """Return the record of a finished run from its database.

    Raises:
        EvolveError: The database cannot be read.
    """
    with open_cell(cell) as run:
        return Record(
            config=_essence(run.config),
            fingerprint=run.record.fingerprint,
            machine=_machine(),
            figures=run_figures(run),
            program=run.bests()[0].attempt.source,
        )


def write_record(cell: Cell, record: Record) -> None:
    """Keep the record in the run's folder.

    Raises:
        ConfigError: The folder cannot be written.
    """
    tree: dict[str, Any] = {
        "config": yaml.safe_load(dump_config(record.config)),
        "fingerprint": record.fingerprint,
        "machine": dict(record.machine),
        "figures": dataclasses.asdict(record.figures),
        "program": record.program,
    }
    file = cell.folder / _FILE
    try:
        write_whole(file, json.dumps(tree, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ConfigError(
            f"cannot write {file}: {error.strerror}; free some space, then type the study again"
        ) from error


def refuse_other_options(cell: Cell, stored: Config) -> None:
    """Refuse a folder whose run was made with other options. The budget and what depends on the machine may differ.

    Raises:
        ConfigError: An option differs.
    """
    ours, theirs = (dict(leaves(yaml.safe_load(dump_config(_essence(each))))) for each in (cell.config, stored))
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise ConfigError(
                f"{cell.folder} holds a run with {name}={theirs.get(name)}, the study asks for {ours.get(name)}: name "
                "another folder with to=DIR, or move that run away"
            )


def _essence(config: Config) -> Config:
    """Return the options that make a run what it is, those that may differ from machine to machine set alike."""
    engine = config.engine
    if isinstance(engine, ScriptedConfig):
        engine = replace(engine, file="")
    elif isinstance(engine, ServerConfig):
        engine = replace(engine, url="", key_file=None)
    elif isinstance(engine, VllmConfig):
        usual = VllmConfig()
        engine = replace(engine, gpu_memory_utilization=usual.gpu_memory_utilization, kv_cache_gib=usual.kv_cache_gib)
    return replace(
        config,
        engine=engine,
        model=Path(config.model).name,
        model_cache="",
        problem=replace(config.problem, path=None),
        sandbox=SandboxConfig(),
        budget=BudgetConfig(),
        database=replace(config.database, url=None),
        run=replace(config.run, dir=None),
    )


def _machine() -> dict[str, str]:
    machine = _Machine(
        platform=platform.platform(),
        gpu=gpus(),
        python=platform.python_version(),
        thetaevolve=importlib.metadata.version("thetaevolve"),
    )
    return dataclasses.asdict(machine)

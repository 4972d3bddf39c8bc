"""What stays of a finished run: one small file in its folder, which says all that a study's results need.

So a study may be made on several machines, of which each is gone after a while: of a finished run `figures.json` is
carried on, a few kB, and only of one that was cut the whole folder.
"""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from evolve.config import BudgetConfig, Config, SandboxConfig, ScriptedConfig, ServerConfig, VllmConfig
from evolve.dashboard.catalog import Catalog
from evolve.doctor import gpus
from evolve.errors import ConfigError
from evolve.options import dump_config, leaves, load_config
from evolve.run_folder import write_whole
from evolve.study.figures import LastThird, RunFigures, run_figures
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


def read_record(cell: Cell) -> Record | None:
    """Return the record in a run's folder, if there is one.

    Raises:
        ConfigError: It cannot be read, or is of another run than the study asks for.
    """
    file = cell.folder / _FILE
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        figures = tree["figures"]
        curve = [(float(seconds), int(made), float(best)) for seconds, made, best in figures.pop("curve")]
        last_third = figures.pop("last_third", None)
        record = Record(
            config=load_config(yaml.safe_dump(tree["config"])),
            fingerprint=tree["fingerprint"],
            machine=tree["machine"],
            figures=RunFigures(
                **figures, curve=curve, last_third=None if last_third is None else LastThird(**last_third)
            ),
            program=tree.get("program"),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file} cannot be read ({error}): delete it, and the run's database is read again"
        ) from error
    refuse_other_options(cell, record.config)
    return record


def record_of(cell: Cell) -> Record:
    """Return the record of a finished run from its database.

    Raises:
        EvolveError: The database cannot be read.
    """
    with Catalog(only=[cell.folder]) as catalog:
        run = catalog.opened(cell.folder)
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
    return {
        "platform": platform.platform(),
        "gpu": gpus(),
        "python": platform.python_version(),
        "thetaevolve": importlib.metadata.version("thetaevolve"),
    }

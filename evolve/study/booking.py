"""One booking of a study: the runs that are not finished, one after the other, until they are or the time is up.

A run that was cut, by the end of a booking, by Ctrl-C or by `kill -9`, is resumed by the next booking as
`evolve resume` does it. What a booking needs of the last one is the study's folder, and the database that the options
name. Bookings may go on beside each other, one for each GPU: each leaves out the runs that another is making.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from evolve.budget import Tally, spent
from evolve.compose import build_budget, open_run_database
from evolve.config import BudgetConfig, Config, SandboxConfig, ScriptedConfig, ServerConfig
from evolve.errors import ConfigError, EngineError, FolderInUseError, LearnerError
from evolve.options import dump_config, leaves, load_config
from evolve.run_folder import RunFolder, existing_run_folder, read_run
from evolve.session import Ended, Outside, Session, new_session, next_session
from evolve.study.engines import Engines
from evolve.study.plan import Cell, Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Booked:
    """What a booking came to.

    Attributes:
        unfinished: Runs that are left, those included that other processes are making.
        in_use: Of these, those that others were making when it was their turn.
        failed: Of these, those that failed in this booking, and why.
        engines: How many engines were started.
    """

    unfinished: int
    in_use: int
    failed: Mapping[str, str]
    engines: int


def book(study: Study, outside: Outside) -> Booked:
    """Make runs until `outside.until`, or until all are finished.

    A run whose engine or learner fails is left, and the next one goes on with a new engine.

    Raises:
        ConfigError: A run's folder holds another run than the study asks for.
    """
    clock, console = outside.clocks.monotonic, outside.console
    waiting = [cell for cell in study.cells if not is_finished(cell)]
    in_use = 0
    failed: dict[str, str] = {}
    with Engines() as engines:
        for place, cell in enumerate(waiting):
            if outside.until is not None and clock() >= outside.until:
                break
            left = f"{len(waiting) - place} of {len(study.cells)} runs are left"
            try:
                ended = _make(cell, engines, outside, left)
            except FolderInUseError:
                in_use += 1
            except (EngineError, LearnerError) as error:
                failed[str(cell)] = str(error)
                engines.drop()
                console.print(f"{cell} failed: {error}", highlight=False, markup=False)
            else:
                if ended is not None:
                    console.print(f"{cell}: {ended.reason}; best {ended.best!r}", highlight=False, markup=False)
    unfinished = sum(not is_finished(cell) for cell in waiting)
    return Booked(unfinished=unfinished, in_use=in_use, failed=failed, engines=engines.built)


def is_finished(cell: Cell) -> bool:
    """Return whether a run has used up its budget.

    Raises:
        ConfigError: The folder holds another run than the study asks for.
    """
    if not (cell.folder / "run.yaml").exists():
        return False
    text, run_id = read_run(cell.folder)
    _refuse_another(cell, load_config(text))
    with open_run_database(cell.config, RunFolder(cell.folder)) as database:
        store = database.run(run_id)
        reports = store.reports()
        if not reports:
            return False
        tokens, _ = store.token_totals()
        tally = Tally(cell.direction, completions=store.attempts_made(), tokens=tokens, best=reports[-1].best)
    budget = build_budget(cell.config)
    return spent(budget, tally, steps=len(reports) - 1, active_s=reports[-1].finished_s) is not None


def _make(cell: Cell, engines: Engines, outside: Outside, left: str) -> Ended | None:
    """Begin a run, or go on with it; None where another process has finished it meanwhile."""

    def say() -> None:
        outside.console.print(f"{cell} ({left})", style="bold", highlight=False)

    if not (cell.folder / "run.yaml").exists():
        with new_session(cell.config, cell.folder, outside) as (session, model):
            say()
            return _go(session, model, engines)
    with existing_run_folder(cell.folder) as folder:
        if is_finished(cell):
            return None
        say()
        _, run_id = folder.read_run()
        with next_session(cell.config, folder, run_id, outside) as (session, model):
            return _go(session, model, engines)


def _go(session: Session, model: Path | None, engines: Engines) -> Ended:
    return session.go(engines.lend(session.config, model), model)


def _refuse_another(cell: Cell, stored: Config) -> None:
    """Refuse a folder whose run was made with other options; the budget and what depends on the machine may differ."""
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

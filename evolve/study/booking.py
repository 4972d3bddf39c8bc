"""One booking of a study: the runs that are not finished, one after the other, until they are or the time is up.

A run that was cut, by the end of a booking, by Ctrl-C or by `kill -9`, is resumed by the next booking as
`evolve resume` does it. What a booking needs of the last one is the study's folder, and the database that the options
name; of a finished run its record is enough (`record.py`). Bookings may go on beside each other, one for each GPU:
each leaves out the runs that another is making.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from evolve.budget import Tally, spent
from evolve.compose import build_budget, open_run_database
from evolve.errors import ConfigError, EvolveError, FolderInUseError, InputError
from evolve.options import load_config
from evolve.run_folder import RunFolder, existing_run_folder, read_run
from evolve.session import Ended, Outside, Session, new_session, next_session
from evolve.standing import bests, is_cut
from evolve.study.engines import Engines
from evolve.study.plan import Cell, Study
from evolve.study.record import Record, open_cell, read_record, record_of, refuse_other_options, write_record


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

    A run whose engine or learner fails, or that is refused, is left, and the next one goes on with a new engine.

    Raises:
        ConfigError: A run's folder holds another run than the study asks for, or one that a new run of the problem
            could not be compared with, for the problem's files have changed.
        InputError: The very first run is refused: what it lacks, the others lack as well.
    """
    clock, console = outside.clocks.monotonic, outside.console
    waiting = [cell for cell in study.cells if not is_finished(cell)]
    if outside.until is None or clock() < outside.until:
        _refuse_other_files(study, {cell.problem for cell in waiting})
    in_use: list[Cell] = []
    failed: dict[str, str] = {}
    with Engines() as engines:
        for place, cell in enumerate(waiting):
            if outside.until is not None and clock() >= outside.until:
                break
            left = f"{len(waiting) - place} of {len(study.cells)} runs are left"
            try:
                ended = _make(cell, engines, outside, left)
            except FolderInUseError:
                in_use.append(cell)
            except EvolveError as error:
                if isinstance(error, InputError) and cell is waiting[0]:
                    raise
                failed[str(cell)] = str(error)
                engines.drop()
                console.print(f"{cell} failed: {error}", highlight=False, markup=False)
            else:
                if ended is not None:
                    console.print(f"{cell}: {ended.reason}; best {ended.best!r}", highlight=False, markup=False)
    unfinished = [cell for cell in waiting if not is_finished(cell)]
    in_use = [cell for cell in in_use if cell in unfinished]
    return Booked(unfinished=len(unfinished), in_use=len(in_use), failed=failed, engines=engines.built)


def is_finished(cell: Cell) -> bool:
    """Return whether a run has used up its budget.

    Raises:
        ConfigError: The folder holds another run than the study asks for, one that cannot be read, or the record of a
            run of a smaller budget and no run to go on with.
    """
    record = read_record(cell)
    if record is not None and _is_enough(cell, record):
        return True
    if not (cell.folder / "run.yaml").exists():
        if record is None:
            return False
        raise ConfigError(
            f"{cell.folder} holds the figures of a run that ended at a smaller budget, and not the run: bring its "
            "run.yaml, run.json and database back to go on with it, or delete figures.json to make it anew"
        )
    text, run_id = read_run(cell.folder)
    try:
        stored = load_config(text)
    except ConfigError as error:
        raise ConfigError(f"{cell.folder / 'run.yaml'}: {error}") from error
    refuse_other_options(cell, stored)
    with open_run_database(cell.config, RunFolder(cell.folder)) as database:
        store = database.run(run_id)
        reports = store.reports()
        if not reports or is_cut(store):
            return False
        tokens, _ = store.token_totals()
        best = bests(store, cell.direction)[0].score(cell.direction)
        tally = Tally(cell.direction, completions=store.attempts_made(), tokens=tokens, best=best)
    budget = build_budget(cell.config)
    return spent(budget, tally, best=best, steps=len(reports) - 1, active_s=reports[-1].finished_s) is not None


def _refuse_other_files(study: Study, problems: Collection[str]) -> None:
    """Refuse to make runs of problems of which there are runs that were made before the problem's files changed."""
    for cell in study.cells:
        # It is empty in runs of early versions.
        if cell.problem in problems and (fingerprint := _fingerprint(cell)) and fingerprint != cell.fingerprint:
            raise ConfigError(
                f"{cell.folder} holds a run of {cell.problem}, whose files have changed since: scores may not compare; "
                "name another folder with to=DIR, or move that run away"
            )


def _fingerprint(cell: Cell) -> str:
    """Return that of the run which lies in a cell's folder, finished or not; nothing where there is none."""
    if (record := read_record(cell)) is not None:
        return record.fingerprint
    if not (cell.folder / "run.yaml").exists():
        return ""
    with open_cell(cell) as run:
        return run.record.fingerprint


def _is_enough(cell: Cell, record: Record) -> bool:
    """Return whether a record is of a run that has used up the study's budget: completions, or minutes."""
    figures = record.figures
    tally = Tally(cell.direction, completions=figures.completions, tokens=figures.tokens, best=figures.best)
    return spent(build_budget(cell.config), tally, best=figures.best, steps=0, active_s=figures.active_s) is not None


def _make(cell: Cell, engines: Engines, outside: Outside, left: str) -> Ended | None:
    """Begin a run, or go on with it; None where another process has finished it meanwhile."""

    def say() -> None:
        outside.console.print(f"{cell} ({left})", style="bold", highlight=False)

    if not (cell.folder / "run.yaml").exists():
        with new_session(cell.config, cell.folder, outside) as (session, model):
            say()
            return _go(cell, session, model, engines)
    with existing_run_folder(cell.folder) as folder:
        if is_finished(cell):
            return None
        say()
        _, run_id = folder.read_run()
        with next_session(cell.config, folder, run_id, outside) as (session, model):
            return _go(cell, session, model, engines)


def _go(cell: Cell, session: Session, model: Path | None, engines: Engines) -> Ended:
    ended = session.go(engines.lend(session.config, model, attempts=session.store.attempts_made()), model)
    if is_finished(cell):
        write_record(cell, record_of(cell))
    return ended

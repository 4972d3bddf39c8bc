"""The command `evolve merge`: the best programs of another run become members of a run, as further seeds of it.

A merged program has an attempt of its own in the run that takes it in: of step 0, as the seed program's, since no model
of this run made it; with the ids -1, -2, ... and no parent; its feedback says where it comes from. Its evaluations are
those of the other run. What looks better there than the best, and was not checked yet, is left out: nobody would check
it here. The memberships begin with a step of their own, in which no completion is made, so that the next step of
`evolve resume` draws from the merged programs too. It counts in `budget.steps` as any other.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from database.store import RunStore
from evolve.compose import build_budget, build_selection, open_run, open_run_database, problem_of
from evolve.config import Config, ProblemConfig
from evolve.confirm import worth
from evolve.errors import ConfigError, RunFolderError
from evolve.options import load_config
from evolve.run_folder import existing_run_folder
from evolve.selection import Selection, as_member, restore
from evolve.standing import bests, is_cut
from evolve.types import Attempt, Completion, Direction, Draw, FinishReason, Origin, Program, RunRecord, StepReport
from evolve.words import named_words, path_of

#: How many programs are taken where the user names no number.
_PROGRAMS = 16
#: Every database can hold such a number.
_MOST = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a merge did.

    Attributes:
        programs: Those that were taken in, best first.
        known: How many better or equal programs of the other run were left out, as the run holds the same ones.
        unchecked: How many were left out that look better than the other run's best, and that it has not checked yet.
    """

    programs: Sequence[Attempt]
    known: int
    unchecked: int


def merge(words: Sequence[str], console: Console) -> int:
    """`evolve merge`: take in another run's best programs."""
    named, _ = named_words(words, required=("from", "to"), optional=("programs",))
    count = named.get("programs", str(_PROGRAMS))
    if not count.isdecimal() or int(count) < 1:
        raise ConfigError(f"programs={count} is no number of programs: it must be at least 1")
    origin, path = path_of("from", named["from"]), path_of("to", named["to"])
    if origin.resolve() == path.resolve():
        raise ConfigError(f"from= and to= both name {path}: name two runs")
    with open_run(origin) as (other, source), existing_run_folder(path) as folder:
        text, run_id = folder.read_run()
        config = load_config(text)
        with open_run_database(config, folder) as database:
            store, problem = database.run(run_id), problem_of(config)
            _refuse_unfit(config, other, store.record, source.record)
            if not source.reports():
                raise RunFolderError(f"the run in {origin} has not begun: there is nothing to merge")
            _refuse_unfinished(store, path)
            selection = build_selection(config, problem)
            restore(selection, store)
            merged = take_in(store, selection, source, direction=problem.direction, count=min(int(count), _MOST))
            go_on = _go_on(path, _raised(config, store, problem.direction))
    console.print(_words(merged, origin, go_on), highlight=False, markup=False)
    return 0


def _refuse_unfit(config: Config, other: Config, ours: RunRecord, theirs: RunRecord) -> None:
    if ours.fingerprint and theirs.fingerprint:  # the same files are the same problem, wherever they lie
        same = (ours.problem, ours.fingerprint) == (theirs.problem, theirs.fingerprint)
    else:
        same = config.problem == other.problem
    if not same:
        names = " and ".join(_problem_words(run.problem) for run in (other, config))
        raise ConfigError(f"the runs are of different problems, or of different files or limits of one: {names}")
    if config.selection.kind == "best_of_n":
        raise ConfigError(
            "the run's selection is best_of_n, whose parents are the seed program alone: merge into another run"
        )


def _refuse_unfinished(store: RunStore, path: Path) -> None:
    """Refuse a run that stands in the middle of a step, which the merge's own step would end half done."""
    step = len(store.reports())
    if step == 0:
        raise RunFolderError(f"the run in {path} has not begun: go on with `{_go_on(path)}` first")
    if is_cut(store):
        raise RunFolderError(
            f"the run in {path} was stopped within step {step}: end that step with `{_go_on(path)}` first"
        )


def _problem_words(problem: ProblemConfig) -> str:
    return problem.name if problem.path is None else f"{problem.name} in {problem.path}"


def take_in(store: RunStore, selection: Selection, source: RunStore, *, direction: Direction, count: int) -> Merged:
    """Let the best programs of `source` that are new to a run into its population, on all islands in turn.

    Args:
        store: The run; its seed program is stored.
        selection: The run's population.
        source: The other run.
        direction: Of the problem's score.
        count: The most programs that are taken.
    """
    reports = store.reports()
    chosen, known, unchecked = _new_programs(store, source, direction, count)
    if not chosen:
        return Merged(programs=(), known=known, unchecked=unchecked)
    islands = 1 + max(membership.island for membership in store.memberships())
    first, finished_s = -1 - store.merged(), reports[-1].finished_s
    attempts = [
        _adopted(source, program, number=first - place, island=place % islands, finished_s=finished_s)
        for place, program in enumerate(chosen)
    ]
    confirmed = {confirmation.program_id: confirmation for confirmation in source.confirmations()}
    for place, program in enumerate(chosen):
        confirmation = confirmed.get(program.id)
        if confirmation is not None:  # a run of an earlier version kept the score of the first runs
            attempts[place] = replace(attempts[place], score=worth(attempts[place], confirmation, direction))
        store.insert_attempt(attempts[place])
        if confirmation is not None:
            origin = Origin.SEEDED if confirmation.origin is Origin.SCRATCH else confirmation.origin
            store.insert_confirmation(replace(confirmation, program_id=attempts[place].id, origin=origin))
    step = len(reports)
    settled = selection.finish_step(step, [(as_member(attempt), attempt.draw.island) for attempt in attempts])
    best = bests(store, direction)[0].score(direction)
    store.finish_step(_report(step, best, finished_s), settled.memberships, settled.cells)
    return Merged(programs=attempts, known=known, unchecked=unchecked)


def _new_programs(
    store: RunStore, source: RunStore, direction: Direction, count: int
) -> tuple[Sequence[Program], int, int]:
    """Return up to `count` programs of `source` that `store` lacks, and how many as good were known or not checked.

    What looks better than the best of `source` without a check is of a step that has not ended, as a rule: here its
    luck would count as a best.
    """
    # The best is asked for first: what a source that goes on confirms in between then counts as checked.
    best = bests(source, direction)[0].score(direction)
    checked = {confirmation.program_id for confirmation in source.confirmations()}
    limit = count
    while True:
        programs = source.best_programs(limit, direction)
        chosen: dict[str, Program] = {}
        known = unchecked = 0
        for program in programs:
            if len(chosen) == count:
                break
            if store.known(program.identity, before_step=len(store.reports())) is not None:
                known += 1
            elif program.id in checked or program.score is None or direction.gain(program.score, best) <= 0:
                chosen.setdefault(program.identity, program)
            elif program.identity not in chosen:
                unchecked += 1
        if len(chosen) == count or len(programs) < limit:
            return list(chosen.values()), known, unchecked
        limit *= 2


def _adopted(source: RunStore, program: Program, *, number: int, island: int, finished_s: float) -> Attempt:
    return Attempt(
        id=number,
        step=0,
        draw=Draw(island=island, parent_id=number),
        prompt=(),
        completion=Completion(group=0, sample=0, text="", tokens=0, prompt_tokens=0, finish_reason=FinishReason.STOP),
        outcome=program.outcome,
        feedback=f"program {program.id} of the run in {source.record.folder}",
        reward=None,
        identity=program.identity,
        source=program.source,
        evaluations=tuple(source.evaluations(program.id)),
        score=program.score,
        finished_s=finished_s,
    )


def _report(step: int, best: float, finished_s: float) -> StepReport:
    """Return the report of a step in which no completion was made."""
    return StepReport(
        step=step,
        attempts=0,
        outcomes={},
        best=best,
        improved=0,
        tokens=0,
        prompt_tokens=0,
        generate_s=0.0,
        tail_s=0.0,
        database_s=0.0,
        stragglers=0,
        finished_s=finished_s,
    )


def _words(merged: Merged, origin: Path, go_on: str) -> str:
    left_out = f"; {merged.known} that the run knows were left out" if merged.known else ""
    if merged.unchecked:
        left_out += (
            f"; {merged.unchecked} that look better than the other run's best and that it has not checked were left "
            f"out: have them checked with `{_go_on(origin)}`, then merge again"
        )
    if not merged.programs:
        return f"nothing was merged: the other run has no further valid program{left_out}"
    best = merged.programs[0]
    return (
        f"{len(merged.programs)} programs merged, the best with {best.score!r} as program {best.id}{left_out}; "
        f"go on with: {go_on}"
    )


def _go_on(path: Path, options: Sequence[str] = ()) -> str:
    return shlex.join(["evolve", "resume", f"run={path}", *options])


def _raised(config: Config, store: RunStore, direction: Direction) -> list[str]:
    """Return options that give a run as much again of each budget that is used up: it would end at once without."""
    options = []
    target = config.budget.score
    if target is not None and direction.gain(bests(store, direction)[0].score(direction), target) >= 0:
        options.append("budget.score=null")
        config = replace(config, budget=replace(config.budget, score=None))
    budget, last = build_budget(config), store.reports()[-1]
    spent = {
        "steps": (last.step, budget.steps),
        "minutes": (last.finished_s / 60, budget.minutes),
        "completions": (store.attempts_made(), budget.completions),
        "tokens": (store.token_totals()[0], budget.tokens),
    }
    for name, (used, limit) in spent.items():
        if limit is not None and used >= limit:
            options.append(f"budget.{name}={math.ceil(used + max(limit, 1))}")
    return options

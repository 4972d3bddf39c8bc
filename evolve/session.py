"""One stretch of a run: from `evolve run` or `evolve resume` to its end."""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from database.repository import Database
from database.store import RunStore
from evolve.budget import Budget, Tally
from evolve.compose import (
    Clocks,
    Workshop,
    build_budget,
    build_learner,
    build_prompter,
    build_rewarder,
    build_selection,
    check_learner,
    check_seed,
    create_run,
    open_run_database,
    policy_name,
    problem_of,
    resolve_policy,
    workshop_of,
)
from evolve.config import Config, FrozenConfig
from evolve.engine.build import build_engine, check_engine
from evolve.errors import ConfigError, ProblemError, StoreError
from evolve.launch import ALONE, Place
from evolve.loop import Evolution, LoopSettings, Parts
from evolve.parse import ReplyFailure, check_source
from evolve.progress import Progress
from evolve.protocols import Engine
from evolve.report import RunResult, write_report
from evolve.run_folder import RunFolder, new_run_folder
from evolve.selection import Selection, as_member, restore
from evolve.standing import best_curve, bests, in_quarantine
from evolve.types import (
    Attempt,
    Completion,
    Draw,
    Evaluation,
    FinishReason,
    Outcome,
    Problem,
    RunRecord,
    StepReport,
)
from problems.fingerprint import fingerprint_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a session of a run ended."""

    reason: str
    best: float


def seed_population(
    store: RunStore, selection: Selection, workshop: Workshop, evaluations: tuple[Evaluation, ...]
) -> None:
    """Store the seed program as attempt 0 of step 0, where it is not stored, and let it into the empty population."""
    problem = workshop.problem
    checked = check_source(problem.seed_source, problem.entry_point, problem.limits.source_chars)
    if isinstance(checked, ReplyFailure):
        raise ProblemError(f"the seed program of {problem.name} cannot be used: {checked.reason}")
    scores = [evaluation.score for evaluation in evaluations if evaluation.score is not None]
    attempt = Attempt(
        id=0,
        step=0,
        draw=Draw(island=0, parent_id=0),
        prompt=(),
        completion=Completion(group=0, sample=0, text="", tokens=0, prompt_tokens=0, finish_reason=FinishReason.STOP),
        outcome=Outcome.VALID,
        feedback=evaluations[0].feedback,
        reward=None,
        identity=checked.identity,
        source=problem.seed_source,
        evaluations=evaluations,
        score=min(scores, key=problem.direction.rank),
    )
    store.insert_attempt(attempt)
    settled = selection.finish_step(0, [(as_member(attempt), 0)])
    store.finish_step(
        StepReport(
            step=0,
            attempts=1,
            outcomes={Outcome.VALID: 1},
            best=min(scores, key=problem.direction.rank),
            improved=0,
            tokens=0,
            prompt_tokens=0,
            generate_s=0.0,
            tail_s=0.0,
            database_s=0.0,
            stragglers=0,
            finished_s=0.0,
        ),
        settled.memberships,
        settled.cells,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a session takes from outside: the time, and where to print.

    Attributes:
        place: This process among those that `accelerate launch` started.
        until: From when on no step begins, by the monotonic clock; None for as long as the run goes on.
    """

    clocks: Clocks
    console: Console
    place: Place = ALONE
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One stretch of a run: from `run` or `resume` to its end."""

    config: Config
    folder: RunFolder
    store: RunStore
    selection: Selection
    workshop: Workshop
    outside: Outside

    @contextlib.contextmanager
    def engine(self, model: Path | None, last_words: Callable[[str], None]) -> Iterator[Engine]:
        """Start the engine, or those of all ranks as one, and free what it holds afterwards.

        Args:
            model: The policy's folder, where it is in this process.
            last_words: Is told why rank 0 cannot end by itself where another rank has ended, and ends it.
        """
        place, attempts = self.outside.place, self.store.attempts_made()
        if place.ranks > 1:
            from evolve.ranks import open_ranks

            with open_ranks(self.config, model, self.folder.path, place, last_words, attempts=attempts) as ranked:
                yield ranked
        else:
            engine = build_engine(self.config, model, attempts=attempts)
            try:
                yield engine
            finally:
                engine.close()

    def go(self, engine: Engine, model: Path | None) -> Ended:
        """Run until a budget is used up; the report is written however the session ends."""
        problem = self.workshop.problem
        tokens, _ = self.store.token_totals()
        best = bests(self.store, problem.direction)[0].score(problem.direction)
        tally = Tally(problem.direction, completions=self.store.attempts_made(), tokens=tokens, best=best)
        started = self.outside.clocks.monotonic() - self.store.reports()[-1].finished_s
        until = self.outside.until
        budget = replace(build_budget(self.config), booked_s=None if until is None else until - started)

        def clock() -> float:
            return self.outside.clocks.monotonic() - started

        reason, abandon = "it was stopped", True
        with Progress(self.outside.console, problem, budget, tally, clock=clock) as progress:
            evolution = self._evolution(engine, model, budget, tally, progress, clock)
            try:
                learner = build_learner(self.config, model, engine, self.store, self.folder, progress.say)
                learner.run(evolution.step, evolution.steps())
                # A run of so many minutes ends then, not when its slowest programs do.
                reason, abandon = evolution.ended, budget.left_s(clock()) == 0.0
            finally:
                evolution.close(abandon=abandon)
                self._report(reason)
        return Ended(reason=reason, best=evolution.best)

    def _report(self, reason: str) -> None:
        """Write the report.

        Raises:
            StoreError: It cannot be written.
        """
        try:
            write_report(self.result(reason), self.folder.report)
        except OSError as error:
            folder, cause = self.folder.report, error.strerror
            raise StoreError(
                f"the report {folder} cannot be written ({cause}): free some space or allow it, then resume the run"
            ) from error

    def _evolution(
        self,
        engine: Engine,
        model: Path | None,
        budget: Budget,
        tally: Tally,
        progress: Progress,
        clock: Callable[[], float],
    ) -> Evolution:
        return Evolution(self.parts(engine, model, progress), self.settings(), budget, tally, clock=clock)

    def parts(self, engine: Engine, model: Path | None, progress: Progress) -> Parts:
        """Return what the loop is made of."""
        problem = self.workshop.problem
        return Parts(
            problem=problem,
            store=self.store,
            selection=self.selection,
            prompter=build_prompter(self.config, problem, model),
            engine=engine,
            evaluator=self.workshop.evaluator,
            rewarder=build_rewarder(self.config, problem),
            observer=progress,
        )

    def settings(self) -> LoopSettings:
        """Return the sizes of a step."""
        rollout = self.config.rollout
        return LoopSettings(
            parents=rollout.parents,
            samples=rollout.samples,
            workers=self.workshop.workers,
            late=rollout.late,
            ahead=isinstance(self.config.learner, FrozenConfig),
            seed=self.config.run.seed,
            unseen=secrets.randbits(62),
            reuse=self.config.database.reuse,
        )

    def result(self, ended: str) -> RunResult:
        """Return what the report says."""
        problem, store = self.workshop.problem, self.store
        tokens, prompt_tokens = store.token_totals()
        outcomes = store.outcome_counts()
        return RunResult(
            problem=problem,
            model=policy_name(self.config),
            seed=self.config.run.seed,
            bests=bests(store, problem.direction),
            quarantine=in_quarantine(store),
            curve=best_curve(store.reports(), problem.direction),
            outcomes=outcomes,
            lost=store.first_feedback(Outcome.LOST) if Outcome.LOST in outcomes else "",
            evaluations=store.evaluation_totals(),
            steps=store.reports()[1:],
            tokens=tokens,
            prompt_tokens=prompt_tokens,
            ended=ended,
        )


def begin(
    config: Config,
    folder: RunFolder,
    database: Database,
    workshop: Workshop,
    evaluations: tuple[Evaluation, ...],
    outside: Outside,
) -> Session:
    """Return the first session of a new run, its seed program stored; `evaluations` are those of `check_seed`."""
    store = create_run(config, folder, database, outside.clocks)
    selection = build_selection(config, workshop.problem)
    seed_population(store, selection, workshop, evaluations)
    return Session(config=config, folder=folder, store=store, selection=selection, workshop=workshop, outside=outside)


def reopen(config: Config, folder: RunFolder, store: RunStore, workshop: Workshop, outside: Outside) -> Session:
    """Return the next session of a run that was stopped or killed.

    Raises:
        ConfigError: The problem judges by other files than when the run began.
    """
    _refuse_other_files(config, store.record, workshop.problem)
    selection = build_selection(config, workshop.problem)
    if store.reports():
        restore(selection, store)
    else:  # killed before the end of step 0
        stored = store.attempts_of(0)
        evaluations = stored[0].evaluations if stored else check_seed(workshop, seed=config.run.seed)
        seed_population(store, selection, workshop, evaluations)
    return Session(config=config, folder=folder, store=store, selection=selection, workshop=workshop, outside=outside)


@contextlib.contextmanager
def new_session(config: Config, path: Path, outside: Outside) -> Iterator[tuple[Session, Path | None]]:
    """Yield the first session of a new run in a folder, and the model's folder where the engine needs one.

    Raises:
        InputError: The options, the machine, the problem or the folder do not fit; no run was begun.
    """
    problem = problem_of(config)
    with new_run_folder(path) as folder, workshop_of(config, problem) as workshop:
        evaluations = check_seed(workshop, seed=config.run.seed)
        model = _policy(config, folder, outside)
        with open_run_database(config, folder) as database:
            yield begin(config, folder, database, workshop, evaluations, outside), model


@contextlib.contextmanager
def next_session(
    config: Config, folder: RunFolder, run_id: int, outside: Outside
) -> Iterator[tuple[Session, Path | None]]:
    """Yield the next session of a run that was stopped or killed, and the model's folder where the engine needs one.

    Raises:
        InputError: The options, the machine or the problem do not fit, or the problem has changed since the run began.
    """
    with workshop_of(config, problem_of(config)) as workshop:
        model = _policy(config, folder, outside)
        with open_run_database(config, folder) as database:
            yield reopen(config, folder, database.run(run_id), workshop, outside), model


def _refuse_other_files(config: Config, record: RunRecord, problem: Problem) -> None:
    """Refuse to go on by other rules; the fingerprint is empty in runs of early versions."""
    if record.fingerprint and record.fingerprint != fingerprint_of(problem, config.problem.packages):
        raise ConfigError(
            f"the files of {problem.name} in {problem.folder}, or those of thetaevolve that judge it, have changed "
            "since the run began, and scores may not compare: put them back, or start a new run"
        )


def _policy(config: Config, folder: RunFolder, outside: Outside) -> Path | None:
    """Return the model's folder; what the engine or the learner could not use is refused before a run is begun."""
    model = resolve_policy(config, lambda text: outside.console.print(text, style="dim"))
    check_learner(config, model, folder, outside.place)
    check_engine(config)
    return model

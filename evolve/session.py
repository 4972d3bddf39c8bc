"""One stretch of a run: from `evolve run` or `evolve resume` to its end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from database.repository import Database
from database.store import RunStore
from evolve.budget import Budget, Tally
from evolve.compose import (
    Clocks,
    Workshop,
    build_budget,
    build_prompter,
    build_rewarder,
    build_selection,
    check_seed,
    create_run,
    policy_name,
)
from evolve.config import Config
from evolve.errors import ProblemError
from evolve.learner import Frozen
from evolve.loop import Evolution, LoopSettings, Parts, as_member
from evolve.parse import ReplyFailure, check_source
from evolve.progress import Progress
from evolve.protocols import Engine
from evolve.report import RunResult, write_report
from evolve.run_folder import RunFolder
from evolve.selection import Selection
from evolve.types import (
    Attempt,
    Completion,
    Draw,
    Evaluation,
    FinishReason,
    Outcome,
    StepReport,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a session of a run ended."""

    reason: str
    best: float


def seed_population(
    store: RunStore, selection: Selection, workshop: Workshop, evaluations: tuple[Evaluation, ...]
) -> None:
    """Store the seed program as attempt 0 of step 0 and let it into the empty population."""
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
        feedback="",
        reward=None,
        identity=checked.identity,
        source=problem.seed_source,
        evaluations=evaluations,
        score=min(scores, key=problem.direction.rank),
    )
    store.insert_attempt(attempt)
    memberships = selection.finish_step(0, [(as_member(attempt), 0)])
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
        memberships,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a session takes from outside: the time, and where to print."""

    clocks: Clocks
    console: Console


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One stretch of a run: from `run` or `resume` to its end."""

    config: Config
    folder: RunFolder
    store: RunStore
    selection: Selection
    workshop: Workshop
    outside: Outside

    def go(self, engine: Engine, model: Path | None) -> Ended:
        """Run until a budget is used up; the report is written however the session ends."""
        problem = self.workshop.problem
        tokens, _ = self.store.token_totals()
        best = self.store.best_programs(1, problem.direction)[0].score
        tally = Tally(problem.direction, completions=self.store.attempts_made(), tokens=tokens, best=best)
        budget = build_budget(self.config)
        started = self.outside.clocks.monotonic() - self.store.reports()[-1].finished_s

        def clock() -> float:
            return self.outside.clocks.monotonic() - started

        reason, abandon = "it was stopped", True
        with Progress(self.outside.console, problem, budget, tally, clock=clock) as progress:
            evolution = self._evolution(engine, model, budget, tally, progress, clock)
            try:
                Frozen().run(evolution.step, evolution.steps())
                reason, abandon = evolution.ended, False
            finally:
                evolution.close(abandon=abandon)
                write_report(self.result(reason), self.folder.report)
        if tally.best is None:
            raise ValueError("a run that ended has a best score")
        return Ended(reason=reason, best=tally.best)

    def _evolution(
        self,
        engine: Engine,
        model: Path | None,
        budget: Budget,
        tally: Tally,
        progress: Progress,
        clock: Callable[[], float],
    ) -> Evolution:
        rollout, problem = self.config.rollout, self.workshop.problem
        return Evolution(
            Parts(
                problem=problem,
                store=self.store,
                selection=self.selection,
                prompter=build_prompter(self.config, problem, model),
                engine=engine,
                evaluator=self.workshop.evaluator,
                rewarder=build_rewarder(self.config, problem),
                observer=progress,
            ),
            LoopSettings(
                parents=rollout.parents,
                samples=rollout.samples,
                workers=self.workshop.workers,
                late=rollout.late,
                seed=self.config.run.seed,
            ),
            budget,
            tally,
            clock=clock,
        )

    def result(self, ended: str) -> RunResult:
        """Return what the report says."""
        problem, store = self.workshop.problem, self.store
        construction = store.best_construction(problem.direction)
        if construction is None:
            raise ValueError("a run that has begun holds its seed program's construction")
        tokens, prompt_tokens = store.token_totals()
        return RunResult(
            problem=problem,
            model=policy_name(self.config),
            seed=self.config.run.seed,
            best=store.best_programs(1, problem.direction)[0],
            construction=construction,
            curve=store.best_curve(problem.direction),
            outcomes=store.outcome_counts(),
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
    """Return the next session of a run that was stopped or killed."""
    selection = build_selection(config, workshop.problem)
    if store.reports():
        selection.restore(store.members(), store.memberships())
    else:  # killed before the seed program was stored
        seed_population(store, selection, workshop, check_seed(workshop, seed=config.run.seed))
    return Session(config=config, folder=folder, store=store, selection=selection, workshop=workshop, outside=outside)

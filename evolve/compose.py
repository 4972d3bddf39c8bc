"""From a configuration to the objects of a run. The one module that knows every part."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from database.repository import Database, open_database
from database.store import RunStore
from evolve.archive import Measure
from evolve.budget import Budget, Tally
from evolve.config import Config, MapElitesConfig, ScriptedConfig, ServerConfig, VllmConfig
from evolve.engine import Sampling
from evolve.errors import ConfigError, ProblemError
from evolve.evaluate import Evaluator
from evolve.learner import Frozen
from evolve.loop import Evolution, LoopSettings, Parts, as_member
from evolve.models import model_parameters, resolve_model
from evolve.options import dump_config
from evolve.parse import ReplyFailure, check_source
from evolve.progress import Progress
from evolve.prompt import Prompter, PromptSettings, ReplyFormat
from evolve.report import RunResult, write_report
from evolve.reward import LazyMode, Penalties, Rewarder, RewardMode
from evolve.run_folder import RunFolder
from evolve.selection import BestOfN, MapElites, MapElitesSettings, RandomSelection, Selection
from evolve.types import (
    Attempt,
    Completion,
    Draw,
    Engine,
    Evaluation,
    FinishReason,
    Outcome,
    Problem,
    StepReport,
)
from problems import load_problem
from sandbox import Sandbox, SandboxUnavailable, Tier, open_sandbox

#: A run without a budget stops after this long, in minutes.
_DEFAULT_MINUTES = 60.0
#: From this size on a model is asked for edits instead of full rewrites, in parameters.
_EDITS_FROM = 7e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Where time comes from.

    Attributes:
        monotonic: Seconds from any start.
        wall: Seconds since the epoch.
    """

    monotonic: Callable[[], float]
    wall: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What evaluates programs of one problem: the part of a run that needs no model and no database."""

    problem: Problem
    sandbox: Sandbox
    evaluator: Evaluator
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a session of a run ended."""

    reason: str
    best: float


def problem_of(config: Config) -> Problem:
    """Return the problem that the configuration names."""
    path = config.problem.path
    return load_problem(config.problem.name, None if path is None else Path(path).expanduser().resolve())


@contextlib.contextmanager
def open_workshop(problem: Problem, *, require: str, workers: int) -> Iterator[Workshop]:
    """Start sandbox and verifiers; do so before any GPU library is imported.

    Args:
        problem: Whose programs are evaluated.
        require: The weakest tier of the sandbox that is accepted.
        workers: Evaluations at once; 0 for one a core.

    Raises:
        ConfigError: This machine gives a weaker sandbox than `require`.
    """
    count = workers or len(os.sched_getaffinity(0))
    try:
        sandbox = open_sandbox(require=Tier.from_name(require))
    except SandboxUnavailable as error:
        raise ConfigError(str(error)) from error
    with sandbox, Evaluator(problem, sandbox, workers=count) as evaluator:
        yield Workshop(problem=problem, sandbox=sandbox, evaluator=evaluator, workers=count)


def check_seed(workshop: Workshop, *, seed: int) -> tuple[Evaluation, ...]:
    """Return two evaluations of the seed program, with different seeds.

    Raises:
        ProblemError: It fails its own verifier; no token is spent on such a problem.
    """
    problem = workshop.problem
    evaluations = tuple(workshop.evaluator.evaluate(problem.seed_source, seed=seed + run) for run in range(2))
    for evaluation in evaluations:
        if evaluation.outcome is not Outcome.VALID:
            words = " ".join(evaluation.feedback.split()[-30:])
            raise ProblemError(
                f"the seed program of {problem.name} is {evaluation.outcome.replace('_', ' ')} ({words}); "
                f"mend {problem.folder / 'seed.py'} until `evolve run` accepts it"
            )
    return evaluations


def resolve_policy(config: Config, notify: Callable[[str], None]) -> Path | None:
    """Return the model's folder where the engine needs one; this may download it."""
    if not isinstance(config.engine, VllmConfig):
        return None
    return resolve_model(config.model, cache=Path(config.model_cache).expanduser(), notify=notify)


def build_engine(config: Config, model: Path | None) -> Engine:
    """Start the engine; a local model is loaded here. Engines are imported only when they are used."""
    engine = config.engine
    sampling = Sampling(
        temperature=config.sampling.temperature, top_p=config.sampling.top_p, max_tokens=config.sampling.max_tokens
    )
    if isinstance(engine, ScriptedConfig):
        from evolve.engine.scripted import ScriptedEngine

        return ScriptedEngine(Path(engine.file), latency_s=engine.latency_s)
    if isinstance(engine, ServerConfig):
        from evolve.engine.server import ServerEngine, ServerSettings

        settings = ServerSettings(
            url=engine.url,
            model=config.model,
            api_key=None if engine.key_file is None else _read_key(Path(engine.key_file)),
            in_flight=engine.in_flight,
            timeout_s=engine.timeout_s,
            retries=engine.retries,
        )
        return ServerEngine(settings, sampling)
    if isinstance(engine, VllmConfig) and model is not None:
        from evolve.engine.vllm import VllmEngine, VllmSettings

        return VllmEngine(
            model,
            sampling,
            VllmSettings(
                max_model_len=engine.max_model_len,
                max_num_seqs=engine.max_num_seqs,
                gpu_memory_utilization=engine.gpu_memory_utilization,
                kv_cache_gib=engine.kv_cache_gib,
                compile=engine.compile,
                logprobs=engine.logprobs,
                seed=config.run.seed,
            ),
        )
    raise ConfigError(f"engine={engine.kind} is unknown")


def _read_key(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"cannot read engine.key_file={path}: {error.strerror}") from error


def build_selection(config: Config, problem: Problem) -> Selection:
    """Return the empty population with its rules."""
    selection = config.selection
    if isinstance(selection, MapElitesConfig):
        return MapElites(
            MapElitesSettings(
                islands=selection.islands,
                exploration=selection.exploration,
                exploitation=selection.exploitation,
                measures=tuple(Measure(measure) for measure in selection.measures),
                bins=selection.bins,
                archive=selection.archive,
                migration_interval=selection.migration_interval,
                migration_share=selection.migration_share,
            ),
            problem.direction,
        )
    return BestOfN() if selection.kind == "best_of_n" else RandomSelection()


def _rewarder(config: Config, problem: Problem) -> Rewarder:
    reward = config.reward
    return Rewarder(
        mode=RewardMode(problem.reward_mode if reward.mode == "problem" else reward.mode),
        lazy=LazyMode(reward.lazy),
        direction=problem.direction,
        shape=problem.shape,
        penalties=Penalties(
            no_program=reward.no_program, lazy=reward.repeated, failed=reward.failed, invalid=reward.invalid
        ),
    )


def _prompter(config: Config, problem: Problem, model: Path | None) -> Prompter:
    prompt = config.prompt
    if prompt.format == "auto":
        large = model is not None and model_parameters(model) >= _EDITS_FROM
        reply_format = ReplyFormat.EDITS if large else ReplyFormat.FULL
    else:
        reply_format = ReplyFormat(prompt.format)
    return Prompter(
        problem,
        PromptSettings(
            reply_format=reply_format, inspirations=prompt.inspirations, failure=prompt.failure, moves=prompt.moves
        ),
    )


def _budget(config: Config) -> Budget:
    budget = config.budget
    limits = (budget.steps, budget.minutes, budget.completions, budget.tokens, budget.score)
    minutes = _DEFAULT_MINUTES if all(limit is None for limit in limits) else budget.minutes
    return Budget(
        steps=budget.steps,
        minutes=minutes,
        completions=budget.completions,
        tokens=budget.tokens,
        score=budget.score,
    )


@contextlib.contextmanager
def open_run_database(config: Config, folder: RunFolder) -> Iterator[Database]:
    """Open the database that the configuration names, else the run's own."""
    with open_database(config.database.url or folder.database_url) as database:
        yield database


def create_run(config: Config, folder: RunFolder, database: Database, clocks: Clocks) -> RunStore:
    """Store a new run in the database and its configuration in the folder."""
    text = dump_config(config)
    store = database.create_run(
        problem=config.problem.name,
        model=config.model,
        folder=str(folder.path.resolve()),
        seed=config.run.seed,
        config=text,
        started_at=clocks.wall(),
    )
    folder.write_run(text, store.record.id)
    return store


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


def restore_population(store: RunStore, selection: Selection) -> None:
    """Fill the population from the database."""
    selection.restore(store.members(), store.memberships())


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One stretch of a run: from `run` or `resume` to its end."""

    config: Config
    folder: RunFolder
    store: RunStore
    selection: Selection
    workshop: Workshop
    clocks: Clocks
    console: Console

    def go(self, engine: Engine, model: Path | None) -> Ended:
        """Run until a budget is used up; the report is written however the session ends."""
        problem = self.workshop.problem
        tokens, _ = self.store.token_totals()
        best = self.store.best_programs(1, problem.direction)[0].score
        tally = Tally(problem.direction, completions=self.store.attempts_made() - 1, tokens=tokens, best=best)
        budget = _budget(self.config)
        started = self.clocks.monotonic() - self.store.reports()[-1].finished_s

        def clock() -> float:
            return self.clocks.monotonic() - started

        reason, abandon = "it was stopped", True
        with Progress(self.console, problem, budget, tally, clock=clock) as progress:
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
                prompter=_prompter(self.config, problem, model),
                engine=engine,
                evaluator=self.workshop.evaluator,
                rewarder=_rewarder(self.config, problem),
                observer=progress,
            ),
            LoopSettings(
                parents=rollout.parents,
                samples=rollout.samples,
                workers=self.workshop.workers,
                tail_s=rollout.tail_s,
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
        outcomes = dict(store.outcome_counts())
        outcomes[Outcome.VALID] -= 1  # the seed program is no completion
        return RunResult(
            problem=problem,
            model=self.config.model,
            seed=self.config.run.seed,
            best=store.best_programs(1, problem.direction)[0],
            construction=construction,
            curve=store.best_curve(problem.direction),
            outcomes=outcomes,
            steps=store.reports()[1:],
            tokens=tokens,
            prompt_tokens=prompt_tokens,
            ended=ended,
        )

"""From a configuration to the objects of a run. The one module that knows every part."""

import contextlib
import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from database.repository import Database, open_database
from database.store import RunStore
from evolve.archive import Measure
from evolve.budget import Budget
from evolve.config import (
    Config,
    GrpoConfig,
    MapElitesConfig,
    PuctConfig,
    ScriptedConfig,
    TopKConfig,
    VllmConfig,
)
from evolve.config.checks import one_of
from evolve.cores import evaluation_cpus, evaluation_workers
from evolve.errors import ConfigError, ProblemError
from evolve.evaluate import Evaluator
from evolve.launch import ALONE, Place, check_launch
from evolve.learner import Frozen
from evolve.models import model_parameters, resolve_model
from evolve.options import dump_config, load_config
from evolve.prompt import Prompter, PromptSettings, ReplyFormat
from evolve.protocols import Engine, Learner
from evolve.reward import LazyMode, Nearness, Penalties, Rewarder, RewardMode
from evolve.run_folder import RunFolder, read_run
from evolve.selection import (
    BestOfN,
    Inspiration,
    MapElites,
    MapElitesSettings,
    Puct,
    PuctSettings,
    Selection,
    TopK,
    Weighting,
)
from evolve.types import (
    Evaluation,
    Outcome,
    Problem,
)
from evolve.words import path_of
from problems import load_problem
from problems.fingerprint import fingerprint_of
from sandbox import Sandbox, SandboxUnavailable, Tier, open_sandbox

#: What a program finds imported.
PRELOAD = ("numpy", "scipy.optimize")
#: A run without a budget stops after this long, in minutes.
_DEFAULT_MINUTES = 60.0
#: From this size on a model is asked for edits instead of full rewrites, in parameters.
_EDITS_FROM = 7e9
#: As much is said of how a seed program failed, in characters.
_FAULT_CHARS = 300
#: What else helps, where the run's own limits may be the fault.
_ROOM = {
    Outcome.TIMED_OUT: ", or give it more with problem.wall_s=",
    Outcome.OUT_OF_MEMORY: ", or give it more with problem.memory_mib=",
}


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


def problem_of(config: Config) -> Problem:
    """Return the problem that the configuration names.

    Raises:
        ConfigError: The archive's grid names a measure that the problem does not give.
        ProblemError: There is no such problem, or it cannot be used.
    """
    path, selection = config.problem.path, config.selection
    problem = load_problem(config.problem.name, None if path is None else path_of("problem.path", path).resolve())
    limits = problem.limits
    if config.problem.wall_s is not None:
        limits = replace(limits, wall_s=config.problem.wall_s)
    if config.problem.memory_mib is not None:
        limits = replace(limits, memory_mib=config.problem.memory_mib)
    problem = replace(problem, limits=limits)
    if isinstance(selection, MapElitesConfig):
        for measure in selection.measures:
            one_of("selection.measures", measure, (*Measure, *problem.measures))
    return problem


@contextlib.contextmanager
def open_workshop(
    problem: Problem, *, require: str, workers: int, packages: Sequence[str] = (), cpus: tuple[int, ...] = ()
) -> Iterator[Workshop]:
    """Start sandbox and verifiers; do so before any GPU library is imported.

    Args:
        problem: Whose programs are evaluated.
        require: The weakest tier of the sandbox that is accepted.
        workers: Evaluations at once.
        packages: What is imported before programs run, beside numpy and scipy.
        cpus: Processors that programs may use; all if empty.

    Raises:
        ConfigError: This machine gives a weaker sandbox than `require`, or lacks a package.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"problem.packages names {package}, which is not installed: pip install it, or leave it out"
            )
    try:
        sandbox = open_sandbox(require=Tier.from_name(require), preload=(*PRELOAD, *packages), cpus=cpus)
    except SandboxUnavailable as error:
        raise ConfigError(str(error)) from error
    # The sandbox closes first: what still runs in it is ended, and the evaluator need not wait for it.
    with Evaluator(problem, sandbox, workers=workers) as evaluator, sandbox:
        yield Workshop(problem=problem, sandbox=sandbox, evaluator=evaluator, workers=workers)


def workshop_of(config: Config, problem: Problem) -> contextlib.AbstractContextManager[Workshop]:
    """Start what evaluates a run's programs, as `open_workshop` does."""
    return open_workshop(
        problem,
        require=config.sandbox.require,
        workers=evaluation_workers(config),
        packages=config.problem.packages,
        cpus=evaluation_cpus(config),
    )


def check_seed(workshop: Workshop, *, seed: int) -> tuple[Evaluation, ...]:
    """Return two evaluations of the seed program, with different seeds.

    Raises:
        ProblemError: It fails its own verifier; no token is spent on such a problem.
    """
    problem = workshop.problem
    evaluations = tuple(workshop.evaluator.evaluate(problem.seed_source, seed=seed + run) for run in range(2))
    for evaluation in evaluations:
        if evaluation.outcome is Outcome.LOST:
            raise ProblemError(f"{problem.name} cannot judge its own seed program: {evaluation.feedback}")
        if evaluation.outcome is not Outcome.VALID:
            raise ProblemError(_seed_fault(problem, evaluation))
    return evaluations


def _seed_fault(problem: Problem, evaluation: Evaluation) -> str:
    """Return in one line how a seed program failed and what to mend."""
    lines = evaluation.feedback.strip().splitlines() or [""]
    # A verifier's reason comes before all else that there is to say; a traceback's last line says what was wrong.
    words = lines[0 if evaluation.outcome is Outcome.INVALID else -1].strip()[:_FAULT_CHARS]
    missing = re.search(r"No module named '(\w+)", words)
    packages = f", or let it import the package with problem.packages=[{missing[1]}]" if missing else ""
    if problem.harness is None:
        files = f"{problem.folder / 'seed.py'}"
    else:  # a task of OpenEvolve's: the fault may be its evaluator's as much as its program's
        files = f"{problem.folder / 'evaluator.py'} or initial_program.py"
    return (
        f"the seed program of {problem.name} ended as {evaluation.outcome.replace('_', ' ')} ({words}); "
        f"mend {files} until `evolve run` accepts it{packages}{_ROOM.get(evaluation.outcome, '')}"
    )


def policy_name(config: Config) -> str:
    """Return what writes the completions, for people."""
    return "recorded completions" if isinstance(config.engine, ScriptedConfig) else config.model


def resolve_policy(config: Config, notify: Callable[[str], None]) -> Path | None:
    """Return the model's folder where the engine needs one; this may download it."""
    if not isinstance(config.engine, VllmConfig):
        return None
    return resolve_model(config.model, cache=path_of("model_cache", config.model_cache), notify=notify)


def check_learner(config: Config, model: Path | None, folder: RunFolder, place: Place = ALONE) -> None:
    """Refuse what the learner could not train, before the engine is started.

    Raises:
        ConfigError: An option, the machine, the launch or the run's newest checkpoint does not fit.
    """
    check_launch(place, config.rollout.parents, config.learner.kind)
    if isinstance(config.learner, GrpoConfig):
        from evolve.training import check_grpo

        check_grpo(config, config.learner, model, folder.path, place)


def build_learner(
    config: Config,
    model: Path | None,
    engine: Engine,
    store: RunStore,
    folder: RunFolder,
    notify: Callable[[str], None],
) -> Learner:
    """Return the learner of a configuration that `check_learner` has passed.

    Args:
        config: Of the run.
        model: The policy's folder, where it is in this process.
        engine: Serves the policy.
        store: Takes the figures of the updates.
        folder: The run's.
        notify: Is told what a person should know.
    """
    if isinstance(config.learner, GrpoConfig):
        from evolve.training import build_grpo

        return build_grpo(config, model, engine, store, folder.path, notify)
    return Frozen()


def build_selection(config: Config, problem: Problem) -> Selection:
    """Return the empty population with its rules."""
    selection = config.selection
    if isinstance(selection, MapElitesConfig):
        return MapElites(
            MapElitesSettings(
                islands=selection.islands,
                exploration=selection.exploration,
                exploitation=selection.exploitation,
                weighting=Weighting(selection.weighting),
                inspirations=Inspiration(selection.inspirations),
                measures=tuple(selection.measures),
                bins=selection.bins,
                archive=selection.archive,
                population=selection.population,
                failures=selection.failures,
                migration_interval=selection.migration_interval,
                migration_share=selection.migration_share,
            ),
            problem.direction,
        )
    if isinstance(selection, PuctConfig):
        settings = PuctSettings(
            groups=config.rollout.parents,
            exploration=selection.exploration,
            children=selection.children,
            buffer=selection.buffer,
        )
        return Puct(settings, problem.direction)
    if isinstance(selection, TopKConfig):
        scale = abs(problem.shape.best - problem.shape.worst)
        return TopK(selection.k, problem.direction, selection.apart * scale)
    return BestOfN() if selection.kind == "best_of_n" else TopK(None, problem.direction)


def build_rewarder(config: Config, problem: Problem) -> Rewarder:
    """Return the rewards of the configuration, with the problem's own form and shape."""
    reward = config.reward
    return Rewarder(
        mode=RewardMode(problem.reward_mode if reward.mode == "problem" else reward.mode),
        lazy=LazyMode(reward.lazy),
        near=Nearness(edit=reward.near_edit, score=reward.near_score),
        direction=problem.direction,
        shape=problem.shape,
        penalties=Penalties(
            no_program=reward.no_program, lazy=reward.repeated, failed=reward.failed, invalid=reward.invalid
        ),
    )


def build_prompter(config: Config, problem: Problem, model: Path | None) -> Prompter:
    """Return the prompts' builder; the reply format follows the model's size unless it is named."""
    prompt = config.prompt
    if prompt.format == "auto":
        large = model is not None and model_parameters(model) >= _EDITS_FROM
        reply_format = ReplyFormat.EDITS if large else ReplyFormat.FULL
    else:
        reply_format = ReplyFormat(prompt.format)
    prompt_tokens = None
    if isinstance(config.engine, VllmConfig):
        prompt_tokens = config.engine.max_model_len - config.sampling.max_tokens
    return Prompter(
        problem,
        PromptSettings(
            reply_format=reply_format,
            inspirations=prompt.inspirations,
            ancestors=prompt.ancestors,
            failure=prompt.failure,
            moves=prompt.moves,
            focus=prompt.focus,
            prompt_tokens=prompt_tokens,
        ),
    )


def build_budget(config: Config) -> Budget:
    """Return the budgets; a run without any gets an hour."""
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
    """Open the database that the configuration names, else the run's own; it is made for a run that has not begun.

    Raises:
        RunFolderError: The folder holds a run, and its database is missing.
    """
    begun = (folder.path / "run.yaml").exists()
    with open_database(config.database.url or folder.database_url, create=not begun) as database:
        yield database


@contextlib.contextmanager
def open_run(path: Path) -> Iterator[tuple[Config, RunStore]]:
    """Open the database of a run's folder to look at it; another process may be working on the run.

    Raises:
        RunFolderError: The folder holds no run, or its database is missing.
    """
    text, run_id = read_run(path)
    config = load_config(text)
    url = config.database.url or RunFolder(path).database_url
    with open_database(url, create=False, to_read=True) as database:
        yield config, database.run(run_id)


def create_run(config: Config, folder: RunFolder, database: Database, clocks: Clocks) -> RunStore:
    """Store a new run in the database and its configuration in the folder."""
    text = dump_config(config)
    store = database.create_run(
        problem=config.problem.name,
        model=policy_name(config),
        folder=str(folder.path.resolve()),
        seed=config.run.seed,
        config=text,
        started_at=clocks.wall(),
        fingerprint=fingerprint_of(problem_of(config), config.problem.packages),
    )
    folder.write_run(text, store.record.id)
    return store

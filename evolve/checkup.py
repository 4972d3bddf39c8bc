"""The command `evolve doctor problem=NAME`: is a problem fit to be searched, before a token is spent?"""

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from evolve.compose import Workshop, build_budget, check_seed, problem_of, workshop_of
from evolve.config import Config, ServerConfig
from evolve.engine.build import reach_server
from evolve.errors import EngineError, ProblemError
from evolve.evaluate import Evaluator
from evolve.garbage import Garbage, garbage, garbage_rules, longest_list, mutants
from evolve.report import draw_construction
from evolve.types import Evaluation, Outcome, Problem, ProblemKind, Verdict
from evolve.verifier import VerifierError, VerifierProcess

#: One piece of garbage must be refused within this time, in seconds; reading the longest list takes most of it.
GARBAGE_S = 20.0
#: Faults of one kind that are listed.
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check came to.

    Attributes:
        what: What was checked.
        faults: What is wrong, one line each; empty if nothing is.
    """

    what: str
    faults: tuple[str, ...] = ()


def checkup(config: Config, console: Console) -> int:
    """Check the configured run's problem, and its server if it has one, and print it; exit code 0 fit, 1 not."""
    problem = problem_of(config)
    console.out(f"{problem.title} ({problem.unit}, {problem.direction} is better), {problem.folder}", highlight=False)
    healthy = True
    with workshop_of(config, problem) as workshop:
        runs = check_seed(workshop, seed=config.run.seed)
        for finding in itertools.chain(_server(config), findings(workshop, runs)):
            healthy = healthy and not finding.faults
            console.out(f"{'FAULT' if finding.faults else 'ok':5} {finding.what}", highlight=False)
            for fault in finding.faults[:_SHOWN]:
                console.out(f"      {fault}", highlight=False)
    for line in costs(config, problem, seed_s=max(run.wall_s for run in runs), workers=workshop.workers):
        console.out(f"      {line}", highlight=False)
    return 0 if healthy else 1


def _server(config: Config) -> Iterator[Finding]:
    """Yield whether the run's server is there, where the run has one."""
    if isinstance(config.engine, ServerConfig):
        try:
            yield Finding(what=reach_server(config, config.engine))
        except EngineError as error:
            yield Finding(what="the server", faults=(str(error),))


def findings(workshop: Workshop, runs: tuple[Evaluation, ...]) -> Iterator[Finding]:
    """Yield what each check comes to, given two valid runs of the seed program."""
    problem, evaluator = workshop.problem, workshop.evaluator
    records = len(problem.records)
    files = "problem.yaml, seed.py, verify.py" if problem.harness is None else "evaluator.py, initial_program.py"
    yield Finding(what=f"{files}; {records} record{'s' * (records != 1)} with sources")
    scores = " and ".join(repr(run.score) for run in runs)
    yield Finding(
        what=f"the seed program is valid: {scores} with two seeds, in {max(run.wall_s for run in runs):.2f} s"
    )
    if problem.kind is ProblemKind.RULE:
        yield _same_play(evaluator, problem, runs[0])
        yield _rules(evaluator, problem)
    else:
        yield _same_verdict(evaluator, runs[0])
        yield _refusals(problem, "garbage is refused", [*garbage(), longest_list()])
        pieces = list(mutants(runs[0].construction or "null"))
        if problem.harness is None:
            yield _refusals(problem, "mutated seed constructions", pieces)
        else:  # what the task's own evaluator says is the score, whatever it is
            believed = [replace(piece, invalid=False) for piece in pieces]
            yield _refusals(
                problem, "the task's own evaluator is believed, so its score is no proof; mutants", believed
            )
    yield _drawing(problem, runs[0])


def _same_verdict(evaluator: Evaluator, run: Evaluation) -> Finding:
    """Verify a construction in two fresh processes: both must say what the run's verifier said."""
    faults = []
    for _ in range(2):
        try:
            verdict = evaluator.verify(run.construction or "null")
        except VerifierError as error:
            faults.append(f"on the seed's own construction {error}")
            continue
        if _key(verdict) != (run.score, run.exact, dict(run.measures)):
            told = verdict.reason if verdict.score is None else f"{verdict.score!r}, exactly {verdict.exact}"
            faults.append(f"the seed's construction has {run.score!r}, exactly {run.exact}; verified again: {told}")
    return Finding(what="the verifier is deterministic, and takes its own constructions back", faults=tuple(faults))


def _key(verdict: Verdict) -> tuple[float | None, str | None, dict[str, float]]:
    return verdict.score, verdict.exact, dict(verdict.measures)


def _same_play(evaluator: Evaluator, problem: Problem, run: Evaluation) -> Finding:
    again = evaluator.evaluate(problem.seed_source, seed=run.seed, afresh=True)
    same = (again.score, again.exact) == (run.score, run.exact)
    fault = f"the seed's rule has {run.exact}; played again in a fresh process it has {again.exact}"
    return Finding(what="the verifier is deterministic", faults=() if same else (fault,))


def _rules(evaluator: Evaluator, problem: Problem) -> Finding:
    faults = []
    for name, source in garbage_rules(problem.entry_point):
        evaluation = evaluator.evaluate(source, seed=0)
        if evaluation.outcome in (Outcome.VALID, Outcome.LOST):
            faults.append(f"{name}: {evaluation.outcome} {evaluation.feedback}")
    return Finding(what="rules that give no answers are refused", faults=tuple(faults))


def _refusals(problem: Problem, what: str, pieces: list[Garbage]) -> Finding:
    """Give a verifier one piece after the other; it must refuse what it must refuse, and never fail."""
    faults = []
    verifier = VerifierProcess(problem)
    try:
        for piece in pieces:
            try:
                verdict = verifier.verify(piece.text, timeout_s=GARBAGE_S).verdict
            except VerifierError as error:
                faults.append(f"{piece.name}: {error}")
                if len(faults) == _SHOWN:
                    break
                verifier.close()
                verifier = VerifierProcess(problem)
                continue
            if piece.invalid and verdict is not None and verdict.valid:
                faults.append(f"{piece.name}: valid with score {verdict.score!r}")
    finally:
        verifier.close()
    return Finding(what=f"{what}: {len(pieces)} tried", faults=tuple(faults))


def _drawing(problem: Problem, run: Evaluation) -> Finding:
    """Draw the seed's construction, where the problem draws."""
    if not (problem.folder / "picture.py").exists() or problem.kind is ProblemKind.RULE:
        return Finding(what="no picture")
    try:
        with tempfile.TemporaryDirectory() as folder:
            drawn = draw_construction(problem, run.construction or "null", Path(folder) / "seed.png")
    except ProblemError as error:
        return Finding(what="the picture", faults=(str(error),))
    return Finding(what="the picture", faults=() if drawn else ("picture.py wrote no file",))


def costs(config: Config, problem: Problem, *, seed_s: float, workers: int) -> list[str]:
    """Return what the configured run will cost, in lines.

    Args:
        config: Of the run.
        problem: Which it searches.
        seed_s: One run of the seed program, in seconds.
        workers: Evaluations at once.
    """
    budget, limit_s = build_budget(config), problem.limits.wall_s
    parents, samples = config.rollout.parents, config.rollout.samples
    steps = None if budget.steps is None else budget.steps * parents * samples
    completions = min((limit for limit in (steps, budget.completions) if limit is not None), default=None)
    lines = [f"a step of the configured run: {parents} x {samples} = {parents * samples} completions"]
    if completions is not None:
        fast, slow = (completions * seconds / workers / 60 for seconds in (seed_s, limit_s))
        lines.append(
            f"the run: {completions} completions, at most as many evaluations; with {workers} at once {fast:.1f} min "
            f"if programs are like the seed, {slow:.1f} min if all use their {limit_s:g} s"
        )
    if budget.minutes is not None:
        fast, slow = (60 * budget.minutes * workers / max(seconds, 1e-3) for seconds in (seed_s, limit_s))
        lines.append(
            f"it stops after {budget.minutes:g} min, enough with {workers} at once for {slow:.0f} evaluations of "
            f"{limit_s:g} s, or {fast:.0f} like the seed's"
        )
    return [*lines, "not counted: the model's own time, and three more runs of each new best"]

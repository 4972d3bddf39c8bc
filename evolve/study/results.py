"""A study's results as files: `results.json` for programs, `results.md` for people, and a picture for each problem."""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evolve.compose import policy_name
from evolve.dashboard.arms import compare
from evolve.dashboard.catalog import Catalog, OpenRun
from evolve.dashboard.figures import draw_arms
from evolve.errors import ConfigError
from evolve.study.booking import is_finished
from evolve.study.figures import ArmFigures, RunFigures, SignTest, arms_of, run_figures, sign_tests
from evolve.study.plan import Study
from evolve.types import Problem

_SHARES: Mapping[str, Callable[[RunFigures], float]] = {
    "valid %": lambda run: run.valid,
    "improved %": lambda run: run.improved,
    "distinct %": lambda run: run.distinct,
}


def write_results(study: Study) -> list[ArmFigures]:
    """Write the results of the finished runs into the study's folder, and return them.

    Raises:
        ConfigError: The folder cannot be written.
    """
    finished = [cell for cell in study.cells if is_finished(cell)]
    figures: dict[str, RunFigures] = {}
    opened: dict[str, dict[str, list[OpenRun]]] = {}
    try:
        study.folder.mkdir(parents=True, exist_ok=True)
        with Catalog(only=[cell.folder for cell in finished]) as catalog:
            for cell in finished:
                run = catalog.opened(cell.folder)
                figures[str(cell)] = run_figures(cell, run, study.file.problems[cell.problem].target)
                opened.setdefault(cell.problem, {}).setdefault(cell.arm, []).append(run)
            for problem, arms in opened.items():
                compared = compare(arms)
                for suffix in ("png", "svg") if compared else ():
                    draw_arms(compared, study.folder / f"{problem}.{suffix}")
        found = arms_of(study, figures)
        tree = json.dumps(_tree(study, found), indent=2, ensure_ascii=False)
        (study.folder / "results.json").write_text(tree + "\n", encoding="utf-8")
        (study.folder / "results.md").write_text(_page(study, found), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"cannot write to {study.folder}: {error.strerror}; name another folder with to=DIR"
        ) from error
    return found


def _tests(study: Study, arms: Sequence[ArmFigures]) -> list[SignTest]:
    return sign_tests(arms, study.problems, next(iter(study.file.arms)))


def _tree(study: Study, arms: Sequence[ArmFigures]) -> dict[str, Any]:
    """Return what results.json holds."""
    return {
        "study": study.name,
        **dataclasses.asdict(study.file),
        "models": _models(study),
        "machine": _machine(),
        "runs": {"planned": len(study.cells), "finished": sum(len(arm.runs) for arm in arms)},
        "results": [_arm_tree(arm, study.problems[arm.problem]) for arm in arms],
        "tests": [{**dataclasses.asdict(test), "p": test.p} for test in _tests(study, arms)],
    }


def _arm_tree(arm: ArmFigures, problem: Problem) -> dict[str, Any]:
    names = ("worst", "quartile_1", "median", "quartile_3", "best")
    quantiles = {
        name: arm.quantile(share, problem.direction) for name, share in zip(names, (0, 0.25, 0.5, 0.75, 1), strict=True)
    }
    return {
        "problem": arm.problem,
        "arm": arm.arm,
        "direction": str(problem.direction),
        "unit": problem.unit,
        **quantiles,
        "reached": arm.reached,
        "valid": arm.median(lambda run: run.valid),
        "improved": arm.median(lambda run: run.improved),
        "distinct": arm.median(lambda run: run.distinct),
        "completions": arm.median(lambda run: run.completions),
        "active_s": arm.median(lambda run: run.active_s),
        "runs": [dataclasses.asdict(run) for run in arm.runs],
    }


def _machine() -> dict[str, str]:
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "thetaevolve": importlib.metadata.version("thetaevolve"),
    }


def _page(study: Study, arms: Sequence[ArmFigures]) -> str:
    """Return what results.md holds."""
    file, first = study.file, next(iter(study.file.arms))
    budget = f"{file.budget.completions} completions" if file.budget.completions else f"{file.budget.minutes:g} minutes"
    finished = sum(len(arm.runs) for arm in arms)
    lines = [
        f"# {study.name}",
        "",
        f"{finished} of {len(study.cells)} runs are finished; each may spend {budget}. Seeds "
        f"{', '.join(map(str, file.seeds))}. {_machine_line(study)}.",
        "",
        "Scores are those that were confirmed at zero tolerance. % are of all completions, medians over the seeds: "
        "valid ones made a new valid program, improved ones one better than its parent; distinct is the share of "
        "different new programs among the replies that held one. Quartiles are linear between two runs.",
    ]
    for name, problem in study.problems.items():
        of_problem = [arm for arm in arms if arm.problem == name]
        if of_problem:
            lines += ["", *_table(problem, of_problem, file.problems[name].target), "", f"![{name}]({name}.png)"]
    tests = _tests(study, arms)
    if tests:
        lines += ["", f"## Against {first}, over all problems", "", *_test_table(tests)]
    lines += ["", "## Arms", ""]
    lines += [f"- {arm}: `{' '.join(words) or 'the defaults'}`" for arm, words in file.arms.items()]
    lines += [f"- all: `{' '.join(file.options)}`"] if file.options else []
    return "\n".join(lines) + "\n"


def _models(study: Study) -> list[str]:
    return sorted({policy_name(cell.config) for cell in study.cells})


def _machine_line(study: Study) -> str:
    machine = _machine()
    versions = f"Python {machine['python']}, thetaevolve {machine['thetaevolve']}"
    return f"{', '.join(_models(study))}; {machine['platform']}, {versions}"


def _table(problem: Problem, arms: Sequence[ArmFigures], target: float | None) -> list[str]:
    """Return a problem's table, the best median first."""
    aim = "target" if target is None else f"{target:g}"
    names = ("arm", "runs", "median", "worst to best", "quartiles", f"completions to {aim}", *_SHARES, "s")
    rows = [
        f"## {problem.title} ({problem.unit}, {problem.direction})",
        "",
        f"| {' | '.join(names)} |",
        f"|{' --- |' * len(names)}",
    ]
    direction = problem.direction
    for arm in sorted(arms, key=lambda arm: direction.rank(arm.quantile(0.5, direction)), reverse=True):
        worst, low, median, high, best = (f"{arm.quantile(share / 4, direction):.10g}" for share in range(5))
        shares = (f"{100 * arm.median(share):.1f}" for share in _SHARES.values())
        entries = (arm.arm, str(len(arm.runs)), median, f"{worst} to {best}", f"{low} to {high}")
        seconds = f"{arm.median(lambda run: run.active_s):.0f}"
        rows.append(f"| {' | '.join((*entries, _reached(arm, target), *shares, seconds))} |")
    return rows


def _reached(arm: ArmFigures, target: float | None) -> str:
    if target is None:
        return "-"
    count = sum(run.reached is not None for run in arm.runs)
    median = "never" if arm.reached is None else f"{arm.reached:.0f}"
    return f"{median} ({count} of {len(arm.runs)})"


def _test_table(tests: Sequence[SignTest]) -> list[str]:
    """Return the sign tests with what they can say."""
    pairs = max(test.wins + test.losses for test in tests)
    lowest = SignTest(arm="", against="", wins=pairs, losses=0, ties=0).p
    return [
        "| arm | better | worse | equal | p |",
        "| --- | --- | --- | --- | --- |",
        *(f"| {test.arm} | {test.wins} | {test.losses} | {test.ties} | {test.p:.3g} |" for test in tests),
        "",
        "Runs of the same problem and seed are paired; p is that of the two-sided sign test (Dixon and Mood 1946), "
        f"which with {pairs} unequal pairs cannot fall below {lowest:.2g}, uncorrected for the number of arms. "
        "Three seeds of one problem cannot fall below 0.25: their bands show a difference, they do not prove one.",
    ]

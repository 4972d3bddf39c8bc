"""A study's results as files: `results.json` for programs, `results.md` for people, and a picture for each problem."""

import contextlib
import dataclasses
import fcntl
import json
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from evolve.compose import policy_name
from evolve.dashboard.arms import Against, compare
from evolve.dashboard.figures import draw_arms
from evolve.errors import ConfigError
from evolve.run_folder import write_whole
from evolve.study.booking import is_finished
from evolve.study.figures import ArmFigures, RunFigures, SignTest, arms_of, sign_tests
from evolve.study.plan import Cell, Study
from evolve.study.record import Record, read_record, record_of
from evolve.types import Problem

#: Seconds that a run may take beyond its minutes: for an update of the model, or for a step that is finished.
_BEYOND_S = 60.0
_SHARES: Mapping[str, Callable[[RunFigures], float]] = {
    "valid %": lambda run: run.valid,
    "improved %": lambda run: run.improved,
    "distinct %": lambda run: run.distinct,
}


def write_results(study: Study) -> list[ArmFigures]:
    """Write the results of the finished runs into the study's folder, and return them.

    Bookings that end together write one after the other, so that what stands there in the end is of all runs.

    Raises:
        ConfigError: The folder cannot be written, or holds runs of a problem before and after its files changed.
    """
    with _alone(study):
        records = {str(cell): read_record(cell) or record_of(cell) for cell in study.cells if is_finished(cell)}
        changed, over = _changed(study, records), _over(study, records)
        found = arms_of(study, {cell: record.figures for cell, record in records.items()})
        try:
            for name, problem in study.problems.items():
                against = Against.MINUTES if study.file.budget.completions is None else Against.COMPLETIONS
                curves = {arm.arm: [run.points(against) for run in arm.runs] for arm in found if arm.problem == name}
                compared = compare(problem, curves, against)
                for suffix in ("png", "svg") if compared else ():
                    draw_arms(compared, study.folder / f"{name}.{suffix}")
            machines = _machines(records.values())
            tree = json.dumps(_tree(study, found, machines, changed, over), indent=2, ensure_ascii=False)
            write_whole(study.folder / "results.json", tree + "\n")
            write_whole(study.folder / "results.md", _page(study, found, machines, changed, over))
        except OSError as error:
            raise _unwritable(study, error) from error
    return found


@contextlib.contextmanager
def _alone(study: Study) -> Iterator[None]:
    """Wait until no other booking writes the study's results."""
    try:
        study.folder.mkdir(parents=True, exist_ok=True)
        lock = (study.folder / "lock").open("w", encoding="utf-8")
    except OSError as error:
        raise _unwritable(study, error) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel gives it back when the process ends, however it ends
        yield


def _unwritable(study: Study, error: OSError) -> ConfigError:
    return ConfigError(f"cannot write to {study.folder}: {error.strerror}; name another folder with to=DIR")


def _changed(study: Study, records: Mapping[str, Record]) -> list[str]:
    """Return the problems whose files have changed since their runs were made.

    Args:
        study: The study.
        records: Of its finished runs, by the cell's text.

    Raises:
        ConfigError: Runs of one problem were made with different files.
    """
    made: dict[str, tuple[Cell, bool]] = {}  # of each problem, a run by which the others are judged
    seen: dict[tuple[str, str], str] = {}
    for cell in study.cells:
        record = records.get(str(cell))
        if record is None or not record.fingerprint:  # it is empty in runs of early versions
            continue
        is_changed = record.fingerprint != cell.fingerprint
        first, first_changed = made.setdefault(cell.problem, (cell, is_changed))
        # Arms may differ in their limits, and so in their fingerprints.
        same = seen.setdefault((cell.problem, cell.arm), record.fingerprint) == record.fingerprint
        if is_changed != first_changed or not same:
            raise ConfigError(
                f"{cell.folder} holds a run of {cell.problem} with other files of the problem than those of other runs "
                f"beside {first.folder}: scores may not compare; move those of one kind away"
            )
    return [name for name, (_, is_changed) in made.items() if is_changed]


def _over(study: Study, records: Mapping[str, Record]) -> list[str]:
    """Return the runs that spent more than the budget and what a run may go beyond it: it was larger once."""
    budget, over = study.file.budget, []
    for cell in study.cells:
        if (record := records.get(str(cell))) is not None:
            rollout = cell.config.rollout
            step = rollout.parents * rollout.samples * (1 + rollout.late)
            completions = budget.completions is not None and record.figures.completions > budget.completions + step
            minutes = budget.minutes is not None and record.figures.active_s > 60 * budget.minutes + _BEYOND_S
            over += [str(cell)] if completions or minutes else []
    return over


def _tests(study: Study, arms: Sequence[ArmFigures]) -> list[SignTest]:
    return sign_tests(arms, study.problems, next(iter(study.file.arms)))


def _machines(records: Iterable[Record]) -> list[Mapping[str, str]]:
    """Return the machines on which runs ended, each once."""
    return list({str(record.machine): record.machine for record in records}.values())


def _tree(
    study: Study,
    arms: Sequence[ArmFigures],
    machines: Sequence[Mapping[str, str]],
    changed: Sequence[str],
    over: Sequence[str],
) -> dict[str, Any]:
    """Return what results.json holds."""
    return {
        "study": study.name,
        **dataclasses.asdict(study.file),
        "models": _models(study),
        "machines": list(machines),
        "files_changed_since": list(changed),
        "over_budget": list(over),
        "runs": {"planned": len(study.cells), "finished": sum(len(arm.runs) for arm in arms)},
        "results": [_arm_tree(arm, study.problems[arm.problem]) for arm in arms],
        "tests": [{**dataclasses.asdict(test), "p": test.p} for test in _tests(study, arms)],
    }


def _arm_tree(arm: ArmFigures, problem: Problem) -> dict[str, Any]:
    names = ("worst", "quartile_1", "median", "quartile_3", "best")
    quantiles = {name: arm.quantile(share) for name, share in zip(names, (0, 0.25, 0.5, 0.75, 1), strict=True)}
    return {
        "problem": arm.problem,
        "arm": arm.arm,
        "direction": str(problem.direction),
        "unit": problem.unit,
        **quantiles,
        "mean": arm.mean,
        "reached_s": arm.reached and arm.reached[0],
        "reached": arm.reached and arm.reached[1],
        "valid": arm.median(lambda run: run.valid),
        "improved": arm.median(lambda run: run.improved),
        "distinct": arm.median(lambda run: run.distinct),
        "completions": arm.median(lambda run: run.completions),
        "active_s": arm.median(lambda run: run.active_s),
        "runs": [
            dataclasses.asdict(run) | {"reached_s": reached and reached[0], "reached": reached and reached[1]}
            for run, reached in zip(arm.runs, arm.reached_each(), strict=True)
        ],
    }


def _page(
    study: Study,
    arms: Sequence[ArmFigures],
    machines: Sequence[Mapping[str, str]],
    changed: Sequence[str],
    over: Sequence[str],
) -> str:
    """Return what results.md holds."""
    file, first = study.file, next(iter(study.file.arms))
    completions, minutes = file.budget.completions, file.budget.minutes
    budget = f"{minutes:g} minutes" if completions is None else f"{completions} completions"
    finished = sum(len(arm.runs) for arm in arms)
    lines = [
        f"# {study.name}",
        "",
        f"{finished} of {len(study.cells)} runs are finished; each may spend {budget}. Seeds "
        f"{', '.join(map(str, file.seeds))}. {'; '.join([*_models(study), *map(_machine_words, machines)])}.",
        "",
        "Scores are those that were confirmed at zero tolerance. % are of all completions, medians over the seeds: "
        "valid ones made a new valid program, improved ones one better than its parent; distinct is the share of "
        "different new programs among the replies that held one. Of a best program the worst of its runs counts, and "
        "their best construction is what was verified. Quartiles are linear between two runs. A "
        "target is reached by the end of a step.",
    ]
    if changed:
        lines += [
            "",
            f"Since these runs were made, files have changed by which programs are judged: {', '.join(changed)}.",
        ]
    if over:
        lines += ["", f"These runs spent more, for the budget was larger when they were made: {'; '.join(over)}."]
    for name, problem in study.problems.items():
        of_problem = [arm for arm in arms if arm.problem == name]
        if of_problem:
            lines += ["", *_table(problem, of_problem), "", f"![{name}]({name}.png)", "", *_run_table(of_problem)]
            lines += _last_third_table(of_problem)
    tests = _tests(study, arms)
    if tests:
        lines += ["", f"## Against {first}, over all problems", "", *_test_table(tests)]
    lines += ["", "## Arms", ""]
    lines += [f"- {arm}: `{' '.join(words) or 'the defaults'}`" for arm, words in file.arms.items()]
    lines += [f"- all: `{' '.join(file.options)}`"] if file.options else []
    return "\n".join(lines) + "\n"


def _models(study: Study) -> list[str]:
    return sorted({policy_name(cell.config) for cell in study.cells})


def _machine_words(machine: Mapping[str, str]) -> str:
    versions = f"Python {machine['python']}, thetaevolve {machine['thetaevolve']}"
    return f"{machine['platform']}, GPU {machine['gpu']}, {versions}"


def _table(problem: Problem, arms: Sequence[ArmFigures]) -> list[str]:
    """Return a problem's table, the best median first."""
    target = arms[0].target
    aim = "target" if target is None else f"{target:g}"
    spent = (f"completions to {aim}", f"s to {aim}")
    names = ("arm", "runs", "median", "mean", "worst to best", "quartiles", *spent, *_SHARES, "s")
    rows = [
        f"## {problem.title} ({problem.unit}, {problem.direction})",
        "",
        f"| {' | '.join(names)} |",
        f"|{' --- |' * len(names)}",
    ]
    for arm in sorted(arms, key=lambda arm: arm.direction.rank(arm.quantile(0.5)), reverse=True):
        worst, low, median, high, best = (f"{arm.quantile(share / 4):.10g}" for share in range(5))
        shares = (f"{100 * arm.median(share):.1f}" for share in _SHARES.values())
        entries = (arm.arm, str(len(arm.runs)), median, f"{arm.mean:.10g}", f"{worst} to {best}", f"{low} to {high}")
        seconds = f"{arm.median(lambda run: run.active_s):.0f}"
        rows.append(f"| {' | '.join((*entries, *_reached(arm), *shares, seconds))} |")
    return rows


def _reached(arm: ArmFigures) -> tuple[str, str]:
    """Return the medians of completions and of seconds to the target, and how many runs reached it."""
    if arm.target is None:
        return "-", "-"
    count = sum(each is not None for each in arm.reached_each())
    seconds, completions = ("never", "never") if arm.reached is None else (f"{each:.0f}" for each in arm.reached)
    return f"{completions} ({count} of {len(arm.runs)})", seconds


def _run_table(arms: Sequence[ArmFigures]) -> list[str]:
    """Return each run of a problem, with the best construction of its best program as it was verified exactly."""
    names = (
        "arm",
        "seed",
        "best",
        "its construction, exactly",
        "at completions; s",
        *_SHARES,
        "completions",
        "tokens",
        "s",
    )
    rows = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for arm in arms:
        for run in arm.runs:
            seconds, made, _ = run.rises[-1] if run.rises else (0.0, 0, run.best)
            shares = (f"{100 * share(run):.1f}" for share in _SHARES.values())
            spent = (str(run.completions), str(run.tokens), f"{run.active_s:.0f}")
            entries = (arm.arm, str(run.seed), f"{run.best:.10g}", run.exact or "-", f"{made}; {seconds:.0f}")
            rows.append(f"| {' | '.join((*entries, *shares, *spent))} |")
    return rows


def _last_third_table(arms: Sequence[ArmFigures]) -> list[str]:
    """Return the last third of each arm's steps, medians over its runs, where any of them learned."""
    thirds = {arm.arm: [run.last_third for run in arm.runs if run.last_third is not None] for arm in arms}
    if not any(figures.updates for runs in thirds.values() for figures in runs):
        return []
    names = ("arm", "valid %", "changed %", "improved %", "distinct %", "entropy", "updates", "waited %")
    rows = [
        "",
        "The last third of each run's steps, medians over the seeds. Changed ones are valid and do not have their "
        "parent's score; entropy in nats a token. Updates are those of whole runs; of the time around them the learner "
        "waited so many % for completions and evaluations.",
        "",
        f"| {' | '.join(names)} |",
        f"|{' --- |' * len(names)}",
    ]
    for name, runs in thirds.items():
        if runs:
            shares = (
                _percent(run.valid for run in runs),
                _percent(run.changed for run in runs),
                _percent(run.improved for run in runs),
                _percent(run.distinct for run in runs),
            )
            entropies = [run.entropy for run in runs if run.entropy is not None]
            entropy = f"{statistics.median(entropies):.3f}" if entropies else "-"
            updates = f"{statistics.median(run.updates for run in runs):.0f}"
            waited = _percent(run.waited for run in runs if run.waited is not None)
            rows.append(f"| {' | '.join((name, *shares, entropy, updates, waited))} |")
    return rows


def _percent(shares: Iterable[float]) -> str:
    found = list(shares)
    return f"{100 * statistics.median(found):.1f}" if found else "-"


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

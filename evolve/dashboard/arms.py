"""Runs side by side: arms are runs that differ in nothing but their seed."""

import math
import statistics
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import yaml
from markupsafe import Markup

from evolve.dashboard.bests import curve
from evolve.dashboard.catalog import OpenRun
from evolve.dashboard.charts import Chart, Line, line_chart
from evolve.dashboard.texts import number
from evolve.errors import ConfigError
from evolve.options import dump_config
from evolve.types import Problem

#: A run's best against what it spent: `(spent, best)` at the end of each step in which the best rose, and now.
Points = Sequence[tuple[float, float]]

#: Points of a band.
GRID = 200
#: Options, or groups of them, in which runs of one arm may differ.
_OWN = {"run", "database", "budget", "model_cache", "sandbox", "engine.file", "engine.url", "engine.key_file"}


class Against(StrEnum):
    """What runs spend, at equal amounts of which their bests are compared: completions, or active minutes."""

    COMPLETIONS = "completions"
    MINUTES = "minutes"


def spent(amount: float, against: Against) -> str:
    """Return an amount as people read it: completions are whole, minutes have seconds and a tenth.

    >>> spent(2304.0, Against.COMPLETIONS), spent(1.25, Against.MINUTES), spent(0.9999, Against.MINUTES)
    ('2,304', '1:15.0', '1:00.0')
    """
    if against is Against.COMPLETIONS:
        return f"{amount:,.0f}"
    minutes, tenths = divmod(round(600 * amount), 600)
    return f"{minutes}:{tenths / 10:04.1f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Runs that are repetitions of each other.

    Attributes:
        problem: Theirs.
        against: What `xs` and `reached` count.
        xs: Completions or minutes, up to the shortest run's.
        median: `(len(xs),)` over the runs.
        low: `(len(xs),)` the lowest run, or the lower quartile from four runs on.
        high: `(len(xs),)` the highest run, or the upper quartile from four runs on.
        final: Each run's best at the last of `xs`, best first.
        reached: Completions or minutes until each run reached the target; None for a run that did not.
    """

    name: str
    problem: Problem
    against: Against
    xs: Sequence[float]
    median: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    final: Sequence[float]
    reached: Sequence[float | None]


def group_by_arm(runs: Sequence[OpenRun]) -> dict[str, list[OpenRun]]:
    """Return the runs by arm; an arm's name says in which options it differs from the others.

    Raises:
        ConfigError: The runs are of several problems, whose scores cannot be compared.
    """
    refuse_mixture(runs)
    # With their defaults: an older run does not name the options that came after it.
    options = {run.key: _flat(yaml.safe_load(dump_config(run.config))) for run in runs}
    names = sorted({name for each in options.values() for name in each})
    differing = [name for name in names if len({str(each.get(name)) for each in options.values()}) > 1]
    # Variants have options of their own; their kind says enough.
    kinds = {name.removesuffix("kind") for name in differing if name.endswith(".kind")}
    arms: dict[str, list[OpenRun]] = {}
    for run in runs:
        own = options[run.key]
        words = [
            _word(name, own)
            for name in differing
            if name in own
            and (name.endswith(".kind") or not _lacked(name, options) or not name.startswith(tuple(kinds)))
        ]
        arms.setdefault(", ".join(words) or run.record.model, []).append(run)
    return arms


def refuse_mixture(runs: Sequence[OpenRun]) -> None:
    """Refuse runs of several problems, whose scores cannot be compared.

    Raises:
        ConfigError: There are several.
    """
    problems = sorted({run.problem.name for run in runs})
    if len(problems) > 1:
        raise ConfigError(f"runs of {' and '.join(problems)} cannot be compared: name runs of one problem")


def _lacked(name: str, options: Mapping[str, Mapping[str, object]]) -> bool:
    return any(name not in each for each in options.values())


def _word(name: str, options: Mapping[str, object]) -> str:
    value = options[name]
    return str(value) if name.endswith(".kind") else f"{name.rpartition('.')[2]}={value}"


def _flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return the options that make an arm, by dotted name."""
    found: dict[str, object] = {}
    for name, value in tree.items():
        if f"{prefix}{name}" in _OWN:
            continue
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def compare_runs(arms: Mapping[str, Sequence[OpenRun]], against: Against) -> list[Arm]:
    """Return the arms as `compare` does, from their runs."""
    if not arms:
        return []
    problem = next(iter(arms.values()))[0].problem
    curves = {name: [_points(run, against) for run in runs] for name, runs in arms.items()}
    return compare(problem, curves, against)


def compare(problem: Problem, arms: Mapping[str, Sequence[Points]], against: Against) -> list[Arm]:
    """Return the arms with their bands, the best median first; those without a finished step are left out.

    Args:
        problem: Of all runs.
        arms: The runs' points, by the arm's name.
        against: What the points count.

    The target of `Arm.reached` is the record, or where no run reached it the worst of the arms' medians at the end,
    which at least half of the runs of each arm have reached.
    """
    curves = {name: [points for points in runs if len(points) > 1] for name, runs in arms.items()}
    curves = {name: runs for name, runs in curves.items() if runs}
    aim = target(problem, [_arm(name, problem, runs, against, None) for name, runs in curves.items()])
    whole = [_arm(name, problem, runs, against, aim) for name, runs in curves.items()]
    return sorted(whole, key=lambda arm: problem.direction.rank(arm.median[-1]), reverse=True)


def target(problem: Problem, arms: Sequence[Arm]) -> float | None:
    """Return the score whose cost is compared, None without arms."""
    rank = problem.direction.rank
    if problem.record is not None and any(rank(arm.final[0]) >= rank(problem.record.score) for arm in arms):
        return problem.record.score
    return min((arm.median[-1] for arm in arms), key=rank, default=None)


def _points(run: OpenRun, against: Against) -> Points:
    return [(made if against is Against.COMPLETIONS else minutes, best) for made, minutes, best in curve(run)]


def _arm(name: str, problem: Problem, curves: Sequence[Points], against: Against, aim: float | None) -> Arm:
    """Return an arm of at least one run, each with at least one finished step."""
    end = min(points[-1][0] for points in curves)
    xs = _grid(end, against)
    columns = [sorted(_at(points, x) for points in curves) for x in xs]
    rank = problem.direction.rank
    reached = [None if aim is None else next((x for x, y in points if rank(y) >= rank(aim)), None) for points in curves]
    return Arm(
        name=name,
        problem=problem,
        against=against,
        xs=xs,
        median=[statistics.median(column) for column in columns],
        low=[_quartile(column, 1) for column in columns],
        high=[_quartile(column, 3) for column in columns],
        final=sorted((_at(points, end) for points in curves), key=rank, reverse=True),
        reached=reached,
    )


def _grid(end: float, against: Against) -> list[float]:
    """Return amounts from 0 to `end`, each once; completions are whole."""
    xs = [end * k / GRID for k in range(GRID + 1)]
    return sorted({float(math.floor(x)) for x in xs} if against is Against.COMPLETIONS else xs)


def _at(points: Points, x: float) -> float:
    """Return a run's best after `x` completions or minutes."""
    return points[max(bisect_right(points, x, key=lambda point: point[0]) - 1, 0)][1]


def _quartile(column: Sequence[float], which: int) -> float:
    """Return a quartile of sorted values; with fewer than four values the lowest or the highest."""
    if len(column) < 4:
        return column[0] if which == 1 else column[-1]
    return statistics.quantiles(column, n=4, method="inclusive")[which - 1]


def arm_charts(arms: Sequence[Arm]) -> list[Markup]:
    """Return the arms' medians with their bands beside the record, and their distance to it."""
    if not arms:
        return []
    problem = arms[0].problem
    record = problem.record
    marks = [] if record is None else [(record.score, f"record {number(record.score, 8)}")]
    lines = [_line(arm, place, arm.median, arm.low, arm.high) for place, arm in enumerate(arms)]
    against = arms[0].against
    charts = [line_chart(Chart(title=f"Best against {against}", x=against, y=problem.unit, lines=lines, marks=marks))]
    if record is not None:
        gaps = []
        for place, arm in enumerate(arms):
            sides = [
                [problem.direction.gain(record.score, y) for y in side] for side in (arm.median, arm.low, arm.high)
            ]
            gaps.append(_line(arm, place, *sides))
        title = "Distance to the record"
        charts.append(line_chart(Chart(title=title, x=against, y=problem.unit, lines=gaps, log=True)))
    return [chart for chart in charts if chart]


def _line(arm: Arm, place: int, middle: Sequence[float], low: Sequence[float], high: Sequence[float]) -> Line:
    return Line(
        name=arm.name,
        colour=place % 7,
        points=list(zip(arm.xs, middle, strict=True)),
        band=list(zip(arm.xs, low, high, strict=True)) if len(arm.final) > 1 else (),
        step=True,
    )

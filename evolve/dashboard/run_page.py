"""What the page of one run shows."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from markupsafe import Markup

from evolve.compose import build_budget
from evolve.dashboard.bests import Best, curve, run_best
from evolve.dashboard.catalog import OpenRun
from evolve.dashboard.charts import POINTS, Chart, Line, Stack, line_chart, stack_chart
from evolve.dashboard.learning import panels, time_layers
from evolve.dashboard.texts import clock, number, percent
from evolve.types import REPLY_FAILURES, ArchiveCell, Direction, Outcome, StepReport, Training

_Value = TypeVar("_Value")
#: Kinds of outcomes as a chart stacks them: name, colour, members.
KINDS: Sequence[tuple[str, int, frozenset[Outcome]]] = (
    ("valid", 1, frozenset({Outcome.VALID})),
    ("lazy", 3, frozenset({Outcome.UNCHANGED, Outcome.DUPLICATE})),
    ("invalid", 5, frozenset({Outcome.INVALID})),
    (
        "failed",
        2,
        frozenset(
            {
                Outcome.CRASHED,
                Outcome.TIMED_OUT,
                Outcome.OUT_OF_MEMORY,
                Outcome.OUTPUT_LIMIT,
                Outcome.VIOLATION,
                Outcome.KILLED,
            }
        ),
    ),
    ("no program", 4, REPLY_FAILURES),
    ("lost", 6, frozenset({Outcome.LOST})),
)
#: Colours of where the time went: generation, tail, and what a learner adds.
_TIME_COLOURS = (0, 2, 3, 1, 5, 6, 4)
#: Levels of a heat map's colour.
LEVELS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """One budget: what is spent of it, for a bar."""

    name: str
    left: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One large number with its name."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of an island's archive, for a heat map; `level` is its colour, from 0 to LEVELS - 1."""

    x: int
    y: int
    program_id: int
    score: float
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """An island with its archive.

    Attributes:
        columns: Bins along the first measure.
        rows: Bins along the second; further measures lie on top of each other, the best in sight.
    """

    number: int
    programs: int
    cells: Sequence[Cell]
    columns: int
    rows: int
    best: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """Everything on the page."""

    best: Best | None
    tiles: Sequence[Tile]
    budgets: Sequence[Left]
    charts: Sequence[Markup]
    learning: Sequence[Markup]
    outcomes: Sequence[tuple[Outcome, int]]
    completions: int
    islands: Sequence[Island]
    running: bool


def run_page(run: OpenRun, *, now: float) -> RunPage:
    """Return what the page of a run shows.

    Args:
        run: Which.
        now: Seconds since the epoch.
    """
    reports = run.reports()
    outcomes = outcome_counts(run, reports)
    running = run.is_running()
    active_s = reports[-1].finished_s if reports else 0.0
    return RunPage(
        best=run_best(run),
        tiles=_tiles(reports, outcomes, active_s=active_s, since_s=now - run.record.started_at),
        budgets=_budgets(run, reports, sum(outcomes.values()), active_s),
        charts=run.seen("charts", lambda: _charts(run, run.reports())),
        learning=run.seen("learning", lambda: learning_charts(run.views.trainings())),
        outcomes=sorted(outcomes.items(), key=lambda item: -item[1]),
        completions=sum(outcomes.values()),
        islands=run.seen("islands", lambda: islands(run)),
        running=running,
    )


def outcome_counts(run: OpenRun, reports: Sequence[StepReport]) -> Mapping[Outcome, int]:
    """Return how all completions ended, those of the unfinished step included."""
    counts: Counter[Outcome] = Counter()
    for report in reports:
        if report.step > 0:
            counts.update(report.outcomes)
    counts.update(run.views.running_outcomes(reports[-1].step if reports else -1))
    return counts


def _tiles(
    reports: Sequence[StepReport], outcomes: Mapping[Outcome, int], *, active_s: float, since_s: float
) -> list[Tile]:
    made = sum(outcomes.values())
    lazy = outcomes.get(Outcome.UNCHANGED, 0) + outcomes.get(Outcome.DUPLICATE, 0)
    latest = [report for report in reports[-10:] if report.step > 0]
    seconds = sum(report.generate_s + report.tail_s for report in latest)
    tokens = sum(report.tokens for report in latest)
    ended = sum(report.attempts for report in latest)
    return [
        Tile(name="completions", value=f"{made:,}", note=f"{max(len(reports) - 1, 0):,} steps finished"),
        Tile(name="valid", value=percent(outcomes.get(Outcome.VALID, 0), made)),
        Tile(name="lazy", value=percent(lazy, made), note="repeat a known program"),
        Tile(name="tokens/s", value=number(tokens / seconds, 3) if seconds else "–", note="last ten steps"),
        Tile(name="evaluations/s", value=number(ended / seconds, 3) if seconds else "–", note="last ten steps"),
        Tile(name="active time", value=clock(active_s), note=f"started {clock(max(since_s, 0))} ago"),
    ]


def _budgets(run: OpenRun, reports: Sequence[StepReport], made: int, active_s: float) -> list[Left]:
    """Return what is left of each budget that the run has."""
    budget = build_budget(run.config)
    tokens = sum(report.tokens for report in reports)
    spent: Sequence[tuple[str, float | None, float, Callable[[float], str]]] = (
        ("steps", budget.steps, max(len(reports) - 1, 0), lambda left: f"{left:,.0f}"),
        ("time", None if budget.minutes is None else 60 * budget.minutes, active_s, clock),
        ("completions", budget.completions, made, lambda left: f"{left:,.0f}"),
        ("tokens", budget.tokens, tokens, lambda left: f"{left:,.0f}"),
    )
    return [
        Left(name=name, left=words(max(limit - used, 0)), share=min(used / limit, 1.0) if limit else 1.0)
        for name, limit, used, words in spent
        if limit is not None
    ]


def _charts(run: OpenRun, reports: Sequence[StepReport]) -> list[Markup]:
    problem, points = run.problem, curve(run)
    record = problem.record
    marks = [] if record is None else [(record.score, f"record {number(record.score, 8)}")]
    by_count = [(completions, score) for completions, _, score in points]
    by_time = [(minutes, score) for _, minutes, score in points]
    unit = problem.unit
    charts = [
        Chart(
            title="Best against completions",
            x="completions",
            y=unit,
            lines=[Line(name="best", points=by_count, step=True)],
            marks=marks,
        ),
        Chart(
            title="Best against active time",
            x="minutes",
            y=unit,
            lines=[Line(name="best", points=by_time, step=True)],
            marks=marks,
        ),
    ]
    if record is not None:
        gaps = [(x, problem.direction.gain(record.score, y)) for x, y in by_count]
        title = "Distance to the record"
        charts.append(
            Chart(title=title, x="completions", y=unit, lines=[Line(name="gap", points=gaps, step=True)], log=True)
        )
    drawn = [line_chart(chart) for chart in charts]
    drawn += [*step_charts(reports), time_chart(reports, run.views.trainings())]
    return [chart for chart in drawn if chart]


def step_charts(reports: Sequence[StepReport]) -> list[Markup]:
    """Return what changes from step to step: outcomes, speed, and where the time went."""
    groups = _grouped([report for report in reports if report.step > 0])
    if not groups:
        return []
    xs = [float(group[-1].step) for group in groups]
    kinds = [(name, colour, [float(_count(group, members)) for group in groups]) for name, colour, members in KINDS]
    seconds = [sum(report.generate_s + report.tail_s for report in group) for group in groups]
    tokens = [sum(report.tokens for report in group) / max(s, 1e-9) for group, s in zip(groups, seconds, strict=True)]
    rate = [sum(report.attempts for report in group) / max(s, 1e-9) for group, s in zip(groups, seconds, strict=True)]
    improved = [
        100 * sum(report.improved for report in group) / max(sum(report.attempts for report in group), 1)
        for group in groups
    ]
    speed = Line(name="tokens/s", points=list(zip(xs, tokens, strict=True)))
    ended = Line(name="evaluations/s", colour=1, points=list(zip(xs, rate, strict=True)))
    better = Line(name="better", colour=1, points=list(zip(xs, improved, strict=True)))
    return [
        stack_chart(Stack(title="How completions ended", x="step", xs=xs, layers=kinds)),
        line_chart(Chart(title="Better than their parent, %", x="step", y="%", lines=[better], from_zero=True)),
        line_chart(Chart(title="Tokens generated a second", x="step", y="", lines=[speed], from_zero=True)),
        line_chart(Chart(title="Evaluations a second", x="step", y="", lines=[ended], from_zero=True)),
    ]


def _grouped(values: Sequence[_Value]) -> list[Sequence[_Value]]:
    """Return what each step has in groups of neighbours, no more groups than a chart has room for."""
    every = max(1, -(-len(values) // POINTS))
    return [values[first : first + every] for first in range(0, len(values), every)]


def _count(group: Sequence[StepReport], members: frozenset[Outcome]) -> int:
    return sum(count for report in group for outcome, count in report.outcomes.items() if outcome in members)


def learning_charts(trainings: Sequence[Training]) -> list[Markup]:
    """Return a chart of each panel of figures that the learner reports; empty without a learner."""
    charts = []
    for panel in panels(trainings):
        lines = [Line(name=name, colour=colour % 7, points=points) for colour, (name, points) in enumerate(panel.lines)]
        charts.append(line_chart(Chart(title=panel.title, x="step", y="", lines=lines)))
    return [chart for chart in charts if chart]


def time_chart(reports: Sequence[StepReport], trainings: Sequence[Training]) -> Markup:
    """Return a chart of where the time of the steps went."""
    steps = [report for report in reports if report.step > 0]
    layers = [
        (name, _TIME_COLOURS[place % len(_TIME_COLOURS)], [sum(group) for group in _grouped(amounts)])
        for place, (name, amounts) in enumerate(time_layers(steps, trainings))
    ]
    xs = [float(group[-1].step) for group in _grouped(steps)]
    return stack_chart(Stack(title="Where a step's time went", x="step", xs=xs, layers=layers))


def islands(run: OpenRun) -> list[Island]:
    """Return the islands, each with the cells of its newest grid."""
    holders = run.holders()
    scores = run.views.scores_of(sorted({cell.program_id for held in holders.values() for cell in held}))
    direction = run.problem.direction
    ranks = [direction.rank(score) for score in scores.values()]
    low, high = min(ranks, default=0.0), max(ranks, default=0.0)
    found = []
    for island, programs in run.views.island_sizes().items():
        own = [cell for cell in holders.get(island, ()) if cell.program_id in scores]
        cells = _projected(own, scores, direction, low, high)
        found.append(
            Island(
                number=island,
                programs=programs,
                cells=cells,
                columns=1 + max((cell.x for cell in cells), default=-1),
                rows=1 + max((cell.y for cell in cells), default=-1),
                best=max((cell.score for cell in cells), key=direction.rank, default=None),
            )
        )
    return found


def _projected(
    own: Sequence[ArchiveCell], scores: Mapping[int, float], direction: Direction, low: float, high: float
) -> list[Cell]:
    """Return the cells seen along their first two measures, the best on top; the lowest bins are numbered 0."""
    top: dict[tuple[int, int], Cell] = {}
    places = [(*cell.cell, 0, 0)[:2] for cell in own]
    left, bottom = (min((place[axis] for place in places), default=0) for axis in range(2))
    for cell, place in zip(own, places, strict=True):
        x, y = place[0] - left, place[1] - bottom
        score = scores[cell.program_id]
        share = (direction.rank(score) - low) / (high - low) if high > low else 1.0
        level = min(int(share * LEVELS), LEVELS - 1)
        seen = top.get((x, y))
        if seen is None or direction.gain(score, seen.score) > 0:
            top[x, y] = Cell(x=x, y=y, program_id=cell.program_id, score=score, level=level)
    return [top[place] for place in sorted(top)]

"""Pictures for paper and e-mail, by Matplotlib: the format is that of the file's name."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from evolve.dashboard.arms import Arm
from evolve.dashboard.learning import panels
from evolve.dashboard.run_page import KINDS
from evolve.dashboard.texts import number
from evolve.report import verbatim
from evolve.types import Problem, StepReport, Training

#: The dashboard's colours on paper, in its order.
COLOURS = ("#1f5fa8", "#2f8f63", "#c0522d", "#d0a127", "#8a8f98", "#8c5aa8", "#4fa3b5")
_QUIET = "#5b6570"


def draw_arms(arms: Sequence[Arm], file: Path) -> None:
    """Draw each arm's median with its band, each run's end as a dot; beside the record, and as the distance to it."""
    problem = arms[0].problem
    record = problem.record
    figure, places = _figure(1 if record is None else 2)
    for place, arm in enumerate(arms):
        colour = COLOURS[place % len(COLOURS)]
        label = verbatim(f"{arm.name} ({len(arm.final)})")
        sides: list[Sequence[float]] = [arm.median, arm.low, arm.high, arm.final]
        for axes in places:
            middle, low, high, ends = sides
            axes.plot(arm.xs, middle, drawstyle="steps-post", color=colour, linewidth=2, label=label)
            if len(ends) > 1:
                axes.fill_between(arm.xs, low, high, step="post", color=colour, alpha=0.18, linewidth=0)
            axes.plot([arm.xs[-1]] * len(ends), ends, ".", color=colour, markersize=6)
            if record is not None:
                sides = [[problem.direction.gain(record.score, score) for score in side] for side in sides]
    _record(places[0], problem)
    places[0].set_ylabel(verbatim(problem.unit))
    places[0].set_title(verbatim(problem.title), loc="left")
    places[0].legend(frameon=False)
    for axes in places[1:]:
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylabel("distance to the record")
    for axes in places:
        axes.set_xlabel(arms[0].against)
    figure.savefig(file, dpi=150)


def draw_curves(problem: Problem, points: Sequence[tuple[float, float, float]], file: Path) -> None:
    """Draw a run's best against completions and against minutes.

    Args:
        problem: For the record and the unit.
        points: `(completions, minutes, best)`.
        file: Where to.
    """
    figure, (left, right) = _figure(2)
    for axes, axis, name in ((left, 0, "completions"), (right, 1, "active minutes")):
        xs, ys = [point[axis] for point in points], [point[2] for point in points]
        axes.plot(xs, ys, drawstyle="steps-post", color=COLOURS[0], linewidth=2)
        _record(axes, problem)
        axes.set_xlabel(name)
    left.set_ylabel(verbatim(problem.unit))
    figure.savefig(file, dpi=120)


def draw_steps(reports: Sequence[StepReport], file: Path) -> None:
    """Draw how completions ended from step to step, and the speed."""
    steps = [report.step for report in reports]
    figure, (left, right) = _figure(2)
    layers = [
        (name, colour, [sum(report.outcomes.get(each, 0) for each in members) for report in reports])
        for name, colour, members in KINDS
    ]
    layers = [layer for layer in layers if any(layer[2])]
    whole = [max(sum(counts), 1) for counts in zip(*(layer[2] for layer in layers), strict=True)]
    shares = [[100 * a / b for a, b in zip(layer[2], whole, strict=True)] for layer in layers]
    left.stackplot(steps, shares, labels=[layer[0] for layer in layers], colors=[COLOURS[layer[1]] for layer in layers])
    left.set_ylabel("% of completions")
    left.legend(frameon=True, loc="lower left", fontsize=8)
    seconds = [max(report.generate_s + report.tail_s, 1e-9) for report in reports]
    tokens = [report.tokens / s for report, s in zip(reports, seconds, strict=True)]
    right.plot(steps, tokens, color=COLOURS[0], linewidth=2)
    right.set_ylabel("tokens/s")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("step")
    figure.savefig(file, dpi=120)


def draw_learning(trainings: Sequence[Training], file: Path) -> None:
    """Draw each panel of figures that the learner reports."""
    wanted = panels(trainings)
    figure, places = _figure(len(wanted))
    for axes, panel in zip(places, wanted, strict=True):
        for colour, (name, points) in enumerate(panel.lines):
            xs, ys = [x for x, _ in points], [y for _, y in points]
            axes.plot(xs, ys, color=COLOURS[colour % len(COLOURS)], linewidth=1.6, label=verbatim(name))
        axes.set_title(verbatim(panel.title), loc="left", fontsize=10)
        axes.set_xlabel("step")
        if len(panel.lines) > 1:
            axes.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=120)


def _figure(panels: int) -> tuple[Figure, list[Axes]]:
    columns = min(panels, 2)
    rows = -(-panels // columns)
    size = (7.2, 4.4) if panels == 1 else (10, 3.4 * rows)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    found = [figure.add_subplot(rows, columns, place + 1) for place in range(panels)]
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e3e0d8", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, found


def _record(axes: Axes, problem: Problem) -> None:
    if problem.record is not None:
        axes.axhline(problem.record.score, color=_QUIET, linewidth=0.9, linestyle="--")
        text = f"record {number(problem.record.score, 8)}"
        axes.annotate(
            text, (1, problem.record.score), xycoords=("axes fraction", "data"), xytext=(-2, -3),
            textcoords="offset points", ha="right", va="top", fontsize=8, color=_QUIET,
        )  # fmt: skip

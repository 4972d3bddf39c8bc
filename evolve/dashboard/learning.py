"""What a learner reports, as panels: figures that belong together share one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from evolve.types import StepReport, Training

#: What people look for first.
_FIRST = ("reward", "entropy", "importance", "distinct")
#: Ends of names that are sides of one figure.
_SIDES = ("_min", "_mean", "_max", "_std")
#: Times that a step's report has too.
_REPORTED = ("generate_s", "wait_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One or more figures over the steps.

    Attributes:
        lines: Name and `(step, value)`.
    """

    title: str
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]


def panels(trainings: Sequence[Training]) -> list[Panel]:
    """Return every figure that the learner reports, times aside, those that people look for first."""
    names = {name for training in trainings for name in training.values if not name.endswith("_s")}
    found = []
    for stem, group in groupby(sorted(names, key=lambda name: (_stem(name), name)), _stem):
        lines = [
            (_words(name), [(float(each.step), each.values[name]) for each in trainings if name in each.values])
            for name in group
        ]
        found.append(Panel(title=_words(stem), lines=lines))
    return sorted(found, key=lambda panel: _FIRST.index(panel.title) if panel.title in _FIRST else len(_FIRST))


def time_layers(reports: Sequence[StepReport], trainings: Sequence[Training]) -> list[tuple[str, Sequence[float]]]:
    """Return where the time of each step went: name and `(len(reports),)` seconds.

    Generation and the wait for the last evaluations are the report's; the rest is what the learner adds.
    """
    by_step = {training.step: training.values for training in trainings}
    names = sorted({name for training in trainings for name in training.values if name.endswith("_s")})
    added = [
        (_words(name.removesuffix("_s")), [max(by_step.get(each.step, {}).get(name, 0.0), 0.0) for each in reports])
        for name in names
        if name not in _REPORTED
    ]
    generation = ("generation", [report.generate_s for report in reports])
    return [generation, ("evaluation tail", [report.tail_s for report in reports]), *added]


def _stem(name: str) -> str:
    side = next((side for side in _SIDES if name.endswith(side)), "")
    return name.removesuffix(side)


def _words(name: str) -> str:
    return name.replace("_", " ").replace("/", " ")

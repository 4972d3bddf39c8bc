"""What the first page shows: the best bound of each problem over all runs, against its record."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evolve.dashboard.catalog import OpenRun
from evolve.dashboard.pictures import can_draw
from evolve.dashboard.texts import agreeing, exact_gain, number
from evolve.standing import best_curve
from evolve.types import Confirmation, Direction, Evaluation, Origin, Outcome, Problem, Record

#: What people read for where a best came from.
ORIGINS = {
    Origin.SCRATCH: "found from the problem's own seed program",
    Origin.SEEDED: "the search began with programs of another run",
    Origin.RECALL: "equals a stored record, or its program spells it out",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How a score compares with a record.

    Attributes:
        gain: By how much it is better, in the problem's unit; negative when it is worse, as a text.
        sign: 1 better, 0 equal, -1 worse.
        share: The gap as a share of the record's size, as a text; empty when the record is 0.
    """

    gain: str
    sign: int
    share: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The best construction of one run.

    Attributes:
        same: The leading digits of the exact score that the record has too.
        rest: The others.
        confirmation: What the check of it found; None when it was not checked.
    """

    run: OpenRun
    program_id: int
    evaluation: Evaluation
    same: str
    rest: str
    gap: Gap | None
    confirmation: Confirmation | None
    finished_at: float

    @property
    def origin(self) -> str:
        """Where it came from, for people; empty when nobody knows."""
        return "" if self.confirmation is None else ORIGINS[self.confirmation.origin]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """A run in the list of all runs."""

    run: OpenRun
    completions: int
    steps: int
    active_s: float
    best: Best | None
    running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A problem with its best over all runs.

    Attributes:
        curve: `(completions, best)` of the run that holds it.
        progress: Where the best lies between the seed program's score and the record, from 0 to 1; None without
            a record.
        quarantined: Better results that a check refused.
    """

    problem: Problem
    best: Best
    record: Record | None
    claimed: Record | None
    has_picture: bool
    runs: int
    curve: Sequence[tuple[float, float]]
    progress: float | None
    quarantined: int


def gap_to(problem: Problem, evaluation: Evaluation, record: Record | None) -> Gap | None:
    """Return how an evaluation compares with a record, in exact arithmetic where both know their digits."""
    if record is None or evaluation.score is None:
        return None
    sign = 1 if problem.direction is Direction.MAX else -1
    gain: float = problem.direction.gain(evaluation.score, record.score)
    if evaluation.exact is not None:
        exact = exact_gain(evaluation.exact, record.exact or repr(record.score), sign)
        gain = gain if exact is None else float(exact)
    share = f"{100 * abs(gain / record.score):.2g} %" if record.score else ""
    return Gap(gain=number(abs(gain), 3), sign=(gain > 0) - (gain < 0), share=share)


def run_best(run: OpenRun) -> Best | None:
    """Return the best construction that may be shown, of a run."""
    return run.seen("best", lambda: _run_best(run))


def _run_best(run: OpenRun) -> Best | None:
    direction, record = run.problem.direction, run.problem.record
    found = [(standing, standing.construction(direction)) for standing in run.bests()]
    if not found:
        return None
    # A construction stands for itself, also one whose program's score is that of a worse run.
    standing, evaluation = max(found, key=lambda pair: direction.rank(pair[1].score or 0.0))
    # A check by eye needs 16 digits; a rule's score is a short decimal anyway.
    exact = (evaluation.exact or repr(evaluation.score))[:19]
    same, rest = ("", exact) if record is None else agreeing(exact, record.exact or repr(record.score))
    return Best(
        run=run,
        program_id=standing.attempt.id,
        evaluation=evaluation,
        same=same,
        rest=rest,
        gap=gap_to(run.problem, evaluation, record),
        confirmation=standing.confirmation,
        finished_at=run.record.started_at + standing.attempt.finished_s,
    )


def run_line(run: OpenRun) -> RunLine:
    """Return what the list of runs shows of one."""
    reports = run.reports()
    completions = sum(report.attempts for report in reports if report.step > 0)
    running = run.views.running_outcomes(reports[-1].step if reports else -1)
    return RunLine(
        run=run,
        completions=completions + sum(running.values()),
        steps=max(len(reports) - 1, 0),
        active_s=reports[-1].finished_s if reports else 0.0,
        best=run_best(run),
        running=run.is_running(),
    )


def curve(run: OpenRun) -> Sequence[tuple[float, float, float]]:
    """Return `(completions, minutes, best)` at the end of each step in which the best rose, the last held until now."""
    return run.seen("curve", lambda: _curve(run))


def _curve(run: OpenRun) -> Sequence[tuple[float, float, float]]:
    reports = run.reports()
    points = [(float(made), seconds / 60, best) for seconds, made, best in best_curve(reports, run.problem.direction)]
    if points:
        made = sum(report.attempts for report in reports if report.step)
        points.append((float(made), reports[-1].finished_s / 60, points[-1][2]))
    return points


def cards(runs: Sequence[OpenRun]) -> list[Card]:
    """Return a card for each problem that has runs, those closest to or furthest beyond their record first."""
    by_problem: dict[str, list[OpenRun]] = {}
    for run in runs:
        by_problem.setdefault(f"{run.problem.name}\n{run.problem.folder}", []).append(run)
    found = []
    for group in by_problem.values():
        bests = [best for run in group if (best := run_best(run)) is not None]
        if bests:
            found.append(_card(group, bests))
    return sorted(found, key=_closeness, reverse=True)


def _closeness(card: Card) -> float:
    """Return by which part of the record's size the best is better than the record; without a record it comes last."""
    score = card.best.evaluation.score
    if card.record is None or score is None:
        return -math.inf
    return card.problem.direction.gain(score, card.record.score) / (abs(card.record.score) or 1.0)


def _card(group: Sequence[OpenRun], bests: Sequence[Best]) -> Card:
    problem = group[0].problem
    best = max(bests, key=lambda best: problem.direction.rank(best.evaluation.score or 0.0))
    record = problem.record
    claims = [claim for claim in problem.records if not claim.exactly_valid]
    line = [(completions, score) for completions, _, score in curve(best.run)]
    return Card(
        problem=problem,
        best=best,
        record=record,
        claimed=claims[0] if claims else None,
        has_picture=can_draw(problem),
        runs=len(group),
        curve=line,
        progress=_progress(problem, line, best),
        quarantined=sum(not check.confirmed for run in group for check in run.confirmations().values()),
    )


def _progress(problem: Problem, line: Sequence[tuple[float, float]], best: Best) -> float | None:
    if problem.record is None or not line or best.evaluation.score is None:
        return None
    whole = problem.direction.gain(problem.record.score, line[0][1])
    done = problem.direction.gain(best.evaluation.score, line[0][1])
    return min(max(done / whole, 0.0), 1.0) if whole > 0 else 1.0


def totals(lines: Sequence[RunLine]) -> tuple[int, int]:
    """Return the completions of all runs, and how many of them were valid."""
    valid = sum(report.outcomes.get(Outcome.VALID, 0) for line in lines for report in line.run.reports()[1:])
    return sum(line.completions for line in lines), valid

"""What a study says: the figures of each run, of each arm over its seeds, and a test of arm against arm."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evolve.dashboard.arms import Against, Points
from evolve.dashboard.catalog import OpenRun
from evolve.standing import best_curve
from evolve.study.plan import Study
from evolve.types import REPLY_FAILURES, Direction, Outcome, Problem

#: What the time around an update goes into, as `rl` names it.
_TIMES = ("sync", "generate", "wait", "train")


@dataclass(frozen=True, slots=True, kw_only=True)
class LastThird:
    """The last third of a run's steps, by which a policy that collapses is known.

    Attributes:
        completions: Of these steps.
        valid: Share of completions that made a new, valid program.
        changed: Share of completions that made one with another score than its parent's.
        improved: Share of completions that made one better than its parent.
        distinct: Different new programs as a share of the replies that held a program.
        updates: Of the model, in the whole run; steps from which there was nothing to learn are none.
        entropy: Of the policy, nats a token, mean of the updates of these steps; None without one.
        waited: Share of the updates' time in the whole run in which the learner waited for completions and for their
            evaluation; None without an update.
    """

    completions: int
    valid: float
    changed: float
    improved: float
    distinct: float
    updates: int
    entropy: float | None
    waited: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFigures:
    """One finished run.

    Attributes:
        seed: The run's.
        completions: Of the model.
        tokens: Of the completions.
        best: The best score that was confirmed; the seed program's if nothing beat it.
        exact: Of its construction, as a decimal with more digits; None where there is none.
        valid: Share of completions that made a new, valid program.
        improved: Share of completions that made one better than its parent.
        distinct: Different new programs as a share of the replies that held a program.
        active_s: Wall-clock time in seconds, without the time between two bookings.
        curve: Each step's end at which the best had risen: active seconds, completions by then, the new best.
        last_third: The last third of its steps; None in the records of earlier versions.
    """

    seed: int
    completions: int
    tokens: int
    best: float
    exact: str | None
    valid: float
    improved: float
    distinct: float
    active_s: float
    curve: Sequence[tuple[float, int, float]]
    last_third: LastThird | None = None

    @property
    def rises(self) -> Sequence[tuple[float, int, float]]:
        """The curve; in records of earlier versions the best may have come after the last step, and ends it here."""
        if not self.curve or self.curve[-1][2] == self.best:
            return self.curve
        return [*self.curve, (self.active_s, self.completions, self.best)]

    def reached(self, target: float, direction: Direction) -> tuple[float, int] | None:
        """Return active seconds and completions by the end of the step in which the best reached a target, or None."""
        found = ((seconds, made) for seconds, made, best in self.rises if direction.gain(best, target) >= 0)
        return next(found, None)

    def points(self, against: Against) -> Points:
        """Return the best against what was spent: at the end of each step in which it rose, and of the run."""
        if not self.curve:
            return []
        whole = [*self.rises, (self.active_s, self.completions, self.rises[-1][2])]
        return [
            (float(made) if against is Against.COMPLETIONS else seconds / 60, best) for seconds, made, best in whole
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFigures:
    """One arm on one problem.

    Attributes:
        problem: The problem's name.
        direction: The problem's.
        target: The score whose cost is compared; None for none.
        runs: The finished ones, by seed.
    """

    problem: str
    direction: Direction
    target: float | None
    arm: str
    runs: Sequence[RunFigures]

    def quantile(self, share: float) -> float:
        """Return a quantile of the runs' bests, from the worst at 0 to the best at 1, linear between two runs."""
        scores = sorted((run.best for run in self.runs), key=self.direction.rank)
        place = share * (len(scores) - 1)
        low = math.floor(place)
        return scores[low] + (place - low) * (scores[min(low + 1, len(scores) - 1)] - scores[low])

    def median(self, figure: Callable[[RunFigures], float]) -> float:
        """Return the median of a figure over the runs."""
        return float(statistics.median(map(figure, self.runs)))

    @property
    def mean(self) -> float:
        """Of the runs' bests."""
        return statistics.fmean(run.best for run in self.runs)

    def reached_each(self) -> list[tuple[float, int] | None]:
        """Return seconds and completions by which each run reached the target; None for one that did not."""
        if self.target is None:
            return [None] * len(self.runs)
        return [run.reached(self.target, self.direction) for run in self.runs]

    @property
    def reached(self) -> tuple[float, float] | None:
        """The medians of seconds and of completions to the target; None where half of the runs or more did not."""
        each = [(math.inf, math.inf) if reached is None else reached for reached in self.reached_each()]
        seconds, completions = (float(statistics.median(column)) for column in zip(*each, strict=True))
        return (seconds, completions) if math.isfinite(completions) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignTest:
    """An arm against the first one, run by run of the same problem and seed.

    Attributes:
        wins: Pairs in which the arm's best is better.
        losses: Pairs in which it is worse.
        ties: Pairs that are equal; they are left out.
    """

    arm: str
    against: str
    wins: int
    losses: int
    ties: int

    @property
    def p(self) -> float:
        """The two-sided p-value of the sign test (Dixon and Mood, JASA 41, 1946).

        If neither arm were better, each pair would be a fair coin: with n = wins + losses and k the smaller of both,
        p = min(1, 2 * sum over i from 0 to k of C(n, i) / 2^n). With 3 pairs it cannot fall below 0.25, with 6 not
        below 0.031: three seeds of one problem alone decide nothing.

        >>> SignTest(arm="a", against="b", wins=3, losses=0, ties=1).p
        0.25
        >>> SignTest(arm="a", against="b", wins=10, losses=2, ties=0).p
        0.03857421875
        """
        n, k = self.wins + self.losses, min(self.wins, self.losses)
        return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / (1 << n))


def run_figures(run: OpenRun) -> RunFigures:
    """Return the figures of a run from its database."""
    views, reports, direction = run.views, run.reports(), run.problem.direction
    outcomes = views.outcome_counts()
    completions = sum(outcomes.values())
    programs = completions - sum(count for outcome, count in outcomes.items() if outcome in REPLY_FAILURES)
    _, distinct = views.evaluated()
    standing = run.bests()[0]
    return RunFigures(
        seed=run.config.run.seed,
        completions=completions,
        tokens=views.token_totals()[0],
        best=standing.score(direction),
        exact=standing.construction(direction).exact,
        valid=outcomes.get(Outcome.VALID, 0) / max(completions, 1),
        improved=sum(report.improved for report in reports) / max(completions, 1),
        distinct=distinct / max(programs, 1),
        active_s=reports[-1].finished_s,
        curve=best_curve(reports, direction),
        last_third=_last_third(run, reports[-1].step),
    )


def _last_third(run: OpenRun, steps: int) -> LastThird:
    """Return the figures of the last third of a run's steps."""
    after = steps * 2 // 3
    tally, trainings = run.views.steps_tally(after, run.problem.direction), run.views.trainings()
    entropies = [each.values["entropy"] for each in trainings if each.step > after and "entropy" in each.values]
    times = {name: sum(each.values.get(f"{name}_s", 0.0) for each in trainings) for name in _TIMES}
    whole = sum(times.values())
    return LastThird(
        completions=tally.completions,
        valid=tally.valid / max(tally.completions, 1),
        changed=tally.changed / max(tally.completions, 1),
        improved=tally.improved / max(tally.completions, 1),
        distinct=tally.distinct / max(tally.replied, 1),
        updates=sum(each.values.get("gradient_norm", 0.0) > 0 for each in trainings),
        entropy=statistics.fmean(entropies) if entropies else None,
        waited=(times["generate"] + times["wait"]) / whole if whole else None,
    )


def arms_of(study: Study, figures: Mapping[str, RunFigures]) -> list[ArmFigures]:
    """Return the arms that have a finished run, by problem, in the study's order.

    Args:
        study: Whose arms.
        figures: Of the finished runs, by the cell's text.
    """
    arms = []
    for problem in study.problems:
        for arm in study.file.arms:
            cells = [cell for cell in study.cells if (cell.problem, cell.arm) == (problem, arm)]
            runs = [figures[str(cell)] for cell in cells if str(cell) in figures]
            if runs:
                direction, target = cells[0].direction, study.file.problems[problem].target
                arms.append(ArmFigures(problem=problem, direction=direction, target=target, arm=arm, runs=runs))
    return arms


def sign_tests(arms: Sequence[ArmFigures], problems: Mapping[str, Problem], first: str) -> list[SignTest]:
    """Return each arm's test against the first one, over the pairs of all these problems."""
    scores = {(arm.problem, arm.arm, run.seed): run.best for arm in arms for run in arm.runs}
    names = dict.fromkeys(arm.arm for arm in arms if arm.arm != first)
    tests = []
    for name in names:
        gains = [
            problems[problem].direction.gain(score, scores[problem, first, seed])
            for (problem, arm, seed), score in scores.items()
            if arm == name and (problem, first, seed) in scores
        ]
        if gains:
            wins, losses = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
            ties = len(gains) - wins - losses
            tests.append(SignTest(arm=name, against=first, wins=wins, losses=losses, ties=ties))
    return tests

"""Where a run stands: its best programs that were confirmed, and what is in quarantine."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evolve.confirm import best_run, counted
from evolve.protocols import Store
from evolve.types import Attempt, Confirmation, Direction, Evaluation, Outcome, StepReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A program that may be shown as a best, or one in quarantine.

    Attributes:
        attempt: What made it.
        confirmation: What its check found; None for the seed program, and for those programs of other runs which were
            not checked there.
    """

    attempt: Attempt
    confirmation: Confirmation | None

    @property
    def runs(self) -> tuple[Evaluation, ...]:
        """All its runs: those with the run's own seeds, then those with unseen ones."""
        return self.attempt.evaluations + (() if self.confirmation is None else self.confirmation.evaluations)

    def score(self, direction: Direction) -> float:
        """Return the score that counts: the worst of its valid runs."""
        return counted(self.runs, direction)

    def construction(self, direction: Direction) -> Evaluation:
        """Return the run with its best construction, which was verified again when it was confirmed."""
        return best_run(self.runs, direction)


def bests(store: Store, direction: Direction) -> Sequence[Standing]:
    """Return the programs that the search began with and those that were confirmed as new bests, best first."""
    checks = {check.program_id: check for check in store.confirmations() if check.confirmed}
    roots = [attempt for attempt in store.attempts_of(0) if attempt.outcome is Outcome.VALID]
    found = [Standing(attempt=attempt, confirmation=checks.pop(attempt.id, None)) for attempt in roots]
    found += [Standing(attempt=store.attempt(number), confirmation=check) for number, check in checks.items()]
    return sorted(found, key=lambda standing: direction.rank(standing.score(direction)), reverse=True)


def in_quarantine(store: Store) -> Sequence[Standing]:
    """Return the programs that looked like a new best and failed their check, in the order of their checks."""
    return [
        Standing(attempt=store.attempt(confirmation.program_id), confirmation=confirmation)
        for confirmation in store.confirmations()
        if not confirmation.confirmed
    ]


def is_cut(store: Store) -> bool:
    """Whether a kill cut the run short within a step, some of whose attempts are stored."""
    return bool(store.attempts_of(len(store.reports())))


def balanced(store: Store, direction: Direction) -> StepReport:
    """Return the last report, with what is stored of finished steps and no report has counted.

    That is what ended after its step and was waited for by no other: at the end of a session, and after a kill. So the
    reports add up to what the database holds of finished steps. It is no report of its own, which would be a step to
    all that count steps: budgets, the learner and its checkpoints, a replay. Counting it in the next step would not do
    either: a run that has ended has none. No list of what was counted is needed, which a kill could leave behind: what
    is missing is the difference.
    """
    reports = store.reports()
    last = reports[-1]
    stored = store.account(direction, before_step=len(reports))
    counted: Counter[Outcome] = Counter()
    for report in reports[1:]:  # step 0 made no completions
        counted.update(report.outcomes)
    missing = Counter(stored.outcomes) - counted
    # What a step that is not finished has confirmed is not yet the last one's.
    scores = [one.score(direction) for one in bests(store, direction) if one.attempt.step <= last.step]
    return replace(
        last,
        attempts=last.attempts + missing.total(),
        outcomes=dict(Counter(last.outcomes) + missing),
        best=max(last.best, *scores, key=direction.rank),
        # Earlier versions counted what is in quarantine.
        improved=max(0, last.improved + stored.improved - sum(report.improved for report in reports)),
        tokens=last.tokens + stored.tokens - sum(report.tokens for report in reports),
        prompt_tokens=last.prompt_tokens + stored.prompt_tokens - sum(report.prompt_tokens for report in reports),
        stragglers=max(0, last.stragglers - missing.total()),
    )


def unchecked_best(store: Store, direction: Direction) -> Attempt | None:
    """Return the best program of a run of an earlier version, which confirmed nothing; None of any other run."""
    if store.confirmations():
        return None
    root = bests(store, direction)[0].score(direction)
    members = [member for member in store.members() if member.score is not None]
    best = max(members, key=lambda member: direction.rank(member.score or 0.0))
    return store.attempt(best.id) if direction.gain(best.score or 0.0, root) > 0 else None


def best_curve(reports: Sequence[StepReport], direction: Direction) -> Sequence[tuple[float, int, float]]:
    """Return each step's end at which the best had risen: active seconds, completions by then, the new best."""
    curve: list[tuple[float, int, float]] = []
    made = 0
    for report in reports:
        made += report.attempts if report.step else 0
        if not curve or direction.gain(report.best, curve[-1][2]) > 0:
            curve.append((report.finished_s, made, report.best))
    return curve

"""Is a new best what it seems? Nothing is shown as a best before it is confirmed.

A program that beats the best so far has been run with the run's own two seeds, by which its whole lineage was chosen.
It is run twice more, with seeds that no other program of the run gets, each time judged by a fresh verifier process,
and may take half as much time again as the limit, to which it has kept; and another fresh process verifies its best
construction again, as it is stored. A rule plays instances that are drawn for the check, where its problem can draw
some. What fails is in quarantine: its reason is kept and shown, it is no best, and it does not enter the population,
where it would be bred from for its luck. Nor is it paid for that, or a learner would be taught it: its reward becomes
that of an invalid program, and a confirmed one's that of its worst run.
"""

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from evolve.evaluate import Evaluator
from evolve.protocols import Observer, Store
from evolve.recall import is_recall
from evolve.reward import Rewarder, Trial
from evolve.types import Attempt, Confirmation, Direction, Evaluation, Origin, Outcome, Problem, ProblemKind, Program
from evolve.verifier import VerifierError

#: Runs with unseen seeds.
RUNS = 2
#: Of a failed run's feedback, in characters.
_FEEDBACK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What a confirmation needs to know of the run.

    Attributes:
        seed: Of the run; its programs are run with `seed` and `seed + 1`.
        unseen: Draws instances of a game that no program can know; a number that nobody can guess.
        best: The best score that counts so far.
        rewarder: Of the run.
    """

    seed: int
    unseen: int
    best: float
    rewarder: Rewarder


class Confirmer:
    """Confirms new bests, beside the run's other evaluations. `begin` may be called by any thread.

    Attributes:
        best: The best score that counts: of a confirmed program the worst of all its runs.
    """

    def __init__(self, problem: Problem, evaluator: Evaluator, store: Store, observer: Observer, check: Check) -> None:
        self._problem = problem
        self._evaluator = evaluator
        self._store = store
        self._observer = observer
        self._check = check
        self.best = check.best
        self._known = {confirmation.program_id: confirmation for confirmation in store.confirmations()}
        # What a program draws at random differs in each check: a second one of the same program would be a lottery.
        self._found = {store.program(number).identity: found for number, found in self._known.items()}
        self._pool = ThreadPoolExecutor(RUNS, thread_name_prefix="confirm")
        self._begun: dict[int, tuple[Future[Evaluation], ...]] = {}
        self._lock = threading.Lock()

    def begin(self, attempt: Attempt) -> None:
        """Start the further runs of a program that looks like the best, while the step goes on.

        Those of the one that looked so before wait no longer in its way; they are made later, if they are needed.
        """
        if attempt.id not in self._known and attempt.source is not None:
            with self._lock:
                self._give_up_waiting()
                self._begun[attempt.id] = self._run(attempt.id, attempt.source)

    def settle(self, attempts: Iterable[Attempt]) -> Sequence[Attempt]:
        """Check those that beat the best, best first; store and tell what was found.

        One that is confirmed counts as the worst of its runs; what still beats that is checked, too. The order, and so
        what is stored, does not depend on who finished first.

        Returns:
            The attempts, with the scores that count, of one in quarantine none, and the rewards for these.
        """
        attempts = list(attempts)
        direction = self._problem.direction
        ranked = sorted(
            (direction.rank(attempt.score), -attempt.id, attempt)
            for attempt in attempts
            if attempt.score is not None and attempt.outcome is Outcome.VALID and self._beats(attempt.score)
        )
        for _, _, attempt in reversed(ranked):
            if attempt.score is None or not self._beats(attempt.score):
                break
            confirmation = self._known.get(attempt.id) or self._confirm(attempt)
            if confirmation.confirmed:
                self.best = max(self.best, worth(attempt, confirmation, direction), key=direction.rank)
        for attempt in sorted(attempts, key=lambda attempt: attempt.id):
            twin = None if attempt.id in self._known else self._found.get(attempt.identity or "")
            if twin is not None and not twin.confirmed and attempt.outcome is Outcome.VALID:
                self._confirm(attempt)  # it looks like no best by now, and is as lucky
        with self._lock:
            self._give_up_waiting()
            self._begun = {}
        return [self._counting(attempt) for attempt in attempts]

    def in_quarantine(self, program_id: int) -> bool:
        """Whether a program was checked and failed."""
        confirmation = self._known.get(program_id)
        return confirmation is not None and not confirmation.confirmed

    def as_it_counts(self, program: Program) -> Program:
        """Return a program as a repetition of it is paid: one in quarantine as an invalid one."""
        return replace(program, outcome=Outcome.INVALID, score=None) if self.in_quarantine(program.id) else program

    def _counting(self, attempt: Attempt) -> Attempt:
        confirmation = self._known.get(attempt.id)
        if confirmation is None:
            return attempt
        score = self._score(attempt, confirmation)
        return replace(attempt, score=score, reward=self._reward(attempt, score))

    def _score(self, attempt: Attempt, confirmation: Confirmation) -> float | None:
        """Return the score that counts of a program that was checked; None in quarantine."""
        return worth(attempt, confirmation, self._problem.direction) if confirmation.confirmed else None

    def _reward(self, attempt: Attempt, score: float | None) -> float | None:
        """Return what an attempt is paid for the score that counts; None for one that no model made."""
        if attempt.reward is None:
            return None
        parent = self._store.program(attempt.draw.parent_id)
        outcome = Outcome.INVALID if score is None else Outcome.VALID
        trial = Trial(outcome=outcome, score=score, source=attempt.source, parent=parent, known=None)
        return self._check.rewarder.reward(trial)

    def close(self) -> None:
        """End the threads; what still runs is given up."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _give_up_waiting(self) -> None:
        """Do without the programs of which a run has not begun."""
        for program_id, runs in list(self._begun.items()):
            cancelled = [run.cancel() for run in runs]
            if any(cancelled):
                del self._begun[program_id]

    def _beats(self, score: float) -> bool:
        return self._problem.direction.gain(score, self.best) > 0

    def _run(self, program_id: int, source: str) -> tuple[Future[Evaluation], ...]:
        seeds = unseen_seeds(self._check.seed, program_id)
        run = partial(self._evaluator.evaluate, source, again=True, afresh=True)
        return tuple(self._pool.submit(run, seed=seed) for seed in seeds)

    def _confirm(self, attempt: Attempt) -> Confirmation:
        source, identity = attempt.source, attempt.identity
        if source is None or identity is None:
            raise ValueError(f"attempt {attempt.id} is valid and made no program")
        twin = self._found.get(identity)  # of the same step, or evaluated beside it
        if twin is not None:
            confirmation = replace(twin, program_id=attempt.id)
        else:
            with self._lock:
                begun = self._begun.pop(attempt.id, None)
            begun = begun or self._run(attempt.id, source)
            runs = tuple(self._again_if_lost(source, run.result()) for run in begun)
            reason = self._fault(attempt, runs)
            best = best_run((*attempt.evaluations, *runs), self._problem.direction)
            confirmation = Confirmation(
                program_id=attempt.id,
                confirmed=not reason,
                reason=reason,
                origin=origin_of(self._problem, source, best, seeded=self._store.merged() > 0),
                evaluations=runs,
            )
        self._known[attempt.id] = self._found[identity] = confirmation
        score = self._score(attempt, confirmation)
        self._store.insert_confirmation(confirmation, score=score, reward=self._reward(attempt, score))
        if twin is None or not confirmation.confirmed:  # the twin of a best is no news
            self._observer.confirmed(attempt, confirmation)
        return confirmation

    def _again_if_lost(self, source: str, run: Evaluation) -> Evaluation:
        if run.outcome is not Outcome.LOST:
            return run
        return self._evaluator.evaluate(source, seed=run.seed, again=True, afresh=True)

    def _fault(self, attempt: Attempt, runs: Sequence[Evaluation]) -> str:
        """Return why an attempt cannot be shown as a best, in one line; empty if it can."""
        for run in runs:
            if run.score is None:
                words = " ".join(run.feedback.split())[-_FEEDBACK:]
                return f"with the unseen seed {run.seed} it ended as {run.outcome.replace('_', ' ')}: {words}"
        worst = counted(runs, self._problem.direction)
        if not self._beats(worst):
            return f"with unseen seeds it reaches {worst!r}, no better than {self.best!r} before it"
        if self._problem.kind is ProblemKind.RULE:  # its runs were its verification
            check = self._check
            return fault_on_unseen(self._evaluator, attempt.source or "", worst, seed=check.seed, unseen=check.unseen)
        return self._changed(best_run((*attempt.evaluations, *runs), self._problem.direction))

    def _changed(self, run: Evaluation) -> str:
        """Return in what a fresh verifier judges the construction of a run differently; empty if in nothing."""
        construction = run.construction or "null"
        try:
            try:
                verdict = self._evaluator.verify(construction)
            except VerifierError:  # once may be bad luck, as when the machine had no memory left for it
                verdict = self._evaluator.verify(construction)
        except VerifierError as error:
            return f"its construction could not be verified again: {error}"
        if (verdict.score, verdict.exact, dict(verdict.measures)) == (run.score, run.exact, dict(run.measures)):
            return ""
        again = verdict.reason if verdict.score is None else f"{verdict.score!r}, exactly {verdict.exact}"
        return f"verified again in a fresh process its construction is no longer {run.score!r} but {again}"


def fault_on_unseen(evaluator: Evaluator, source: str, score: float, *, seed: int, unseen: int) -> str:
    """Return by what a rule shows that it plays the problem's instances and not the game; empty if by nothing.

    The instances are the same in every run, and who has read the verifier can draw them and know what comes.

    Args:
        evaluator: Runs it, with a fresh verifier.
        source: The program.
        score: What it is worth on the problem's own instances.
        seed: Of the program's run.
        unseen: Draws the instances; it must be a number that nobody can guess.
    """
    if not evaluator.plays_unseen:
        return ""
    play = partial(evaluator.evaluate, source, seed=seed, again=True, afresh=True, unseen=unseen)
    run = play()
    if run.outcome is Outcome.LOST:
        run = play()
    if run.score is None:
        words = " ".join(run.feedback.split())[-_FEEDBACK:]
        return f"on instances that no program has seen it ended as {run.outcome.replace('_', ' ')}: {words}"
    if evaluator.problem.direction.gain(score, run.score) > 0:
        return f"on instances that no program has seen it is worth {run.score:.6g} at best, and not {score!r}"
    return ""


def unseen_seeds(seed: int, program_id: int) -> tuple[int, ...]:
    """Return seeds that no other program of the run is run with; all are first run with `seed` and `seed + 1`.

    Args:
        seed: Of the run.
        program_id: At least 1.

    >>> unseen_seeds(7, 1), unseen_seeds(7, 2)
    ((9, 10), (11, 12))
    """
    return tuple(seed + RUNS * program_id + number for number in range(RUNS))


def counted(runs: Iterable[Evaluation], direction: Direction) -> float:
    """Return the score that counts: the worst of valid runs."""
    return min((run.score for run in runs if run.score is not None), key=direction.rank)


def worth(attempt: Attempt, confirmation: Confirmation, direction: Direction) -> float:
    """Return the score that counts of a program that was confirmed."""
    return counted((*attempt.evaluations, *confirmation.evaluations), direction)


def best_run(runs: Iterable[Evaluation], direction: Direction) -> Evaluation:
    """Return the first of the valid runs with the best score."""
    return max((run for run in runs if run.score is not None), key=lambda run: direction.rank(run.score or 0.0))


def origin_of(problem: Problem, source: str, best: Evaluation, *, seeded: bool) -> Origin:
    """Return where a program's best construction came from; `evolve.recall` says how that is decided.

    What the problem's own seed program spells out is no find of this run, but the model recalled nothing either.
    """
    if is_recall(problem, source, best):
        return Origin.SEEDED if is_recall(problem, problem.seed_source, best) else Origin.RECALL
    return Origin.SEEDED if seeded else Origin.SCRATCH

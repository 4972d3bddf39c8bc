"""Steps 5 and 6: run a program in the sandbox and have it judged in the verifier's process. Nothing else imports these.

    controller ── source ──> sandbox (candidate) <── channel ──> verifier ── judgement ──> controller

The controller never decodes what a candidate wrote: it learns how the process ended from the sandbox, and the score
from the verifier.
"""

import contextlib
import json
import queue
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Self

from evolve.types import Direction, Evaluation, Outcome, Problem, ProblemKind, Verdict
from evolve.verifier import Judgement, JudgementKind, NoVerifierError, VerifierError, VerifierProcess
from problems import load_verifier, verifier_file
from sandbox import Ending, Job, Limits, Result, Sandbox, SandboxError

_OUTCOMES = {
    Ending.ERROR: Outcome.CRASHED,
    Ending.TIMEOUT: Outcome.TIMED_OUT,
    Ending.MEMORY: Outcome.OUT_OF_MEMORY,
    Ending.OUTPUT_LIMIT: Outcome.OUTPUT_LIMIT,
    Ending.VIOLATION: Outcome.VIOLATION,
    Ending.KILLED: Outcome.KILLED,
}
#: Exact verification takes milliseconds; one that takes this long has failed, in seconds.
_VERIFY_S = 120.0
#: Of the time limit, for a program that has kept to it and is run again: how busy the machine is, or how long another
#: seed takes, should not decide which best counts. (Ours. Of 42 bests that were not confirmed, of 58 runs at 3 s, 36
#: ended there: docs/results, "From which programs to go on".)
_AGAIN = 1.5
_CLOSED = "the evaluator is closed"


class Evaluator:
    """Evaluates programs: as many at a time as there are workers, and beside these who asks for a fresh verifier.

    Any thread may call.

    Attributes:
        problem: Whose programs they are.
        plays_unseen: Whether a rule can be had to play instances that a seed draws.
    """

    def __init__(self, problem: Problem, sandbox: Sandbox, *, workers: int) -> None:
        self.problem = problem
        self.plays_unseen = problem.kind is ProblemKind.RULE and load_verifier(problem).unseen is not None
        self._sandbox = sandbox
        limits = Limits(wall_s=problem.limits.wall_s, memory_mib=problem.limits.memory_mib)
        self._limits = (limits, replace(limits, wall_s=_AGAIN * limits.wall_s))
        # These start before any GPU library does, and none is shared by two evaluations at once.
        # None in the end, for whoever still wants one then.
        self._verifiers: queue.LifoQueue[VerifierProcess | None] = queue.LifoQueue()
        for _ in range(workers):
            self._verifiers.put(VerifierProcess(problem))
        self._workers = workers
        self._judging: set[VerifierProcess] = set()
        self._lock = threading.Lock()
        self._closed = False

    def evaluate(
        self, source: str, *, seed: int, again: bool = False, afresh: bool = False, unseen: int | None = None
    ) -> Evaluation:
        """Run `source` once and return what came of it; a failure of our own is `Outcome.LOST`, and its cure is said.

        Args:
            source: The program.
            seed: Seeds every random generator that the candidate can reach.
            unseen: Draws the instances that a rule is to play, instead of the problem's own.
            again: Whether it has kept to the time limit before; it has half as much time again then.
            afresh: Whether the verifier must be a process that has judged nothing before; one is started, and need not
                wait until others are free.
        """
        try:
            with self._verifier(afresh=afresh) as verifier:
                result, judgement = self._run(verifier, source, seed, unseen, self._limits[again])
        except SandboxError as error:
            return _lost(f"the sandbox failed: {error}; see `evolve doctor`", seed)
        except (NoVerifierError, OSError) as error:  # OSError: no descriptor is left, or the like
            return _lost(str(error), seed)
        except VerifierError as error:
            return _lost(f"{error}; mend {verifier_file(self.problem)}", seed)
        return self._evaluation(result, judgement, source, seed)

    def verify(self, construction: str) -> Verdict:
        """Return the verdict of a process that has judged nothing before on a construction, given as JSON text.

        Raises:
            VerifierError: The verifier itself failed, or none can be had.
        """
        with self._verifier(afresh=True) as verifier:
            verdict = verifier.verify(construction, timeout_s=_VERIFY_S).verdict
        if verdict is None:
            raise VerifierError("the verifier gave no verdict")
        return verdict

    @contextlib.contextmanager
    def _verifier(self, *, afresh: bool) -> Iterator[VerifierProcess]:
        """Lend a verifier to one evaluation: a new process, or one of those there are, replaced if it failed."""
        if self._closed:
            raise NoVerifierError(_CLOSED)
        if afresh:
            with self._started() as verifier, self._noted(verifier):
                yield verifier
            return
        lent = self._verifiers.get()
        if lent is None:
            self._verifiers.put(None)
            raise NoVerifierError(_CLOSED)
        try:
            with self._noted(lent):
                yield lent
        except (VerifierError, SandboxError):
            lent.close()
            lent = None if self._closed else self._started()
            raise
        finally:
            self._verifiers.put(lent)

    @contextlib.contextmanager
    def _noted(self, verifier: VerifierProcess) -> Iterator[None]:
        """Have `close` end a verifier while it is in use."""
        with self._lock:
            if self._closed:
                raise NoVerifierError(_CLOSED)
            self._judging.add(verifier)
        try:
            yield
        except VerifierError as error:
            if self._closed:
                raise NoVerifierError(_CLOSED) from error
            raise
        finally:
            with self._lock:
                self._judging.remove(verifier)

    def _started(self) -> VerifierProcess:
        try:
            return VerifierProcess(self.problem)
        except OSError as error:
            raise NoVerifierError(f"this process has no room for a verifier: {error}") from error

    def _run(
        self, verifier: VerifierProcess, source: str, seed: int, unseen: int | None, limits: Limits
    ) -> tuple[Result, Judgement]:
        ours, theirs = socket.socketpair()
        with ours, contextlib.ExitStack() as unless_begun:
            unless_begun.enter_context(theirs)
            verifier.begin(ours, unseen)
            unless_begun.pop_all()
        program, entry_point = self.problem.job(source)
        job = Job(source=program, entry_point=entry_point, seed=seed, limits=limits)
        with theirs.dup() as program_end:
            result = self._sandbox.run(job, theirs)
            # A program can send its end of the channel to the verifier, where it outlives the program: hang up for it.
            # What it has answered stays to be read.
            program_end.shutdown(socket.SHUT_RDWR)
        return result, verifier.finish(timeout_s=_VERIFY_S)

    def _evaluation(self, result: Result, judgement: Judgement, source: str, seed: int) -> Evaluation:
        outcome, feedback = _outcome(result, judgement)
        valid = outcome is Outcome.VALID
        verdict = judgement.verdict
        construction = None
        if valid and verdict is not None:
            # A rule is its own construction: the program is what others can check.
            is_rule = self.problem.kind is ProblemKind.RULE
            construction = json.dumps({"program": source}) if is_rule else str(verdict.construction)
        return Evaluation(
            outcome=outcome,
            seed=seed,
            score=verdict.score if valid and verdict is not None else None,
            exact=verdict.exact if valid and verdict is not None else None,
            measures=verdict.measures if valid and verdict is not None else {},
            feedback=feedback,
            construction=construction,
            wall_s=result.usage.wall_s,
            cpu_s=result.usage.cpu_s,
            peak_memory_mib=result.usage.peak_memory_mib,
            peak_processes=result.usage.peak_processes,
        )

    def close(self) -> None:
        """End the verifiers, also in the middle of a verdict, which may take long; the sandbox belongs to the caller.

        What is being judged then, and whatever is evaluated later, is lost.
        """
        with self._lock:
            self._closed = True
            for busy in self._judging:
                busy.kill()
        for _ in range(self._workers):
            if (verifier := self._verifiers.get()) is not None:
                verifier.close()
        self._verifiers.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lost(feedback: str, seed: int) -> Evaluation:
    return Evaluation(outcome=Outcome.LOST, seed=seed, feedback=feedback)


def summary(evaluations: Sequence[Evaluation], direction: Direction) -> tuple[Outcome, float | None, str]:
    """Return the outcome, the score that counts and the feedback: those of the worst run."""
    for evaluation in evaluations:
        if evaluation.score is None:
            return evaluation.outcome, None, evaluation.feedback
    scores = [evaluation.score for evaluation in evaluations if evaluation.score is not None]
    return Outcome.VALID, min(scores, key=direction.rank), evaluations[0].feedback


def _outcome(result: Result, judgement: Judgement) -> tuple[Outcome, str]:
    """Return the outcome and the feedback; how the process ended goes before what it answered."""
    verdict = judgement.verdict
    refused = judgement.kind is JudgementKind.MALFORMED or (verdict is not None and not verdict.valid)
    if refused and result.ending in (Ending.FINISHED, Ending.ERROR):
        # The verifier hung up on it, so that an error which followed is no more than that.
        return Outcome.INVALID, judgement.reason if verdict is None else verdict.reason or ""
    if result.ending is not Ending.FINISHED:
        return _OUTCOMES[result.ending], result.feedback or result.detail
    if verdict is None:
        return Outcome.CRASHED, "the program ended without an answer"
    return Outcome.VALID, verdict.reason or ""

"""The loop. Read this first: one step, and in `_mutate` one mutation, with its numbers.

      1 sample ─> 2 prompt ─> 3 stream ─> 4 parse ─> 5 run ─> 6 verify ─> 7 reward ─> 8 insert
      selection   prompt      engine      parse      sandbox  verifier    reward      store

Steps 4 to 8 happen in worker threads, one completion each, while the engine goes on with the others. Within a step
the population is frozen, so that its samples are independent and a step can be repeated after a kill; every attempt
is durable as soon as it is evaluated. A step ends when few enough of its attempts are left, and the next one begins
beside them: neither the engine nor the sandbox waits for the last one.
"""

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace

from evolve.budget import Budget, Gate, Tally, booked, spent
from evolve.confirm import Check, Confirmer
from evolve.decoding import Decoder, Decoding
from evolve.errors import AbandonedError
from evolve.evaluate import Evaluator, summary
from evolve.lineage import ancestors, improved
from evolve.parse import Child, ReplyFailure, parse_reply
from evolve.prompt import Prompter
from evolve.protocols import Engine, Observer, Store
from evolve.reward import Rewarder, Trial
from evolve.selection import Selection, as_member
from evolve.standing import balanced, bests, is_cut, unchecked_best
from evolve.types import (
    Attempt,
    Completion,
    Draw,
    Evaluation,
    Group,
    Message,
    Outcome,
    Problem,
    Program,
    Request,
    StepReport,
)

#: Programs that are kept in memory once they were read.
_PROGRAMS = 4096
#: Threads for each evaluation that may run: some only wait for a sibling that is the same program.
_THREADS = 4
_GIVEN_UP = "the run was given up while a step was being made; resume it"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """Sizes of a step.

    Attributes:
        parents: Groups of a step, B.
        samples: Completions of a group, n.
        workers: Completions that are parsed and evaluated at once.
        late: The share of a step's attempts that may be unfinished when the next step begins.
        ahead: Whether these may still be being decoded; else only being evaluated, for the model changes in between.
        seed: Of the run.
        unseen: Draws instances that no program can know, for the checks of new bests.
        reuse: Whether what other runs of the problem evaluated is not run again.
    """

    parents: int
    samples: int
    workers: int
    late: float
    ahead: bool
    seed: int
    unseen: int
    reuse: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the loop is made of; `evolve.compose` builds it."""

    problem: Problem
    store: Store
    selection: Selection
    prompter: Prompter
    engine: Engine
    evaluator: Evaluator
    rewarder: Rewarder
    observer: Observer


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPrompt:
    """One group's prompt and what it was made of."""

    step: int
    group: int
    draw: Draw
    parent: Program
    messages: tuple[Message, ...]


class Evolution:
    """One run of the search."""

    def __init__(
        self, parts: Parts, settings: LoopSettings, budget: Budget, tally: Tally, *, clock: Callable[[], float]
    ) -> None:
        """Take the parts of a run whose seed program is in the store and in the population.

        Args:
            parts: What the loop is made of.
            settings: Sizes of a step.
            budget: When the run ends.
            tally: What the run has spent and reached so far.
            clock: Active seconds of the run.
        """
        self._parts = parts
        self._settings = settings
        self._budget = budget
        self._tally = tally
        self._clock = clock
        # Elites are parents and inspirations over and over.
        self._program = functools.lru_cache(maxsize=_PROGRAMS)(parts.store.program)
        self._pool = ThreadPoolExecutor(_THREADS * settings.workers, thread_name_prefix="evaluate")
        self._slots = threading.Semaphore(settings.workers)
        self._running: dict[str, Future[tuple[Evaluation, ...]]] = {}
        self._lock = threading.Lock()
        self._gate = Gate()  # shut once another thread has given this run up
        # Where nothing may be late, there is nothing to read beside another step.
        self._decoder = Decoder(parts.engine, budget, ahead=settings.ahead and settings.late > 0, clock=clock)
        self._late: list[Future[Attempt | None]] = []
        reports, direction = parts.store.reports(), parts.problem.direction
        self._unchecked = unchecked_best(parts.store, direction)
        self._last = reports[-1]
        best = bests(parts.store, direction)[0].score(direction)
        check = Check(seed=settings.seed, unseen=settings.unseen, best=best, rewarder=parts.rewarder)
        self._confirmer = Confirmer(parts.problem, parts.evaluator, parts.store, parts.observer, check)
        self._unsettled = parts.store.unsettled(before_step=len(reports))
        self._database_s = parts.store.database_s
        self.ended = ""

    @property
    def best(self) -> float:
        """The best score that was confirmed."""
        return self._confirmer.best

    def steps(self) -> Iterator[int]:
        """Yield the number of each step until a budget is used up; `ended` then says which.

        Time is used up when a report says so: where an update of the model went past the end, an empty step follows. A
        step that a kill cut short is always finished: its completions may be the last that the budget pays for.
        """
        if self._unchecked is not None:
            self._confirm([self._unchecked])
        # What ended after its step, and before a kill or the end of a session, counts; the next step lets it in.
        self._unsettled = self._confirm(self._unsettled)
        self._balance()
        if is_cut(self._parts.store):
            yield self._last.step + 1
        while not (
            reason := spent(
                self._budget, self._tally, best=self.best, steps=self._last.step, active_s=self._last.finished_s
            )
            or booked(self._budget, self._clock())
        ):
            yield self._last.step + 1
        self.ended = reason

    def step(self, number: int) -> Sequence[Group]:
        """Make one step and return its groups; attempts that the step did not wait for are missing in them.

        Raises:
            AbandonedError: Another thread has closed this run meanwhile; the step is not finished.
        """
        parts = self._parts
        stored = parts.store.attempts_of(number)  # not empty when a kill cut this step short
        prompts = [self._prompt(number, group) for group in range(self._settings.parents)]  # 1 sample, 2 prompt
        stop = self._is_over() or self._is_enough(number - 1)
        requests = [] if stop else self._requests(prompts, {attempt.id for attempt in stored})
        self._running = {}
        started = self._clock()
        decoding = self._decoder.decode(  # 3 stream
            requests,
            hand_on=lambda completion: self._hand_on(prompts[completion.group], completion),
            is_enough=lambda: self._is_enough(number - 1),
        )
        harvested = self._harvest(decoding.attempts)
        if self._gate.is_shut:  # the step is not whole
            raise AbandonedError(_GIVEN_UP)
        attempts = self._confirm(sorted([*stored, *harvested], key=lambda attempt: attempt.id))
        with self._gate.passing() as may_store:
            if not may_store:
                raise AbandonedError(_GIVEN_UP)
            self._finish(number, attempts, decoding, started=started)
        return [
            tuple(attempt for attempt in attempts if attempt.step == number and self._group(attempt) == prompt.group)
            for prompt in prompts
        ]

    def _prompt(self, step: int, group: int) -> GroupPrompt:
        parts, seed = self._parts, f"{self._settings.seed}:{step}:{group}"
        draw = parts.selection.draw(group, inspirations=parts.prompter.settings.inspirations, seed=seed)
        parent = self._program(draw.parent_id)
        inspirations = [self._program(program) for program in draw.inspiration_ids]
        failure = parts.store.last_failure(parent.id, before_step=step) if parts.prompter.settings.failure else None
        # Only an evaluator of a task's own has anything to say of a valid program.
        remark = "" if parts.problem.harness is None else parts.store.attempt(parent.id).evaluations[0].feedback
        move = parts.prompter.move((step - 1) * self._settings.parents + group, seed=self._settings.seed)
        line = ancestors(parent, parts.prompter.settings.ancestors, self._program)
        messages = parts.prompter.messages(parent, inspirations, failure, move, ancestors=line, remark=remark)
        return GroupPrompt(step=step, group=group, draw=draw, parent=parent, messages=messages)

    def _requests(self, prompts: Sequence[GroupPrompt], stored: set[int]) -> list[Request]:
        """Return the requests of a step without the completions that are stored already."""
        requests = []
        for prompt in prompts:
            first = self._id(prompt.step, prompt.group, 0)
            wanted = tuple(sample for sample in range(self._settings.samples) if first + sample not in stored)
            if wanted:
                requests.append(Request(group=prompt.group, messages=prompt.messages, samples=wanted, first=first - 1))
        return requests

    def _hand_on(self, prompt: GroupPrompt, completion: Completion) -> Future[Attempt | None]:
        self._tally.decoded(completion)
        return self._pool.submit(self._mutate, prompt, completion)

    def _mutate(self, prompt: GroupPrompt, completion: Completion) -> Attempt | None:
        """Take one completion from its text to its row in the database; None when nobody waits for it any more."""
        if self._is_over():
            return None
        parts = self._parts
        parent = prompt.parent
        evaluations: tuple[Evaluation, ...] = ()
        known: Program | None = None
        reply = parse_reply(  # 4 parse
            completion.text,
            parent=parent.source,
            entry_point=parts.problem.entry_point,
            source_chars=parts.problem.limits.source_chars,
        )
        if isinstance(reply, ReplyFailure):
            outcome, score, feedback = reply.outcome, None, reply.reason
        elif (known := self._known(reply, prompt, completion)) is not None:
            outcome = Outcome.UNCHANGED if known.identity == parent.identity else Outcome.DUPLICATE
            score, feedback = known.score, f"program {known.id} is the same"
        else:
            evaluations = self._evaluate(reply)  # 5 run, 6 verify
            if not evaluations:
                return None
            outcome, score, feedback = summary(evaluations, parts.problem.direction)
        if outcome is Outcome.LOST:
            if self._is_over():
                return None
            # Nobody knows what the program is worth: it is not stored, so that its like is run when it comes again.
            evaluations = ()
        source = reply.source if isinstance(reply, Child) else None
        trial = Trial(outcome=outcome, score=score, source=source, parent=parent, known=known)
        attempt = Attempt(
            id=self._id(prompt.step, prompt.group, completion.sample),
            step=prompt.step,
            draw=prompt.draw,
            prompt=prompt.messages,
            completion=completion,
            outcome=outcome,
            feedback=feedback,
            reward=parts.rewarder.reward(trial),  # 7 reward
            identity=None if isinstance(reply, ReplyFailure) else reply.identity,
            source=source if known is None and outcome is not Outcome.LOST else None,
            known_as=None if known is None else known.id,
            evaluations=evaluations,
            score=None if outcome.is_lazy else score,
            finished_s=self._clock(),
        )
        with self._gate.passing() as may_store:
            if may_store or attempt.step > self._last.step:  # a resume looks for those of the unfinished step
                parts.store.insert_attempt(attempt)  # 8 insert
        if self._is_over():  # nothing is confirmed any more
            return None
        if self._tally.add(attempt):
            self._confirmer.begin(attempt)
        parts.observer.attempted(attempt)
        return attempt

    def _known(self, child: Child, prompt: GroupPrompt, _: Completion) -> Program | None:
        """Return the program of an earlier step, or the parent, that the child repeats; a replay asks whose it is."""
        if child.identity == prompt.parent.identity:
            return prompt.parent
        known = self._parts.store.known(child.identity, before_step=prompt.step)
        return None if known is None else self._confirmer.as_it_counts(self._program(known))

    def _evaluate(self, child: Child) -> tuple[Evaluation, ...]:
        """Evaluate a child once; siblings that are the same program share the evaluation. Empty if time is up."""
        mine: Future[tuple[Evaluation, ...]] = Future()
        with self._lock:
            running = self._running.setdefault(child.identity, mine)
        if running is not mine:
            return running.result()
        try:
            with self._slots:
                evaluations = () if self._is_over() else self._runs(child)
        except BaseException as error:
            mine.set_exception(error)
            raise
        mine.set_result(evaluations)
        return evaluations

    def _runs(self, child: Child) -> tuple[Evaluation, ...]:
        """Run a program, and run it again with another seed when it would be the best.

        A search with a small model otherwise climbs the luck of single runs of programs that draw at random. Runs that
        another search has made of the program count as its first ones.
        """
        parts, seed = self._parts, self._settings.seed
        known = tuple(parts.store.evaluated_elsewhere(child.identity)) if self._settings.reuse else ()
        runs = known or (parts.evaluator.evaluate(child.source, seed=seed),)
        _, score, _ = summary(runs, parts.problem.direction)
        # Not the tally's best: a step that a kill cut short must judge its later children like its first ones.
        if len(runs) > 1 or score is None or parts.problem.direction.gain(score, self.best) <= 0:
            return runs
        other = seed if runs[0].seed == seed + 1 else seed + 1  # another search may have begun with that one
        return *runs, parts.evaluator.evaluate(child.source, seed=other, again=True)

    def _harvest(self, futures: Sequence[Future[Attempt | None]]) -> list[Attempt]:
        """Wait for the attempts of this step and of earlier stragglers until few enough are left; those count later.

        What is left goes on beside the next step, so that the model need not wait for slow programs, nor for its own
        longest replies; it is bounded, or steps that are decoded faster than evaluated would pile up without end.
        """
        everything = [*self._late, *futures]
        excess = len(everything) - int(self._settings.late * self._settings.parents * self._settings.samples)
        ending = as_completed(everything, timeout=self._budget.left_s(self._clock()))
        with contextlib.suppress(TimeoutError):  # the run's time is used up
            for _, _ in zip(range(excess), ending, strict=False):
                pass
        done: list[Future[Attempt | None]] = []
        self._late = []
        for future in everything:  # each is asked once, for it may end between two questions
            (done if future.done() else self._late).append(future)
        return [attempt for future in done if (attempt := future.result()) is not None]

    def _finish(self, number: int, attempts: Sequence[Attempt], decoding: Decoding, *, started: float) -> None:
        """Let the step's children into the population and store the step."""
        parts = self._parts
        born = [
            (as_member(attempt), attempt.draw.island)
            for attempt in sorted([*self._unsettled, *attempts], key=lambda attempt: attempt.id)
            if attempt.source is not None and not self._confirmer.in_quarantine(attempt.id)
        ]
        settled = parts.selection.finish_step(number, born)
        before, self._database_s = self._database_s, parts.store.database_s
        finished = self._clock()
        generated = finished if decoding.ended_s is None else decoding.ended_s
        report = StepReport(
            step=number,
            attempts=len(attempts),
            outcomes=Counter(attempt.outcome for attempt in attempts),
            best=self.best,
            improved=improved(attempts, parts.problem.direction, self._program),
            tokens=sum(attempt.completion.tokens for attempt in attempts),
            prompt_tokens=sum(attempt.completion.prompt_tokens for attempt in attempts),
            generate_s=generated - started,
            tail_s=finished - generated,
            database_s=self._database_s - before,
            stragglers=len(self._late),
            finished_s=finished,
        )
        parts.store.finish_step(report, settled.memberships, settled.cells)
        self._last, self._unsettled = report, []
        parts.observer.stepped(report)

    def _balance(self, *, since_s: float | None = None) -> None:
        """Let the last report count what ended after it; the run has waited for that from `since_s` on, if it has."""
        last = balanced(self._parts.store, self._parts.problem.direction)
        if last == self._last:
            return
        if since_s is not None:
            now = self._clock()
            last = replace(last, tail_s=last.tail_s + now - since_s, finished_s=now)
        self._parts.store.amend_report(last)
        self._last = last

    def _confirm(self, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
        """Check what looks better than the best, and return the attempts with what counts from then on."""
        attempts = self._confirmer.settle(attempts)
        self._tally.settle(self.best)
        self._program.cache_clear()  # one that was checked just now may have been read before
        return attempts

    def _is_enough(self, steps: int) -> bool:
        """Whether a step may stop decoding: a score that looks like the one to reach is checked before another."""
        now = self._clock()
        return spent(self._budget, self._tally, best=self._tally.best, steps=steps, active_s=now) is not None

    def _is_over(self) -> bool:
        return self._gate.is_shut or self._budget.left_s(self._clock()) == 0.0

    def _id(self, step: int, group: int, sample: int) -> int:
        return 1 + ((step - 1) * self._settings.parents + group) * self._settings.samples + sample

    def _group(self, attempt: Attempt) -> int:
        return (attempt.id - 1) // self._settings.samples % self._settings.parents

    def close(self, *, abandon: bool) -> None:
        """End the worker threads.

        Args:
            abandon: Whether running evaluations are given up; else they are waited for. A resume makes those of the
                unfinished step again, and does without the stragglers of finished ones.
        """
        if abandon:
            self._gate.shut()
        started = self._clock()
        self._decoder.close(abandon=abandon)
        # What is queued is not cancelled, for who waits for it would not hear of that; it ends as soon as it begins.
        self._pool.shutdown(wait=not abandon)
        if not abandon:  # what ended after the last step is confirmed too; a resume lets in what is valid
            self._confirm([attempt for future in self._late if (attempt := future.result()) is not None])
        self._confirmer.close()
        self._balance(since_s=None if abandon else started)

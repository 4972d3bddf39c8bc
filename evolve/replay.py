"""The command `evolve replay`: a run once more from its stored replies, without its model.

A replay is a new run that follows the steps of the other: each reply meets the parent that was drawn for it then, and
is parsed, run, judged and rewarded anew, and a program is run as often as it was run then. Programs, identities,
outcomes and scores are the same; what differs is told. These can differ for good reasons:

* a program that reads the clock, or draws at random without the seeds that it is given;
* `database.reuse`: evaluations that were taken over from another run are made again, with this run's seeds;
* an evaluation that was lost then, by a failure of the sandbox or the verifier;
* a run of an earlier version, in which a new best kept the score of its first runs, whatever its check found.

Steps that are not finished are left out.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from database.store import RunStore
from evolve.budget import Budget, Tally
from evolve.compose import (
    check_seed,
    create_run,
    open_run,
    open_run_database,
    problem_of,
    workshop_of,
)
from evolve.config import BudgetConfig, Config, FrozenConfig
from evolve.errors import ConfigError, NotFoundError, RunFolderError
from evolve.loop import Evolution, GroupPrompt, LoopSettings, Parts
from evolve.options import load_config
from evolve.parse import Child
from evolve.progress import Progress
from evolve.protocols import Engine
from evolve.run_folder import new_run_folder, read_run
from evolve.selection import Settled
from evolve.session import Outside, Session, seed_population
from evolve.types import ArchiveCell, Attempt, Completion, Draw, Evaluation, Group, Member, Membership, Program, Request
from evolve.words import named_words, path_of

#: How many differences are printed.
_SHOWN = 10


class Recording:
    """What is stored of a run, as the parts of another run's loop: its replies an engine, its population a selection.

    Args:
        source: The run that is replayed.
        store: The run that replays it.

    Attributes:
        reports: Of the finished steps.
        best: The best score at the end of the step that is being replayed.
        attempts: The ids of the attempts of step 0 and of the steps that were turned to, as they were then: the run may
            be going on meanwhile.
    """

    def __init__(self, source: RunStore, store: RunStore) -> None:
        self.reports = source.reports()
        self.best = self.reports[0].best
        self.attempts = {attempt.id for attempt in source.attempts_of(0)}
        self._source = source
        self._store = store
        self._memberships: defaultdict[int, list[Membership]] = defaultdict(list)
        for membership in source.memberships():
            self._memberships[membership.step].append(membership)
        self._cells: defaultdict[int, list[ArchiveCell]] = defaultdict(list)
        for cell in source.archive_cells():
            self._cells[cell.step].append(cell)
        self._confirmations = {confirmation.program_id: confirmation for confirmation in source.confirmations()}
        self._made: set[int] = set()
        self._attempts: dict[int, Attempt] = {}

    def turn_to(self, step: int) -> None:
        """Read the replies of a step; one whose parent did not come about is left out.

        Programs of other runs that came in with the step are stored as they were.
        """
        self._take_in({place.program_id for place in self._memberships[step] if place.program_id < 0} - self._made)
        attempts = self._source.attempts_of(step)
        self.attempts |= {attempt.id for attempt in attempts}
        parents = {attempt.draw.parent_id for attempt in attempts}
        there = {parent for parent in parents if self._is_there(parent)}
        self._attempts = {attempt.id: attempt for attempt in attempts if attempt.draw.parent_id in there}
        self.best = self.reports[step].best

    def first(self, ids: Iterable[int]) -> Attempt | None:
        """Return the first of these attempts that the step has."""
        return next((self._attempts[number] for number in ids if number in self._attempts), None)

    def was_run(self, number: int) -> bool:
        """Whether the run ran the program of this attempt, or let it share a sibling's run."""
        attempt = self._attempts.get(number)
        return attempt is not None and bool(attempt.evaluations)

    def runs_of(self, identity: str) -> int:
        """Return how often the run ran a program in this step, its confirmation left out; 0 if it did not."""
        alike = (attempt.evaluations for attempt in self._attempts.values() if attempt.identity == identity)
        return max(map(len, alike), default=0)

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield the stored completions of the step."""
        for request in requests:
            for sample in request.samples:
                attempt = self._attempts.get(1 + request.first + sample)
                if attempt is not None:
                    yield attempt.completion

    def give_up(self) -> None:
        """No stream waits for anything."""

    def close(self) -> None:
        """Nothing is held."""

    def draw(self, group: int, *, inspirations: int, seed: str) -> Draw:
        """Return the seed program: groups that have a stored reply take their draw from it."""
        del group, inspirations, seed
        return Draw(island=0, parent_id=0)

    def finish_step(self, step: int, born: Sequence[tuple[Member, int]]) -> Settled:
        """Return the places that were taken at the end of the step, by programs that came about again."""
        for member, _ in born:
            then = self._attempts.get(member.id)
            check = self._confirmations.get(member.id)
            failed_then = (then is not None and then.score is None) or (check is not None and not check.confirmed)
            if member.score is not None or failed_then:
                self._made.add(member.id)
        return Settled(
            memberships=tuple(place for place in self._memberships[step] if place.program_id in self._made),
            cells=tuple(cell for cell in self._cells[step] if cell.program_id in self._made),
        )

    def restore(self, members: Iterable[Member], memberships: Iterable[Membership], *, steps: int) -> None:
        """Nothing is drawn."""

    def _take_in(self, merged: set[int]) -> None:
        for number in sorted(merged, reverse=True):
            self._store.insert_attempt(self._source.attempt(number))
            if number in self._confirmations:
                self._store.insert_confirmation(self._confirmations[number])
        self._made |= merged

    def _is_there(self, program_id: int) -> bool:
        try:
            self._store.program(program_id)
        except NotFoundError:
            return False
        return True


class Replay(Evolution):
    """The loop with the draws and prompts of another run."""

    def __init__(
        self,
        recording: Recording,
        parts: Parts,
        settings: LoopSettings,
        budget: Budget,
        tally: Tally,
        *,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(parts, settings, budget, tally, clock=clock)
        self._recording = recording

    def step(self, number: int) -> Sequence[Group]:
        """Make one step as the run made it."""
        self._recording.turn_to(number)
        return super().step(number)

    def _confirm(self, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
        attempts = super()._confirm(attempts)
        # What was the best then, late ones and programs of other runs included: it is what the next children must
        # beat to be run twice.
        self._confirmer.best = self._recording.best
        self._tally.settle(self._recording.best)
        return attempts

    def _known(self, child: Child, prompt: GroupPrompt, completion: Completion) -> Program | None:
        """Return what a child repeats; one that was run then, beside what it repeats, is run again."""
        if self._recording.was_run(self._id(prompt.step, prompt.group, completion.sample)):
            return None
        return super()._known(child, prompt, completion)

    def _runs(self, child: Child) -> tuple[Evaluation, ...]:
        """Run a program as often as it was run then: a straggler had to beat what had become the best meanwhile."""
        then = self._recording.runs_of(child.identity)
        if not then:
            return super()._runs(child)
        evaluate, seed = self._parts.evaluator.evaluate, self._settings.seed
        return tuple(evaluate(child.source, seed=seed + number) for number in range(then))

    def _prompt(self, step: int, group: int) -> GroupPrompt:
        first = self._id(step, group, 0)
        stored = self._recording.first(range(first, first + self._settings.samples))
        draw = Draw(island=0, parent_id=0) if stored is None else stored.draw
        parent = self._parts.store.program(draw.parent_id)
        messages = () if stored is None else stored.prompt
        return GroupPrompt(step=step, group=group, draw=draw, parent=parent, messages=messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySession(Session):
    """A session whose model is the record of another run."""

    recording: Recording

    def _evolution(
        self,
        engine: Engine,
        model: Path | None,
        budget: Budget,
        tally: Tally,
        progress: Progress,
        clock: Callable[[], float],
    ) -> Evolution:
        """Return the loop; it runs every program itself, and waits for all of them before the next step."""
        settings = replace(self.settings(), late=0.0, reuse=False)
        return Replay(self.recording, self.parts(engine, model, progress), settings, budget, tally, clock=clock)


def replay(words: Sequence[str], outside: Outside) -> int:
    """`evolve replay`: replay a run into a new folder and compare; the exit code is 1 when something differs."""
    named, options = named_words(words, required=("run", "to"))
    _refuse_others(options)
    origin, path = path_of("run", named["run"]), path_of("to", named["to"])
    if (path / "run.yaml").exists():
        raise RunFolderError(f"{path} holds a run already: name another folder for the replay")
    with ExitStack() as stack:
        _, source = stack.enter_context(open_run(origin))
        if not source.reports():
            raise RunFolderError(f"the run in {origin} has not begun: there is nothing to replay")
        text, _ = read_run(origin)
        config = _config(load_config(text, options), path)
        folder = stack.enter_context(new_run_folder(path, option="to"))
        workshop = stack.enter_context(workshop_of(config, problem_of(config)))
        evaluations = check_seed(workshop, seed=config.run.seed)
        store = create_run(config, folder, stack.enter_context(open_run_database(config, folder)), outside.clocks)
        recording = Recording(source, store)
        seed_population(store, recording, workshop, evaluations)
        session = ReplaySession(
            config=_until(config, len(recording.reports) - 1),
            folder=folder,
            store=store,
            selection=recording,
            workshop=workshop,
            outside=outside,
            recording=recording,
        )
        try:
            session.go(recording, None)
        except KeyboardInterrupt:
            outside.console.print(f"stopped: remove {path} and replay again", highlight=False, markup=False)
            return 130
        return _tell(compare(source, store, recording.attempts), path, outside.console)


def _refuse_others(options: Sequence[str]) -> None:
    for option in options:
        if not option.startswith("sandbox."):
            raise ConfigError(
                f"{option} is no option of a replay, which takes the run's own: only sandbox.* may change"
            )


def _config(config: Config, path: Path) -> Config:
    return replace(config, run=replace(config.run, dir=str(path)))


def _until(config: Config, steps: int) -> Config:
    """Return the configuration of the session: the stored one is the run's own, so that it can be gone on with."""
    return replace(config, learner=FrozenConfig(), budget=BudgetConfig(steps=steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a replay compares with its run.

    Attributes:
        attempts: How many attempts were replayed.
        differing: Of each that came out otherwise its id, what it was, and what it is now.
    """

    attempts: int
    differing: Sequence[tuple[int, str, str]]


def compare(source: RunStore, store: RunStore, attempts: Collection[int]) -> Comparison:
    """Compare outcome, identity and score of some attempts of `source` with those in `store`.

    Args:
        source: The run that was replayed; it may have gone on since.
        store: The run that replayed it.
        attempts: Ids of the attempts that were replayed.
    """
    differing = []
    for step in range(len(store.reports())):
        again = {attempt.id: attempt for attempt in store.attempts_of(step)}
        for attempt in source.attempts_of(step):
            if attempt.id not in attempts:
                continue
            now = again.get(attempt.id)
            if now is None:
                differing.append((attempt.id, _words(attempt), "missing, as its parent is"))
            elif (now.outcome, now.identity, now.score) != (attempt.outcome, attempt.identity, attempt.score):
                differing.append((attempt.id, _words(attempt), _words(now)))
    return Comparison(attempts=len(attempts), differing=differing)


def _words(attempt: Attempt) -> str:
    return f"{attempt.outcome}" if attempt.score is None else f"{attempt.outcome} with {attempt.score!r}"


def _tell(comparison: Comparison, path: Path, console: Console) -> int:
    """Print the comparison and return the exit code."""
    differing = comparison.differing
    lines = [f"program {number} was {was}, is {now}" for number, was, now in differing[:_SHOWN]]
    if len(differing) > _SHOWN:
        lines.append(f"and {len(differing) - _SHOWN} more")
    result = f"{len(differing)} differ" if differing else "programs, outcomes and scores are the same"
    for line in (*lines, f"{comparison.attempts} attempts replayed in {path}: {result}"):
        console.print(line, highlight=False, markup=False)
    return 1 if differing else 0

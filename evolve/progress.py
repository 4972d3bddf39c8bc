"""What a person sees while a run goes on: a line for every step and every new best, and a live panel on a terminal."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from evolve.budget import Budget, Tally
from evolve.confirm import worth
from evolve.types import Attempt, Confirmation, Outcome, Problem, StepReport


class Progress:
    """An observer that prints. Any thread may call it."""

    def __init__(
        self, console: Console, problem: Problem, budget: Budget, tally: Tally, *, clock: Callable[[], float]
    ) -> None:
        """Take what the display reads.

        Args:
            console: Where to print; the panel appears only if it is a terminal.
            problem: For the record to beat.
            budget: For what is left.
            tally: For what has been spent and reached.
            clock: Active seconds of the run.
        """
        self._console = console
        self._problem = problem
        self._budget = budget
        self._tally = tally
        self._clock = clock
        self._lock = threading.Lock()
        self._steps = 0
        self._told_of_lost = False
        self._first = (tally.tokens, clock())
        self._live = Live(get_renderable=self._panel, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def attempted(self, attempt: Attempt) -> None:
        """Print why a child was lost, once: the others' reasons are stored. The panel reads the rest from the tally."""
        with self._lock:
            if attempt.outcome is Outcome.LOST and not self._told_of_lost:
                self._told_of_lost = True
                line = f"{_clock(self._clock())}  program {attempt.id} was lost: {attempt.feedback}"
                self._console.print(line, highlight=False, markup=False)

    def confirmed(self, attempt: Attempt, confirmation: Confirmation) -> None:
        """Print a new best, or why what looked like one is none."""
        child = f"program {attempt.id}, child of {attempt.draw.parent_id}"
        if confirmation.confirmed:
            score = worth(attempt, confirmation, self._problem.direction)
            line = f"new best [bold green]{score!r}[/]  {child}, {confirmation.origin}{self._gap(score)}"
        else:
            line = f"no new best {attempt.score!r}  {child}: {escape(confirmation.reason)}"
        with self._lock:
            self._console.print(f"{_clock(self._clock())}  {line}", highlight=False)

    def say(self, text: str) -> None:
        """Print what a part of the run wants people to know."""
        with self._lock:
            self._console.print(text, highlight=False, markup=False)

    def stepped(self, report: StepReport) -> None:
        """Print a line for the step."""
        valid = report.outcomes.get(Outcome.VALID, 0)
        seconds = report.generate_s + report.tail_s
        late = f", {report.stragglers} still running" if report.stragglers else ""
        with self._lock:
            self._steps = report.step
            self._console.print(
                f"{_clock(report.finished_s)}  step {report.step}: best {report.best!r}, {report.attempts} children, "
                f"{_percent(valid, report.attempts)} valid, {_percent(report.improved, report.attempts)} better than "
                f"their parent, {seconds:.1f} s ({report.tokens / max(seconds, 1e-9):.0f} tokens/s{late})",
                highlight=False,
            )

    def _gap(self, score: float) -> str:
        record = self._problem.record
        if record is None:
            return ""
        gain = self._problem.direction.gain(score, record.score)
        if gain == 0:
            return f", equals the record {record.score!r}"
        return f", {'beats' if gain > 0 else 'behind'} the record {record.score!r} by {abs(gain):.3g}"

    def _panel(self) -> Table:
        tokens, started = self._first
        seconds = max(self._clock() - started, 1e-9)
        outcomes = self._tally.outcomes
        made = sum(outcomes.values())
        table = Table.grid(padding=(0, 2))
        table.add_row("step", str(self._steps + 1), "best", f"{self._tally.best!r}{self._gap(self._tally.best)}")
        table.add_row(
            "children",
            f"{made}, {_percent(outcomes[Outcome.VALID], made)} valid",
            "speed",
            f"{(self._tally.tokens - tokens) / seconds:.0f} tokens/s, {made / seconds:.2f} evaluations/s",
        )
        table.add_row("time", _clock(self._clock()), "left", self._left())
        return table

    def _left(self) -> str:
        budget, tally = self._budget, self._tally
        left = []
        if budget.steps is not None:
            left.append(f"{max(budget.steps - self._steps, 0)} steps")
        if budget.minutes is not None:
            left.append(_clock(max(60 * budget.minutes - self._clock(), 0)))
        if budget.completions is not None:
            left.append(f"{max(budget.completions - tally.completions, 0)} completions")
        if budget.tokens is not None:
            left.append(f"{max(budget.tokens - tally.tokens, 0)} tokens")
        return ", ".join(left) or "no limit"


def _clock(seconds: float) -> str:
    """Return seconds as h:mm:ss.

    >>> _clock(3725.4)
    '1:02:05'
    """
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"

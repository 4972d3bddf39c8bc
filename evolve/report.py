"""What a run leaves for people: DIR/report with a summary, the best program and construction, and two pictures."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from evolve.errors import ProblemError
from evolve.standing import Standing
from evolve.types import Attempt, Evaluation, Origin, Outcome, Problem, ProblemKind, StepReport
from problems import load_picture, openevolve

matplotlib.use("Agg")

#: What a fault in a problem's own code raises; a disk that is full is none.
_FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError)
#: The share of its time that a run may wait for evaluations before its report says what helps.
_MUCH = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What the report says of a run.

    Attributes:
        bests: The program that the search began with and those that were confirmed, best first.
        quarantine: What looked like a new best and failed its check.
        lost: Why the first child was lost that was; empty where none was.
        curve: `(active seconds, completions, best score)` at each improvement, in order of time.
        evaluations: How many runs of programs ended how, and their seconds, confirmations left out.
    """

    problem: Problem
    model: str
    seed: int
    bests: Sequence[Standing]
    quarantine: Sequence[Standing]
    curve: Sequence[tuple[float, int, float]]
    outcomes: Mapping[Outcome, int]
    lost: str
    evaluations: Mapping[Outcome, tuple[int, float]]
    steps: Sequence[StepReport]
    tokens: int
    prompt_tokens: int
    ended: str

    @property
    def best(self) -> Attempt:
        """The program whose score counts most."""
        return self.bests[0].attempt

    @property
    def score(self) -> float:
        """Its score: the worst of its runs."""
        return self.bests[0].score(self.problem.direction)

    @property
    def construction(self) -> tuple[int, Evaluation]:
        """The best construction that may be shown, with the id of its program."""
        direction = self.problem.direction
        standing = max(self.bests, key=lambda one: direction.rank(one.construction(direction).score or 0.0))
        return standing.attempt.id, standing.construction(direction)


def write_report(result: RunResult, folder: Path) -> None:
    """Write summary.md, best_program.py, best.json, curve.png and, where the problem draws, best.png.

    The best constructions of programs in quarantine go to quarantine/ID.json: they are no finds yet, but not lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    program_id, evaluation = result.construction
    if evaluation.construction is None:
        raise ValueError(f"the best evaluation, of program {program_id}, holds no construction")
    (folder / "best_program.py").write_text(result.best.source or "", encoding="utf-8", errors="backslashreplace")
    (folder / "best.json").write_text(evaluation.construction + "\n", encoding="utf-8")
    for standing in result.quarantine:
        (folder / "quarantine").mkdir(exist_ok=True)
        text = standing.construction(result.problem.direction).construction or "null"
        (folder / "quarantine" / f"{standing.attempt.id}.json").write_text(text + "\n", encoding="utf-8")
    draw_curve(result, folder / "curve.png")
    # Before the picture, which may fail, and after it: then it is known whether there is one.
    (folder / "summary.md").write_text(summary(result, drawn=False), encoding="utf-8")
    if draw_construction(result.problem, evaluation.construction, folder / "best.png"):
        (folder / "summary.md").write_text(summary(result, drawn=True), encoding="utf-8")


def draw_construction(problem: Problem, construction: str, target: Path) -> bool:
    """Draw a construction, given as JSON text; return whether the problem draws it.

    Raises:
        ProblemError: The problem's picture.py cannot be used, or fails.
    """
    if problem.kind is ProblemKind.RULE:
        return False
    try:
        draw = load_picture(problem)
        if draw is None:
            return False
        draw(json.loads(construction), target)
    except ValueError:  # it says that this construction cannot be drawn
        return False
    except _FAULTS as error:
        raise ProblemError(
            f"{problem.folder / 'picture.py'} failed ({type(error).__name__}: {' '.join(str(error).split())}): mend it"
        ) from error
    return target.is_file()


def verbatim(text: str) -> str:
    r"""Return what Matplotlib draws as `text`: what stands between two dollar signs it would set as mathematics.

    >>> verbatim("$5 per $")
    '\\$5 per \\$'
    """
    return text.replace("$", r"\$")


def draw_curve(result: RunResult, target: Path) -> None:
    """Draw the best score against active time, with the records as lines."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    minutes = [seconds / 60 for seconds, _, _ in result.curve]
    scores = [score for _, _, score in result.curve]
    end = max([result.steps[-1].finished_s / 60 if result.steps else 0.0, *minutes])
    axes.step([*minutes, end], [*scores, scores[-1]], where="post", color="#1f6feb", linewidth=2, label="best so far")
    for record in result.problem.records:
        if record.exactly_valid:
            axes.axhline(record.score, color="#888888", linewidth=0.8, linestyle="--")
            label = verbatim(f"{record.holder}, {record.date}")
            axes.annotate(label, (0, record.score), fontsize=7, color="#666666", va="bottom")
            break
    axes.set_xlabel("active time in minutes")
    axes.set_ylabel(verbatim(result.problem.unit))
    axes.set_title(verbatim(f"{result.problem.title}: {result.score!r}"), loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(target, dpi=120)


def summary(result: RunResult, *, drawn: bool) -> str:
    """Return the run's summary as Markdown."""
    problem = result.problem
    program_id, evaluation = result.construction
    made = sum(result.outcomes.values())
    lines = [
        f"# {problem.title}",
        "",
        f"- Best score that counts: **{result.score!r}** ({problem.unit}, {problem.direction} is better), program "
        f"{result.best.id} of step {result.best.step}, {_origin(result.bests[0])}. A new best is run four times, twice "
        "with seeds that no other program has seen; the worst counts.",
        *_runs(result.bests[0]),
        f"- Best construction found: {evaluation.exact}, by program {program_id}; "
        f"{'verified at zero tolerance' if problem.harness is None else openevolve.UNPROVED} (`best.json`).",
        f"- Started from the seed program's {result.curve[0][2]!r}.",
        f"- Model {result.model}, run seed {result.seed}.",
        f"- {made} completions in {len(result.steps)} steps, {result.tokens} tokens generated from "
        f"{result.prompt_tokens} of prompts, {_active(result.steps):.0f} s active. Ended: {result.ended}.",
        "",
        *_records(result),
        *_quarantine(result),
        "## How the completions ended",
        "",
        "| outcome | completions | % |",
        "|---|---|---|",
    ]
    for outcome, count in sorted(result.outcomes.items(), key=lambda item: -item[1]):
        lines.append(f"| {outcome} | {count} | {100 * count / max(made, 1):.1f} |")
    lines += _lost(result)
    lines += ["", "## Where the time went", "", *_times(result.steps), "", *_evaluations(result), ""]
    lines += ["![best against time](curve.png)", ""]
    lines += ["![best construction](best.png)", ""] if drawn else []
    source = (result.best.source or "").encode("utf-8", "backslashreplace").decode("utf-8")
    lines += ["## The best program", "", textwrap.indent(source, "    "), ""]
    return "\n".join(lines)


def _origin(standing: Standing) -> str:
    """Return where a best came from, in words."""
    words = {
        Origin.SCRATCH: "found from scratch",
        Origin.SEEDED: "found from programs that were given",
        Origin.RECALL: "recall: the program spells out what is known",
    }
    return "which the search began with" if standing.confirmation is None else words[standing.confirmation.origin]


def _runs(standing: Standing) -> list[str]:
    if standing.confirmation is None:
        return []
    runs = ", ".join(f"{run.score!r} with {run.seed}" for run in standing.runs)
    return [f"- Its runs, by seed: {runs}."]


def _quarantine(result: RunResult) -> list[str]:
    """Return what is in quarantine, and why."""
    if not result.quarantine:
        return []
    lines = [
        "## In quarantine",
        "",
        "These looked like a new best and are none; the search does not build on them.",
        "",
    ]
    for standing in result.quarantine:
        best = standing.construction(result.problem.direction)
        reason = "" if standing.confirmation is None else standing.confirmation.reason
        text = reason.encode("utf-8", "backslashreplace").decode("utf-8").replace("`", "'")
        lines.append(f"- program {standing.attempt.id}, up to {best.score!r}: `{text}`")
    return [*lines, ""]


def _lost(result: RunResult) -> list[str]:
    """Return why children were lost, which is no fault of theirs, and what helps."""
    count = result.outcomes.get(Outcome.LOST, 0)
    if not count:
        return []
    line = "1 child was lost" if count == 1 else f"{count} children were lost; of the first"
    return ["", f"{line}: {result.lost}"]


def _records(result: RunResult) -> list[str]:
    records = result.problem.records
    if not records:
        return []
    lines = ["## Against the records", "", "| holder | date | score | feasible at zero tolerance | this run is |"]
    lines.append("|---|---|---|---|---|")
    for record in records:
        gain = result.problem.direction.gain(result.score, record.score)
        place = f"{'better' if gain > 0 else 'worse'} by {abs(gain):.3g}" if gain else "equal"
        valid = "yes" if record.exactly_valid else "no"
        lines.append(f"| {record.holder} | {record.date} | {record.score!r} | {valid} | {place} |")
    return [*lines, ""]


def _active(steps: Sequence[StepReport]) -> float:
    return steps[-1].finished_s if steps else 0.0


def _evaluations(result: RunResult) -> list[str]:
    """Return for how long programs ran, from which a limit can be chosen."""
    seconds = sum(each for _, each in result.evaluations.values())
    if not seconds:
        return []
    late, lost = result.evaluations.get(Outcome.TIMED_OUT, (0, 0.0))
    longest = max(run.wall_s for run in result.bests[0].runs)
    return [
        f"Programs ran for {seconds:.1f} s in all, {100 * lost / seconds:.0f} % of it those that ran into the limit of "
        f"{result.problem.limits.wall_s:g} s ({late}; `problem.wall_s`). The best one took {longest:.2g} s at most."
    ]


def _times(steps: Sequence[StepReport]) -> list[str]:
    """Return a table of seconds a step, mean over the steps after the seed's."""
    counted = [step for step in steps if step.attempts and step.step > 0]
    if not counted:
        return ["No step was finished."]
    rows = {
        "generation": [step.generate_s for step in counted],
        "evaluation tail": [step.tail_s for step in counted],
        "database, all threads": [step.database_s for step in counted],
    }
    lines = ["| seconds a step | mean | longest |", "|---|---|---|"]
    lines += [f"| {name} | {sum(values) / len(values):.2f} | {max(values):.2f} |" for name, values in rows.items()]
    tokens = sum(step.tokens for step in counted)
    seconds = sum(step.generate_s + step.tail_s for step in counted)
    attempts = sum(step.attempts for step in counted)
    if seconds > 0:
        lines += ["", f"{tokens / seconds:.1f} tokens/s and {attempts / seconds:.2f} children/s over whole steps."]
        waited = sum(step.tail_s for step in counted) / seconds
        if waited > _MUCH:
            lines += [
                "",
                f"The model waited for evaluations {100 * waited:.0f} % of the time: more `sandbox.workers` on more "
                "processors make more of it, or a shorter `problem.wall_s`; in smaller steps (`rollout.parents`, "
                "`rollout.samples`) each child knows more of the others.",
            ]
    return lines

"""What a run leaves for people: DIR/report with a summary, the best program and construction, and two pictures."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from evolve.types import Evaluation, Outcome, Problem, ProblemKind, Program, StepReport
from problems import load_picture

matplotlib.use("Agg")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What the report says of a run.

    Attributes:
        best: The program whose score counts most.
        construction: The best construction of any evaluation, with the id of its program.
        curve: `(active seconds, completions, best score)` at each improvement, in order of time.
    """

    problem: Problem
    model: str
    seed: int
    best: Program
    construction: tuple[int, Evaluation]
    curve: Sequence[tuple[float, int, float]]
    outcomes: Mapping[Outcome, int]
    steps: Sequence[StepReport]
    tokens: int
    prompt_tokens: int
    ended: str


def write_report(result: RunResult, folder: Path) -> None:
    """Write summary.md, best_program.py, best.json, curve.png and, where the problem draws, best.png."""
    folder.mkdir(parents=True, exist_ok=True)
    program_id, evaluation = result.construction
    if evaluation.construction is None:
        raise ValueError(f"the best evaluation, of program {program_id}, holds no construction")
    (folder / "best_program.py").write_text(result.best.source, encoding="utf-8", errors="backslashreplace")
    (folder / "best.json").write_text(evaluation.construction + "\n", encoding="utf-8")
    draw = load_picture(result.problem)
    if draw is not None and result.problem.kind is ProblemKind.CONSTRUCTION:
        draw(json.loads(evaluation.construction), folder / "best.png")
    draw_curve(result, folder / "curve.png")
    (folder / "summary.md").write_text(summary(result, drawn=draw is not None), encoding="utf-8")


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
            label = f"{record.holder}, {record.date}"
            axes.annotate(label, (0, record.score), fontsize=7, color="#666666", va="bottom")
            break
    axes.set_xlabel("active time in minutes")
    axes.set_ylabel(result.problem.unit)
    axes.set_title(f"{result.problem.title}: {result.best.score!r}", loc="left")
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
        f"- Best score that counts: **{result.best.score!r}** ({problem.unit}, {problem.direction} is better), program "
        f"{result.best.id} of step {result.best.step}. A new best is run twice with different seeds; the worse counts.",
        f"- Best construction found: {evaluation.exact}, by program {program_id}; verified at zero tolerance "
        "(`best.json`).",
        f"- Started from the seed program's {result.curve[0][2]!r}.",
        f"- Model {result.model}, run seed {result.seed}.",
        f"- {made} completions in {len(result.steps)} steps, {result.tokens} tokens generated from "
        f"{result.prompt_tokens} of prompts, {_active(result.steps):.0f} s active. Ended: {result.ended}.",
        "",
        *_records(result),
        "## How the completions ended",
        "",
        "| outcome | completions | % |",
        "|---|---|---|",
    ]
    for outcome, count in sorted(result.outcomes.items(), key=lambda item: -item[1]):
        lines.append(f"| {outcome} | {count} | {100 * count / max(made, 1):.1f} |")
    lines += ["", "## Where the time went", "", *_times(result.steps), ""]
    lines += ["![best against time](curve.png)", ""]
    lines += ["![best construction](best.png)", ""] if drawn else []
    source = result.best.source.encode("utf-8", "backslashreplace").decode("utf-8")
    lines += ["## The best program", "", textwrap.indent(source, "    "), ""]
    return "\n".join(lines)


def _records(result: RunResult) -> list[str]:
    records = result.problem.records
    if not records:
        return []
    lines = ["## Against the records", "", "| holder | date | score | feasible at zero tolerance | this run is |"]
    lines.append("|---|---|---|---|---|")
    for record in records:
        gain = result.problem.direction.gain(result.best.score or 0.0, record.score)
        place = f"{'better' if gain > 0 else 'worse'} by {abs(gain):.3g}" if gain else "equal"
        valid = "yes" if record.exactly_valid else "no"
        lines.append(f"| {record.holder} | {record.date} | {record.score!r} | {valid} | {place} |")
    return [*lines, ""]


def _active(steps: Sequence[StepReport]) -> float:
    return steps[-1].finished_s if steps else 0.0


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
    return lines

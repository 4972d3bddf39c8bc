"""What the page of one program shows."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from database.dashboard import Sprout
from evolve.dashboard.catalog import OpenRun
from evolve.dashboard.pictures import can_draw
from evolve.dashboard.texts import Shown, diff_lines, shown
from evolve.dashboard.tree import best_path
from evolve.types import Attempt, Confirmation, Evaluation, Program

#: Programs longer than this are not compared, as that takes time with the square of their lines.
_DIFF_CHARS = 100_000
#: Steps of a lineage that are shown around the program; the seed program and the ends are linked.
STRIP = 24
#: Children that are listed.
CHILDREN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A text of the program with the name of its address."""

    name: str
    title: str
    shown: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """One step of a lineage; `gain` is 1 when it is better than the step before, -1 when it is worse."""

    sprout: Sprout
    gain: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramPage:
    """Everything on the page.

    Attributes:
        skipped: Ancestors between the seed program and the strip's other steps.
        older: The parent, for the keyboard; None for the seed program.
        younger: The next program on the path to the run's best, else the best child, for the keyboard.
    """

    attempt: Attempt
    evaluations: Sequence[Evaluation]
    parent: Program | None
    lineage: Sequence[Ancestor]
    skipped: int
    older: int | None
    younger: int | None
    children: Sequence[tuple[int, float | None]]
    diff: Sequence[tuple[str, str]]
    diff_note: str
    source: Part | None
    prompt: Sequence[Part]
    reply: Part
    feedback: Part
    has_picture: bool
    confirmation: Confirmation | None


def program_page(run: OpenRun, program_id: int) -> ProgramPage:
    """Return what the page of a program, or of an attempt without one, shows.

    Raises:
        NotFoundError: The run has no such attempt.
    """
    attempt = run.views.attempt(program_id)
    parent = None if attempt.step == 0 else run.views.program(attempt.draw.parent_id)
    line = [] if attempt.source is None else run.views.ancestry(attempt.id)
    children = run.views.children(attempt.id, CHILDREN) if attempt.source is not None else []
    diff, note = _diff(parent, attempt)
    return ProgramPage(
        attempt=attempt,
        evaluations=attempt.evaluations,
        parent=parent,
        lineage=_strip(run, line),
        skipped=max(len(line) - STRIP, 0),
        older=None if parent is None else parent.id,
        younger=_next(run, attempt.id, children),
        children=[(child.id, child.score) for child in children],
        diff=diff,
        diff_note=note,
        source=None if attempt.source is None else _part("source", "Source", attempt.source),
        prompt=[_part(f"prompt-{k}", message.role, message.content) for k, message in enumerate(attempt.prompt)],
        reply=_part("reply", "Reply", attempt.completion.text),
        feedback=_part("feedback", "Feedback", attempt.feedback),
        has_picture=can_draw(run.problem) and attempt.score is not None,
        confirmation=run.confirmations().get(attempt.id),
    )


def raw_text(attempt: Attempt, name: str) -> str | None:
    """Return one of an attempt's texts as it is stored, None when it has no such text."""
    texts = {
        "source": attempt.source,
        "reply": attempt.completion.text,
        "feedback": attempt.feedback,
        **{f"prompt-{number}": message.content for number, message in enumerate(attempt.prompt)},
    }
    return texts.get(name)


def _part(name: str, title: str, text: str) -> Part:
    return Part(name=name, title=title, shown=shown(text))


def _diff(parent: Program | None, attempt: Attempt) -> tuple[list[tuple[str, str]], str]:
    if attempt.source is None or parent is None:
        return [], ""
    if max(len(attempt.source), len(parent.source)) > _DIFF_CHARS:
        return [], "The programs are too long to be compared."
    names = (f"program {parent.id}", f"program {attempt.id}")
    lines = difflib.unified_diff(parent.source.splitlines(), attempt.source.splitlines(), *names, lineterm="")
    text = shown("\n".join(lines))
    return list(diff_lines(text.text)), "" if not text.left_out else "The end of the difference is left out."


def _strip(run: OpenRun, line: Sequence[Sprout]) -> list[Ancestor]:
    """Return the seed program and the last steps of a lineage, each with whether it was a gain."""
    found = []
    for number, sprout in enumerate(line):
        before = line[number - 1].score if number else None
        gain = 0.0
        if before is not None and sprout.score is not None:
            gain = run.problem.direction.gain(sprout.score, before)
        found.append(Ancestor(sprout=sprout, gain=(gain > 0) - (gain < 0)))
    return found if len(found) <= STRIP else [found[0], *found[1 - STRIP :]]


def _next(run: OpenRun, program_id: int, children: Sequence[Sprout]) -> int | None:
    path = best_path(run)
    following = dict(pairwise(path))
    if program_id in following:
        return following[program_id]
    ranks = {child.id: run.problem.direction.rank(child.score) for child in children if child.score is not None}
    return max(ranks, key=lambda number: ranks[number], default=None)

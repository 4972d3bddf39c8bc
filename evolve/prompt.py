"""Step 2: from a draw to the messages that the model reads. The texts are in `evolve/prompts/*.md`.

All prompts of a run begin with the same system message and problem statement, so that an engine with a prefix cache
reads them once; what differs within a step comes last.
"""

import platform
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from string import Template

from evolve.parse import functions_of, split_block
from evolve.types import Direction, Failure, Message, Problem, Program


class ReplyFormat(StrEnum):
    """What the model is asked to write."""

    FULL = "full"  #: the whole evolve block anew
    EDITS = "edits"  #: SEARCH/REPLACE blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSettings:
    """What a prompt shows beside the problem and the parent.

    Attributes:
        inspirations: Programs shown beside the parent.
        ancestors: So many of the parent's last ancestors are shown before it with their scores, oldest first, as whole
            programs: a model of 1.5 billion parameters gained from programs in its prompt, and wrote no edit in 1,279
            of 1,280 replies when it was asked for them, so that differences are no language for it. 0 shows none.
        failure: Whether the last failure of the parent's children is shown.
        moves: Whether one of the problem's ideas is shown.
        focus: Whether a move that begins with `In NAME:`, NAME being a function of the parent, is asked of that
            function alone: the prompt shows it and its versions in the other programs, and a reply in full is that
            function. Shown the whole program, a
            model of 1.5 billion parameters copies most of it, often the function that matters. FunSearch evolves one
            function so (Romera-Paredes and others, Nature 625, 2024).
        prompt_tokens: The longest prompt that the engine takes, as `tokens_about` counts; None if it takes any.
            Inspirations and ancestors that do not fit are left out, the longest first.
    """

    reply_format: ReplyFormat
    inspirations: int
    failure: bool
    moves: bool
    focus: bool = False
    ancestors: int = 0
    prompt_tokens: int | None = None


#: How a move says that it is about one function.
_ABOUT = re.compile(r"In (\w+):")
#: As what a program is shown; there is a text for all of it and one for a function of it.
_SHOWN = ("inspiration", "ancestor", "parent")
#: A traceback longer than this says nothing more to the model, in characters.
_FEEDBACK_CHARS = 2000


#: What tokenizers take apart digit by digit, as Qwen's does, with what stands between the numbers of a list.
_NUMBER = re.compile(r"[-+]?\d[\d.,]*")
#: The rest of Python costs about 3 to 4 characters a token; the lower end keeps a prompt inside the model's context.
_CHARS_A_TOKEN = 3


def tokens_about(text: str) -> float:
    """Return how many tokens a text costs, rather more than fewer.

    >>> tokens_about("return 3"), tokens_about("0.125, 0.250,")
    (3.3333333333333335, 12.333333333333334)
    """
    digits = sum(map(len, _NUMBER.findall(text)))
    return digits + (len(text) - digits) / _CHARS_A_TOKEN


class Prompter:
    """Builds the prompts of one run."""

    def __init__(self, problem: Problem, settings: PromptSettings) -> None:
        self.settings = settings
        self._problem = problem
        names = (
            "system",
            "problem",
            *_SHOWN,
            *(f"{shown}_function" for shown in _SHOWN),
            "remark",
            "failure",
            "move",
            f"task_{settings.reply_format}",
            "task_function",
        )
        texts = resources.files("evolve") / "prompts"
        self._templates = {name: Template((texts / f"{name}.md").read_text(encoding="utf-8")) for name in names}
        self._opening = self._fill(
            "problem",
            title=problem.title,
            statement=problem.statement.strip(),
            signature=problem.signature.strip(),
            unit=problem.unit,
            recomputed=", recomputed exactly from what the program returns" if problem.harness is None else "",
            better="higher" if problem.direction is Direction.MAX else "lower",
            record="" if problem.record is None else f" Best known: {problem.record.score!r}.",
            wall=f"{problem.limits.wall_s:g}",
            memory=str(problem.limits.memory_mib),
            python=".".join(platform.python_version_tuple()[:2]),
        )

    def move(self, number: int, *, seed: int) -> str | None:
        """Return the idea of a prompt; None where the settings or the problem have none.

        They are dealt like cards, all before one comes again, so that a short run tries each of them; the order differs
        from round to round.

        Args:
            number: Of the prompt in the run, from 0.
            seed: Of the run.
        """
        moves = self._problem.moves
        if not (self.settings.moves and moves):
            return None
        turn, place = divmod(number, len(moves))
        return random.Random(f"{seed}:moves:{turn}").sample(moves, len(moves))[place]

    def messages(
        self,
        parent: Program,
        inspirations: Sequence[Program],
        failure: Failure | None,
        move: str | None,
        *,
        ancestors: Sequence[Program] = (),
        remark: str = "",
    ) -> tuple[Message, ...]:
        """Return the prompt for children of `parent`.

        Args:
            parent: Shown last, with its score at full precision.
            inspirations: Shown before it, the worst first, so that programs improve down the page.
            failure: How a child of the parent failed; shown where the settings ask for it.
            move: An idea to try, as `move` deals them; None for none.
            ancestors: Of the parent, oldest first, as they are shown; an inspiration that is one of them is shown once.
            remark: What the task's own evaluator said of the parent, beside its score.
        """
        function = self._function(move, parent)
        closing = self._closing(parent, function, failure, remark, move)
        direction = self._problem.direction
        others = (program for program in inspirations if program not in ancestors)
        ordered = sorted(others, key=lambda program: direction.rank(_score(program)))
        programs = [("inspiration", program) for program in ordered] + [("ancestor", program) for program in ancestors]
        shown = self._others(programs, function, parent)
        system, limit = self._fill("system"), self.settings.prompt_tokens
        while shown and limit is not None and sum(map(tokens_about, [system, self._opening, *shown, *closing])) > limit:
            shown.remove(max(shown, key=tokens_about))
        return (
            Message(role="system", content=system),
            Message(role="user", content="\n\n".join([self._opening, *shown, *closing])),
        )

    def _function(self, move: str | None, parent: Program) -> str | None:
        """Return the function that is asked for alone: the one of a move `In NAME: ...`, where there are others."""
        match = None if move is None else _ABOUT.match(move)
        if match is None or not self.settings.focus or self.settings.reply_format is not ReplyFormat.FULL:
            return None
        functions = functions_of(parent.source)
        return match[1] if len(functions) > 1 and match[1] in functions else None

    def _others(self, programs: Sequence[tuple[str, Program]], function: str | None, parent: Program) -> list[str]:
        """Return the programs beside the parent, or what they make of its function, each version once."""
        if function is None:
            return [self._program(shown, program) for shown, program in programs]
        texts: list[str] = []
        known = {functions_of(parent.source)[function]}
        for shown, program in reversed(programs):  # the best one's, which stands nearest to the parent
            source = functions_of(program.source).get(function)
            if source is not None and source not in known:
                known.add(source)
                texts.append(self._fill(f"{shown}_function", score=_words(program), source=source))
        return texts[::-1]

    def _closing(
        self, parent: Program, function: str | None, failure: Failure | None, remark: str, move: str | None
    ) -> list[str]:
        """Return the parts that every prompt ends with: the parent, what was said of it, its failure, the task."""
        if function is None:
            parts = [self._program("parent", parent)]
        else:
            source = functions_of(parent.source)[function]
            parts = [self._fill("parent_function", score=_words(parent), source=source)]
        if remark:
            parts.append(self._fill("remark", remark=_quoted(remark)))
        if failure is not None and self.settings.failure:
            outcome = failure.outcome.replace("_", " ")
            parts.append(self._fill("failure", outcome=outcome, feedback=_quoted(failure.feedback)))
        idea = "" if move is None else f"{self._fill('move', move=move)}\n\n"
        if function is None:
            format_ = self.settings.reply_format
            parts.append(self._fill(f"task_{format_}", defined=_defined(self._problem), move=idea))
        else:
            parts.append(self._fill("task_function", function=function, move=idea))
        return parts

    def _program(self, template: str, program: Program) -> str:
        return self._fill(template, score=_words(program), source=self._visible(program.source))

    def _visible(self, source: str) -> str:
        """Return the source as the model needs to see it.

        Edits need the block's markers. A full rewrite needs them only where there is code around the block; elsewhere
        they are lines that a small model copies and spoils.
        """
        before, block, after = split_block(source)
        around = (before + after).splitlines()
        bare = all(not line.strip() or line.lstrip().startswith("# EVOLVE-BLOCK-") for line in around)
        return block.strip("\n") if bare and self.settings.reply_format is ReplyFormat.FULL else source.strip("\n")

    def _fill(self, template: str, **values: str) -> str:
        return self._templates[template].substitute(values).strip()


def _words(program: Program) -> str:
    """Return the score of a program that is shown."""
    if program.score is not None:
        return repr(program.score)
    return f"none: it failed ({program.outcome.replace('_', ' ')})"


def _quoted(text: str) -> str:
    """Return the end of a text that came from a program; a fence inside it would end its quotation."""
    return text[-_FEEDBACK_CHARS:].replace("```", "'''")


def _defined(problem: Problem) -> str:
    """Return the entry point, and how it is called: a small model adds arguments that nobody gives."""
    name, given = problem.entry_point, ", ".join(map(repr, problem.arguments))
    return f"{name}, called as {name}({given})" if given else name


def _score(program: Program) -> float:
    if program.score is None:
        raise ValueError(f"program {program.id} has no score and cannot be shown")
    return program.score

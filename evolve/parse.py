"""Step 4: from a reply to a child program, or to an honest reason why there is none.

A reply is either edits (SEARCH/REPLACE blocks) or a rewrite (code blocks) of the whole evolve block, or of some of its
functions; which one is told by what it holds, so that a model that ignores the format asked for loses nothing.
"""

import ast
import re
import symtable
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from evolve.completion import Piece, complete, defines, is_part, parent_of, pieces_of, with_later
from evolve.identity import identity
from evolve.types import Outcome

BLOCK_START = "# EVOLVE-BLOCK-START"
BLOCK_END = "# EVOLVE-BLOCK-END"

_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_THINKING_END = re.compile(r"</think(?:ing)?>")
_THINKING_OPEN = re.compile(r"<think(?:ing)?>.*\Z", re.DOTALL)
# Nothing of the opening line is given back: a reply that ends within it would be searched as often as it is long.
_FENCE = re.compile(r"^[ \t]*+```[ \t]*+([\w+-]*+)[^\n]*+\n(.*?)(?:^[ \t]*```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
#: A child may be so many times longer than is allowed before its last edit makes it short enough.
_LONGEST = 2
_SEARCH = re.compile(r"^\s*<{5,9}\s*SEARCH\s*$")
_DIVIDER = re.compile(r"^\s*={5,9}\s*$")
_REPLACE = re.compile(r"^\s*>{5,9}\s*REPLACE\s*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A program that compiles and defines the entry point."""

    source: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFailure:
    """Why a reply holds no child; `outcome` is one of `REPLY_FAILURES`."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edit:
    search: tuple[str, ...]
    replace: tuple[str, ...]


def strip_thinking(reply: str) -> str:
    """Return the reply without its thinking part; a part that was never closed takes all the rest with it.

    >>> strip_thinking("<think>first draft</think>answer"), strip_thinking("draft</think> answer")
    ('answer', 'answer')
    """
    # Only up to the last end is there a part that ends; beyond it each beginning would be searched to the reply's end.
    closed = max((end.end() for end in _THINKING_END.finditer(reply)), default=0)
    reply = _THINKING.sub("", reply[:closed]) + reply[closed:]
    # Chat templates may open the thinking part in the prompt, so that the reply only closes it.
    if end := list(_THINKING_END.finditer(reply)):
        reply = reply[end[-1].end() :]
    return _THINKING_OPEN.sub("", reply).strip()


def split_block(source: str) -> tuple[str, str, str]:
    """Return what stands before, in and after the evolve block; without markers everything is in it.

    The marker lines belong to the first and last part, so that joining the parts gives the source again.
    """
    lines = source.splitlines(keepends=True)
    starts = [i for i, line in enumerate(lines) if line.strip() == BLOCK_START]
    ends = [i for i, line in enumerate(lines) if line.strip() == BLOCK_END]
    if len(starts) != 1 or len(ends) != 1 or ends[0] < starts[0]:
        return "", source, ""
    return "".join(lines[: starts[0] + 1]), "".join(lines[starts[0] + 1 : ends[0]]), "".join(lines[ends[0] :])


def _without_markers(text: str) -> str:
    """Return code without the lines that bound a block: one more of them, and all of the program would be the block."""
    return "".join(line for line in text.splitlines(keepends=True) if line.strip() not in (BLOCK_START, BLOCK_END))


def parse_reply(reply: str, *, parent: str, entry_point: str, source_chars: int) -> Child | ReplyFailure:
    """Return the child that the reply makes of its parent.

    Args:
        reply: The model's text, thinking part included.
        parent: The parent's source.
        entry_point: The function that the child must define.
        source_chars: The longest child allowed, in characters.
    """
    answer = strip_thinking(reply)
    if not answer:
        return ReplyFailure(outcome=Outcome.EMPTY, reason="the reply is empty")
    edits = _edits(answer)
    if isinstance(edits, ReplyFailure):
        return edits
    if edits:
        child = _apply(edits, parent, _LONGEST * source_chars)
    else:
        child = _rewrite(answer, parent, entry_point, source_chars)
    return child if isinstance(child, ReplyFailure) else check_source(child, entry_point, source_chars)


def check_source(source: str, entry_point: str, source_chars: int) -> Child | ReplyFailure:
    """Return the source as a child if it is short enough, compiles and defines the entry point."""
    if len(source) > source_chars:
        return ReplyFailure(outcome=Outcome.TOO_LONG, reason=f"{len(source)} characters, {source_chars} are allowed")
    try:
        tree = ast.parse(source)
        if not _defines(tree, entry_point):
            symtable.symtable(source, "<reply>", "exec")  # raises for what only the compiler refuses
            reason = f"the program does not define {entry_point}()"
            return ReplyFailure(outcome=Outcome.SYNTAX_ERROR, reason=reason)
        return Child(source=source, identity=identity(tree, entry_point=entry_point))
    except SyntaxError as error:
        reason = f"line {error.lineno}: {error.msg}"
    except (RecursionError, MemoryError):
        reason = "the program is nested too deeply"
    except ValueError as error:  # NUL bytes, lone surrogates
        reason = str(error)
    return ReplyFailure(outcome=Outcome.SYNTAX_ERROR, reason=reason)


def _defines(tree: ast.Module, name: str) -> bool:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return True
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return True
    return False


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Block:
    """A code block of a reply.

    Attributes:
        text: All of it.
        labelled: Whether it says that it is Python.
        code: Its part that belongs into the evolve block.
        pieces: Of the code; None if it does not compile or is too long to be read.
        part: Whether it can be part of a program.
    """

    text: str
    labelled: bool
    code: str
    pieces: Sequence[Piece] | None
    part: bool

    def parts(self) -> Sequence[Piece]:
        """Return the pieces that can be part of a program."""
        return self.pieces or () if self.part else ()


def _rewrite(answer: str, parent: str, entry_point: str, source_chars: int) -> str | ReplyFailure:
    """Return the parent with its evolve block replaced by what the reply's code blocks make of it."""
    blocks = _code_blocks(answer, entry_point, source_chars)
    if not blocks:
        return ReplyFailure(outcome=Outcome.NO_CODE, reason="the reply holds no code block")
    before, old, after = split_block(parent)
    main = _main(blocks, entry_point)
    new_before, _, new_after = ("", "", "") if main is None else split_block(main.text)
    if new_before and (new_before.split() != before.split() or new_after.split() != after.split()):
        return ReplyFailure(outcome=Outcome.OUTSIDE_BLOCK, reason="the rewrite changes code outside the evolve block")
    code, pieces = ("", ()) if main is None else (main.code, main.pieces)
    # What does not compile, and what is no block of its own in the parent, is not completed.
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        if pieces is not None:
            offer = parent_of(old, before + after)
            later = [] if main is None else blocks[blocks.index(main) + 1 :]
            if changes := [piece for block in later for piece in block.parts()]:
                code = with_later(code, changes)
                pieces = pieces_of(code)
            beside = [block.parts() for block in blocks if block is not main]
            code = complete(code, pieces, beside, offer, entry_point)
    return f"{before}{(code or blocks[-1].code).rstrip()}\n{after}"


def _code_blocks(answer: str, entry_point: str, source_chars: int) -> list[_Block]:
    """Return the code blocks of a reply, or a reply that is bare code; the later one in the list is the better one."""
    fences = [(language.lower(), text) for language, text in _FENCE.findall(answer)]
    texts = [(language != "", text) for language, text in fences if language in ("", "python", "py", "python3")]
    if not texts and "```" not in answer and _definition(entry_point).search(answer):
        texts = [(False, answer)]
    texts = [(labelled, text) for labelled, text in texts if text.strip()] or texts[-1:]
    texts.sort(key=lambda each: each[0])  # what is not labelled may be what a program prints
    blocks: list[_Block] = []
    most = _LONGEST * source_chars
    for labelled, text in reversed(texts):
        code = _without_markers(split_block(text)[1])
        pieces = None
        if len(code) <= min(source_chars, most):
            most -= len(code)
            with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                pieces = pieces_of(code)
        part = pieces is not None and is_part(pieces, entry_point)
        blocks.append(_Block(text=text, labelled=labelled, code=code, pieces=pieces, part=part))
    return blocks[::-1]


def _definition(entry_point: str) -> re.Pattern[str]:
    """Return how a definition of the entry point begins."""
    return re.compile(rf"^(?:def[ \t]+{re.escape(entry_point)}\b|{re.escape(entry_point)}[ \t]*=)", re.MULTILINE)


def _main(blocks: Sequence[_Block], entry_point: str) -> _Block | None:
    """Return the block that is taken whole, with what it lacks; None if each gives only what the parent needs of it.

    It is the last part of a program that defines the entry point: a model that writes a whole program twice means the
    second one. Where only a block that does not compile would define it, it is that one, for half of what the model
    proposed is nobody's idea. Where no block is part of a program, it is the one that says best why there is none.
    """
    parts = [block for block in blocks if block.part]
    defining = [block for block in parts if defines(block.parts(), entry_point)]
    if defining:
        return defining[-1]
    broken = [block for block in blocks if block.pieces is None]
    definition = _definition(entry_point)
    called = [block for block in blocks if definition.search(block.text)]
    broken_program = [block for block in called if block.pieces is None]
    if not parts:
        return (broken_program or called or broken or blocks)[-1]
    if broken_program and broken_program[-1].labelled >= parts[-1].labelled:
        return broken_program[-1]
    return parts[0] if len(parts) == 1 else None


def functions_of(source: str) -> Mapping[str, str]:
    """Return the text of each function at the top level of a program's evolve block, by name, in the block's order.

    There is none if the block does not stand for itself, as part of a class.
    """
    before, block, after = split_block(source)
    try:
        pieces = parent_of(block, before + after).pieces
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return {node.name: piece.text for piece in pieces for node in piece.statements if isinstance(node, ast.FunctionDef)}


def _edits(answer: str) -> Sequence[_Edit] | ReplyFailure:
    """Return the SEARCH/REPLACE blocks in order; none when the reply holds none."""
    edits: list[_Edit] = []
    search: list[str] | None = None
    replace: list[str] | None = None
    for line in answer.splitlines():
        if search is None:
            search = [] if _SEARCH.match(line) else None
        elif replace is None:
            if _DIVIDER.match(line):
                replace = []
            else:
                search.append(line)
        elif _REPLACE.match(line):
            edits.append(_Edit(search=tuple(search), replace=tuple(replace)))
            search = replace = None
        else:
            replace.append(line)
    if search is not None:
        return ReplyFailure(outcome=Outcome.NO_CODE, reason="the last SEARCH/REPLACE block is not closed")
    return edits


def _apply(edits: Sequence[_Edit], parent: str, most: int) -> str | ReplyFailure:
    """Return the parent after all edits; one that does not fit fails them all, for half a change is nobody's idea.

    What is longer than `most` characters on the way is given up: thousands of edits may each be searched for in it.
    """
    source = parent
    for number, edit in enumerate(edits, start=1):
        if len(source) > most:
            reason = f"{len(source)} characters after {number - 1} edits"
            return ReplyFailure(outcome=Outcome.TOO_LONG, reason=reason)
        before, block, after = split_block(source)
        lines = block.splitlines()
        places = _places(lines, edit.search)
        if not places:
            outside = _places([*before.splitlines(), *after.splitlines()], edit.search)
            if outside:
                return ReplyFailure(outcome=Outcome.OUTSIDE_BLOCK, reason=f"edit {number} is outside the evolve block")
            return ReplyFailure(outcome=Outcome.NO_MATCH, reason=f"the SEARCH text of edit {number} is not there")
        if len(places) > 1:
            reason = f"the SEARCH text of edit {number} is there {len(places)} times"
            return ReplyFailure(outcome=Outcome.NO_MATCH, reason=reason)
        (start, shift) = places[0]
        lines[start : start + len(edit.search)] = [f"{shift}{line}" if line.strip() else "" for line in edit.replace]
        source = before + _without_markers("".join(f"{line}\n" for line in lines)) + after
    return source


def _places(lines: Sequence[str], search: Sequence[str]) -> list[tuple[int, str]]:
    """Return where `search` stands in `lines`, each with the indentation that the search text lacks.

    Exact lines first, then lines without trailing white space, then lines that share one shift of indentation.
    """
    if not any(line.strip() for line in search):
        return []
    windows = range(len(lines) - len(search) + 1)
    wanted = list(search)
    exact = [(i, "") for i in windows if list(lines[i : i + len(search)]) == wanted]
    if exact:
        return exact
    wanted = [line.rstrip() for line in search]
    trimmed = [line.rstrip() for line in lines]
    close = [(i, "") for i in windows if trimmed[i : i + len(search)] == wanted]
    if close:
        return close
    first = next(i for i, line in enumerate(wanted) if line)
    shifted: list[tuple[int, str]] = []
    for i in windows:
        line = trimmed[i + first]
        shift = line[: len(line) - len(wanted[first])] if line.endswith(wanted[first]) else None
        if shift and not shift.strip():
            moved = [f"{shift}{line}" if line else "" for line in wanted]
            if trimmed[i : i + len(search)] == moved:
                shifted.append((i, shift))
    return shifted

"""Step 4: from a reply to a child program, or to an honest reason why there is none.

A reply is either edits (SEARCH/REPLACE blocks) or a rewrite (one code block) of the whole evolve block, or of some of
its functions; which one is told by what it holds, so that a model that ignores the format asked for loses nothing.
"""

import ast
import builtins
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache

from evolve.identity import identity
from evolve.types import Outcome

BLOCK_START = "# EVOLVE-BLOCK-START"
BLOCK_END = "# EVOLVE-BLOCK-END"

_THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_THINKING_END = re.compile(r"</think(?:ing)?>")
_THINKING_OPEN = re.compile(r"<think(?:ing)?>.*\Z", re.DOTALL)
# Nothing of the opening line is given back: a reply that ends within it would be searched as often as it is long.
_FENCE = re.compile(r"^[ \t]*+```[ \t]*+([\w+-]*+)[^\n]*+\n(.*?)(?:^[ \t]*```[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
#: What names mean that a small model reads without having imported them, its commonest slip.
_FORGOTTEN = {"np": "import numpy as np", "optimize": "from scipy import optimize"}
_FORGOTTEN |= {name: f"import {name}" for name in ("itertools", "math", "numpy", "random", "scipy", "time")}
_FORGOTTEN |= {
    name: f"from {module} import {name}"
    for module, names in {
        "collections": ("Counter", "defaultdict", "deque"),
        "itertools": ("combinations", "permutations", "product"),
        "scipy.optimize": (
            *("Bounds", "LinearConstraint", "NonlinearConstraint", "basinhopping", "differential_evolution"),
            *("dual_annealing", "linprog", "minimize"),
        ),
        "scipy.spatial": ("ConvexHull", "Delaunay", "KDTree", "Voronoi", "cKDTree"),
        "scipy.spatial.distance": ("cdist", "pdist", "squareform"),
    }.items()
    for name in names
}
#: Parents that are kept parsed: those of a step, and its stragglers'.
_PARENTS = 128
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


def _rewrite(answer: str, parent: str, entry_point: str, source_chars: int) -> str | ReplyFailure:
    """Return the parent with its evolve block replaced by the reply's code block, and what that leaves out."""
    code = _code_block(answer, entry_point)
    if code is None:
        return ReplyFailure(outcome=Outcome.NO_CODE, reason="the reply holds no code block")
    before, _, after = split_block(parent)
    new_before, block, new_after = split_block(code)
    if new_before and (new_before.split() != before.split() or new_after.split() != after.split()):
        return ReplyFailure(outcome=Outcome.OUTSIDE_BLOCK, reason="the rewrite changes code outside the evolve block")
    block = _without_markers(block)
    left_out = _left_out(block, parent, entry_point) if len(block) <= source_chars else ""
    return f"{before}{left_out}{block.rstrip()}\n{after}"


@dataclass(frozen=True, slots=True)
class _Parent:
    """What a rewrite can take for granted.

    Attributes:
        lines: Of the evolve block.
        statements: Of the block, in their order.
        binding: The block's statements that bind a name.
        around: Names that are bound outside of the block alone.
    """

    lines: tuple[str, ...]
    statements: tuple[ast.stmt, ...]
    binding: Mapping[str, Sequence[ast.stmt]]
    around: Set[str]


@lru_cache(maxsize=_PARENTS)
def _parent(source: str) -> _Parent:
    """Return what a parent offers; the samples of a group ask for the same one."""
    _, block, _ = split_block(source)
    tree = ast.parse(block)
    binding: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        for name in _bound_by(node):
            binding.setdefault(name, []).append(node)
    lines = re.split(r"\r\n?|\n", block)  # as Python counts them; splitlines knows more ends
    around = set(_bound(ast.parse(source))) - set(_bound(tree))
    return _Parent(lines=tuple(lines), statements=tuple(tree.body), binding=binding, around=around)


def functions_of(source: str) -> Mapping[str, str]:
    """Return the text of each function at the top level of a program's evolve block, by name, in the block's order.

    There is none if the block does not stand for itself, as part of a class.
    """
    try:
        parent = _parent(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    functions = (node for node in parent.statements if isinstance(node, ast.FunctionDef))
    return {node.name: "\n".join(parent.lines[_first(node) - 1 : node.end_lineno]) for node in functions}


def _left_out(block: str, source: str, entry_point: str) -> str:
    """Return what a rewrite takes for granted: its parent's definitions that it needs and lacks, and imports.

    The definitions are those that it reads, and the entry point with all that this reads, if that is something of the
    rewrite's. The imports are those of `_FORGOTTEN` that neither it nor its parent has.
    """
    try:
        new, parent = ast.parse(block), _parent(source)
        known = {*dir(builtins), *_bound(new), *parent.around}
        taken = _needed(_named(new), known, parent.binding)
        entry = _needed([entry_point], known, parent.binding)
        if any(name in _defined(new) for node in entry for name in _named(node)):
            taken |= entry
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # such a child is refused later, with the reason
        return ""
    if any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in new.body):
        return ""
    missing = set(_named(new)) - known - {name for node in taken for name in _bound(node)}
    imports = [line for name, line in _FORGOTTEN.items() if name in missing]
    texts = ["\n".join(parent.lines[_first(node) - 1 : node.end_lineno]) for node in parent.statements if node in taken]
    texts = ["\n".join(imports)] * bool(imports) + texts
    return "".join(f"{text}\n\n" for text in texts)


def _needed(names: Iterable[str], known: Set[str], binding: Mapping[str, Sequence[ast.stmt]]) -> set[ast.stmt]:
    """Return the statements that bind the names which are not known, and those that these read in turn."""
    needed: set[ast.stmt] = set()
    found, wanted = set(known), list(names)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.add(name)
            for node in binding.get(name, ()):
                if node not in needed:
                    needed.add(node)
                    wanted += set(_named(node)) - set(_bound(node))
    return needed


def _first(node: ast.stmt) -> int:
    """Return the number of a statement's first line, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)])


def _named(tree: ast.AST) -> Iterator[str]:
    """Yield the names that stand in a tree, read or bound."""
    return (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))


def _bound(tree: ast.AST) -> Iterator[str]:
    """Yield the names that are bound anywhere in a tree, in whatever scope."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=str(name), ctx=ast.Store()) | ast.arg(arg=str(name)) | ast.ExceptHandler(name=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(name=name, asname=alias):
                yield alias or name.partition(".")[0]
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name


def _defined(tree: ast.Module) -> set[str]:
    """Return the names that a module binds at its top level."""
    return {name for node in tree.body for name in _bound_by(node)}


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement binds in its own scope."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import() | ast.ImportFrom() | ast.Assign() | ast.AnnAssign():
            yield from _bound(statement)


def _code_block(answer: str, entry_point: str) -> str | None:
    """Return the last code block that defines the entry point, else the last one, else a reply that is bare code."""
    blocks = [code for language, code in _FENCE.findall(answer) if language.lower() in ("", "python", "py", "python3")]
    definition = re.compile(rf"^(?:def[ \t]+{re.escape(entry_point)}\b|{re.escape(entry_point)}[ \t]*=)", re.MULTILINE)
    defining = [code for code in blocks if definition.search(code)]
    if defining or blocks:
        return str((defining or blocks)[-1])
    return answer if definition.search(answer) and "```" not in answer else None


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

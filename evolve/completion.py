"""What a rewrite takes for granted: definitions that it needs and lacks, and imports that it forgot.

The definitions are those of the reply's other code blocks, and its parent's.
"""

import ast
import builtins
import re
import symtable
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

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
_BUILTINS = frozenset(dir(builtins))
#: Parents that are kept parsed: those of a step, and its stragglers'.
_PARENTS = 128
#: What has names of its own.
_SCOPES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
#: What does not run when it is defined, but for decorators, defaults and the like.
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Piece:
    """A statement at the top level, with those that stand in the same lines.

    Attributes:
        statements: Its one statement, or several.
        text: Its lines, decorators included.
        reads: Global names that it needs, whenever it does.
        runs: Those of them that it needs at once, not only when it is called.
        defines: Names that it binds without having to know their earlier value.
        changes: Names whose value it changes: `x += 1`, `x = x + 1`, `x[k] = 1`, `x.append(1)`, `fill(x)`.
    """

    statements: tuple[ast.stmt, ...]
    text: str
    reads: Set[str]
    runs: Set[str]
    defines: Set[str]
    changes: Set[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """What a rewrite can take for granted.

    Attributes:
        pieces: Of the evolve block, in their order.
        binding: The pieces that bind or change a name: the block's, or those around it where the block has none.
    """

    pieces: Sequence[Piece]
    binding: Mapping[str, Sequence[Piece]]


def pieces_of(source: str) -> tuple[Piece, ...]:
    """Return the pieces of a program, or of a part of one, in their order.

    Raises:
        SyntaxError: It does not compile.
        ValueError: It holds what no source can, such as NUL bytes.
        RecursionError: It is nested too deeply, as with MemoryError.
    """
    groups: list[list[ast.stmt]] = []
    for node in ast.parse(source).body:
        if groups and _first(node) <= _last(groups[-1][-1]):
            groups[-1].append(node)
        else:
            groups.append([node])
    lines = _lines(source)
    return tuple(_piece(nodes, "\n".join(lines[_first(nodes[0]) - 1 : _last(nodes[-1])])) for nodes in groups)


def _piece(statements: Sequence[ast.stmt], text: str) -> Piece:
    table = symtable.symtable(text, "<piece>", "exec")
    at_once = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
    later: set[str] = set()
    inner = table.get_children()
    while inner:
        scope = inner.pop()
        later.update(symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global())
        inner += scope.get_children()
    nodes = [node for statement in statements for node in _own(statement)]
    changes = set(_changed(nodes))
    # A comprehension has names of its own, and runs nevertheless.
    runs = at_once | changes | (set() if isinstance(statements[0], _DEFINITIONS) else later)
    defines = set(_bound(nodes))
    if len(statements) == 1 and isinstance(statements[0], ast.Assign | ast.AnnAssign):
        changes |= defines & runs
    return Piece(
        statements=tuple(statements),
        text=text,
        reads=runs | later,
        runs=runs,
        defines=defines - changes,
        changes=changes,
    )


def _lines(source: str) -> list[str]:
    return re.split(r"\r\n?|\n", source)  # as Python counts them; splitlines knows more ends


def _first(node: ast.stmt) -> int:
    """Return the number of a statement's first line, decorators included."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(each.lineno for each in decorators)])


def _last(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def _own(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yield the nodes of a statement that are in its own scope."""
    nodes: list[ast.AST] = [statement]
    while nodes:
        node = nodes.pop()
        yield node
        if not isinstance(node, _SCOPES):
            nodes += ast.iter_child_nodes(node)


def _bound(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names that nodes bind."""
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.ExceptHandler(name=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.alias(name=name, asname=alias):
                yield alias or name.partition(".")[0]
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name


def _changed(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names whose value nodes change."""
    for node in nodes:
        match node:
            case ast.AugAssign(target=ast.Name(id=name)) | ast.Name(id=name, ctx=ast.Del()):
                yield name
            case ast.Subscript(ctx=ast.Store() | ast.Del()) | ast.Attribute(ctx=ast.Store() | ast.Del()):
                yield from _root(node)
            case ast.Expr(value=ast.Call(func=function, args=arguments)):
                if isinstance(function, ast.Attribute):
                    yield from _root(function)
                yield from (argument.id for argument in arguments if isinstance(argument, ast.Name))


def _root(node: ast.AST) -> Iterator[str]:
    """Yield the name that a chain of attributes, items and calls begins with, if it begins with one."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id


def _binding(pieces: Iterable[Piece]) -> dict[str, list[Piece]]:
    """Return the pieces that bind or change a name, in their order; what a main program does runs in no candidate."""
    binding: dict[str, list[Piece]] = {}
    for piece in pieces:
        if isinstance(piece.statements[0], ast.If) and "__name__" in piece.runs:
            continue
        for name in piece.defines | piece.changes:
            binding.setdefault(name, []).append(piece)
    return binding


@lru_cache(maxsize=_PARENTS)
def parent_of(block: str, around: str) -> Parent:
    """Return what a parent offers; the samples of a group ask for the same one.

    Args:
        block: Its evolve block.
        around: What stands before and after the block.

    Raises:
        Exception: As `pieces_of` does; a block may not stand for itself, as part of a class.
    """
    pieces = pieces_of(block)
    return Parent(pieces=pieces, binding=_binding(pieces_of(around)) | _binding(pieces))


def _statements(pieces: Iterable[Piece]) -> Iterator[ast.stmt]:
    return (node for piece in pieces for node in piece.statements)


def _names(pieces: Iterable[Piece]) -> set[str]:
    """Return the names that pieces define."""
    return set(chain.from_iterable(piece.defines for piece in pieces))


def _read(pieces: Iterable[Piece]) -> set[str]:
    """Return the names that pieces need."""
    return set(chain.from_iterable(piece.reads for piece in pieces))


def _needed(names: Iterable[str], known: Set[str], binding: Mapping[str, Sequence[Piece]]) -> set[Piece]:
    """Return the pieces that bind the names which are not known, and those that these need in turn."""
    needed: set[Piece] = set()
    found, wanted = set(known), list(names)
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.add(name)
            for piece in binding.get(name, ()):
                if piece not in needed:
                    needed.add(piece)
                    wanted += piece.reads - piece.defines
    return needed


def complete(
    code: str, new: Sequence[Piece], beside: Sequence[Sequence[Piece]], parent: Parent, entry_point: str
) -> str:
    """Return a rewrite with what it takes for granted.

    That is the definitions that it reads and lacks, and the entry point with all that this reads, if that is something
    of the reply's: from the blocks beside it, else from its parent. Imports of `_FORGOTTEN` that none of them has are
    added. A reply of which the entry point would read nothing is left as it is, for it makes nothing new.

    Args:
        code: The block that is taken whole, or nothing.
        new: Its pieces.
        beside: The reply's other blocks; the later one counts where two define a name.
        parent: What else there is.
        entry_point: The function that the child must define.
    """
    if any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in _statements(new)):
        return code  # it must stay first
    binding = dict(parent.binding)
    for pieces in beside:
        defined = _names(pieces)
        binding |= {name: bound for name, bound in _binding(pieces).items() if name in defined}
    known = _BUILTINS | _names(new)
    taken = _needed(_read(new), known, binding)
    entry = _needed([entry_point], known, binding)
    beside_new = list(chain.from_iterable(beside))
    # An import alone makes nothing new of what its parent does.
    made = [piece for piece in (*new, *beside_new) if not isinstance(piece.statements[0], ast.Import | ast.ImportFrom)]
    if not entry.isdisjoint(made) or not _read(entry).isdisjoint(_names(new) & _names(made)):
        taken |= entry
    elif entry_point not in known:
        return code
    new = (*(piece for piece in beside_new if piece in taken), *new)
    missing = _read(new) - known - _names(taken)
    imports = [line for name, line in _FORGOTTEN.items() if name in missing]
    before, after = _placed([piece for piece in parent.pieces if piece in taken], _names(new))
    before += [piece.text for piece in beside_new if piece in taken]
    texts = ["\n".join(imports), *before, code.rstrip(), *after]
    return "\n\n".join(text for text in texts if text)


def with_later(code: str, later: Iterable[Piece]) -> str:
    """Return code whose functions and classes are those of later pieces, where these define them again.

    Raises:
        Exception: As `pieces_of` does.
    """
    newest = {node.name: piece.text for piece in later for node in piece.statements if isinstance(node, _DEFINITIONS)}
    lines = _lines(code)
    for node in reversed(list(_statements(pieces_of(code)))):
        if isinstance(node, _DEFINITIONS) and node.name in newest:
            lines[_first(node) - 1 : _last(node)] = [newest.pop(node.name)]
    return "\n".join(lines)


def defines(pieces: Iterable[Piece], name: str) -> bool:
    """Whether a block defines a name as an entry point can be defined."""
    kinds = (ast.FunctionDef, ast.Assign)
    return any(name in piece.defines and isinstance(piece.statements[0], kinds) for piece in pieces)


def is_part(pieces: Sequence[Piece], entry_point: str) -> bool:
    """Whether a block defines something, and neither leaves lines out nor only shows how a program is used."""
    if any(isinstance(node, _DEFINITIONS) for node in _statements(pieces)):
        return not any(_has_gap(node) for piece in pieces if "..." in piece.text for node in piece.statements)
    shows_use = any(not piece.runs.isdisjoint({entry_point, "print"}) for piece in pieces)
    return bool(_names(pieces)) and (defines(pieces, entry_point) or not shows_use)


def _has_gap(statement: ast.stmt) -> bool:
    """Whether `...` stands among other statements in a statement, for lines that are left out."""
    for node in ast.walk(statement):
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1:
            for each in body:
                if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) and each.value.value is ...:
                    return True
    return False


def _placed(pieces: Iterable[Piece], names: Set[str]) -> tuple[list[str], list[str]]:
    """Return the texts of a parent's pieces before a rewrite that defines names, and of those that must be after it."""
    before: list[str] = []
    after: list[str] = []
    waiting = set(names)
    for piece in pieces:
        (before if piece.runs.isdisjoint(waiting) else after).append(piece.text)
        if not piece.reads.isdisjoint(waiting):
            waiting |= piece.defines | piece.changes
    return before, after

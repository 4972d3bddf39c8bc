"""When are two programs the same? When their syntax trees are.

Comments, blank lines and layout never reach the tree. Docstrings and other bare constants, the names of things that
nothing reads, and which of two functions comes first are taken out of it here, so that a reply cannot pass off a
cosmetic change as a new program (ThetaEvolve compares text with comments removed, arXiv:2511.23473, section 3.3: one
blank line defeats it).

The other way round, two programs that may differ in what they do must never share an identity, or the better one would
be dropped as known: a program that may read its own names, docstrings or lines keeps all of them. Not seen is only what
a program reads out of its own comments.
"""

import ast
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence

#: Stands for every name that is bound but never read. No identifier, so that it is nobody's name.
_UNREAD = "?"
#: Built-in functions that reach names by text.
_BY_TEXT = frozenset({"compile", "dir", "eval", "exec", "getattr", "globals", "locals", "vars"})
#: Whoever names one of these, as a name, an attribute, a module or a text, may look at the program itself.
_MIRRORS = frozenset(
    {
        *("__builtins__", "__code__", "__dict__", "__doc__", "__globals__", "_getframe", "currentframe", "f_globals"),
        *("f_code", "f_lineno", "f_locals", "tb_frame", "tb_lineno", "builtins", "inspect", "linecache", "traceback"),
        *(
            "__annotations__",
            "__import__",
            "__qualname__",
            "import_module",
            "importlib",
            "attrgetter",
            "getdoc",
            "pydoc",
        ),
    }
)
#: Likewise, but for the bare name: `__name__` alone is the module's, by which many ask whether they are the main one.
_MIRRORS_OF_OTHERS = frozenset({"__main__", "__name__", "modules"})
#: Larger whole numbers have more digits than Python writes (4300); they are shown in base 16 then.
_LARGEST_BITS = 14_000


class _Normaliser(ast.NodeTransformer):
    """Drops bare constants and renames what nothing reads."""

    def __init__(self, read: frozenset[str]) -> None:
        self._read = read

    def _name(self, name: str) -> str:
        # Python itself calls double-underscore methods, so nothing in the text reads them.
        return name if name in self._read or name.startswith("__") else _UNREAD

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(id=self._name(node.id), ctx=node.ctx)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._name(node.name)
        return self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> ast.AST:
        bound = node.asname or node.name.partition(".")[0]
        return node if bound in self._read or node.name == "*" else ast.alias(name=node.name, asname=_UNREAD)


def _shorten(node: ast.AST) -> None:
    """Make a whole number short enough to be shown."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value.bit_length() > _LARGEST_BITS:
        # No literal in a text is of this kind, so that none looks like it.
        node.value, node.kind = hex(node.value), "int"


def _names_read(nodes: Iterable[ast.AST]) -> frozenset[str]:
    """Return every name that is read, deleted, declared global or used as an attribute anywhere in the module.

    A name in the body of a class counts too, since base classes, dataclasses and enumerations read it, and so does one
    that is spelled out as a text, which `getattr` may be given.
    """
    names: set[str] = set()
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Load() | ast.Del()):
                names.add(name)
            case ast.Attribute(attr=name):
                names.add(name)
            case ast.Global(names=declared) | ast.Nonlocal(names=declared):
                names.update(declared)
            # `x += 1` reads x although its context says store
            case ast.AugAssign(target=ast.Name(id=name)):
                names.add(name)
            case ast.Constant(value=str(text)) if text.isidentifier():
                names.add(text)
            case ast.ClassDef(body=body):
                names.update(_names_bound(body))
    return frozenset(names)


def _names_bound(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the names that the statements of a class bind."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef):
            yield statement.name
        elif not isinstance(statement, ast.AsyncFunctionDef | ast.ClassDef):
            for node in ast.walk(statement):
                if isinstance(node, ast.Name):
                    yield node.id
                elif isinstance(node, ast.FunctionDef):
                    yield node.name


def _is_mirror(node: ast.AST) -> bool:
    """Whether a node may let a program look at its own names, docstrings or lines."""
    match node:
        case ast.Name(id=name) if name in _BY_TEXT:
            return True
        case ast.Name(id=name):
            return name in _MIRRORS
        case ast.Attribute(attr=name) | ast.alias(name=name) | ast.ImportFrom(module=str(name)):
            return name in _MIRRORS or name in _MIRRORS_OF_OTHERS
        case ast.Constant(value=str(text)):
            return text in _MIRRORS or text == "__name__"
    return False


def _in_any_order(body: Sequence[ast.stmt]) -> list[ast.stmt]:
    """Return statements with functions that follow each other in an order that does not depend on how they stood.

    A rewrite of one function stands behind what it leaves out, so that a copy would look like a new program. What a
    function needs at once, a decorator or a default that calls or names another function, keeps its place.
    """
    names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    functions = {name for name in names if names.count(name) == 1}

    def is_free(node: ast.stmt) -> bool:
        if not isinstance(node, ast.FunctionDef) or node.decorator_list or node.name not in functions:
            return False
        at_once = [*ast.walk(node.args), *(ast.walk(node.returns) if node.returns else ())]
        return not any(isinstance(each, ast.Call) or getattr(each, "id", None) in functions for each in at_once)

    ordered: list[ast.stmt] = []
    for free, run in itertools.groupby(body, key=is_free):
        together = list(run)
        ordered += sorted(together, key=ast.dump) if free else together
    return ordered


def identity(tree: ast.Module, *, entry_point: str) -> str:
    r"""Return a hash that two programs share when they are the same but for layout, comments and unread names.

    The tree is changed in place. The hash is stable within one minor version of Python, since its syntax trees are.

    Args:
        tree: The parsed program.
        entry_point: The function that the harness calls; it counts as read.

    Returns:
        32 hexadecimal digits.

    Raises:
        RecursionError: The tree is nested too deeply to be walked.

    >>> same = identity(ast.parse("def f(n):\n  'doc'\n  spare = 1\n  return n  # note"), entry_point="f")
    >>> same == identity(ast.parse("def f(n):\n  unused = 1\n\n  return n"), entry_point="f")
    True
    >>> same == identity(ast.parse("def f(n):\n  spare = 2\n  return n"), entry_point="f")
    False
    """
    nodes = list(ast.walk(tree))
    for node in nodes:
        _shorten(node)
    mirrors = any(map(_is_mirror, nodes))
    if not mirrors:
        # A task's own evaluator may call other functions of the module, too.
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        tree = _Normaliser(_names_read(nodes) | functions | {entry_point}).visit(tree)
        tree.body = _in_any_order(tree.body)
    return hashlib.sha256(ast.dump(tree, include_attributes=mirrors).encode("utf-8", "surrogatepass")).hexdigest()[:32]

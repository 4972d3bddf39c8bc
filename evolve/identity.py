"""When are two programs the same? When their syntax trees are.

Comments, blank lines and layout never reach the tree. Docstrings and other bare constants, and the names of things
that nothing reads, are taken out of it here, so that a reply cannot pass off a cosmetic change as a new program
(ThetaEvolve compares text with comments removed, arXiv:2511.23473, section 3.3: one blank line defeats it).
"""

import ast
import hashlib

#: Stands for every name that is bound but never read.
_UNREAD = "_"


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


def _names_read(tree: ast.AST) -> frozenset[str]:
    """Return every name that is read, deleted, declared global or used as an attribute anywhere in the module."""
    names: set[str] = set()
    for node in ast.walk(tree):
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
    return frozenset(names)


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
    normalised = _Normaliser(_names_read(tree) | {entry_point}).visit(tree)
    return hashlib.sha256(ast.dump(normalised).encode("utf-8", "surrogatepass")).hexdigest()[:32]

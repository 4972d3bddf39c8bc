"""By what two runs know that they judge programs alike."""

import ast
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from evolve.errors import ProblemError
from evolve.types import Problem
from problems import judging, openevolve

#: The folder of the package `problems`.
_ROOM = Path(judging.__file__).parent


def fingerprint_of(problem: Problem, packages: Sequence[str]) -> str:
    """Return a hash of what decides what a program is worth.

    That is the files in the problem's folder, of any kind but not of folders in it, and but for its picture, which
    judges nothing; the limits of an evaluation and the packages that the run names; and of this package what the
    verifier imports: other files may change. A task that brings its evaluator along has it in its harness, with the
    files that go into the sandbox.

    Args:
        problem: The problem, with the limits of the run.
        packages: What is imported before programs run, beside numpy and scipy.

    Raises:
        ProblemError: The verifier, or what it imports, is no Python.
    """
    files = [file for file in problem.folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    texts = [(file.name, file.read_bytes()) for file in sorted(files) if file.name != "picture.py"]
    own = problem.folder if problem.harness is None else Path(openevolve.__file__).parent
    shared = _reached([own / "verify.py", Path(judging.__file__)])
    texts += [(f"problems/{file.relative_to(_ROOM)}", file.read_bytes()) for file in sorted(shared)]
    texts += [("harness", (problem.harness or "").encode("utf-8", "surrogatepass"))]
    texts += [("limits", repr((problem.limits, sorted(packages))).encode())]
    parts = [f"{name} {hashlib.sha256(text).hexdigest()}" for name, text in texts]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _reached(sources: list[Path]) -> set[Path]:
    """Return the files of this package among some modules and among all that they import, one through another."""
    waiting, seen = list(sources), set(sources)
    while waiting:
        for file in _imported(waiting.pop()):
            if file not in seen:
                seen.add(file)
                waiting.append(file)
    return {file for file in seen if file.is_relative_to(_ROOM)}


def _imported(source: Path) -> Iterator[Path]:
    """Yield the modules of this package that a module imports. Without `__init__`, which judges nothing."""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise ProblemError(f"{source} cannot be read as Python: {error}") from error
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            room, *path = name.split(".")
            file = _ROOM.joinpath(*path).with_suffix(".py")
            if room == _ROOM.name and path and file.is_file():
                yield file

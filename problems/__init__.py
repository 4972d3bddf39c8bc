"""Open problems, one folder each; README.md beside this file says how to add one.

A folder outside the project has the same power as those inside: everything below takes its path.
"""

import ast
import hashlib
import importlib.util
import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

from evolve.errors import ProblemError
from evolve.types import Bound, Direction, Problem, ProblemKind, ProblemLimits, Record, RewardShape
from problems import openevolve
from problems.fields import Fields
from problems.judging import Verifier, beyond

__all__ = [
    "BLOCK_END",
    "BLOCK_START",
    "Verifier",
    "load_picture",
    "load_problem",
    "load_reader",
    "load_verifier",
    "problem_names",
    "verifier_file",
]

#: The lines of a seed program between which a child may differ from it.
BLOCK_START = "# EVOLVE-BLOCK-START"
BLOCK_END = "# EVOLVE-BLOCK-END"

#: How far a record's score may lie from its `exact`, relative: they are one number, the first rounded.
_SAME = Fraction(1, 10**12)


class _RewardMode(StrEnum):
    RAW = "raw"
    SHAPED = "shaped"
    IMPROVEMENT = "improvement"
    BETTER = "better"


def problem_names() -> tuple[str, ...]:
    """Return the names of the built-in problems, sorted."""
    return tuple(sorted(file.parent.name for file in Path(__file__).parent.glob("*/problem.yaml")))


def load_problem(name: str, folder: Path | None = None) -> Problem:
    """Read and check a problem's folder; nothing of it is executed.

    Args:
        name: The problem's name, which its problem.yaml must repeat.
        folder: Where it lies; None for a built-in problem.

    Raises:
        ProblemError: There is no such problem, or its folder cannot be used; the message names file and key.
    """
    if name == openevolve.NAME:
        if folder is None or not folder.is_dir():
            raise ProblemError(f"problem={name} needs problem.path=DIR: the folder of a task, got {folder}")
        return openevolve.load(folder.resolve())
    if folder is None:
        if name not in problem_names():
            raise ProblemError(
                f"no problem is called {name!r}; there are {', '.join(problem_names())}; problem.path=DIR is for yours"
            )
        folder = Path(__file__).parent / name
    elif not folder.is_dir():
        raise ProblemError(f"the problem's folder {folder} does not exist")
    elif openevolve.is_task(folder) and not (folder / "problem.yaml").exists():
        words = shlex.join([f"problem={openevolve.NAME}", f"problem.path={folder}"])
        raise ProblemError(
            f"{folder} holds no problem.yaml, but a task that was written for OpenEvolve: name it with {words}"
        )
    fields = Fields.load(folder / "problem.yaml")
    problem = _read(fields, folder.resolve())
    if problem.name != name:
        raise ProblemError(
            f"{fields.file}: name is {problem.name!r}, but problem {name!r} was asked for; write problem={problem.name}"
        )
    _check_seed(problem)
    return problem


def verifier_file(problem: Problem) -> Path:
    """Return the verify.py that judges a problem's programs."""
    # A task of OpenEvolve's has no rules of its own but its evaluator, which runs in the sandbox.
    return (problem.folder if problem.harness is None else Path(openevolve.__file__).parent) / "verify.py"


def load_verifier(problem: Problem) -> Verifier:
    """Import the folder's verify.py by its path.

    Raises:
        ProblemError: It is missing, cannot be imported, or does not define what the problem's kind asks for.
    """
    source = verifier_file(problem)
    wanted = "verify" if problem.kind is ProblemKind.CONSTRUCTION else "judge"
    module = _module(source)
    function = _function(module, wanted, f"a problem of kind {problem.kind} needs it")
    listing = getattr(module, "violations", None)
    unseen = getattr(module, "judge_unseen", None)
    return Verifier(source=source, problem=problem, function=function, listing=listing, unseen=unseen)


def load_picture(problem: Problem) -> Callable[[object, Path], None] | None:
    """Return `draw(construction, target)` of the folder's picture.py, or None where there is no such file.

    The suffix of `target` says the format (".png").

    Raises:
        ProblemError: The picture.py cannot be imported or does not define `draw`.
    """
    source = problem.folder / "picture.py"
    if not source.exists():
        return None
    return _function(_module(source), "draw", "a picture.py needs it")


def load_reader(problem: Problem) -> Callable[[object], object] | None:
    """Return `construction(published)` of the folder's read.py, or None where there is no such file.

    It turns what others publish, as plain JSON values, into the form that the verifier judges; see problems/README.md.

    Raises:
        ProblemError: The read.py cannot be imported or does not define `construction`.
    """
    source = problem.folder / "read.py"
    if not source.exists():
        return None
    return _function(_module(source), "construction", "a read.py needs it")


def _read(fields: Fields, folder: Path) -> Problem:
    """Return the problem that the fields of a problem.yaml describe."""
    direction = fields.choice("direction", Direction)
    limits, reward = fields.mapping("limits"), fields.mapping("reward")
    bound = _read_bound(fields)
    records = [_read_record(record) for record in fields.mappings("records")]
    seed = folder / "seed.py"
    problem = Problem(
        name=fields.text("name"),
        folder=folder,
        kind=fields.choice("kind", ProblemKind),
        direction=direction,
        title=fields.text("title"),
        unit=fields.text("unit"),
        statement=fields.text("statement"),
        entry_point=fields.text("entry_point"),
        signature=fields.text("signature"),
        arguments=fields.values("arguments"),
        limits=ProblemLimits(
            wall_s=limits.positive("wall_s"),
            memory_mib=limits.count("memory_mib"),
            source_chars=limits.count("source_chars"),
        ),
        measures=fields.names("measures"),
        bound=bound,
        moves=fields.texts("moves"),
        shape=RewardShape(
            worst=reward.number("worst"),
            best=reward.number("best"),
            alpha=reward.positive("alpha"),
            k=reward.positive("k"),
        ),
        reward_mode=reward.choice("mode", _RewardMode).value,
        records=tuple(sorted(records, key=lambda record: direction.rank(record.score), reverse=True)),
        seed_source=_text_of(seed),
    )
    for part in (fields, limits, reward):
        part.finish()
    if problem.kind is ProblemKind.RULE and problem.arguments:
        raise ProblemError(f"{fields.file}: arguments must be empty for a rule; verify.py calls it")
    if direction.gain(problem.shape.best, problem.shape.worst) <= 0:
        raise ProblemError(f"{fields.file}: reward.best must be better than reward.worst (direction {direction})")
    _check_records(problem, fields.file)
    return problem


def _read_bound(fields: Fields) -> Bound | None:
    found = fields.optional_mapping("bound")
    if found is None:
        return None
    bound = Bound(exact=found.decimal("exact"), source=found.text("source"))
    found.finish()
    return bound


def _read_record(fields: Fields) -> Record:
    record = Record(
        score=fields.number("score"),
        exact=fields.optional_decimal("exact"),
        holder=fields.text("holder"),
        date=fields.text("date"),
        source=fields.text("source"),
        exactly_valid=fields.flag("exactly_valid"),
        note=fields.optional_text("note") or "",
    )
    fields.finish()
    score, exact = Fraction(record.score), Fraction(record.exact or record.score)
    if abs(exact - score) > _SAME * abs(score):
        raise ProblemError(f"{fields.file}: {fields.place}: score {record.score!r} and exact {record.exact} differ")
    return record


def _check_records(problem: Problem, file: Path) -> None:
    """Refuse a record that counts as feasible though a proof says that it cannot be."""
    bound = problem.bound
    for record in problem.records:
        exact = Fraction(record.exact or record.score)
        if bound is not None and record.exactly_valid and beyond(exact, Fraction(bound.exact), problem.direction):
            raise ProblemError(
                f"{file}: the record {record.score!r} of {record.holder} is beyond the bound {bound.exact}: "
                "set its exactly_valid to false, or correct the bound"
            )


def _check_seed(problem: Problem) -> None:
    """Refuse a seed program that no child could be made of."""
    file, source = problem.folder / "seed.py", problem.seed_source
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ProblemError(f"{file} is not valid Python: line {error.lineno}: {error.msg}") from error
    if not any(isinstance(node, ast.FunctionDef) and node.name == problem.entry_point for node in tree.body):
        raise ProblemError(f"{file} must define the entry point {problem.entry_point}() at top level")
    markers = [line.strip() for line in source.splitlines() if line.strip() in (BLOCK_START, BLOCK_END)]
    if markers != [BLOCK_START, BLOCK_END]:
        raise ProblemError(f"{file} must hold one line {BLOCK_START!r} and after it one line {BLOCK_END!r}")
    limit = problem.limits.source_chars
    if len(source) > limit:
        raise ProblemError(f"{file} has {len(source)} characters, but limits.source_chars is {limit}")


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(f"{file} cannot be read: {error}") from error


def _function(module: ModuleType, name: str, why: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if not callable(found):
        raise ProblemError(f"{module.__file__} must define {name}(): {why}")
    function: Callable[..., Any] = found
    return function


def _module(file: Path) -> ModuleType:
    """Return a Python file as a module, imported under a name that no other folder shares."""
    if not file.is_file():
        raise ProblemError(f"{file} does not exist")
    digest = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]
    name = f"_problem_{digest}_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ProblemError(f"{file} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up by name while they are made.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise ProblemError(f"{file} cannot be imported: {error}") from error
    return module

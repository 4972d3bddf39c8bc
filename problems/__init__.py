"""Open problems, one folder each; README.md beside this file says how to add one.

A folder outside the project has the same power as those inside: everything below takes its path.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

from evolve.errors import ProblemError
from evolve.types import Direction, Problem, ProblemKind, ProblemLimits, Record, RewardShape, Verdict
from problems.fields import Fields

#: The lines of a seed program between which a child may differ from it.
BLOCK_START = "# EVOLVE-BLOCK-START"
BLOCK_END = "# EVOLVE-BLOCK-END"

#: A program's answers to the verifier's calls, whatever process the program runs in.
Rule = Callable[..., object]


class _RewardMode(StrEnum):
    RAW = "raw"
    SHAPED = "shaped"
    IMPROVEMENT = "improvement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """What a problem's verify.py defines; it runs with our rights, never in the candidate's process.

    Attributes:
        source: The verify.py.
        kind: Which of the two methods can be used.
        function: Its `verify(construction)` or `judge(rule)`.
    """

    source: Path
    kind: ProblemKind
    function: Callable[..., object]

    def verify(self, construction: object) -> Verdict:
        """Judge a construction of plain JSON values, at zero tolerance.

        Raises:
            ProblemError: The problem judges rules, or its verifier returned no verdict.
        """
        if self.kind is not ProblemKind.CONSTRUCTION:
            raise ProblemError(f"{self.source} judges a rule by playing it; give it a program, not a construction")
        return self._verdict(construction)

    def judge(self, rule: Rule) -> Verdict:
        """Play a rule on the problem's instances; what the rule raises passes through.

        Raises:
            ProblemError: The problem judges constructions, or its verifier returned no verdict.
        """
        if self.kind is not ProblemKind.RULE:
            raise ProblemError(f"{self.source} verifies a construction; give it that, not a rule")
        return self._verdict(rule)

    def _verdict(self, judged: object) -> Verdict:
        verdict = self.function(judged)
        if not isinstance(verdict, Verdict):
            raise ProblemError(f"{self.source} must return an evolve.types.Verdict, got {type(verdict).__name__}")
        return verdict


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
    if folder is None:
        if name not in problem_names():
            raise ProblemError(
                f"no problem is called {name!r}; there are {', '.join(problem_names())}; problem.path=DIR is for yours"
            )
        folder = Path(__file__).parent / name
    elif not folder.is_dir():
        raise ProblemError(f"the problem's folder {folder} does not exist")
    fields = Fields.load(folder / "problem.yaml")
    problem = _read(fields, folder.resolve())
    if problem.name != name:
        raise ProblemError(f"{fields.file}: name is {problem.name!r}, but problem {name!r} was asked for")
    _check_seed(problem)
    return problem


def load_verifier(problem: Problem) -> Verifier:
    """Import the folder's verify.py by its path.

    Raises:
        ProblemError: It is missing, cannot be imported, or does not define what the problem's kind asks for.
    """
    source = problem.folder / "verify.py"
    wanted = "verify" if problem.kind is ProblemKind.CONSTRUCTION else "judge"
    function = _function(source, wanted, f"a problem of kind {problem.kind} needs it")
    return Verifier(source=source, kind=problem.kind, function=function)


def load_picture(problem: Problem) -> Callable[[object, Path], None] | None:
    """Return `draw(construction, target)` of the folder's picture.py, or None where there is no such file.

    The suffix of `target` says the format (".png").

    Raises:
        ProblemError: The picture.py cannot be imported or does not define `draw`.
    """
    source = problem.folder / "picture.py"
    if not source.exists():
        return None
    return _function(source, "draw", "a picture.py needs it")


def _read(fields: Fields, folder: Path) -> Problem:
    """Return the problem that the fields of a problem.yaml describe."""
    direction = fields.choice("direction", Direction)
    limits, reward = fields.mapping("limits"), fields.mapping("reward")
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
    return problem


def _read_record(fields: Fields) -> Record:
    record = Record(
        score=fields.number("score"),
        exact=fields.optional_text("exact"),
        holder=fields.text("holder"),
        date=fields.text("date"),
        source=fields.text("source"),
        exactly_valid=fields.flag("exactly_valid"),
    )
    fields.finish()
    return record


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


def _function(file: Path, name: str, why: str) -> Callable[..., Any]:
    """Return a function of the Python file, imported under a module name that no other folder shares."""
    found = getattr(_module(file), name, None)
    if not callable(found):
        raise ProblemError(f"{file} must define {name}(): {why}")
    function: Callable[..., Any] = found
    return function


def _module(file: Path) -> ModuleType:
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

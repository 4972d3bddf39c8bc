"""Tasks that were written for OpenEvolve, as they are: README.md beside this file says what runs and what does not.

Source of the conventions: OpenEvolve 0.4.0 (`openevolve/config.py`, `openevolve/evaluator.py`).
"""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from evolve.errors import ProblemError
from evolve.types import Direction, Problem, ProblemKind, ProblemLimits, RewardShape

#: The name under which such a folder is run: `problem=openevolve problem.path=DIR`.
NAME = "openevolve"
#: What can be said of a score that a task's own evaluator gave.
UNPROVED = "as the task's own evaluator has it, which is no proof"
#: A task's own files are put into the sandbox with every child: more than this is no code, in bytes.
MOST_BYTES = 4 << 20
#: OpenEvolve's defaults: seconds of an evaluation, characters of a program, least scores of the stages.
_TIMEOUT_S, _CODE_CHARS, _THRESHOLDS = 300.0, 10_000, (0.5, 0.75, 0.9)
_MEMORY_MIB = 2048
_START, _END = "# EVOLVE-BLOCK-START", "# EVOLVE-BLOCK-END"


def is_task(folder: Path) -> bool:
    """Whether a folder holds what every task has."""
    return (folder / "initial_program.py").is_file() and (folder / "evaluator.py").is_file()


def load(folder: Path) -> Problem:
    """Read a task's folder; nothing of it is executed.

    Args:
        folder: With `initial_program.py`, `evaluator.py`, and mostly a `config.yaml`.

    Raises:
        ProblemError: A file is missing or cannot be used.
    """
    program, evaluator = folder / "initial_program.py", folder / "evaluator.py"
    if not program.is_file():
        others = sorted(file.name for file in folder.glob("initial_program.*"))
        cure = (
            f"it has {', '.join(others)}, and only Python programs can run" if others else "an OpenEvolve task has one"
        )
        raise ProblemError(f"{program} does not exist: {cure}")
    if not evaluator.is_file():
        raise ProblemError(f"{evaluator} does not exist: an OpenEvolve task has one, with evaluate(program_path)")
    config = _Config(folder)
    entry = _entry_point(program, _text(evaluator))
    rules = config.section("evaluator")
    timeout_s = rules.number("timeout", _TIMEOUT_S)
    settings = {
        "FILES": dict(_files(folder)),
        "SUFFIX": program.suffix,
        "CASCADE": rules.flag("cascade_evaluation", default=True),
        "THRESHOLDS": rules.numbers("cascade_thresholds", _THRESHOLDS),
    }
    return Problem(
        name=NAME,
        folder=folder,
        kind=ProblemKind.CONSTRUCTION,
        direction=Direction.MAX,
        title=f"OpenEvolve task {folder.name}",
        unit="combined score of the task's own evaluator",
        statement=config.section("prompt").text("system_message", "Improve the program."),
        entry_point=entry.name,
        signature=f"{entry.name}({ast.unparse(entry.args)})",
        limits=ProblemLimits(
            wall_s=timeout_s,
            memory_mib=_MEMORY_MIB,
            source_chars=int(config.number("max_code_length", _CODE_CHARS)),
        ),
        moves=(),
        shape=RewardShape(worst=0.0, best=1.0, alpha=1.0, k=1.0),
        reward_mode="raw",
        records=(),
        seed_source=_with_one_block(_text(program)),
        harness=_text(Path(__file__).with_name("harness.py"))
        + "".join(f"\n{name} = {value!r}" for name, value in settings.items()),
    )


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of every file that an evaluator may read."""
    total = 0
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        hidden = any(part.startswith((".", "__pycache__", "openevolve_output")) for part in inside.parts)
        if hidden or not file.is_file() or inside.name.startswith(("initial_program.", "config.")):
            continue
        total += file.stat().st_size
        if total > MOST_BYTES:
            raise ProblemError(
                f"{folder} holds more than {MOST_BYTES >> 20} MiB beside its program: move what the evaluator does not "
                "read out of it"
            )
        yield inside.as_posix(), file.read_bytes()


def _entry_point(program: Path, evaluator: str) -> ast.FunctionDef:
    """Return the last function of the program that the evaluator names, else the last one."""
    try:
        tree = ast.parse(_text(program))
    except SyntaxError as error:
        raise ProblemError(f"{program} is not valid Python: line {error.lineno}: {error.msg}") from error
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    if not functions:
        raise ProblemError(f"{program} defines no function at top level that an evaluator could call")
    named = [function for function in functions if re.search(rf"\b{re.escape(function.name)}\b", evaluator)]
    return (named or functions)[-1]


def _with_one_block(source: str) -> str:
    """Return the program with one evolve block: its own where it has exactly one, else all of it."""
    lines = source.splitlines()
    markers = [line.strip() for line in lines if line.strip() in (_START, _END)]
    if markers == [_START, _END]:
        return source
    rest = "\n".join(line for line in lines if line.strip() not in (_START, _END))
    return f"{_START}\n{rest}\n{_END}\n"


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(f"{file} cannot be read: {error}") from error


class _Config:
    """A task's config.yaml, of which most is about OpenEvolve's own search and is not read."""

    def __init__(self, folder: Path) -> None:
        files = [folder / "config.yaml", folder / "config.yml", *sorted(folder.glob("config*.y*ml"))]
        self._file = next((file for file in files if file.is_file()), files[0])
        self._place = ""
        self._content: Mapping[str, object] = {}
        if self._file.is_file():
            try:
                content = yaml.safe_load(_text(self._file))
            except yaml.YAMLError as error:
                raise ProblemError(f"{self._file} is not valid YAML: {' '.join(str(error).split())}") from error
            except RecursionError as error:
                raise ProblemError(f"{self._file} is nested too deeply: write it with fewer levels") from error
            self._content = self._mapping(content if content is not None else {}, "the file")

    def section(self, name: str) -> "_Config":
        """Return a mapping within this one; empty where there is none."""
        inner = object.__new__(_Config)
        inner._file, inner._place = self._file, f"{name}."
        inner._content = self._mapping(self._content.get(name) or {}, name)
        return inner

    def text(self, key: str, default: str) -> str:
        value = self._content.get(key)
        return default if value is None else self._checked(key, value, str, "a text")

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._content.get(key)
        return default if value is None else self._checked(key, value, bool, "true or false")

    def number(self, key: str, default: float) -> float:
        value = self._content.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise self._wrong(key, "a number above 0", value)
        return float(value)

    def numbers(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        values = self._content.get(key)
        if values is None:
            return default
        if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
            raise self._wrong(key, "a list of numbers", values)
        return tuple(float(value) for value in values)

    def _checked(self, key: str, value: object, kind: type, wanted: str):  # type: ignore[no-untyped-def]
        if not isinstance(value, kind):
            raise self._wrong(key, wanted, value)
        return value

    def _wrong(self, key: str, wanted: str, value: object) -> ProblemError:
        return ProblemError(f"{self._file}: {self._place}{key} must be {wanted}, got {value!r:.60}")

    def _mapping(self, content: object, what: str) -> Mapping[str, object]:
        if not isinstance(content, Mapping):
            raise ProblemError(f"{self._file}: {what} must be a mapping of keys")
        return content

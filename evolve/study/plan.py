"""A study's file: arms, seeds and problems at one budget; and the runs that it asks for, in their order."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from evolve.compose import problem_of
from evolve.config import Config
from evolve.errors import ConfigError
from evolve.options import parse_options, typed
from evolve.study.engines import engine_key
from evolve.types import Direction, Problem
from problems.fingerprint import fingerprint_of

#: Options that the study itself decides.
_OWN = re.compile(r"problem|problem\.name|run\..*|budget\..*")
#: Options that depend on the machine.
_OF_THE_MACHINE = re.compile(r"sandbox\.\w+|model_cache|database\.url|engine\.(gpu_memory_utilization|kv_cache_gib)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


@dataclass(frozen=True)
class StudyBudget:
    """What each run may spend: one of the two.

    Attributes:
        completions: Completions of the model.
        minutes: Active time.
    """

    completions: int | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class StudyProblem:
    """A problem of the study.

    Attributes:
        options: Words of `evolve run` for the runs of this problem.
        target: The score whose cost in completions and in time is compared; None for none.
    """

    options: list[str] = field(default_factory=list)
    target: float | None = None


@dataclass(frozen=True)
class StudyFile:
    """What a study's YAML file holds.

    Attributes:
        budget: Of each run.
        seeds: A run is made of each arm, problem and seed.
        problems: By name, as `evolve run problem=NAME` takes it; with `problem.path=DIR` in its options for one of
            your own.
        arms: Words of `evolve run`, by the arm's name. The others are tested against the first.
        options: Words of all runs. Those of a problem go before them, and those of an arm before both.
    """

    budget: StudyBudget = field(default_factory=StudyBudget)
    seeds: list[int] = field(default_factory=list)
    problems: dict[str, StudyProblem] = field(default_factory=dict)
    arms: dict[str, list[str]] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a study.

    Attributes:
        config: As this machine makes the run: problem, database and folder are where they lie here.
        fingerprint: Of the problem's files and limits, on which it depends what a program is worth.
    """

    problem: str
    direction: Direction
    fingerprint: str
    arm: str
    config: Config

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.run.seed

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.config.run.dir or "")

    def __str__(self) -> str:
        return f"{self.problem}, {self.arm}, seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study whose options are checked.

    Attributes:
        name: For people.
        file: As it was written.
        problems: By name.
        cells: In the order of running.
        folder: Where the runs and the results lie.
    """

    name: str
    file: StudyFile
    problems: Mapping[str, Problem]
    cells: Sequence[Cell]
    folder: Path


def is_machine_option(word: str) -> bool:
    """Return whether a word is an option that depends on the machine: it may be given beside the study's file."""
    return _OF_THE_MACHINE.fullmatch(word.partition("=")[0]) is not None


class _StrictLoader(yaml.SafeLoader):
    """Reads YAML, and refuses a mapping with a key that stands twice, of which one would be left out unseen."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else key)
        return node


def load_study(path: Path, folder: Path, machine: Sequence[str] = ()) -> Study:
    """Read a study's file and check every arm's options on every problem.

    The runs go by seed, then by engine, then by problem and by arm: of a study that is cut short, all arms have the
    same number of seeds, but for the last, and a process loads no model twice for one seed.

    Args:
        path: The file.
        folder: Where runs and results lie.
        machine: Options of all runs that depend on the machine; they replace the file's.

    Raises:
        ConfigError: The file cannot be read or used.
        ProblemError: A problem cannot be loaded.
    """
    file = _read(path)
    configs = {(name, arm): _config(path, file, name, arm, machine) for name in file.problems for arm in file.arms}
    problems = {name: problem_of(configs[name, next(iter(file.arms))]) for name in file.problems}
    fingerprints = {key: fingerprint_of(problem_of(config), config.problem.packages) for key, config in configs.items()}
    cells = [
        Cell(
            problem=name,
            direction=problems[name].direction,
            fingerprint=fingerprints[name, arm],
            arm=arm,
            config=_seeded(configs[name, arm], seed, folder / name / f"{arm}-{seed}"),
        )
        for seed in file.seeds
        for name, arm in _by_engine(configs)
    ]
    return Study(name=path.stem, file=file, problems=problems, cells=cells, folder=folder)


def _read(path: Path) -> StudyFile:
    try:
        file = _typed(yaml.load(path.read_text(encoding="utf-8"), _StrictLoader))
    except OSError as error:
        raise ConfigError(f"cannot read file={path}: {error.strerror}; name the YAML file of a study") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read file={path}: {error}") from error
    except RecursionError as error:
        raise ConfigError(
            f"{path} is too deep, or refers to itself: write out what an anchor (&) stands for"
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (yaml.YAMLError, ValueError) as error:  # of a date, say, that is none
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    _check(path, file)
    return file


def _typed(content: object) -> StudyFile:
    """Return what a study's file holds, its types checked.

    Raises:
        ConfigError: A key is unknown, or a value of another type.
    """
    problems = content.pop("problems", None) if isinstance(content, dict) else None
    if not isinstance(problems, dict | None):
        raise ConfigError("problems must be a mapping of names to their options")
    layers = {f"problems.{name}": problem for name, problem in (problems or {}).items()}
    for place, layer in {"": content, **layers}.items():
        if isinstance(layer, dict) and "options" in layer:
            _check_words(f"{place}.options".removeprefix("."), layer["options"])
    arms = content.get("arms") if isinstance(content, dict) else None
    for name, words in arms.items() if isinstance(arms, dict) else ():
        _check_words(f"arms.{name}", words)
    file = typed(content, StudyFile)
    # One by one: a mapping of frozen classes is more than OmegaConf can fill.
    each = {
        str(name): typed(problem or {}, StudyProblem, f"problems.{name}") for name, problem in (problems or {}).items()
    }
    return replace(file, problems=each)


def _check_words(place: str, words: object) -> None:
    """Refuse what is no list of options; with a colon for the equal sign, YAML reads one as a mapping."""
    if not isinstance(words, list):
        raise ConfigError(f"{place} must be a list of options, like [rollout.parents=8]; [] is for none")
    for word in words:
        if not isinstance(word, str):
            raise ConfigError(f"{place}: {word} is no option: write key=value")


def _check(path: Path, file: StudyFile) -> None:
    """Refuse what no run could be made of."""
    for key in ("seeds", "problems", "arms"):
        if not getattr(file, key):
            raise ConfigError(f"{path}: {key} is missing: name at least one")
    if len(set(file.seeds)) < len(file.seeds):
        raise ConfigError(f"{path}: seeds={file.seeds} names a seed twice")
    if (file.budget.completions is None) is (file.budget.minutes is None):
        raise ConfigError(f"{path}: budget needs completions or minutes, and not both")
    for key, value in vars(file.budget).items():
        if value is not None and not value > 0:
            raise ConfigError(f"{path}: budget.{key}={value} must be above 0")
    for name, problem in file.problems.items():
        if problem.target is not None and not math.isfinite(problem.target):
            raise ConfigError(f"{path}: problems.{name}.target={problem.target} is no score")
    for name in (*file.problems, *file.arms):
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{path}: {name!r} cannot name a folder: use letters, digits, _ . + and -")


def _config(path: Path, file: StudyFile, name: str, arm: str, machine: Sequence[str]) -> Config:
    """Return the options of an arm on a problem; seed and folder are not set."""
    words: dict[str, str] = {}
    for layer in (file.options, file.problems[name].options, file.arms[arm], machine):
        words = _over(words, {word.partition("=")[0]: word for word in layer})
    for key, word in words.items():
        if _OWN.fullmatch(key):
            raise ConfigError(f"{path}: {word} cannot be an option of an arm or a problem: the study decides it")
    budget = {f"budget.{key}": f"budget.{key}={value}" for key, value in vars(file.budget).items() if value is not None}
    try:
        config = parse_options([f"problem={name}", *words.values(), *budget.values()])
        problem_of(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: arm {arm} on {name}: {error}") from error
    return config


def _over(words: Mapping[str, str], later: Mapping[str, str]) -> dict[str, str]:
    """Return the words by option, the later ones where both have one; those of a variant that is replaced are gone."""
    replaced = tuple(f"{key}." for key, word in later.items() if "." not in key and words.get(key, word) != word)
    return {key: word for key, word in words.items() if not key.startswith(replaced)} | dict(later)


def _seeded(config: Config, seed: int, folder: Path) -> Config:
    return replace(config, run=replace(config.run, dir=str(folder), seed=seed))


def _by_engine(configs: Mapping[tuple[str, str], Config]) -> list[tuple[str, str]]:
    """Return the problems and arms, those with the same engine beside each other, else in their own order."""
    keys = [engine_key(config) for config in configs.values()]
    # The sort is stable: each stands where the first one with its engine does.
    return sorted(configs, key=lambda pair: keys.index(engine_key(configs[pair])))

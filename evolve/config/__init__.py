"""Every option of a run, with its default: one frozen dataclass for each group of options.

The YAML files in `configs/` name variants; they hold no defaults of their own but what makes the variant.
"""

from dataclasses import dataclass, field

from evolve.config.checks import at_least, one_of
from evolve.config.engine import EngineConfig, SamplingConfig, ScriptedConfig, ServerConfig, VllmConfig
from evolve.config.learner import FrozenConfig, GrpoConfig, LearnerConfig
from evolve.config.search import (
    BestOfNConfig,
    MapElitesConfig,
    PromptConfig,
    PuctConfig,
    RandomConfig,
    RewardConfig,
    RolloutConfig,
    SelectionConfig,
    TopKConfig,
)
from evolve.errors import ConfigError

__all__ = [
    "BestOfNConfig",
    "BudgetConfig",
    "Config",
    "DatabaseConfig",
    "EngineConfig",
    "FrozenConfig",
    "GrpoConfig",
    "LearnerConfig",
    "MapElitesConfig",
    "ProblemConfig",
    "PromptConfig",
    "PuctConfig",
    "RandomConfig",
    "RewardConfig",
    "RolloutConfig",
    "RunSettings",
    "SamplingConfig",
    "SandboxConfig",
    "ScriptedConfig",
    "SelectionConfig",
    "ServerConfig",
    "TopKConfig",
    "VllmConfig",
]


#: Every database takes such a number.
_LARGEST_SEED = 2**53


@dataclass(frozen=True)
class ProblemConfig:
    """Which problem.

    Attributes:
        name: A built-in problem's name, or any name together with `path`.
        path: The folder of a problem that lies outside the project.
        wall_s: Seconds that one evaluation may take; None for what the problem's folder says.
        memory_mib: Memory of one evaluation in MiB; the same.
        packages: What is imported before programs run, beside numpy and scipy; it must be installed here. This is no
            limit: programs can import all that lies in the folders of these packages, as in that of numpy. The prompt
            does not name them: the problem's statement must.
    """

    name: str = "???"
    path: str | None = None
    wall_s: float | None = None
    memory_mib: int | None = None
    packages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        at_least("problem.memory_mib", self.memory_mib, 64)
        if self.wall_s is not None and not self.wall_s > 0:
            raise ConfigError(f"problem.wall_s={self.wall_s} is no time: it must be above 0, in seconds")
        for package in self.packages:
            if not package.isidentifier():
                raise ConfigError(
                    f"problem.packages={package} is no package: name it as programs import it, like sklearn"
                )


@dataclass(frozen=True)
class SandboxConfig:
    """Where programs run.

    Attributes:
        require: full, lite, lite-minus or none: the run refuses to start on a machine that gives less.
        workers: Evaluations at once; 0 for one a core, fewer beside engine=vllm.
        cpus: Processors that programs may use, as taskset(1) writes them, like 2-15; None for all.
    """

    require: str = "lite"
    workers: int = 0
    cpus: str | None = None

    def __post_init__(self) -> None:
        one_of("sandbox.require", self.require, ("full", "lite", "lite-minus", "none"))
        at_least("sandbox.workers", self.workers, 0)


@dataclass(frozen=True)
class BudgetConfig:
    """When the run stops; see `evolve.budget.Budget`. Without any option it stops after an hour."""

    steps: int | None = None
    minutes: float | None = None
    completions: int | None = None
    tokens: int | None = None
    score: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "minutes", "completions", "tokens"):
            at_least(f"budget.{name}", getattr(self, name), 0)


@dataclass(frozen=True)
class DatabaseConfig:
    """Where the database is.

    Attributes:
        url: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME; None for an SQLite file in the run's folder.
        reuse: Whether a child that another run in this database has evaluated, of the same problem with the same files,
            takes over its evaluations instead of being run again.
    """

    url: str | None = None
    reuse: bool = False


@dataclass(frozen=True)
class RunSettings:
    """The run itself.

    Attributes:
        dir: Its folder; None for a new one under `runs/`.
        seed: Seeds the selection, the prompts, every candidate, and a model on this machine.
    """

    dir: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if abs(self.seed) > _LARGEST_SEED:
            raise ConfigError(f"run.seed={self.seed} is too large: it must be at most {_LARGEST_SEED}, up or down")


@dataclass(frozen=True)
class Config:
    """All options of `evolve run`.

    Attributes:
        model: A hub id, a folder, a GGUF file, or a name that `evolve doctor` lists; of a server, its model's name,
            which must be given.
        model_cache: Where resolved models are kept.
    """

    problem: ProblemConfig = field(default_factory=ProblemConfig)
    model: str = "qwen2.5-coder-1.5b-instruct"
    model_cache: str = "~/.cache/thetaevolve"
    engine: EngineConfig = field(default_factory=EngineConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    run: RunSettings = field(default_factory=RunSettings)

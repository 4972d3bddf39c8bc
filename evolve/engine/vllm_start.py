"""How vLLM is started, and what it wants done that it offers no call for."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evolve.engine import Sampling
from evolve.engine.precision import dtype_here
from evolve.errors import ConfigError

_GIB = 2**30
#: How much of vLLM's own message is repeated, in characters.
_MESSAGE_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """How vLLM is started.

    Attributes:
        max_model_len: Longest prompt and completion together, in tokens.
        max_num_seqs: Completions decoded at once; the others wait.
        gpu_memory_utilization: Share of the GPU's memory that vLLM takes, weights included.
        kv_cache_gib: Memory of the key-value cache on a CPU, where no share of the memory is taken.
        compile: On a GPU: compile the model and capture all CUDA graphs, 94 s of start-up against 15 s for graphs of
            decoding alone (1.5 billion parameters, one H100). On a CPU: compile it, which costs 40 to 50 s and does not
            pay for models of a billion parameters.
        logprobs: Whether completions carry the log-probabilities of their tokens, under the distribution that they were
            drawn from; it slows sampling.
        seed: Seeds the engine's generator. Requests are not seeded on their own, which would slow sampling on a GPU.
        lora_rank: Highest rank of adapters that may be loaded; 0 for none.
        sleep: Whether the engine can give its memory to a learner between two streams; on a GPU alone.
        dtype: Of the weights and of the computation: "bfloat16", "float32", or "auto" for what is fast here.
        ranks: Processes that start an engine each, at the same time and in a process group that is there already.
    """

    max_model_len: int
    max_num_seqs: int
    gpu_memory_utilization: float
    kv_cache_gib: float
    compile: bool
    logprobs: bool
    seed: int
    lora_rank: int = 0
    sleep: bool = False
    dtype: str = "auto"
    ranks: int = 1

    def __post_init__(self) -> None:
        for name in ("max_model_len", "max_num_seqs", "kv_cache_gib"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"engine.{name} must be positive, got {getattr(self, name)}")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ConfigError(
                f"engine.gpu_memory_utilization must be above 0 and at most 1, got {self.gpu_memory_utilization}"
            )


def set_environment() -> None:
    """Set what vLLM takes from the environment alone; call it before anything imports vLLM for the first time."""
    variables = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process, see above
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",  # what matters is raised; the rest buries our own lines
    }
    if importlib.util.find_spec("flashinfer") is None:
        variables["VLLM_USE_FLASHINFER_SAMPLER"] = "0"  # else 0.25 fails at the first sample
    for name, value in variables.items():
        # What the user has set stays. vLLM offers no other way to set these.
        os.environ.setdefault(name, value)  # noqa: TID251


def llm_arguments(model: Path, settings: VllmSettings) -> dict[str, Any]:
    """Return the arguments of `vllm.LLM`, plain values all of them; call `set_environment` before."""
    arguments: dict[str, Any] = {
        "model": str(model),
        "dtype": dtype_here(settings.dtype),
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "enable_prefix_caching": True,
        "seed": settings.seed,
        "distributed_executor_backend": "external_launcher" if settings.ranks > 1 else "uni",
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    if on_cpu():
        arguments["kv_cache_memory_bytes"] = int(settings.kv_cache_gib * _GIB)
        arguments["enforce_eager"] = not settings.compile
    elif not settings.compile:
        arguments["compilation_config"] = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
    if settings.logprobs:
        # The default is taken before the temperature, which is not what the token was drawn from.
        arguments["logprobs_mode"] = "processed_logprobs"
    if settings.lora_rank:
        # Two, for the new adapter is there before the old one goes.
        arguments |= {"enable_lora": True, "max_lora_rank": settings.lora_rank, "max_loras": 2}
    if settings.sleep and not on_cpu():
        arguments["enable_sleep_mode"] = True
    return arguments


def start(model: Path, sampling: Sampling, settings: VllmSettings) -> tuple[Any, Any, Any]:
    """Return the engine, its tokenizer and the sampling parameters of every request."""
    set_environment()
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import RequestOutputKind

    llm = LLM(**llm_arguments(model, settings))
    params = SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_tokens,
        # vLLM would turn every token into text as it comes, and with log-probabilities twice, in the thread that keeps
        # the GPU busy. Completions are turned into text when they end.
        detokenize=False,
        logprobs=0 if settings.logprobs else None,  # 0: the drawn token alone
        flat_logprobs=settings.logprobs,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    return llm, llm.get_tokenizer(), params


def on_cpu() -> bool:
    """Return whether vLLM computes on the processor."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def finish_other_streams() -> None:
    """Wait for the GPU, which works off the learner's queue and the engine's side by side."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def pack_tied_head(llm: Any) -> None:
    """Pack the output matrix again where it is the embedding's: on a CPU it is a copy, which a reload leaves stale."""
    if not on_cpu():
        return
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    def pack(model: Any) -> None:
        if model.config.tie_word_embeddings:
            dispatch_cpu_unquantized_gemm(model.lm_head, remove_weight=False)

    llm.apply_model(pack)


def stop(llm: Any) -> None:
    """End an engine and free its memory."""
    from vllm.distributed import cleanup_dist_env_and_memory

    llm.llm_engine.engine_core.shutdown()
    cleanup_dist_env_and_memory()


def one_line(error: BaseException) -> str:
    """Return what an error of vLLM's says, short."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= _MESSAGE_CHARACTERS else line[:_MESSAGE_CHARACTERS] + "..."

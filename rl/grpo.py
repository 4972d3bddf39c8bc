"""The learner that trains while it searches."""

import contextlib
import hashlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import TrainerCallback
from transformers.utils import logging

from evolve.protocols import Store
from evolve.types import Group, Training
from rl.checkpoint import Policy, check_checkpoint, checkpoint_name, checkpoints, sweep, write_mark
from rl.engine import PolicyEngine
from rl.errors import TrainingMemoryError
from rl.ranks import Crew, End, RankedEngine, Start
from rl.rollout import Rollouts, Source
from rl.settings import GrpoSettings, Method
from rl.sync import AdapterSync, FullSync
from rl.trainer import EvolveTrainer, StepCallback

#: TRL's names of the figures that are kept, and ours; names of our own are kept as they are.
_NAMES = {
    "loss": "loss",
    "grad_norm": "gradient_norm",
    "clip_ratio/low_mean": "clipped_low",
    "clip_ratio/high_mean": "clipped_high",
    "kl": "kl",
}
_OURS = (
    *("valid", "changed", "improved", "lazy", "truncated", "masked", "constant_groups", "distinct", "paused"),
    *("reward", "reward_std"),
    *("completion_tokens", "prompt_tokens", "entropy", "entropy_weight", "staleness"),
    *("peak_memory_gib", "gpu_memory_gib"),
    *("logprob_gap", "logprob_gap_max", "importance_min", "importance_mean", "importance_max"),
    *("sync_s", "generate_s", "wait_s", "train_s"),
)
#: What a person sees of an update: whether it pays, whether it collapses, what it costs.
_SHOWN = ("reward", "entropy", "improved", "distinct", "staleness", "logprob_gap", "gradient_norm", "train_s")
#: Where a Linux machine keeps files in memory.
_SHARED_MEMORY = Path("/dev/shm")


class Grpo:
    """Group relative policy optimisation (GRPO) on the search's own steps.

    Args:
        settings: How to train.
        policy: What to train.
        engine: Serves the policy.
        store: Takes each update's figures.
        notify: Is told what a person should know.
    """

    def __init__(
        self,
        settings: GrpoSettings,
        policy: Policy,
        engine: PolicyEngine,
        store: Store,
        notify: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._engine = engine
        self._store = store
        self._notify = notify
        self._crew = engine.crew if isinstance(engine, RankedEngine) else Crew()

    def run(self, attempt: Callable[[int], Sequence[Group]], steps: Iterable[int]) -> None:
        """Make every step, and after each one update of the policy; go on from the newest checkpoint.

        Raises:
            PolicyMismatchError: Engine and trainer disagree.
            GradientError: An update's gradient is no finite number.
            BrokenWeightsError: Those of the newest checkpoint are no finite numbers.
            TrainingMemoryError: An update does not fit.
            ConfigError: The newest checkpoint is of another model.
        """
        rollouts = Rollouts(attempt, steps, self._engine, self._store, self._settings, crew=self._crew)
        if not rollouts.advance():
            return
        check_checkpoint(self._policy, self._settings)
        sweep(self._policy.folder, keep=self._settings.keep)
        found = checkpoints(self._policy.folder)
        self._say_where_it_goes_on(found[-1][1].step if found else 0)
        start = Start(checkpoint=str(found[-1][0]) if found else None)
        self._crew.tell(start)
        try:
            with memory_named():
                trainer = build_trainer(self._settings, self._policy, self._engine, rollouts)
                trainer.add_callback(_Keeper(self._settings, self._policy, rollouts, self._store, self._notify))
                try:
                    trainer.train(resume_from_checkpoint=start.checkpoint)
                except KeyboardInterrupt:
                    if (rollouts.ranks == 1 or rollouts.is_deciding) and _is_unsaved(trainer, self._policy):
                        self._crew.tell(End(save=True))
                        trainer.save()
                    raise
        finally:
            rollouts.close()
            shutil.rmtree(_adapter_folder(self._policy), ignore_errors=True)

    def _say_where_it_goes_on(self, trained: int) -> None:
        # A merge, and a step that the end of the minutes cut short, have nothing to learn from.
        finished = max((report.step for report in self._store.reports() if report.attempts), default=0)
        if finished > trained:
            self._notify(
                f"the database is at step {finished}, the weights at step {trained}: they go on from there, and what "
                "was learned in between is lost"
            )


def build_trainer(settings: GrpoSettings, policy: Policy, engine: PolicyEngine, rollouts: Source) -> EvolveTrainer:
    """Return the trainer of this process; in several of them, all must call this together.

    Args:
        settings: How to train.
        policy: What to train.
        engine: Takes the weights.
        rollouts: Makes the rows.
    """
    # Progress bars and hints of a library: what matters is raised or logged.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    adapter = None
    if settings.method is Method.LORA:
        adapter = LoraConfig(
            r=settings.lora_rank,
            lora_alpha=settings.lora_rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
    trainer = EvolveTrainer(policy.model, settings, rollouts, policy.folder, peft_config=adapter)
    if adapter is None:
        trainer.use_engine(FullSync(engine, trainer, rollouts))
    else:
        trainer.use_engine(AdapterSync(engine, trainer, rollouts, _adapter_folder(policy)))
    trainer.add_callback(StepCallback(trainer, rollouts, settings))
    return trainer


@contextlib.contextmanager
def memory_named() -> Iterator[None]:
    """Turn torch's error of a full memory into one that names the cures.

    Raises:
        TrainingMemoryError: What was done did not fit.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingMemoryError(" ".join(str(error).split())[:120]) from error


def _is_unsaved(trainer: EvolveTrainer, policy: Policy) -> bool:
    """Return whether the weights are those of an update that no complete checkpoint holds.

    One that is complete is not written again: an impatient second Ctrl-C would leave half of it, declared complete.
    """
    last: int = trainer.state.global_step
    complete = {path.name for path, _ in checkpoints(policy.folder)}
    return trainer.is_whole and last > 0 and checkpoint_name(last) not in complete


def _adapter_folder(policy: Policy) -> Path:
    """Return where the adapter passes to the engine: the same each time, so that a kill leaves one at most."""
    place = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())
    name = hashlib.sha256(str(policy.folder.resolve()).encode()).hexdigest()[:16]
    return place / f"thetaevolve-{name}"


class _Keeper(TrainerCallback):  # type: ignore[misc]
    """Keeps figures in the database and checkpoints in the folder, and tells people the most telling ones."""

    def __init__(
        self,
        settings: GrpoSettings,
        policy: Policy,
        rollouts: Rollouts,
        store: Store,
        notify: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._rollouts = rollouts
        self._store = store
        self._notify = notify
        self._learned = 0
        self._is_capped = False

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Note which step the weights have learned from: the next may be made, and not learned from any more."""
        self._learned = self._rollouts.last

    def on_log(self, _args: Any, state: Any, *_: Any, logs: Mapping[str, Any], **__: Any) -> None:
        """Store the figures of an update; TRL logs a summary at the end, which is none."""
        if "loss" in logs:
            values = {ours: logs[theirs] for theirs, ours in _NAMES.items() if theirs in logs}
            values |= {name: logs[name] for name in _OURS if name in logs}
            kept = {name: float(value) for name, value in values.items() if value is not None}
            finite = {name: value for name, value in kept.items() if math.isfinite(value)}
            self._store.insert_training(Training(step=self._rollouts.last, values=finite))
            shown = [f"{name} {finite[name]:.3g}" for name in _SHOWN if name in finite]
            self._notify(f"         {self._learned_words(finite)} from step {self._rollouts.last}: {', '.join(shown)}")
            self._warn_of_target(state.global_step, finite)

    def _learned_words(self, figures: Mapping[str, float]) -> str:
        if figures.get("paused"):
            return "below learner.min_distinct nothing is learned"
        batch = self._rollouts.batch
        return "without a group that tells anything nothing is learned" if batch and batch.is_empty else "learned"

    def _warn_of_target(self, update: int, figures: Mapping[str, float]) -> None:
        """Say so, once each, where the bonus acts from the start, and where its weight has grown as far as it may."""
        target, cap, entropy = self._settings.entropy_target, self._settings.entropy_cap, figures.get("entropy")
        if target is None or entropy is None:
            return
        if update == 1 and target > entropy:
            self._notify(
                f"learner.entropy_target={target:g} is above the entropy of the first update, {entropy:.3g}: the bonus "
                f"acts from the start, its weight grows to learner.entropy_cap={cap:g}, and what it pays for is noise; "
                f"to keep the policy from collapsing take a lower target, like {entropy / 2:.2g}"
            )
        if figures.get("entropy_weight", 0.0) >= cap and not self._is_capped:
            self._is_capped = True
            self._notify(
                f"the entropy bonus weighs learner.entropy_cap={cap:g}, and the entropy, {entropy:.3g}, is still below "
                f"learner.entropy_target={target:g}: if valid children become fewer, resume with a lower target"
            )

    def on_save(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Declare the checkpoint complete and drop those that are too many."""
        checkpoint = self._policy.folder / checkpoint_name(state.global_step)
        write_mark(checkpoint, self._policy.mark(self._settings, self._learned))
        sweep(self._policy.folder, keep=self._settings.keep)

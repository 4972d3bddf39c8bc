"""From a configuration to the learner that trains; `evolve.compose` imports this only when one is asked for."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from evolve.config import Config, GrpoConfig, VllmConfig
from evolve.config.learner import DEFAULT_RATES
from evolve.engine.apart import PolicyApart
from evolve.engine.precision import dtype_here
from evolve.engine.vllm_start import set_environment
from evolve.errors import ConfigError
from evolve.launch import Place
from evolve.models import model_parameters
from evolve.protocols import Engine, Learner, Store
from evolve.types import Direction
from evolve.words import path_of
from problems import load_problem
from rl.checkpoint import Policy, check_checkpoint, check_sharding
from rl.memory import Machine, check_memory
from rl.ranks import RankedEngine
from rl.settings import GrpoSettings, Loss, Method

_GIB = 2**30
#: Of a number, by its type.
_BYTES = {"bfloat16": 2, "float32": 4}
#: What a tracker needs, where that is not called like it: the module, and what pip calls it.
_PACKAGES = {"azure_ml": ("azureml", "azureml-sdk"), "flyte": ("flytekit", "flytekit")}
#: In the run's folder, what the learner leaves.
_LEARNER = "learner"


def check_grpo(config: Config, learner: GrpoConfig, model: Path | None, folder: Path, place: Place) -> None:
    """Refuse what could not be trained, before the engine is started.

    Args:
        config: Of the run.
        learner: Its learner.
        model: The policy's folder, where it is in this process.
        folder: The run's.
        place: This process.

    Raises:
        ConfigError: An option, the machine or the run's newest checkpoint does not fit.
    """
    engine = config.engine
    missing = [name for name in ("trl", "peft", "accelerate") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"learner=grpo needs {' and '.join(missing)}: pip install 'thetaevolve[rl]'")
    if not isinstance(engine, VllmConfig) or model is None:
        raise ConfigError(f"learner=grpo trains the model of this process: it needs engine=vllm, not {engine.kind}")
    if config.rollout.samples < 2:
        raise ConfigError(
            "learner=grpo compares the samples of a group: rollout.samples must be at least 2, 16 is usual"
        )
    if learner.overlap and place.ranks > 1:
        raise ConfigError(f"learner.overlap=true needs a single process, and there are {place.ranks}: leave it out")
    if learner.trained_samples is not None and learner.trained_samples > config.rollout.samples:
        raise ConfigError(
            f"learner.trained_samples={learner.trained_samples} is more than there are: a group has "
            f"rollout.samples={config.rollout.samples}"
        )
    if config.sampling.top_p != 1:
        raise ConfigError(
            f"learner=grpo corrects for what each token was drawn from: sampling.top_p must be 1, not "
            f"{config.sampling.top_p}"
        )
    if config.sampling.temperature <= 0:
        raise ConfigError("learner=grpo needs samples that differ: sampling.temperature must be above 0, 1 is usual")
    _refuse_unused(learner)
    _check_trackers(learner)
    settings = grpo_settings(config, learner, engine)
    parameters = model_parameters(model)
    check_checkpoint(policy_of(config, model, folder), settings)
    sharded = place.fsdp > 0 and _on_gpu()
    check_sharding(folder / _LEARNER, sharded=sharded)
    machine = _machine(engine, parameters * _BYTES[settings.dtype])
    check_memory(model, parameters // (place.ranks if sharded else 1), settings, machine)


def build_grpo(
    config: Config, model: Path | None, engine: Engine, store: Store, folder: Path, notify: Callable[[str], None]
) -> Learner:
    """Return the learner of a configuration that `check_grpo` has passed.

    Args:
        config: Of the run.
        model: The policy's folder.
        engine: Serves the policy.
        store: Takes the figures of the updates.
        folder: The run's, where it is now: it may have been moved or copied since the store noted where it began.
        notify: Is told what a person should know.
    """
    set_environment()  # TRL imports vLLM, too
    from rl.grpo import Grpo

    learner = config.learner
    if not (
        isinstance(learner, GrpoConfig)
        and isinstance(engine, PolicyApart | RankedEngine)
        and isinstance(config.engine, VllmConfig)
        and model is not None
    ):
        raise ValueError("this configuration was not checked")
    settings = grpo_settings(config, learner, config.engine)
    return Grpo(settings, policy_of(config, model, folder.resolve()), engine, store, notify)


def policy_of(config: Config, model: Path, folder: Path) -> Policy:
    """Return the model that the run in `folder` trains, and where."""
    return Policy(model=model, name=config.model, folder=folder / _LEARNER)


def grpo_settings(config: Config, learner: GrpoConfig, engine: VllmConfig) -> GrpoSettings:
    """Return the options in the learner's own terms."""
    return GrpoSettings(
        parents=config.rollout.parents,
        samples=config.rollout.samples,
        max_tokens=config.sampling.max_tokens,
        max_model_len=engine.max_model_len,
        temperature=config.sampling.temperature,
        dtype=dtype_here(engine.dtype),
        seed=config.run.seed % 2**32,
        direction=_direction(config),
        advantage=learner.advantage,
        loss=Loss(learner.loss),
        method=Method(learner.method),
        lora_rank=learner.lora_rank,
        learning_rate=DEFAULT_RATES[learner.method] if learner.learning_rate is None else learner.learning_rate,
        weight_decay=learner.weight_decay,
        clip_low=learner.clip_low,
        clip_high=learner.clip_high,
        importance_cap=learner.importance_cap,
        entropy_bonus=learner.entropy_bonus,
        entropy_target=learner.entropy_target,
        entropy_cap=learner.entropy_cap,
        kl=learner.kl,
        novelty=learner.novelty,
        min_distinct=learner.min_distinct,
        mask_truncated=learner.mask_truncated,
        drop_constant=learner.drop_constant,
        trained_samples=learner.trained_samples,
        refills=learner.refills,
        logprob_bound=learner.logprob_bound,
        micro_tokens=learner.micro_tokens,
        overlap=learner.overlap,
        sleep=learner.sleep,
        save_steps=learner.save_steps,
        keep=learner.keep,
        report_to=tuple(learner.report_to),
    )


def _direction(config: Config) -> Direction:
    path = config.problem.path
    return load_problem(
        config.problem.name, None if path is None else path_of("problem.path", path).resolve()
    ).direction


def _refuse_unused(learner: GrpoConfig) -> None:
    """Refuse options that would do nothing; a stored configuration holds all of them, at their defaults as a rule.

    Raises:
        ConfigError: One was changed, and what it belongs to is not asked for.
    """
    usual = GrpoConfig()
    if learner.method != Method.LORA and learner.lora_rank != usual.lora_rank:
        raise ConfigError(
            f"learner.lora_rank={learner.lora_rank} does nothing with learner.method={learner.method}: say "
            f"learner.method=lora, or leave the rank at {usual.lora_rank}"
        )
    if learner.entropy_target is None and learner.entropy_cap != usual.entropy_cap:
        raise ConfigError(
            f"learner.entropy_cap={learner.entropy_cap:g} does nothing without a target: say learner.entropy_target, "
            f"or leave the cap at {usual.entropy_cap:g}"
        )


def _check_trackers(learner: GrpoConfig) -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    for name in learner.report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            known = ", ".join(sorted(INTEGRATION_TO_CALLBACK))
            raise ConfigError(f"learner.report_to={name} is no tracker: it must be one of {known}, or [] for none")
        module, package = _PACKAGES.get(name, (name, name))
        if find_spec(module) is None:
            raise ConfigError(f"learner.report_to={name} needs a package: pip install {package}, or say [] for none")


def _on_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def available_bytes(meminfo: Path) -> float:
    """Return how much of the machine's memory there is for a new program, by Linux's own account in `meminfo`.

    What is free is less: model files and checkpoints that were read or written lately stay in memory until another
    program needs the room.
    """
    amounts = dict(line.split(":", 1) for line in meminfo.read_text(encoding="ascii").splitlines())
    return 1024.0 * int(amounts["MemAvailable"].removesuffix("kB"))


def _machine(engine: VllmConfig, weights: int) -> Machine:
    if _on_gpu():
        import torch

        total = float(torch.cuda.get_device_properties(0).total_memory)
        return Machine(total=total, engine=engine.gpu_memory_utilization * total, on_gpu=True)
    return Machine(
        total=available_bytes(Path("/proc/meminfo")), engine=engine.kv_cache_gib * _GIB + weights, on_gpu=False
    )

"""Whether an update fits into the memory, told before anything is loaded. Estimates, within some 20 %."""

import json
from dataclasses import dataclass
from pathlib import Path

from evolve.errors import ConfigError
from rl.settings import GrpoSettings, Method

_GIB = 2**30
#: Bytes a parameter: float32 weight, gradient and Adam's two moments, and the bfloat16 copy that autocast keeps.
_FULL_BYTES = 18.0
#: Of these, what stays while the engine decodes: all but gradient and copy.
_FULL_RESIDENT_BYTES = 12.0
#: The model that training began with, in float32, where the divergence from it is in the loss.
_REFERENCE_BYTES = 4.0
#: The frozen weight in bfloat16. Of an adapter's own parameters there are some 2 % at rank 32.
_FROZEN_BYTES = 2.0
_ADAPTER_SHARE = 0.02 / 32
#: Within one layer, bytes a token and unit of width (hidden and intermediate): what the backward pass needs at once.
_LAYER_BYTES = 16.0
#: Bytes a token, layer and hidden unit that are kept for the backward pass; the rest is computed twice.
_KEPT_BYTES = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What there is to train in.

    Attributes:
        total: Bytes of the GPU, or free bytes of the machine without one.
        engine: Bytes that the engine takes of it.
        on_gpu: Whether there is a GPU.
    """

    total: float
    engine: float
    on_gpu: bool


def needed_bytes(model: Path, parameters: int, settings: GrpoSettings) -> float:
    """Return an estimate of the trainer's peak, in bytes.

    Args:
        model: Its config.json gives the widths.
        parameters: Of the model.
        settings: How it is trained.
    """
    config: dict[str, int] = json.loads((model / "config.json").read_text(encoding="utf-8"))
    hidden, layers = config.get("hidden_size", 0), config.get("num_hidden_layers", 0)
    layer = _LAYER_BYTES * (hidden + config.get("intermediate_size", 0))
    return weight_bytes(settings) * parameters + settings.most_tokens * (_KEPT_BYTES * hidden * layers + layer)


def weight_bytes(settings: GrpoSettings) -> float:
    """Return the bytes that each parameter of the model costs the trainer at its peak."""
    if settings.method is Method.FULL:
        return _FULL_BYTES + _reference_bytes(settings)
    return _FROZEN_BYTES + _FULL_BYTES * _ADAPTER_SHARE * settings.lora_rank


def _reference_bytes(settings: GrpoSettings) -> float:
    """Return the bytes a parameter that stay for the divergence from the start; an adapter is just switched off."""
    return _REFERENCE_BYTES if settings.kl and settings.method is Method.FULL else 0.0


def check_memory(model: Path, parameters: int, settings: GrpoSettings, machine: Machine) -> None:
    """Refuse a model that cannot be trained beside its engine.

    Raises:
        ConfigError: It does not fit; the message says what would.
    """
    needed = needed_bytes(model, parameters, settings)
    free = machine.total - machine.engine
    fits = needed <= free
    if settings.sleep and machine.on_gpu:
        resident = weight_bytes(settings)
        if settings.method is Method.FULL:
            resident = _FULL_RESIDENT_BYTES + _reference_bytes(settings)
        fits = needed <= machine.total and resident * parameters <= free
    if fits:
        return
    what = "all weights" if settings.method is Method.FULL else "an adapter"
    if _reference_bytes(settings):
        what += " beside its start (learner.kl)"
    beginning = (
        f"training {what} of a model of {parameters / 1e9:.2g} billion parameters takes about {needed / _GIB:.0f} GiB"
    )
    if machine.on_gpu:
        raise ConfigError(
            f"{beginning}, and of the GPU's {machine.total / _GIB:.0f} GiB the engine takes "
            f"{machine.engine / _GIB:.0f}: {_cure(needed, machine)}"
        )
    fitting = max(0.0, (free - (needed - weight_bytes(settings) * parameters)) / weight_bytes(settings))
    others = "" if settings.method is Method.LORA else ", or learner.method=lora"
    raise ConfigError(
        f"{beginning}, and there is no GPU and {free / _GIB:.0f} GiB of memory beside the engine: what would fit is a "
        f"model of {fitting / 1e9:.1g} billion parameters{others}, or fewer learner.micro_tokens"
    )


def _cure(needed: float, machine: Machine) -> str:
    share = 1 - needed / machine.total
    if share > 0.1:
        return f"say engine.gpu_memory_utilization={share:.2f}"
    return "say learner.method=lora, learner.sleep=true or fewer learner.micro_tokens, or take a smaller model"

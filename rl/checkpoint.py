"""What a learner leaves behind, to go on from: DIR/learner/checkpoint-N.

checkpoint-N/    weights or adapter, optimizer, random states and TRL's own state after N updates
    learner.json what it was trained from and the search's step it had reached; written last: without it the
                 checkpoint is one that a kill cut short, and is swept up
runs/            TensorBoard
"""

import hashlib
import json
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from evolve.errors import ConfigError
from rl.settings import GrpoSettings, Method

_MARK = "learner.json"
#: What accelerate writes under FSDP alone.
_SHARDED = "pytorch_model_fsdp.bin"
_NAME = re.compile(r"checkpoint-(\d+)")
#: Of each end of a weight file, in bytes: enough to tell two models apart.
_SAMPLE_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a checkpoint holds.

    Attributes:
        base: Fingerprint of the model folder that training began with.
        model: The name the user gave that model.
        method: What was trained, "full" or "lora".
        lora_rank: 0 without an adapter.
        step: The search's newest step that the weights have learned from.
    """

    base: str
    model: str
    method: str
    lora_rank: int
    step: int


def fingerprint(folder: Path) -> str:
    """Return what tells a model folder from others: a hash of its configuration and of samples of its weights."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(_SAMPLE_BYTES))
            opened.seek(max(0, size - _SAMPLE_BYTES))
            digest.update(opened.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def checkpoint_name(updates: int) -> str:
    """Return what TRL calls the checkpoint after so many updates."""
    return f"checkpoint-{updates}"


def write_mark(checkpoint: Path, mark: Mark) -> None:
    """Declare a checkpoint complete."""
    partial = checkpoint / f"{_MARK}.partial"
    partial.write_text(json.dumps(asdict(mark)), encoding="utf-8")
    partial.rename(checkpoint / _MARK)


def checkpoints(folder: Path) -> list[tuple[Path, Mark]]:
    """Return the complete checkpoints of a learner's folder, oldest first."""
    numbered = sorted((int(match[1]), path) for path in folder.glob("*") if (match := _NAME.fullmatch(path.name)))
    return [(path, read_mark(path)) for _, path in numbered if (path / _MARK).is_file()]


def read_mark(checkpoint: Path) -> Mark:
    """Return what a complete checkpoint holds.

    Raises:
        ConfigError: Its mark is damaged.
    """
    try:
        return Mark(**json.loads((checkpoint / _MARK).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{checkpoint / _MARK} is damaged ({error}); delete {checkpoint} and try again") from error


def check_sharding(folder: Path, *, sharded: bool) -> None:
    """Refuse to go on with sharded weights from a checkpoint of whole ones, or the other way round.

    Raises:
        ConfigError: The newest checkpoint was written the other way.
    """
    for path, _ in checkpoints(folder)[-1:]:
        if (path / _SHARDED).exists() != sharded:
            was, cure = ("without", "without it") if sharded else ("with", "with it, by accelerate launch --use_fsdp")
            raise ConfigError(f"{path} was written {was} FSDP: resume {cure}, or start a new run")


def sweep(folder: Path, *, keep: int) -> None:
    """Delete what kills left half-made, and all complete checkpoints but the newest `keep`."""
    kept = {path for path, _ in checkpoints(folder)[-keep:]}
    for path in folder.glob("checkpoint-*"):
        if path not in kept:
            shutil.rmtree(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The model that learns.

    Attributes:
        model: Its Hugging Face folder, as it was before the run.
        name: How the user calls it.
        folder: Where checkpoints go.
    """

    model: Path
    name: str
    folder: Path

    def mark(self, settings: GrpoSettings, step: int) -> Mark:
        """Return what a checkpoint at `step` would say of itself."""
        return Mark(
            base=fingerprint(self.model),
            model=self.name,
            method=str(settings.method),
            lora_rank=settings.lora_rank if settings.method is Method.LORA else 0,
            step=step,
        )


def check_checkpoint(policy: Policy, settings: GrpoSettings) -> None:
    """Refuse to go on from a checkpoint of another model, or of another way to train.

    Raises:
        ConfigError: The newest checkpoint does not fit.
    """
    found = checkpoints(policy.folder)
    if not found:
        return
    (path, holds), expected = found[-1], policy.mark(settings, 0)
    if holds.base != expected.base:
        raise ConfigError(
            f"{path} was trained from {holds.model}, which is not the model given ({expected.model}): resume with the "
            "model it began with, or start a new run"
        )
    if (holds.method, holds.lora_rank) != (expected.method, expected.lora_rank):
        raise ConfigError(
            f"{path} holds learner.method={holds.method} learner.lora_rank={holds.lora_rank}, not {expected.method} "
            f"and {expected.lora_rank}: resume with what it holds, or start a new run"
        )

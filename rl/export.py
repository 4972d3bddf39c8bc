"""From a checkpoint to a Hugging Face folder that transformers and vLLM load."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from evolve.errors import ConfigError
from rl.checkpoint import Mark, fingerprint
from rl.settings import Method

#: Taken over from the base model as they are: training does not change how to sample, nor what a chat looks like.
_TAKEN_OVER = ("generation_config.json", "LICENSE", "LICENSE.txt", "NOTICE")
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def export_weights(checkpoint: Path, mark: Mark, base: Path, target: Path, *, merged: bool) -> None:
    """Write weights, configuration and tokenizer to the folder `target`.

    Weights are stored in the base model's own dtype. An adapter is merged in float32 and rounded once.

    Args:
        checkpoint: A complete one.
        mark: What it says of itself.
        base: The folder of the model that training began with.
        target: An existing folder.
        merged: Whether an adapter is merged into the model, or written alone, in PEFT's form.

    Raises:
        ConfigError: `base` is not that model.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if mark.base != fingerprint(base):
        raise ConfigError(f"{checkpoint} was trained from {mark.model}, and {base} is another model: give model=...")
    if mark.method == Method.LORA and not merged:
        for name in _ADAPTER_FILES:
            shutil.copyfile(checkpoint / name, target / name)
    else:
        model = _merged(checkpoint, base) if mark.method == Method.LORA else _load(checkpoint)
        model.to(_dtype(base)).save_pretrained(target)
    AutoTokenizer.from_pretrained(base).save_pretrained(target)
    for name in _TAKEN_OVER:
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)


def _load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def _merged(checkpoint: Path, base: Path) -> Any:
    return PeftModel.from_pretrained(_load(base), checkpoint).merge_and_unload()


def _dtype(base: Path) -> torch.dtype:
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    name = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    dtype: torch.dtype = getattr(torch, name)
    return dtype

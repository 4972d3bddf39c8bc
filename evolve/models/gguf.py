"""From a GGUF file to a Hugging Face folder with bfloat16 weights, ready to serve and to train.

The weights are bit for bit what transformers' own GGUF loader gives, in a third of its time and a fraction of its
memory, and without accelerate: one tensor at a time is dequantised, and shard after shard written. Names, configuration
and tokenizer come from transformers' own GGUF tables. Import this module only when a file is to be converted.
"""

import json
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context, parent_process
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, GGUFValueType, dequantize
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from evolve.errors import ModelError

_MAGIC = b"GGUF"
#: What gguf and transformers raise over a file that they cannot make sense of.
_UNREADABLE = (ValueError, TypeError, LookupError, NotImplementedError, AttributeError, struct.error)
#: A shard is closed when it has reached this size, in bytes.
_SHARD_BYTES = 512 * 2**20
#: Elements that are dequantised at once: few enough to stay in a core's cache, many enough to make numpy's calls cheap.
#: Measured for Q4_K: 8 times as fast as the gguf package's own groups of 16 rows of a row's length.
_GROUP_ELEMENTS = 200_000
#: Rows that the gguf package dequantises at once.
_GROUP_ROWS = 16


class _TensorReader(GGUFReader):  # type: ignore[misc]
    """Reads the tensors and the short fields, and passes over the vocabulary, whose parsing in Python takes seconds."""

    def _get_field_parts(self, orig_offs: int, raw_type: int) -> tuple[int, list[Any], list[int], list[Any]]:
        if raw_type != GGUFValueType.ARRAY:
            parts: tuple[int, list[Any], list[int], list[Any]] = super()._get_field_parts(orig_offs, raw_type)
            return parts
        element, count = int(self._get(orig_offs, np.uint32)[0]), int(self._get(orig_offs + 4, np.uint64)[0])
        offset = orig_offs + 12
        if element == GGUFValueType.STRING:
            view = memoryview(self.data)
            for _ in range(count):
                offset += 8 + int(struct.unpack_from("<Q", view, offset)[0])
        else:
            offset += count * np.dtype(self.gguf_scalar_to_np[GGUFValueType(element)]).itemsize
        return offset - orig_offs, [], [], [GGUFValueType.ARRAY]


def convert_gguf(file: Path, folder: Path, notify: Callable[[str], None]) -> None:
    """Write config, tokenizer and bfloat16 weights of `file` into the existing, empty `folder`.

    Raises:
        ModelError: The file is no GGUF, or no causal language model that transformers knows, or is incomplete.
    """
    with file.open("rb") as opened:
        if opened.read(len(_MAGIC)) != _MAGIC:
            raise ModelError(f"{file} is no GGUF file: it does not begin with {_MAGIC.decode()}; give one that does")
    try:
        reader = _TensorReader(file)  # first, for a damaged file is found out here at once
        # Parsing the vocabulary takes as long as the weights, in Python: on two cores both go on at once. A plain
        # process, for a pool's would outlive a kill of this one.
        second = get_context("spawn").Process(target=_try_tokenizer, args=(file, folder), daemon=True)
        second.start()
        try:
            eos = _save_weights(file, reader, folder, notify)
            notify("waiting for the tokenizer")
            second.join()
        finally:
            second.kill()
            second.join()
        if second.exitcode:
            _save_tokenizer(file, folder)  # once more, to see the error
        _mend_tokenizer(folder, eos)
    except SafetensorError as error:
        raise OSError(f"{folder} cannot be written: {error}") from error
    except _UNREADABLE as error:
        words = " ".join(str(error).split())[:300]
        raise ModelError(
            f"{file} cannot be read as a language model ({type(error).__name__}: {words}); "
            "see that it is complete, or give the model's Hugging Face folder"
        ) from error


def _try_tokenizer(file: Path, folder: Path) -> None:
    """Save the tokenizer in a process of its own, which ends when its parent is killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _save_tokenizer(file, folder)
    except _UNREADABLE:
        sys.exit(1)


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _save_tokenizer(file: Path, folder: Path) -> None:
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)


def _mend_tokenizer(folder: Path, eos: int | None) -> None:
    """Make the end-of-sequence token of the file the tokenizer's, where transformers guesses by architecture."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if eos is not None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(eos)
    tokenizer.clean_up_tokenization_spaces = False  # it would remove spaces before punctuation, in programs
    tokenizer.save_pretrained(folder)


def _save_weights(file: Path, reader: GGUFReader, folder: Path, notify: Callable[[str], None]) -> int | None:
    """Write all but the tokenizer; return the id of the end-of-sequence token."""
    notify("reading the file's header")
    config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.config.architectures = [type(model).__name__]
    # A completion that pads has ended, too; Qwen's base models end with the padding token.
    ends = [token for token in (config.eos_token_id, config.pad_token_id) if token is not None]
    model.generation_config.eos_token_id = list(dict.fromkeys(ends)) or None
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)

    expected = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    places: dict[str, str] = {}
    for number, (shard, share) in enumerate(_shards(reader, model), start=1):
        for name, tensor in shard.items():
            if expected.pop(name, tuple(tensor.shape)) != tuple(tensor.shape):
                raise ValueError(f"{name} has shape {tuple(tensor.shape)}, which does not fit the configuration")
            places[name] = f"model-{number:05d}.safetensors"
        save_file(shard, folder / f"model-{number:05d}.safetensors", metadata={"format": "pt"})
        notify(f"dequantising to bfloat16: {share:.0%}")
    if expected:
        raise ValueError(f"{len(expected)} tensors are missing, {min(expected)} for one")
    size = sum((folder / name).stat().st_size for name in set(places.values()))
    index = {"metadata": {"total_size": size}, "weight_map": places}  # the words of the file format
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    eos: int | None = config.eos_token_id
    return eos


def _shards(reader: Any, model: Any) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield the weights under their Hugging Face names, shard by shard, each with the share that is done."""
    architecture = reader.get_field("general.architecture").contents()
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=model.config.to_dict())
    # Without its submodules: transformers would build gguf's table of names anew for each of hundreds, for 9 s in all.
    flat = SimpleNamespace(config=model.config, state_dict=model.state_dict, named_children=lambda: ())
    names = get_gguf_hf_weights_map(flat, processor)
    merged: dict[str, dict[str, Any]] = {"tensors": {}}  # of experts, which some processors stack into one tensor
    shard: dict[str, Any] = {}
    size, done, total = 0, 0, sum(int(tensor.n_elements) for tensor in reader.tensors)
    for tensor in reader.tensors:
        done += int(tensor.n_elements)
        placed = processor.process(
            weights=_dequantised(tensor), name=tensor.name, tensor_key_mapping=names, parsed_parameters=merged
        )
        if placed.name not in names:
            continue
        weights = torch.from_numpy(np.array(placed.weights, order="C")).to(torch.bfloat16)
        shard[names[placed.name]] = weights
        size += weights.nbytes
        if size >= _SHARD_BYTES:
            yield shard, done / total
            shard, size = {}, 0
    shard |= {name: weights.to(torch.bfloat16) for name, weights in merged["tensors"].items()}
    if shard:
        yield shard, 1.0


def _dequantised(tensor: Any) -> Any:
    """Return the tensor as float32 array in its own shape.

    Blocks lie one after the other across rows, so rows may be joined to longer ones without changing a bit.
    """
    shape = tuple(int(length) for length in reversed(tensor.shape))
    rows = tensor.data.reshape(-1, tensor.data.shape[-1])
    fitting = max(1, _GROUP_ELEMENTS // (_GROUP_ROWS * shape[-1]))
    joined = next(count for count in range(min(fitting, len(rows)), 0, -1) if len(rows) % count == 0)
    return dequantize(rows.reshape(len(rows) // joined, -1), tensor.tensor_type).reshape(shape)

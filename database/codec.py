"""Texts and number sequences as compressed bytes.

Texts are UTF-8 with `surrogatepass`: a reply may hold lone surrogates, which plain UTF-8 refuses, and NUL, which a
text column of PostgreSQL refuses. Such a text comes back exactly as it went in.
"""

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evolve.types import Message

#: Shared by a million members that have none.
_NO_NUMBERS: Mapping[str, float] = {}


def pack_text(text: str) -> bytes:
    r"""Return `text` compressed; the empty text is no bytes at all.

    >>> pack_text(""), unpack_text(pack_text("\ud800 and \x00")) == "\ud800 and \x00"
    (b'', True)
    """
    return zlib.compress(text.encode("utf-8", "surrogatepass")) if text else b""


def unpack_text(packed: bytes) -> str:
    """Return the text that `pack_text` packed."""
    return zlib.decompress(packed).decode("utf-8", "surrogatepass") if packed else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPrompt:
    """A prompt as it is stored.

    Attributes:
        sha256: Of its JSON text, by which equal prompts are stored once.
        messages: The JSON text, compressed.
    """

    sha256: bytes
    messages: bytes


def pack_prompt(messages: Sequence[Message]) -> PackedPrompt:
    """Return a prompt packed, the same for the same messages."""
    # Not in ASCII: two lone surrogates that stand side by side would come back as one character.
    text = json.dumps([[message.role, message.content] for message in messages], ensure_ascii=False)
    sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return PackedPrompt(sha256=sha256, messages=pack_text(text))


def unpack_messages(packed: bytes) -> tuple[Message, ...]:
    """Return the messages that `pack_prompt` packed."""
    return tuple(Message(role=role, content=content) for role, content in json.loads(unpack_text(packed)))


def pack_ids(ids: Sequence[int]) -> bytes | None:
    """Return `(T,)` token ids as compressed little-endian int32, None when there are none."""
    return zlib.compress(struct.pack(f"<{len(ids)}i", *ids)) if ids else None


def unpack_ids(packed: bytes | None) -> tuple[int, ...]:
    """Return the `(T,)` token ids that `pack_ids` packed."""
    return () if packed is None else tuple(number for (number,) in struct.iter_unpack("<i", zlib.decompress(packed)))


def pack_floats(numbers: Sequence[float]) -> bytes | None:
    """Return `(T,)` log-probabilities as compressed little-endian float32, None when there are none.

    Engines compute them in float32 or less, so that nothing is lost; other values are rounded.
    """
    return zlib.compress(struct.pack(f"<{len(numbers)}f", *numbers)) if numbers else None


def unpack_floats(packed: bytes | None) -> tuple[float, ...]:
    """Return the `(T,)` log-probabilities that `pack_floats` packed."""
    return () if packed is None else tuple(number for (number,) in struct.iter_unpack("<f", zlib.decompress(packed)))


def pack_numbers(numbers: Mapping[str, float]) -> dict[str, float | str] | None:
    """Return numbers by name as JSON that every database takes, None when there are none.

    JSON has no infinity and no NaN: these are strings.

    >>> pack_numbers({"loss": float("nan"), "norm": 0.5})
    {'loss': 'nan', 'norm': 0.5}
    """
    return {name: number if math.isfinite(number) else str(number) for name, number in numbers.items()} or None


def unpack_numbers(packed: Mapping[str, float | str] | None) -> Mapping[str, float]:
    """Return the numbers that `pack_numbers` packed."""
    return _NO_NUMBERS if packed is None else {name: float(number) for name, number in packed.items()}

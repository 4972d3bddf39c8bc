"""What both sides of a frame agree on: layout, limits, and the names of its faults. `frame.py` describes the format."""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

Plain: TypeAlias = "dict[str, Plain] | list[Plain] | str | int | float | bool | None"
#: Turns one array block into what stands in the tree for it, given its dtype and shape.
BuildArray: TypeAlias = Callable[[memoryview, str, tuple[int, ...]], object]

MAGIC: Final = b"EVR1"
PREFIX: Final = struct.Struct("<4sI")
#: dtype to (format of `memoryview.cast`, bytes per item).
DTYPES: Final = {"f8": ("d", 8), "f4": ("f", 4), "i8": ("q", 8), "i4": ("i", 4), "u1": ("B", 1), "b1": ("?", 1)}
REFERENCE: Final = "$nd"
MAX_DEPTH: Final = 64
MAX_DIMENSIONS: Final = 8
MAX_ARRAYS: Final = 4096
#: Numbers and inner lists that the arrays of one frame may unfold to; a block of shape (n, 1) needs 90 times its bytes.
MAX_VALUES: Final = 1 << 23


class FrameFault(enum.StrEnum):
    """What is wrong with a frame."""

    TOO_LARGE = "too-large"
    MALFORMED = "malformed"
    NON_FINITE = "non-finite"
    TIMED_OUT = "timed-out"


class FrameError(ValueError):
    """Bytes that are no acceptable frame; `fault` says why in one word, the message in one line."""

    def __init__(self, fault: FrameFault, message: str) -> None:
        super().__init__(message)
        self.fault: Final = fault


class FrameLimits(Protocol):
    """The part of `Limits` that a frame has to keep."""

    @property
    def answer_kib(self) -> int:
        """KiB of JSON."""

    @property
    def arrays_mib(self) -> int:
        """MiB of array blocks."""

"""From a program's value to a frame. It runs beside the program, so nothing may depend on what it refuses."""

from __future__ import annotations

import array
import json
import sys
from typing import Any, Final

from sandbox.frame_format import DTYPES, MAGIC, MAX_DEPTH, MAX_DIMENSIONS, PREFIX, REFERENCE

_SCALARS: Final = (str, int, float, bool, type(None))


def encode(value: object) -> bytes:
    r"""Return `value` as one frame.

    Accepts dict with str keys, list, tuple, str, int, float, bool, None, `array.array` of "q" or "d", and arrays
    and scalars of numpy of float64, float32, int64, int32, uint8 and bool. Types are compared exactly: a subclass may
    lie about what it holds.

    >>> encode({"radii": (0.5, 1)})
    b'EVR1\x1b\x00\x00\x00{"value":{"radii":[0.5,1]}}'

    Raises:
        TypeError: `value` holds something else; the message names its type.
        ValueError: `value` is nested too deeply, holds itself, or uses the reserved key "$nd".
    """
    blocks: list[bytes] = []
    arrays: list[dict[str, object]] = []
    header: dict[str, object] = {"value": _to_tree(value, arrays, blocks, 0)}
    if arrays:
        header["arrays"] = arrays
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((PREFIX.pack(MAGIC, len(text)), text, *blocks))


def _to_tree(value: object, arrays: list[dict[str, object]], blocks: list[bytes], depth: int) -> object:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if depth > MAX_DEPTH:
        raise ValueError(f"the answer is nested more than {MAX_DEPTH} deep")
    if isinstance(value, list | tuple) and kind in (list, tuple):
        return [_to_tree(item, arrays, blocks, depth + 1) for item in value]
    if isinstance(value, dict) and kind is dict:
        if any(type(key) is not str or key == REFERENCE for key in value):
            raise ValueError(f"keys must be str and not {REFERENCE!r}; got {list(map(repr, value))[:5]}")
        return {key: _to_tree(item, arrays, blocks, depth + 1) for key, item in value.items()}
    if isinstance(value, array.array) and kind is array.array:
        return _vector_to_tree(value, arrays, blocks)
    numpy = sys.modules.get("numpy")
    if numpy is not None and kind is numpy.ndarray:
        return _array_to_tree(value, arrays, blocks)
    if numpy is not None and kind in (
        (numpy.float64, numpy.float32, numpy.int64, numpy.int32, numpy.uint8, numpy.bool_)
    ):
        return value.item()  # type: ignore[attr-defined]
    raise TypeError(f"an answer may not hold {kind.__module__}.{kind.__qualname__}")


def _array_to_tree(value: Any, arrays: list[dict[str, object]], blocks: list[bytes]) -> object:
    dtype = value.dtype.str[1:]
    if dtype not in DTYPES or value.dtype.str[0] == ">":
        raise TypeError(f"an answer may not hold an array of {value.dtype}; use one of float64, int64, bool")
    if value.size == 0 or value.ndim > MAX_DIMENSIONS:
        # An empty block could claim a billion empty rows: blocks are never empty.
        return value.tolist()
    return _add_block(dtype, list(value.shape), value.tobytes(), arrays, blocks)


def _vector_to_tree(value: array.array[Any], arrays: list[dict[str, object]], blocks: list[bytes]) -> object:
    """Encode a vector of the standard library, so that the trusted side needs no numpy to send one."""
    dtype = {"q": "i8", "d": "f8"}.get(value.typecode)
    if dtype is None:
        raise TypeError(f"an answer may not hold an array.array of {value.typecode!r}; use 'q' or 'd'")
    return _add_block(dtype, [len(value)], value.tobytes(), arrays, blocks) if value else []


def _add_block(
    dtype: str, shape: list[int], block: bytes, arrays: list[dict[str, object]], blocks: list[bytes]
) -> object:
    blocks.append(block)
    arrays.append({"dtype": dtype, "shape": shape, "nbytes": len(block)})
    return {REFERENCE: len(arrays) - 1}

"""One value as bytes: the only thing that a program and its verifier exchange.

A frame is `b"EVR1"`, a little-endian u32 with the length of the header, the header, and the array blocks. The header is
JSON, `{"value": tree, "arrays": [{"dtype", "shape", "nbytes"}, ...]}`; `{"$nd": i}` in the tree stands for block `i`.
Blocks are C-ordered, little-endian, and follow one another in the order of `arrays`; nothing follows the last.

Sizes are checked before anything of that size is allocated, and a decoded value is made of exact built-in types only:
no pickle, no object of the program's own, no number that is not finite. Neither side needs numpy.
"""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any, NoReturn

from sandbox.frame_encode import encode
from sandbox.frame_format import (
    DTYPES,
    MAGIC,
    MAX_ARRAYS,
    MAX_DEPTH,
    MAX_DIMENSIONS,
    MAX_VALUES,
    PREFIX,
    REFERENCE,
    BuildArray,
    FrameError,
    FrameFault,
    FrameLimits,
    Plain,
)

if TYPE_CHECKING:
    import socket

__all__ = ["FrameError", "FrameFault", "FrameLimits", "Plain", "decode", "encode", "receive", "send", "send_encoded"]


def decode(data: bytes | memoryview, *, limits: FrameLimits) -> Plain:
    """Return the value of one whole frame, its arrays as nested lists.

    Raises:
        FrameError: `data` is no frame, breaks a limit, or holds a number that is not finite.
    """
    view = memoryview(data)
    length = header_length(bytes(view[: PREFIX.size]), answer_bytes=limits.answer_kib << 10)
    end = PREFIX.size + length
    if end > len(view):
        raise _malformed(f"the header has {length} bytes, {len(view) - PREFIX.size} are there")
    tree, arrays = read_header(bytes(view[PREFIX.size : end]), array_bytes=limits.arrays_mib << 20)
    if len(view) - end != sum(size for _, _, size in arrays):
        raise _malformed(f"{len(view) - end} bytes of array blocks, the header promises otherwise")
    return assemble(tree, arrays, view[end:], nested_list)  # type: ignore[return-value]


def send(sock: socket.socket, value: object) -> None:
    """Send `value` as one frame.

    Raises:
        EOFError: The peer is gone.
        TypeError: As `encode`.
        ValueError: As `encode`.
    """
    send_encoded(sock, encode(value))


def send_encoded(sock: socket.socket, data: bytes) -> None:
    """Send what `encode` returned, one frame or several.

    Raises:
        EOFError: The peer is gone.
    """
    try:
        sock.sendall(data)
    except ConnectionError as error:
        raise EOFError("the peer closed the channel") from error


def receive(sock: socket.socket, *, answer_bytes: int, array_bytes: int, deadline: float | None = None) -> Plain:
    """Return the next value from `sock`, its arrays as nested lists.

    Args:
        sock: Stream socket; its timeout is changed when `deadline` is given.
        answer_bytes: Most bytes of JSON.
        array_bytes: Most bytes of array blocks.
        deadline: `time.monotonic()` by which the whole frame must be there.

    Raises:
        FrameError: What came is no frame, breaks a limit, is not finite, or is late. The stream is lost then.
        EOFError: The peer closed, between frames or within one.
    """
    length = header_length(bytes(_receive_exactly(sock, PREFIX.size, deadline)), answer_bytes=answer_bytes)
    header = bytes(_receive_exactly(sock, length, deadline))
    tree, arrays = read_header(header, array_bytes=array_bytes)
    blocks = _receive_exactly(sock, sum(size for _, _, size in arrays), deadline)
    return assemble(tree, arrays, blocks, nested_list)  # type: ignore[return-value]


def header_length(prefix: bytes, *, answer_bytes: int) -> int:
    """Return the length in bytes of the header that follows `prefix`.

    Raises:
        FrameError: `prefix` does not begin a frame, or the header is longer than `answer_bytes`.
    """
    if len(prefix) != PREFIX.size or not prefix.startswith(MAGIC):
        raise _malformed("the answer does not begin with a frame's magic bytes")
    length: int = PREFIX.unpack(prefix)[1]
    if length > answer_bytes:
        raise FrameError(FrameFault.TOO_LARGE, f"the answer has {length} bytes of JSON, at most {answer_bytes} may be")
    return length


def read_header(header: bytes, *, array_bytes: int) -> tuple[object, list[tuple[str, tuple[int, ...], int]]]:
    """Return the tree, and the dtype, shape and size in bytes of each array block.

    Raises:
        FrameError: The header is no JSON of the right form, or promises blocks that break a limit.
    """
    try:
        fields = json.loads(header, parse_constant=_refuse_constant)
    except FrameError:
        raise
    except (ValueError, RecursionError) as error:
        # ValueError covers bad UTF-8 and integers of more than 4300 digits too.
        raise _malformed(f"the answer's header is no JSON: {error}") from error
    if type(fields) is not dict or "value" not in fields or not fields.keys() <= {"value", "arrays"}:
        raise _malformed("the answer's header has the wrong keys")
    listed = fields.get("arrays", [])
    if type(listed) is not list or len(listed) > MAX_ARRAYS:
        raise _malformed(f"the answer lists its arrays wrongly, or more than {MAX_ARRAYS}")
    arrays = [_array_entry(entry) for entry in listed]
    total = sum(size for _, _, size in arrays)
    if total > array_bytes:
        raise FrameError(FrameFault.TOO_LARGE, f"the answer has {total} bytes of arrays, at most {array_bytes} may be")
    # The lists of every dimension count: those of length 1 cost as much as what they hold.
    values = sum(math.prod(shape[:depth]) for _, shape, _ in arrays for depth in range(len(shape) + 1))
    if values > MAX_VALUES:
        raise FrameError(FrameFault.TOO_LARGE, f"the answer's arrays unfold to {values} values, at most {MAX_VALUES}")
    return fields["value"], arrays


def assemble(
    tree: object, arrays: list[tuple[str, tuple[int, ...], int]], blocks: memoryview, build: BuildArray
) -> object:
    """Return `tree` with each reference replaced by what `build` makes of its block, and every number checked.

    Raises:
        FrameError: The tree is too deep, a number in it is not finite, or an array is not referred to exactly once.
    """
    built: list[object] = []
    offset = 0
    for dtype, shape, size in arrays:
        built.append(build(blocks[offset : offset + size], dtype, shape))
        offset += size
    holder = [tree]
    unused = set(range(len(built)))
    pending: list[tuple[list[object] | dict[str, object], int]] = [(holder, 0)]
    while pending:
        node, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise _malformed(f"the answer is nested more than {MAX_DEPTH} deep")
        if isinstance(node, dict):
            for key in node:
                _check_scalar(key)
        slots: Any = node.items() if isinstance(node, dict) else enumerate(node)
        for slot, child in slots:
            if type(child) is dict and REFERENCE in child:
                node[slot] = built[_take(child, unused)]
            elif isinstance(child, list | dict):
                pending.append((child, depth + 1))
            else:
                _check_scalar(child)
    if unused:
        raise _malformed("the answer holds an array that nothing refers to")
    return holder[0]


def _array_entry(entry: object) -> tuple[str, tuple[int, ...], int]:
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "nbytes"}:
        raise _malformed("an array entry has the wrong keys")
    dtype, shape, nbytes = entry["dtype"], entry["shape"], entry["nbytes"]
    if type(dtype) is not str or dtype not in DTYPES or type(nbytes) is not int:
        raise _malformed("an array entry has an unknown dtype or no size")
    if type(shape) is not list or len(shape) > MAX_DIMENSIONS or any(type(n) is not int or n < 1 for n in shape):
        raise _malformed("an array entry has a bad shape")
    if math.prod(shape) * DTYPES[dtype][1] != nbytes:
        raise _malformed(f"an array of {dtype} and shape {shape} does not have {nbytes} bytes"[:200])
    return dtype, tuple(shape), nbytes


def nested_list(block: memoryview, dtype: str, shape: tuple[int, ...]) -> object:
    """Return one array block as nested lists, without numpy.

    Raises:
        FrameError: A number is not finite, or a bool is neither 0 nor 1.
    """
    code: Any = DTYPES[dtype][0]
    if dtype == "b1" and bytes(block).strip(b"\0\1"):
        raise _malformed("an array of bool holds a byte that is neither 0 nor 1")
    flat = block.cast(code)
    if code in "df" and not all(map(math.isfinite, flat)):
        raise FrameError(FrameFault.NON_FINITE, "an array holds a number that is not finite")
    return block.cast(code, shape=shape).tolist() if shape else flat[0]


def _take(reference: dict[str, object], unused: set[int]) -> int:
    index = reference[REFERENCE]
    if len(reference) != 1 or type(index) is not int or index not in unused:
        raise _malformed("a reference to an array is wrong, or the second to the same array")
    unused.remove(index)
    return index


def _check_scalar(value: object) -> None:
    # json.loads turns 1e999 into inf without asking parse_constant.
    if type(value) is float and not math.isfinite(value):
        raise FrameError(FrameFault.NON_FINITE, "the answer holds a number that is not finite")
    if type(value) is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise _malformed("a text holds half a surrogate pair") from error


def _receive_exactly(sock: socket.socket, size: int, deadline: float | None) -> memoryview:
    data = memoryview(bytearray(size))
    filled = 0
    while filled < size:
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise FrameError(FrameFault.TIMED_OUT, "the answer was not complete in time")
            sock.settimeout(left)
        try:
            count = sock.recv_into(data[filled:])
        except TimeoutError as error:
            if deadline is None:  # the socket's own timeout: for who set it to tell
                raise
            raise FrameError(FrameFault.TIMED_OUT, "the answer was not complete in time") from error
        except ConnectionError as error:
            raise EOFError("the peer closed the channel") from error
        if not count:
            raise EOFError("the peer closed the channel" if not filled else "the peer closed within a frame")
        filled += count
    return data


def _refuse_constant(text: str) -> NoReturn:
    raise FrameError(FrameFault.NON_FINITE, f"the answer holds {text}")


def _malformed(message: str) -> FrameError:
    return FrameError(FrameFault.MALFORMED, message)

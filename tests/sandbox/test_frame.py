"""The frame: what goes in comes out, and nothing else comes out."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import Limits, frame
from sandbox.frame import FrameError, FrameFault

LIMITS = Limits(answer_kib=64, arrays_mib=1)

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"])).filter(lambda key: key != "$nd"), inner, max_size=4
        )
    ),
    max_leaves=20,
)


def raw(header: object, blocks: bytes = b"") -> bytes:
    """Return a frame with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<4sI", b"EVR1", len(text)) + text + blocks


@given(plain)
@settings(max_examples=200, deadline=None)
def test_plain_values_survive(value):
    """Decoding undoes encoding, exactly, for every JSON value."""
    assert frame.decode(frame.encode(value), limits=LIMITS) == value


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int32, np.uint8, np.bool_])
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 1, 2), (0,), (0, 2), (2, 0)])
def test_arrays_become_nested_lists(dtype, shape):
    """Every dtype and shape decodes to what `tolist` gives."""
    array = (np.arange(int(np.prod(shape))).reshape(shape) % 2).astype(dtype)

    assert frame.decode(frame.encode({"a": [array, array.T]}), limits=LIMITS) == {
        "a": [array.tolist(), array.T.tolist()]
    }


def test_scalars_of_numpy_become_plain_numbers():
    """A float64 is no float, but its value is accepted."""
    decoded = frame.decode(frame.encode([np.float64(0.5), np.int64(3), np.bool_(True)]), limits=LIMITS)

    assert decoded == [0.5, 3, True]
    assert [type(value) for value in decoded] == [float, int, bool]


class LyingFloat(float):
    """Claims to be another number."""

    def __eq__(self, other):
        return True

    __hash__ = float.__hash__


class LyingArray(np.ndarray):
    """Is an array by inheritance only."""


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (LyingFloat(1), "LyingFloat"),
        (np.zeros(2).view(LyingArray), "LyingArray"),
        ({1, 2}, "builtins.set"),
        (1j, "builtins.complex"),
        (b"x", "builtins.bytes"),
        (np.zeros(2, dtype=object), "object"),
        (np.zeros(2, dtype=np.complex128), "complex128"),
        (np.zeros(2, dtype=">f8"), "float64"),
        (np.str_("x"), "numpy.str_"),
    ],
)
def test_other_types_are_refused_by_name(value, name):
    """Types are compared exactly, so no subclass with methods of its own is ever asked for its value."""
    with pytest.raises(TypeError, match=name):
        frame.encode([value])


@pytest.mark.parametrize("value", [{1: 2}, {"$nd": 0}])
def test_bad_keys_are_refused(value):
    """Keys are text, and the reserved key cannot be forged by accident."""
    with pytest.raises(ValueError, match="keys"):
        frame.encode(value)


def test_a_value_that_holds_itself_is_refused():
    """Recursion ends with a message."""
    value: list[object] = []
    value.append(value)
    with pytest.raises(ValueError, match="nested"):
        frame.encode(value)


ARRAY = {"dtype": "f8", "shape": [2], "nbytes": 16}
TWO = struct.pack("<2d", 1.0, 2.0)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", FrameFault.MALFORMED),
        (b"EVR1", FrameFault.MALFORMED),
        (b"EVR2" + raw({"value": 1})[4:], FrameFault.MALFORMED),
        (raw({"value": 1})[:-1], FrameFault.MALFORMED),
        (raw({"value": 1}) + b"x", FrameFault.MALFORMED),
        (struct.pack("<4sI", b"EVR1", 1 << 31), FrameFault.TOO_LARGE),
        (raw(b"[" * 60000), FrameFault.MALFORMED),
        (raw(b'{"value":' + b"[" * 100 + b"]" * 100 + b"}"), FrameFault.MALFORMED),
        (raw(b'{"value":' + b"9" * 5000 + b"}"), FrameFault.MALFORMED),
        (raw(b'{"value":1e999}'), FrameFault.NON_FINITE),
        (raw(b'{"value":[[-1e999]]}'), FrameFault.NON_FINITE),
        (raw(b'{"value":NaN}'), FrameFault.NON_FINITE),
        (raw(b'{"value":{"x":-Infinity}}'), FrameFault.NON_FINITE),
        (raw(b'{"value":"\\ud800"}'), FrameFault.MALFORMED),
        (raw(b'{"value":{"\\ud800":1}}'), FrameFault.MALFORMED),
        (raw(b'{"value":"\xff"}'), FrameFault.MALFORMED),
        (raw(b"\x80\x04K\x01."), FrameFault.MALFORMED),
        (raw([1]), FrameFault.MALFORMED),
        (raw({"valu": 1}), FrameFault.MALFORMED),
        (raw({"value": 1, "more": 1}), FrameFault.MALFORMED),
        (raw({"value": {"$nd": 0}}), FrameFault.MALFORMED),
        (raw({"value": {"$nd": 0}, "arrays": [ARRAY]}), FrameFault.MALFORMED),
        (raw({"value": 0, "arrays": [ARRAY]}, TWO), FrameFault.MALFORMED),
        (raw({"value": [{"$nd": 0}, {"$nd": 0}], "arrays": [ARRAY]}, TWO), FrameFault.MALFORMED),
        (raw({"value": {"$nd": True}, "arrays": [ARRAY, ARRAY]}, TWO + TWO), FrameFault.MALFORMED),
        (raw({"value": {"$nd": 0, "x": 1}, "arrays": [ARRAY]}, TWO), FrameFault.MALFORMED),
        (raw({"value": {"$nd": 0}, "arrays": [{**ARRAY, "dtype": "O8"}]}, TWO), FrameFault.MALFORMED),
        (raw({"value": {"$nd": 0}, "arrays": [{**ARRAY, "shape": [3]}]}, TWO), FrameFault.MALFORMED),
        (raw({"value": {"$nd": 0}, "arrays": [{**ARRAY, "shape": [-2]}]}, TWO), FrameFault.MALFORMED),
        (raw({"value": {"$nd": 0}, "arrays": [{**ARRAY, "shape": [10**9, 0], "nbytes": 0}]}), FrameFault.MALFORMED),
        (
            raw({"value": {"$nd": 0}, "arrays": [{**ARRAY, "shape": [1 << 40], "nbytes": 8 << 40}]}),
            FrameFault.TOO_LARGE,
        ),
        (raw({"value": {"$nd": 0}, "arrays": [ARRAY]}, struct.pack("<2d", 1.0, float("nan"))), FrameFault.NON_FINITE),
        (
            raw({"value": {"$nd": 0}, "arrays": [{"dtype": "b1", "shape": [1], "nbytes": 1}]}, b"\2"),
            FrameFault.MALFORMED,
        ),
    ],
)
def test_hostile_bytes_are_refused_with_their_fault(data, fault):
    """Each way to lie about a value is noticed, and named."""
    with pytest.raises(FrameError) as caught:
        frame.decode(data, limits=LIMITS)

    assert caught.value.fault is fault


@given(st.binary(max_size=300), st.integers(0, 200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_decode_or_raise_a_frame_error(noise, cut):
    """No input makes the decoder fail in another way."""
    good = frame.encode({"a": [1.5, "x", None], "b": np.arange(4.0)})
    for data in (noise, b"EVR1" + noise, good[:cut] + noise, good[:cut] + noise + good[cut:]):
        try:
            frame.decode(data, limits=LIMITS)
        except FrameError:
            continue


@pytest.mark.parametrize("shape", [[8 << 20, 1], [2 << 20, 1, 1, 1, 1, 1, 1, 1]])
def test_blocks_that_would_unfold_to_too_many_lists_are_refused(shape):
    """A megabyte of bytes as a column would need 90 times its size, and each further dimension of 1 as much again."""
    entry = {"dtype": "u1", "shape": shape, "nbytes": shape[0]}
    with pytest.raises(FrameError) as caught:
        frame.read_header(json.dumps({"value": {"$nd": 0}, "arrays": [entry]}).encode(), array_bytes=16 << 20)

    assert caught.value.fault is FrameFault.TOO_LARGE


def test_receive_gives_up_on_a_trickle():
    """The deadline covers the whole frame, not each byte."""
    ours, theirs = socket.socketpair()
    data = frame.encode(list(range(100)))

    def trickle() -> None:
        with contextlib.suppress(BrokenPipeError):
            for byte in data:
                theirs.send(bytes([byte]))
                time.sleep(0.02)

    thread = threading.Thread(target=trickle)
    thread.start()
    begin = time.monotonic()
    with pytest.raises(FrameError) as caught:
        frame.receive(ours, answer_bytes=1 << 20, array_bytes=0, deadline=begin + 0.3)
    took = time.monotonic() - begin
    ours.close()
    thread.join()
    theirs.close()

    assert caught.value.fault is FrameFault.TIMED_OUT
    assert took < 5


def test_a_timeout_that_the_socket_was_given_is_not_the_frames():
    """Without a deadline, who set the socket's timeout hears of it as such."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0.1)
    with ours, theirs, pytest.raises(TimeoutError):
        frame.receive(ours, answer_bytes=100, array_bytes=0)


def test_receive_reads_frame_by_frame():
    """Two frames in one packet are two values, and the end is an EOFError."""
    ours, theirs = socket.socketpair()
    theirs.sendall(frame.encode(1) + frame.encode([2.5]) + frame.encode("x")[:5])
    theirs.close()

    assert frame.receive(ours, answer_bytes=100, array_bytes=0) == 1
    assert frame.receive(ours, answer_bytes=100, array_bytes=0) == [2.5]
    with pytest.raises(EOFError):
        frame.receive(ours, answer_bytes=100, array_bytes=0)
    ours.close()


def test_a_peer_that_is_gone_is_an_end_of_file():
    """A closed peer raises one exception, whether we send or receive."""
    ours, theirs = socket.socketpair()
    ours.sendall(b"unread")
    theirs.close()
    with pytest.raises(EOFError):
        frame.receive(ours, answer_bytes=100, array_bytes=0)
    with pytest.raises(EOFError):
        frame.send(ours, 1)
    ours.close()

"""Runs the untrusted source, inside all walls: module, entry point, call loop, traceback.

Nothing here protects anything, for the program can change it all; it only makes honest programs easy to run.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import random
import sys
import traceback
from types import ModuleType, TracebackType
from typing import Any, Final, NoReturn

from sandbox import frame
from sandbox.frame_format import PREFIX

CHANNEL: Final = 3
FILENAME: Final = "<candidate>"
MODULE: Final = "candidate"
#: The peer is trusted; this only keeps a wrong peer from asking for all memory.
_ARGUMENT_BYTES: Final = 1 << 30


def run(source: str, *, entry_point: str, seed: int) -> NoReturn:
    """Execute `source`, answer calls on descriptor 3 until the peer closes, and end the process.

    The exit status is 0 after the peer closed, and 1 after an exception, whose traceback is then on stderr.
    """
    with _LastWords():
        linecache.cache[FILENAME] = (len(source), None, source.splitlines(keepends=True), FILENAME)
        module = ModuleType(MODULE)
        sys.modules[MODULE] = module
        reseed(seed)
        exec(compile(source, FILENAME, "exec", dont_inherit=True), module.__dict__)
        function = getattr(module, entry_point, None)
        if not callable(function):
            raise NameError(f"the program defines no function named {entry_point!r}")
        _serve(function)
    raise AssertionError  # not reached: _LastWords ends the process


def reseed(seed: int) -> None:
    """Make `random`, numpy's legacy generator and every unseeded generator of numpy follow from `seed`.

    Forked programs would otherwise share the zygote's state, and a program that never seeds would score differently
    each time. numpy draws the entropy of `default_rng()`, `RandomState()` and `SeedSequence()` through
    `numpy.random.bit_generator.randbits`; it is replaced by a generator of our own, so that successive unseeded
    generators differ from each other and are the same in each run. `random.Random()` and `random.SystemRandom()`, which
    read the kernel's entropy in C, stay random.
    """
    # `random` forgets the sign of its seed.
    random.seed(seed % (1 << 64))  # noqa: TID251  (the program's generator, not one of ours)
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % (1 << 32))
        numpy.random.bit_generator.randbits = random.Random(f"numpy {seed}").getrandbits


class _LastWords:
    """Ends the process after its block, whatever a program raises: nothing may unwind into the zygote's code."""

    def __enter__(self) -> None:
        self._outputs = (sys.stdout, sys.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = 0 if error is None else 1
        try:
            for output in self._outputs:
                with contextlib.suppress(OSError, ValueError):
                    output.flush()
            if error is not None:
                _write_all(2, _describe(error).encode(errors="replace"))
        finally:
            os._exit(status)


def _describe(error: BaseException) -> str:
    """Return the traceback, without the frames that are not the program's own."""
    report = traceback.TracebackException.from_exception(error, compact=True)
    link: traceback.TracebackException | None = report
    while link is not None:
        link.stack = traceback.StackSummary.from_list([entry for entry in link.stack if entry.filename == FILENAME])
        link = link.__cause__ or link.__context__
    return "".join(report.format())


def _serve(function: Any) -> None:
    while prefix := _read(PREFIX.size):
        header = _read(frame.header_length(prefix, answer_bytes=_ARGUMENT_BYTES))
        tree, arrays = frame.read_header(header, array_bytes=_ARGUMENT_BYTES)
        blocks = memoryview(bytearray(_read(sum(size for _, _, size in arrays)))) if arrays else memoryview(b"")
        arguments: Any = frame.assemble(tree, arrays, blocks, _build_array)
        _write_all(CHANNEL, frame.encode(function(*arguments)))


def _build_array(block: memoryview, dtype: str, shape: tuple[int, ...]) -> object:
    numpy: Any = sys.modules.get("numpy")
    if numpy is None:
        return frame.nested_list(block, dtype, shape)
    return numpy.frombuffer(block, dtype=dtype).reshape(shape)


def _read(size: int) -> bytes:
    """Return exactly `size` bytes from the channel, or none if the peer has closed between frames."""
    data = os.read(CHANNEL, size) if size else b""
    while 0 < len(data) < size:
        more = os.read(CHANNEL, size - len(data))
        if not more:
            raise EOFError("the caller closed the channel within a frame")
        data += more
    return data


def _write_all(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    if written < len(data):
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]

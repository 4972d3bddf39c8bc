"""One evaluation on the controller's side: descriptors out, output in, and the ending decided."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from sandbox import wire
from sandbox.cgroup import Group
from sandbox.errors import SandboxFailure
from sandbox.spawn import ZygoteProcess
from sandbox.types import Ending, Job, Limits, Result, Tier, Usage
from sandbox.wire import Cause

#: Bytes of stdout or stderr after which a program is ended.
DRAIN_BYTES: Final = 16 << 20
FEEDBACK_BYTES: Final = 2048
_DETAIL_CHARACTERS: Final = 200
#: Beyond the program's own deadline, what set-up and ending may take before the zygote counts as lost.
_LOST_S: Final = 60.0
_CHUNK_BYTES: Final = 1 << 16
#: C0 and C1 control characters without newline and tab, and the marks that reorder text.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class SetupFailure(SandboxFailure):
    """The walls could not be built; the program has not run, so another try on the same channel is safe."""


class Evaluation:
    """Runs one job on one zygote."""

    def __init__(self, job: Job, channel: socket.socket, *, slot: int, group: Group | None) -> None:
        self._job = job
        self._channel = channel
        self._slot = slot
        self._group = group
        self._started = False
        self._flooded = False
        self._ended: wire.Ended | None = None

    def run(self, zygote: ZygoteProcess, tier: Tier) -> Result:
        """Run the job to its end.

        Raises:
            SetupFailure: The program has not run.
            SandboxFailure: The zygote or the warden was lost while the program ran.
        """
        with contextlib.ExitStack() as kept:
            with contextlib.ExitStack() as passed:
                pipes = {}
                writers = []
                for name in ("stdout", "stderr"):
                    reader, writer = os.pipe()
                    kept.callback(os.close, reader)
                    passed.callback(os.close, writer)
                    os.set_blocking(reader, False)
                    pipes[reader] = _Tail(name, self._job.limits.output_kib << 10)
                    writers.append(writer)
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                kept.enter_context(ours)
                passed.enter_context(theirs)
                source = self._source()
                passed.callback(os.close, source)
                group = self._group.open() if self._group is not None else os.open(os.devnull, os.O_WRONLY)
                passed.callback(os.close, group)
                sent = wire.Descriptors(
                    source=source,
                    channel=self._channel.fileno(),
                    stdout=writers[0],
                    stderr=writers[1],
                    control=theirs.fileno(),
                    group=group,
                )
                self._order(zygote, sent)
            self._follow(ours, pipes)
            for reader, tail in pipes.items():
                self._drain(reader, tail)
        stdout, stderr = pipes.values()
        return self._result(tier, stdout.kept(), stderr.kept())

    def _source(self) -> int:
        """Return a memory file with the program's text: its length is bounded by no socket's buffer."""
        descriptor = os.memfd_create("program")
        # Half a surrogate pair cannot be encoded; it cannot be compiled either.
        rest = memoryview(self._job.source.encode(errors="replace"))
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        return descriptor

    def _order(self, zygote: ZygoteProcess, descriptors: wire.Descriptors) -> None:
        job = self._job
        order = wire.Order(
            entry_point=job.entry_point,
            seed=job.seed,
            slot=self._slot,
            limits=job.limits,
            # Worked out here: inside the walls the number of processors cannot always be read.
            cpu_budget_s=job.limits.cpu_budget_s,
        )
        try:
            zygote.order(order, descriptors)
        except SandboxFailure as error:
            raise SetupFailure(str(error)) from error

    def _follow(self, control: socket.socket, pipes: dict[int, _Tail]) -> None:
        """Drain the program's output until the warden has reported the end."""
        deadline = time.monotonic() + self._job.limits.wall_s + _LOST_S
        poll = select.poll()
        for descriptor in (control.fileno(), *pipes):
            poll.register(descriptor, select.POLLIN)
        while self._ended is None:
            ready = poll.poll(1000)
            for descriptor, _ in ready:
                if descriptor == control.fileno():
                    self._hear(control.recv(wire.PACKET_BYTES))
                elif not self._drain(descriptor, pipes[descriptor]):
                    poll.unregister(descriptor)
            if not self._flooded and any(tail.total > DRAIN_BYTES for tail in pipes.values()):
                self._flooded = True
                control.shutdown(socket.SHUT_WR)
            if time.monotonic() > deadline:
                raise SandboxFailure("the evaluation did not end in time; the zygote counts as lost")

    def _hear(self, packet: bytes) -> None:
        notice = wire.unpack(packet) if packet else wire.Failed(detail="the zygote or the warden died")
        if isinstance(notice, wire.Failed):
            raise (
                SandboxFailure(f"{notice.detail}, while the program ran")
                if self._started
                else SetupFailure(notice.detail)
            )
        if isinstance(notice, wire.Started):
            self._started = True
            self._channel.close()
            if self._group is not None:
                self._group.look()
        elif isinstance(notice, wire.Ended):
            self._ended = notice
        else:
            raise SandboxFailure(f"a warden said {type(notice).__name__}")

    def _drain(self, descriptor: int, tail: _Tail) -> bool:
        """Read what is there, and return whether more may come; after a flood nothing is read, so its writer blocks."""
        while tail.total <= DRAIN_BYTES:
            try:
                chunk = os.read(descriptor, _CHUNK_BYTES)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            tail.add(chunk)
        return False

    def _result(self, tier: Tier, stdout: bytes, stderr: bytes) -> Result:
        ended = self._ended
        if ended is None or (ended.cause == Cause.CANCELLED and not self._flooded):
            raise SandboxFailure("the sandbox was closed while the program ran")
        feedback = clean(stderr[-FEEDBACK_BYTES:])
        seen = Observed(
            ended=ended,
            flooded=self._flooded,
            out_of_memory=self._group is not None and self._group.ran_out_of_memory(),
            last_line=_last_line(feedback),
        )
        ending, detail = decide(seen, self._job.limits)
        usage = Usage(
            wall_s=ended.wall_s,
            cpu_s=ended.cpu_s,
            peak_memory_mib=max(0, ended.peak_bytes) / (1 << 20),
            peak_processes=ended.peak_processes,
        )
        return Result(
            ending=ending, detail=detail, feedback=feedback, stdout=stdout, stderr=stderr, usage=usage, tier=tier
        )


class _Tail:
    """The last bytes of a stream."""

    def __init__(self, name: str, keep: int) -> None:
        self.name: Final = name
        self.total = 0
        self._keep = keep
        self._chunks: deque[bytes] = deque()
        self._held = 0

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        self._held += len(chunk)
        self._chunks.append(chunk)
        while self._held - len(self._chunks[0]) >= self._keep:
            self._held -= len(self._chunks.popleft())

    def kept(self) -> bytes:
        return b"".join(self._chunks)[-self._keep :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the trusted side saw of a program's end.

    Attributes:
        ended: The warden's report.
        flooded: Whether it was ended for its output.
        out_of_memory: Whether the kernel killed it for its memory.
        last_line: Last line of stderr; it only words the detail, and never decides.
    """

    ended: wire.Ended
    flooded: bool
    out_of_memory: bool
    last_line: str


def decide(seen: Observed, limits: Limits) -> tuple[Ending, str]:
    """Return how the program ended, and one line on it."""
    ended = seen.ended
    code = os.waitstatus_to_exitcode(ended.status)
    number = -code if code < 0 else 0
    if seen.flooded:
        return Ending.OUTPUT_LIMIT, f"more than {DRAIN_BYTES >> 20} MiB on stdout or stderr"
    if number == signal.SIGXFSZ:
        return Ending.OUTPUT_LIMIT, f"a file longer than {limits.file_mib} MiB"
    if ended.cause == Cause.TIMEOUT:
        return Ending.TIMEOUT, f"wall time limit of {limits.wall_s:g} s"
    cpu_limit_s = limits.cpu_budget_s
    if (
        ended.cause == Cause.CPU
        or number == signal.SIGXCPU
        or (number == signal.SIGKILL and ended.cpu_s >= cpu_limit_s)
    ):
        return Ending.TIMEOUT, f"processor time limit of {cpu_limit_s:g} s"
    if ended.cause == Cause.MEMORY or seen.out_of_memory:
        return Ending.MEMORY, f"memory limit of {limits.memory_mib} MiB"
    if ended.cause == Cause.PROCESSES:
        return Ending.KILLED, f"more than {limits.processes} processes and threads"
    if number == signal.SIGSYS:
        return Ending.VIOLATION, "a forbidden system call"
    if number:
        return Ending.KILLED, f"signal {_signal_name(number)}"
    if code:
        hint = f" (memory limit {limits.memory_mib} MiB)" if "MemoryError" in seen.last_line.partition(":")[0] else ""
        return Ending.ERROR, (seen.last_line or f"exit status {code}")[:_DETAIL_CHARACTERS] + hint
    return Ending.FINISHED, "exit status 0"


def clean(text: bytes) -> str:
    r"""Return untrusted output as text without control characters; newlines and tabs stay.

    >>> clean(b"a\x1b[31mb\r\n")
    'a[31mb\n'
    """
    return _CONTROL.sub("", text.decode(errors="replace"))


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)

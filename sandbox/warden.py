"""The process that watches one evaluation: process 1 of its pid namespace in tier full, else its subreaper.

It builds the evaluation's private file system, forks the program, waits, samples the tree's memory, ends the tree, and
reports to the controller. It never runs anything of the program's.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import select
import signal
import socket
import time
from typing import Final, NamedTuple

from sandbox import candidate, linux, root, scratch, wire
from sandbox.lastly import EndsProcess
from sandbox.tree import Tree, descendants, namespace_pids
from sandbox.types import Limits, Tier
from sandbox.walls import Walls
from sandbox.wire import Cause, Order

_SETUP_S: Final = 20.0
_REAP_S: Final = 10.0
_LONGEST_PAUSE_S: Final = 0.05
_SHORTEST_PAUSE_S: Final = 0.004
#: Faster than any machine fills fresh memory: the pause between two looks is at most what filling the rest would take.
_FILL_BYTES_PER_S: Final = 4 << 30


class Descriptors(NamedTuple):
    """What the controller sends along with an order, in this order.

    Attributes:
        source: Memory file with the program's text.
        channel: The program's end of the channel to its verifier.
        stdout: Write end of a pipe.
        stderr: Write end of a pipe.
        control: Socket to the controller; when it closes, the evaluation is to end.
    """

    source: int
    channel: int
    stdout: int
    stderr: int
    control: int


class _SetupError(Exception):
    """A wall could not be built."""


def watch(order: Order, walls: Walls, descriptors: Descriptors, *, life: int, scratch_parent: str) -> None:
    """Run one evaluation from its private file system to its report.

    Args:
        order: What to run.
        walls: What holds for all programs.
        descriptors: What came with the order.
        life: Pipe that the zygote holds the other end of; when it closes, the evaluation is to end.
        scratch_parent: Folder for the scratch folder, where scratch space is not private.
    """
    control = socket.socket(fileno=descriptors.control)
    try:
        folder = _build(order, walls, scratch_parent)
    except OSError as error:
        control.send(wire.pack(wire.Failed(detail=str(error))))
        return
    try:
        program = _fork_program(order, walls, descriptors, folder)
        control.send(wire.pack(wire.Started()))
        control.send(wire.pack(_Watch(order.limits, walls, program, folder).until_end(control, life)))
    except _SetupError as error:
        control.send(wire.pack(wire.Failed(detail=str(error))))
    finally:
        if walls.tier is not Tier.FULL:
            scratch.remove(folder)


def _build(order: Order, walls: Walls, scratch_parent: str) -> str:
    """Build the evaluation's own file system and return the program's folder in it."""
    uid = walls.uid(order.slot)
    if walls.tier is Tier.FULL:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        linux.unshare(linux.CLONE_NEWNS)
        root.mount_scratch(size_bytes=order.limits.scratch_mib << 20, inodes=order.limits.inodes, uid=uid)
        root.mount_proc()
        folder = root.SCRATCH
    else:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        folder = scratch.create(scratch_parent, owner=uid)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    return folder


def _fork_program(order: Order, walls: Walls, descriptors: Descriptors, folder: str) -> int:
    """Fork the program and return its process id once its walls are up."""
    with open(descriptors.source, "rb") as file:
        file.seek(0)
        source = file.read().decode()
    gate_r, gate_w = os.pipe()
    program = os.fork()
    if program == 0:
        with EndsProcess():
            passed = (descriptors.channel, descriptors.stdout, descriptors.stderr, gate_w)
            candidate.become(order, walls, descriptors=passed, scratch=folder, source=source)
    for descriptor in (gate_w, descriptors.channel, descriptors.stdout, descriptors.stderr):
        os.close(descriptor)
    poll = select.poll()
    poll.register(gate_r, select.POLLIN)
    answer = os.read(gate_r, 4096) if poll.poll(_SETUP_S * 1000) else b"timed out"
    os.close(gate_r)
    if answer != b"+":
        os.kill(program, signal.SIGKILL)
        os.waitpid(program, 0)
        raise _SetupError(answer.decode() or "the program's process died during its set-up")
    return program


class _Watch:
    """Watches one program until it ends or has to be ended."""

    def __init__(self, limits: Limits, walls: Walls, program: int, folder: str) -> None:
        self._limits = limits
        self._tier = walls.tier
        self._program = program
        self._folder = folder
        self._memory_bytes = limits.memory_mib << 20
        self._shared_bytes = walls.shared_bytes
        me = os.getpid()
        pids = namespace_pids if self._tier is Tier.FULL else lambda: descendants(me)
        self._tree = Tree(pids, limit_bytes=self._memory_bytes, shared_bytes=walls.shared_bytes)
        self._pause_s = 0.01
        self._status: int | None = None
        self._peak_bytes = 0
        self._peak_tasks = 1
        self._cpu_s = 0.0

    def until_end(self, control: socket.socket, life: int) -> wire.Ended:
        """Wait for the end, kill what is left of the tree, and return how it went."""
        begin = time.monotonic()
        cause = self._wait(begin + self._limits.wall_s, control, life)
        status = self._end_tree()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak = max(self._peak_bytes, (children.ru_maxrss << 10) - self._shared_bytes)
        if cause is Cause.EXIT and os.waitstatus_to_exitcode(status) != 0 and peak > self._memory_bytes:
            # It met RLIMIT_DATA between two samples.
            cause = Cause.MEMORY
        return wire.Ended(
            cause=cause,
            status=status,
            wall_s=time.monotonic() - begin,
            cpu_s=children.ru_utime + children.ru_stime,
            peak_bytes=peak,
            peak_processes=self._peak_tasks,
        )

    def _wait(self, deadline: float, control: socket.socket, life: int) -> Cause:
        program = os.pidfd_open(self._program)
        poll = select.poll()
        for descriptor in (program, life, control.fileno()):
            poll.register(descriptor, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            ready = {descriptor for descriptor, _ in poll.poll(max(0.0, math.ceil(1000 * min(left, self._pause_s))))}
            if program in ready:
                return Cause.EXIT
            if ready & {life, control.fileno()}:
                return Cause.CANCELLED
            if time.monotonic() >= deadline:
                return Cause.TIMEOUT
            if cause := self._look():
                return cause

    def _look(self) -> Cause | None:
        """Return what limit the tree exceeds, if any, and decide when to look again."""
        used = 0
        if self._tier is Tier.FULL:
            room = os.statvfs(self._folder)
            used = (room.f_blocks - room.f_bfree) * room.f_frsize
        sample = self._tree.sample(used)
        self._peak_bytes = max(self._peak_bytes, sample.memory_bytes)
        self._peak_tasks = max(self._peak_tasks, sample.tasks)
        rest = max(0, self._memory_bytes - sample.memory_bytes)
        self._pause_s = min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, rest / _FILL_BYTES_PER_S))
        if sample.memory_bytes > self._memory_bytes:
            return Cause.MEMORY
        if sample.tasks > self._limits.processes:
            return Cause.PROCESSES
        if self._limits.cpu_s is not None and self._tree.cpu_s() > self._limits.cpu_s:
            return Cause.CPU
        return None

    def _end_tree(self) -> int:
        """Kill every process of the tree, wait for all, and return the wait status of the first."""
        deadline = time.monotonic() + _REAP_S
        self._kill_all_at_once()
        while self._reap():
            if time.monotonic() > deadline:
                raise _SetupError("processes of the program survive SIGKILL")
            for pid in [] if self._tier is Tier.FULL else descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.001)
        return self._status if self._status is not None else signal.SIGKILL

    def _kill_all_at_once(self) -> None:
        """Kill the tree before anything of it is waited for, while no process id of it can have been given away.

        Either call is complete, for the kernel lets no process fork that has a deadly signal pending: the first reaches
        all of the pid namespace, the second all of the group, which seccomp keeps programs from leaving.
        """
        with contextlib.suppress(ProcessLookupError):
            if self._tier is Tier.FULL:
                os.kill(-1, signal.SIGKILL)
            else:
                os.killpg(self._program, signal.SIGKILL)

    def _reap(self) -> bool:
        """Wait for all children that have ended, and return whether any live."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self._program:
                    self._status = status
        except ChildProcessError:
            return False

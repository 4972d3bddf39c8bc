"""Watches one program until it ends or has to be ended, and ends what is left of its tree."""

from __future__ import annotations

import contextlib
import math
import os
import resource
import select
import signal
import socket
import time
from typing import Final

from sandbox import wire
from sandbox.tree import Tree, descendants, namespace_pids
from sandbox.types import Limits, Tier
from sandbox.walls import Walls
from sandbox.wire import Cause

_REAP_S: Final = 10.0
#: Longest pause while the ended are waited for; where they have to be looked for in /proc, looking costs more.
_REAP_PAUSE_S: Final = 0.002
_REAP_PAUSE_WHERE_WE_LOOK_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.05
#: Where no kernel limit keeps a program's count of processes, a fork bomb has to be seen early.
_PAUSE_WHERE_WE_COUNT_S: Final = 0.01
_SHORTEST_PAUSE_S: Final = 0.004
#: Faster than any machine fills fresh memory: the pause between two looks is at most what filling the rest would take.
_FILL_BYTES_PER_S: Final = 16 << 30


class Watch:
    """Watches one program, from within its warden."""

    def __init__(self, limits: Limits, walls: Walls, program: int, folder: str) -> None:
        self._limits = limits
        self._tier = walls.tier
        self._program = program
        self._folder = folder
        self._memory_bytes = limits.memory_mib << 20
        self._shared_bytes = walls.shared_bytes
        me = os.getpid()
        pids = namespace_pids if self._tier is Tier.FULL else lambda: descendants(me)
        self._tree = Tree(
            pids,
            self._signal_all_at_once,
            limit_bytes=self._memory_bytes,
            shared_bytes=walls.shared_bytes,
            processes=limits.processes,
        )
        self._longest_pause_s = _PAUSE_WHERE_WE_COUNT_S if walls.other_tasks else _LONGEST_PAUSE_S
        self._pause_s = 0.01
        self._status: int | None = None
        self._peak_bytes = 0
        self._peak_tasks = 1
        self._file_bytes = 0
        self._cpu_s = 0.0

    def until_end(self, control: socket.socket, life: int) -> wire.Ended:
        """Wait for the end, kill what is left of the tree, and return how it went.

        Args:
            control: Socket to the controller; when it closes, the program is to end.
            life: Pipe to the zygote; the same.

        Raises:
            TimeoutError: Something of the tree cannot be killed.
        """
        begin = time.monotonic()
        cause = self._wait(begin + self._limits.wall_s, control, life)
        status = self._end_tree()
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        # The kernel's count misses no moment, but takes in pages of files, and what is shared with the zygote.
        counted = (children.ru_maxrss << 10) - self._shared_bytes - self._file_bytes
        peak = max(self._peak_bytes, counted)
        failed = cause is Cause.EXIT and os.waitstatus_to_exitcode(status) != 0
        if failed and counted > self._memory_bytes:
            # It met RLIMIT_DATA between two samples.
            cause = Cause.MEMORY
        return wire.Ended(
            cause=cause,
            status=status,
            wall_s=time.monotonic() - begin,
            cpu_s=max(self._cpu_s, _reaped_cpu_s()),
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
            self._reap_orphans()
            if cause := self._look():
                return cause

    def _reap_orphans(self) -> None:
        """Wait for processes whose parents have ended, but not for the program, whose number must stay its own."""
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid == self._program:
                return
            os.waitpid(ended.si_pid, 0)

    def _look(self) -> Cause | None:
        """Return what limit the tree exceeds, if any, and decide when to look again."""
        used = 0
        if self._tier is Tier.FULL:
            room = os.statvfs(self._folder)
            used = (room.f_blocks - room.f_bfree) * room.f_frsize
        sample = self._tree.sample(used)
        self._peak_bytes = max(self._peak_bytes, sample.memory_bytes)
        self._peak_tasks = max(self._peak_tasks, sample.tasks)
        self._file_bytes = max(self._file_bytes, sample.file_bytes)
        if sample.tasks <= self._limits.processes:
            self._cpu_s = self._tree.cpu_s(_reaped_cpu_s())
        rest = max(0, self._memory_bytes - sample.memory_bytes)
        self._pause_s = min(self._longest_pause_s, max(_SHORTEST_PAUSE_S, rest / _FILL_BYTES_PER_S))
        if sample.memory_bytes > self._memory_bytes:
            return Cause.MEMORY
        if sample.tasks > self._limits.processes:
            return Cause.PROCESSES
        if self._limits.cpu_s is not None and self._cpu_s > self._limits.cpu_s:
            return Cause.CPU
        return None

    def _end_tree(self) -> int:
        """Kill every process of the tree, wait for all, and return the wait status of the first."""
        deadline = time.monotonic() + _REAP_S
        # Before anything of it is waited for, while no process id of it can have been given away.
        self._signal_all_at_once(signal.SIGKILL)
        pause_s = 0.0005
        longest_s = _REAP_PAUSE_S if self._tier is Tier.FULL else _REAP_PAUSE_WHERE_WE_LOOK_S
        while self._reap():
            if time.monotonic() > deadline:
                raise TimeoutError("processes of the program survive SIGKILL")
            for pid in [] if self._tier is Tier.FULL else descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)
        return self._status if self._status is not None else signal.SIGKILL

    def _signal_all_at_once(self, number: int) -> None:
        """Send a signal to the whole tree.

        Either call is complete, for the kernel lets no process fork that has a signal pending: the first reaches all of
        the pid namespace, the second all of the group, which seccomp keeps programs from leaving.
        """
        with contextlib.suppress(ProcessLookupError):
            if self._tier is Tier.FULL:
                os.kill(-1, number)
            else:
                os.killpg(self._program, number)

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


def _reaped_cpu_s() -> float:
    """Return the processor seconds of processes that this warden has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime

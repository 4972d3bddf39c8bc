"""How much memory, processor time and how many processes a tree uses, read from /proc.

A process counts with its anonymous and shared pages; pages of files are the page cache's. The plain sum over processes
counts a page once per process that maps it, so it is an upper bound; where it exceeds the limit, the proportional sum
(`smaps_rollup`), which counts each page once but walks all page tables, decides. A program can make that walk slow: the
tree stands still for the rest of a slow one, and the next one follows soon.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
#: The proportional sum is taken so seldom that it costs at most a fifth of one processor, unless it is slow.
_REST_RATIO: Final = 4.0
#: A tree whose plain sum exceeds the limit runs so long at most before the next proportional sum, and again while it is
#: taken: the longest pause of the watch. Some gigabytes of pages take less, so hardly any honest tree is ever stopped.
_LONGEST_RUN_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at the tree.

    Attributes:
        memory_bytes: Resident memory; at most an upper bound unless it exceeds the limit, and then a lower bound.
        tasks: Processes and threads.
        file_bytes: Resident pages of files in the process that has most of them.
    """

    memory_bytes: int
    tasks: int
    file_bytes: int = 0


class Tree:
    """Watches one tree of processes."""

    def __init__(
        self,
        pids: Callable[[], Iterable[int]],
        signal_all: Callable[[int], None],
        *,
        limit_bytes: int,
        shared_bytes: int,
        processes: int,
    ) -> None:
        """Watch the processes that `pids` lists.

        Args:
            pids: Lists the tree's processes at each call.
            signal_all: Sends a signal to all of them at once.
            limit_bytes: Memory above which the exact sum is taken.
            shared_bytes: Memory of a process that has just been forked, which it shares with the zygote.
            processes: Number of processes above which the tree is not looked at further: counting a fork bomb must be
                cheaper than forking.
        """
        self._pids = pids
        self._signal_all = signal_all
        self._processes = processes
        self._limit = limit_bytes
        self._shared = shared_bytes
        self._exact_not_before = 0.0
        # By process number and start, for numbers are given again: its own clock ticks when last seen; and their sum.
        self._last_ticks: dict[tuple[int, int], int] = {}
        self._own_ticks = 0

    def sample(self, scratch_bytes: int) -> Sample:
        """Return what the tree uses now, `scratch_bytes` of files included."""
        upper = own = tasks = files = 0
        pids = list(islice(self._pids(), self._processes + 1))
        if len(pids) > self._processes:
            return Sample(memory_bytes=scratch_bytes, tasks=len(pids))
        for pid in pids:
            status = _read(f"/proc/{pid}/status")
            resident = _kib(status, "RssAnon:") + _kib(status, "RssShmem:")
            upper += resident
            own += max(0, resident - self._shared)
            tasks += _number(status, "Threads:")
            files = max(files, _kib(status, "RssFile:"))
        if upper + scratch_bytes > self._limit and time.monotonic() >= self._exact_not_before:
            exact = self._exact(self._limit - scratch_bytes)
            return Sample(memory_bytes=exact + scratch_bytes, tasks=tasks, file_bytes=files)
        return Sample(memory_bytes=min(own + scratch_bytes, self._limit), tasks=tasks, file_bytes=files)

    def cpu_s(self, reaped_s: float) -> float:
        """Return how many processor seconds the tree has used at least.

        That is the larger of two sums, for neither alone is complete and together they count twice: what living
        processes and the children that they waited for have used, and what each process ever seen had used itself when
        last seen. A parent that ignores SIGCHLD has children that are in nobody's time once they have ended.

        Args:
            reaped_s: Processor seconds of the ended processes that the caller has waited for.
        """
        living = 0
        for pid in self._pids():
            # The name, in parentheses, may hold blanks: count from behind it (proc_pid_stat(5), fields 14 to 17, 22).
            fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
            if not fields:
                continue  # it ended since it was listed
            own = sum(map(int, fields[11:13]))
            living += own + sum(map(int, fields[13:15]))
            if own:
                # Only with some time of their own, so that there are never more than clock ticks of processor time.
                process = (pid, int(fields[19]))
                self._own_ticks += own - self._last_ticks.get(process, 0)
                self._last_ticks[process] = own
        return max(living / _TICKS_PER_S + reaped_s, self._own_ticks / _TICKS_PER_S)

    def _exact(self, room: int) -> int:
        """Return the proportional sum, or as much of it as exceeds `room`."""
        begin = time.monotonic()
        total = 0
        for pid in self._pids():
            total += _proportional(pid)
            if total > room or time.monotonic() - begin > _LONGEST_RUN_S:
                total = self._exact_at_rest(room)
                break
        end = time.monotonic()
        self._exact_not_before = end + min(_REST_RATIO * (end - begin), _LONGEST_RUN_S)
        return total

    def _exact_at_rest(self, room: int) -> int:
        """Return the same of the stopped tree.

        In one that runs, what has been looked at may grow, and what was shared with a process that ends meanwhile is in
        the sum more than once, for which no program shall be ended.
        """
        total = 0
        try:
            self._signal_all(signal.SIGSTOP)
            for pid in self._pids():
                # Again, for one that was about to stop may have woken the others.
                self._signal_all(signal.SIGSTOP)
                total += _proportional(pid)
                if total > room:
                    break
        finally:
            self._signal_all(signal.SIGCONT)
        return total


def namespace_pids() -> list[int]:
    """Return the processes of the pid namespace that /proc shows, without its process 1."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and name != "1"]


def children(parent: int) -> list[int]:
    """Return the children of process `parent`, ended ones included."""
    try:
        threads = os.listdir(f"/proc/{parent}/task")
    except OSError:
        return []
    return [int(pid) for thread in threads for pid in _read(f"/proc/{parent}/task/{thread}/children").split()]


def descendants(ancestor: int) -> Iterator[int]:
    """Yield all descendants of process `ancestor`, each after its parent."""
    pending = children(ancestor)
    while pending:
        pid = pending.pop(0)
        yield pid
        pending += children(pid)


def tasks_of_user(uid: int) -> int:
    """Return how many processes and threads of user `uid` /proc shows."""
    total = 0
    for name in os.listdir("/proc"):
        if name.isdecimal():
            status = _read(f"/proc/{name}/status")
            total += _number(status, "Threads:") if _number(status, "Uid:") == uid else 0
    return total


def _read(path: str) -> str:
    """Return the text of a file of /proc, or nothing if its process has ended."""
    try:
        # A process chooses the bytes of its name; in this encoding any are text.
        with open(path, encoding="latin-1") as file:
            return file.read()
    except OSError:
        return ""


def _number(text: str, key: str) -> int:
    # At the start of a line: the first line is the process's name, which may look like any key, but holds no newline.
    begin = text.find(f"\n{key}")
    return int(text[begin + 1 + len(key) :].split(None, 1)[0]) if begin >= 0 else 0


def _kib(text: str, key: str) -> int:
    return _number(text, key) << 10


def _proportional(pid: int) -> int:
    """Return the memory of process `pid` in bytes, of each shared page its share; 0 if it has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return _kib(rollup, "Pss_Anon:") + _kib(rollup, "Pss_Shmem:")
    except (FileNotFoundError, ProcessLookupError):
        return 0  # it ended since it was listed
    except OSError:
        # Unreadable, so fail safe: the upper bound counts.
        status = _read(f"/proc/{pid}/status")
        return _kib(status, "RssAnon:") + _kib(status, "RssShmem:")


def own_memory() -> tuple[int, int]:
    """Return this process's anonymous resident memory and its writable private address space, in bytes."""
    status = _read("/proc/self/status")
    return _kib(status, "RssAnon:"), _kib(status, "VmData:")

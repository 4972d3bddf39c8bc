"""The values that cross the sandbox's border: tiers, limits, jobs, results, and the `Sandbox` protocol."""

from __future__ import annotations

import enum
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import socket
    from types import TracebackType


class Tier(enum.IntEnum):
    """How strong the walls are; a larger value is stronger. `README.md` lists the layers of each."""

    #: A process of its own with resource limits: contains accidents, not attacks.
    NONE = 0
    #: seccomp and resource limits only; files that the user may read stay readable.
    LITE_MINUS = 1
    #: Landlock, seccomp and resource limits, without namespaces.
    LITE = 2
    #: Namespaces, private file system and process table, Landlock, seccomp, resource limits.
    FULL = 3

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")

    @classmethod
    def from_name(cls, name: str) -> Tier:
        """Return the tier called `name`.

        >>> Tier.from_name("lite-minus") < Tier.from_name("full")
        True

        Raises:
            ValueError: No tier has that name.
        """
        for tier in cls:
            if str(tier) == name:
                return tier
        raise ValueError(f"unknown sandbox tier {name!r}; choose one of {', '.join(str(tier) for tier in cls)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one evaluation may use. Every limit binds the whole tree of processes unless it says otherwise.

    Attributes:
        wall_s: Seconds from the start of the program to its end.
        cpu_s: Seconds of processor time; None stands for `wall_s` times the processors of the machine.
        memory_mib: Resident memory, shared memory and scratch files together.
        processes: Processes and threads, the program's own included; 1 forbids both to be created.
        open_files: File descriptors of one process.
        file_mib: Length of one file.
        scratch_mib: Scratch space, all files together (tier full; elsewhere `file_mib` bounds each file).
        inodes: Files and folders in the scratch space (tier full).
        answer_kib: JSON part of one frame.
        arrays_mib: Array blocks of one frame.
        output_kib: What is kept of stdout and of stderr: the last so many KiB of each.
    """

    wall_s: float = 60.0
    cpu_s: float | None = None
    memory_mib: int = 1024
    processes: int = 32
    open_files: int = 256
    file_mib: int = 64
    scratch_mib: int = 64
    inodes: int = 4096
    answer_kib: int = 1024
    arrays_mib: int = 16
    output_kib: int = 64

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"limit {name} must be positive and finite, got {value!r}")

    @property
    def cpu_budget_s(self) -> float:
        """Seconds of processor time that the tree may use."""
        return self.cpu_s if self.cpu_s is not None else self.wall_s * (os.cpu_count() or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One program to run.

    Attributes:
        source: Python source, executed as module `candidate`.
        entry_point: Name of the function that answers each call.
        seed: Seeds `random` and every unseeded generator of numpy; the same seed gives the same draws.
        limits: What the program may use.
    """

    source: str
    entry_point: str
    seed: int
    limits: Limits = Limits()


class Ending(enum.StrEnum):
    """How the program's process ended, as seen from outside it; the first that applies wins."""

    #: It wrote more to stdout or stderr than is drained, or died of SIGXFSZ.
    OUTPUT_LIMIT = "output-limit"
    #: The wall clock or the processor-time limit ran out.
    TIMEOUT = "timeout"
    #: The kernel's memory group or the tree monitor saw more memory than the limit.
    MEMORY = "memory"
    #: A system call that no honest program makes (SIGSYS).
    VIOLATION = "violation"
    #: Any other signal, or more processes than the limit.
    KILLED = "killed"
    #: An exception in the source or in a call, or a non-zero exit status.
    ERROR = "error"
    #: Exit status 0. Says nothing about the answers: the verifier judges those.
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one evaluation used.

    Attributes:
        wall_s: Seconds from the start of the program to the end of its last process.
        cpu_s: Seconds of processor time of the whole tree, user and system.
        peak_memory_mib: Largest memory seen, as `Limits.memory_mib` counts it: the tree's in samples, or that of its
            largest process by the kernel's count, which misses no moment.
        peak_processes: Most processes and threads seen at once; sampled.
    """

    wall_s: float
    cpu_s: float
    peak_memory_mib: float
    peak_processes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one evaluation went. `feedback`, `stdout` and `stderr` are untrusted text: quote them as data.

    Attributes:
        ending: How the process ended.
        detail: One line for a log: the limit, signal or exception.
        feedback: Last 2 kB of stderr, which ends with the traceback if there was one; no control characters.
        stdout: Last `Limits.output_kib` of it.
        stderr: Last `Limits.output_kib` of it.
        usage: What it used.
        tier: The walls it ran behind.
    """

    ending: Ending
    detail: str
    feedback: str
    stdout: bytes
    stderr: bytes
    usage: Usage
    tier: Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What protects this machine, and how that is known.

    Attributes:
        tier: The tier in use.
        layers: Layer to its state, such as `"landlock": "abi 7"`.
        missing: Layers that this tier goes without, each with the reason.
        canaries: Attack tried at start-up to what stopped it.
    """

    tier: Tier
    layers: Mapping[str, str]
    missing: tuple[str, ...]
    canaries: Mapping[str, str]


class Sandbox(Protocol):
    """Runs untrusted programs; every method may be called from any thread."""

    @property
    def report(self) -> Report:
        """What protects this machine."""

    def run(self, job: Job, channel: socket.socket) -> Result:
        """Run one program to its end and return how it went, once all its processes are dead.

        The program answers calls on `channel`, a stream socket that becomes its descriptor 3: one frame in (a list of
        arguments), one frame out, until the peer closes. The sandbox owns `channel` from now on and closes it.

        Raises:
            SandboxFailure: The sandbox broke; nothing is known about the program. A set-up that fails is first tried
                once more on a new zygote. A loss after the program has started is not: its peer saw the first try.
        """

    def close(self) -> None:
        """End all evaluations and processes of the sandbox; calling it again does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

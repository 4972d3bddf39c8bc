"""The sandbox that callers hold: keeps a good zygote at hand and runs evaluations on it from any thread."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

from sandbox import canaries
from sandbox.cgroup import Group, Groups
from sandbox.errors import SandboxError, SandboxFailure, SandboxUnavailable
from sandbox.evaluation import Evaluation, SetupFailure
from sandbox.report import layers
from sandbox.slots import Slots
from sandbox.spawn import Blueprint, LayerMissing, ZygoteProcess
from sandbox.types import Job, Report, Result, Tier


def open_sandbox(
    *, require: Tier, preload: tuple[str, ...] = ("numpy", "scipy.optimize"), cpus: tuple[int, ...] = ()
) -> Runner:
    """Start the strongest sandbox that this machine allows.

    It starts processes of its own and never forks the caller; open it before anything that fills the caller with
    threads or device memory all the same.

    Args:
        require: The weakest tier that is acceptable.
        preload: Modules that programs find imported. Besides the standard library programs can import all that lies in
            the folders of these packages, such as site-packages. What the modules register with `os.register_at_fork`
            does not run before a program starts.
        cpus: Processors that programs may use; all if empty.

    Raises:
        SandboxUnavailable: The machine gives less than `require`.
        SandboxFailure: The sandbox broke while it started.
    """
    missing: list[str] = []
    for tier in sorted(Tier, reverse=True):
        if tier < require:
            break
        try:
            return start(Blueprint(tier=tier, preload=preload, cpus=cpus), missing=tuple(missing))
        except LayerMissing as error:
            missing.append(f"{tier}: {error}")
    raise SandboxUnavailable(f"this machine gives no sandbox of tier {require}: {'; '.join(missing)}")


def start(blueprint: Blueprint, *, missing: tuple[str, ...] = (), prove: bool = True) -> Runner:
    """Start a sandbox of exactly one tier.

    Args:
        blueprint: What to start.
        missing: What the report is to say of stronger tiers.
        prove: Whether to try the walls with canaries first.

    Raises:
        LayerMissing: The machine lacks a layer of the tier, or a canary got through one.
        SandboxFailure: The sandbox broke while it started.
    """
    zygote = ZygoteProcess(blueprint)
    report = Report(tier=blueprint.tier, layers=layers(blueprint.tier, zygote.ready), missing=missing, canaries={})
    runner = Runner(zygote, blueprint, report)
    if not prove:
        return runner
    try:
        runner.prove()
    except SandboxError:
        runner.close()
        raise
    return runner


class Runner:
    """A `Sandbox` over one zygote at a time."""

    def __init__(self, zygote: ZygoteProcess, blueprint: Blueprint, report: Report) -> None:
        self._report = report
        #: What each of its zygotes is made from.
        self.blueprint: Final = blueprint
        self._slots = Slots(leased=os.geteuid() == 0 and Tier.NONE < blueprint.tier < Tier.FULL)
        self._lock = threading.Lock()
        self._zygote: ZygoteProcess | None = zygote
        self._users: dict[ZygoteProcess, int] = {}
        self._groups = Groups.make() if "groups" not in blueprint.off else None
        self._closed = False

    @property
    def report(self) -> Report:
        """What protects this machine."""
        return self._report

    @property
    def zygote(self) -> ZygoteProcess:
        """The current zygote.

        Raises:
            SandboxFailure: There is none, because the last one was lost or the sandbox is closed.
        """
        if self._zygote is None:
            raise SandboxFailure("there is no zygote")
        return self._zygote

    def prove(self) -> None:
        """Try the walls, and put into the report what stopped each canary.

        Raises:
            LayerMissing: A canary got through a wall that the tier promises.
            SandboxFailure: The sandbox broke.
        """
        seen = canaries.release(self)
        if broken := canaries.broken(seen, self._report.tier, is_root=os.geteuid() == 0):
            raise LayerMissing("canaries", f"a program could {', '.join(broken)}")
        self._report = replace(self._report, canaries=seen)
        if self._groups is not None and self._groups.proven:
            memory = "control group per evaluation, and tree monitor"
            self._report = replace(self._report, layers={**self._report.layers, "memory": memory})

    def run(self, job: Job, channel: socket.socket) -> Result:
        """As `Sandbox.run`."""
        try:
            return self._run(job, channel)
        except OSError as error:
            raise SandboxFailure(f"this process has no room for an evaluation: {error}") from error

    def _run(self, job: Job, channel: socket.socket) -> Result:
        with channel, self._slots.take() as slot:
            for last_try in (False, True):
                with self._borrow() as zygote:
                    try:
                        with self._group(job) as group:
                            return Evaluation(job, channel, slot=slot, group=group).run(zygote, self._report.tier)
                    except SetupFailure as error:
                        self._discard(zygote)
                        if last_try:
                            raise SandboxFailure(f"{error}; {zygote.last_words()}") from error
                    except SandboxFailure:
                        self._discard(zygote)
                        raise
        raise SandboxFailure("no try was made")

    def close(self) -> None:
        """As `Sandbox.close`."""
        with self._lock:
            self._closed = True
            zygotes = {*self._users, *([self._zygote] if self._zygote else [])}
            self._zygote = None
        for zygote in zygotes:
            zygote.close()
        if self._groups is not None:
            self._groups.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _group(self, job: Job) -> Iterator[Group | None]:
        """Give the block a control group for one evaluation, where the kernel has them for us."""
        if self._groups is None:
            yield None
            return
        group = self._groups.group(job.limits)
        try:
            yield group
            self._groups.proven = self._groups.proven or group.joined
        finally:
            group.remove()

    @contextlib.contextmanager
    def _borrow(self) -> Iterator[ZygoteProcess]:
        """Give the block the current zygote, a new one if need be; end it after its last user once it is replaced."""
        with self._lock:
            if self._closed:
                raise SandboxFailure("the sandbox is closed")
            if self._zygote is None or self._zygote.runs >= self.blueprint.runs:
                # Callers that come meanwhile wait here, for there is nothing to run on.
                self._zygote = ZygoteProcess(self.blueprint)
            zygote = self._zygote
            zygote.runs += 1
            self._users[zygote] = self._users.get(zygote, 0) + 1
        try:
            yield zygote
        finally:
            with self._lock:
                self._users[zygote] -= 1
                idle = not self._users[zygote]
                if idle:
                    del self._users[zygote]
                unused = idle and zygote is not self._zygote
            if unused:
                zygote.close()

    def _discard(self, zygote: ZygoteProcess) -> None:
        with self._lock:
            if self._zygote is zygote:
                self._zygote = None

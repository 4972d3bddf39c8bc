"""The process that has numpy and scipy imported and forks a warden for each evaluation.

It runs in a fresh interpreter with an empty environment, holds no secret, and has one thread, so that forking is safe.
In tier full it is process 1 of its own namespaces: when it dies, everything in them dies.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Final, NoReturn

from sandbox import linux, namespaces, root, scratch, tree, warden, wire
from sandbox.lastly import EndsProcess
from sandbox.types import Tier
from sandbox.walls import LayerError, Walls, plan

#: Beyond its own deadline a warden gets this long to end the tree and report before the zygote kills it.
_GRACE_S: Final = 15.0
#: What wardens get to end their trees when the zygote has to end; the controller waits a little longer.
_FAREWELL_S: Final = 4.0
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_DESCRIPTORS: Final = 5


def main(argument: str) -> NoReturn:
    """Build the layers, tell the controller, and serve orders until the controller is gone."""
    setup = wire.Setup.from_json(argument)
    control = socket.socket(fileno=setup.control)
    try:
        controller = os.pidfd_open(setup.controller)
        if os.getppid() != setup.controller:
            os._exit(0)
        if setup.tier is Tier.FULL:
            _enter_namespaces(setup, controller)
        linux.prctl(linux.PR_SET_DUMPABLE, 0)
        _preload(setup)
        walls = plan(setup)
    except LayerError as error:
        control.send(wire.pack(wire.Unusable(layer=error.layer, detail=error.detail)))
        os._exit(1)
    control.send(wire.pack(walls.ready()))
    _Zygote(setup, walls, control, controller).serve()
    os._exit(0)


def _enter_namespaces(setup: wire.Setup, controller: int) -> None:
    """Move into private namespaces; what returns is process 1 of them, what started stays behind and waits."""
    is_root = setup.is_root
    steps = (
        ("namespaces", namespaces.enter_as_root if is_root else namespaces.enter_as_user),
        ("private file system", lambda: root.build(setup.roots, pivot_root_number=_PIVOT_ROOT[os.uname().machine])),
        ("user ids", lambda: namespaces.give_up_root(setup.slots) if is_root else None),
        ("pid namespace", lambda: linux.unshare(linux.CLONE_NEWPID)),
    )
    for layer, step in steps:
        try:
            step()
        except OSError as error:
            raise LayerError(layer, str(error)) from error
    inner = os.fork()
    if inner:
        _keep(inner, controller)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        root.mount_proc()
    except OSError as error:
        raise LayerError("own /proc", str(error)) from error


def _keep(inner: int, controller: int) -> NoReturn:
    """Wait until the zygote or the controller ends, and take the zygote along."""
    zygote = os.pidfd_open(inner)
    poll = select.poll()
    poll.register(zygote, select.POLLIN)
    poll.register(controller, select.POLLIN)
    poll.poll()
    with contextlib.suppress(ProcessLookupError):
        os.kill(inner, signal.SIGKILL)
    os.waitpid(inner, 0)
    os._exit(0)


def _preload(setup: wire.Setup) -> None:
    """Import what programs need, once for all of them."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a program printed before it was ended shall not be lost.
        sys.stdout.reconfigure(line_buffering=True)
    for name in setup.preload:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise LayerError("preloaded modules", str(error)) from error
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise LayerError("one thread", f"importing {', '.join(setup.preload)} started {threads - 1} more")
    gc.collect()
    # Collections in the forks would otherwise touch, and so copy, every page of the zygote.
    gc.freeze()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Warden:
    """One evaluation under way, as far as the zygote is concerned."""

    pid: int
    latest_end: float


class _Zygote:
    """Takes orders, forks wardens, and waits for them."""

    def __init__(self, setup: wire.Setup, walls: Walls, control: socket.socket, controller: int) -> None:
        self._setup = setup
        self._walls = walls
        self._control = control
        self._controller = controller
        # Wardens hold the other end, and end their evaluations when this one closes, be it by our death.
        self._life_r, self._life_w = os.pipe()
        self._pid_namespaces = namespaces.PidNamespaces()
        self._wardens: dict[int, _Warden] = {}
        if self._walls.tier is not Tier.FULL:
            linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        self._poll = select.poll()
        for descriptor in (control.fileno(), controller):
            self._poll.register(descriptor, select.POLLIN)

    def serve(self) -> None:
        """Serve until the controller closes its socket or ends."""
        while True:
            ready = [descriptor for descriptor, _ in self._poll.poll(self._patience_ms())]
            self._end_overdue()
            for descriptor in ready:
                if descriptor in self._wardens:
                    self._bury(descriptor)
                elif descriptor == self._controller or not self._take_order():
                    self._end_all()
                    return

    def _take_order(self) -> bool:
        """Start what the controller ordered, and return whether it can order more."""
        packet, descriptors, _, _ = socket.recv_fds(self._control, wire.PACKET_BYTES, _DESCRIPTORS)
        if packet:
            self._start(wire.Order.from_packet(packet), warden.Descriptors(*descriptors))
        return bool(packet)

    def _start(self, order: wire.Order, descriptors: warden.Descriptors) -> None:
        try:
            pid = self._pid_namespaces.fork() if self._walls.tier is Tier.FULL else os.fork()
        except OSError as error:
            with socket.socket(fileno=descriptors.control) as control:
                control.send(wire.pack(wire.Failed(detail=f"the zygote cannot fork: {error}")))
            for descriptor in (descriptors.source, descriptors.channel, descriptors.stdout, descriptors.stderr):
                os.close(descriptor)
            return
        if pid == 0:
            with EndsProcess():
                self._close_inherited()
                parent = self._setup.scratch
                warden.watch(order, self._walls, descriptors, life=self._life_r, scratch_parent=parent)
        for descriptor in (descriptors.source, descriptors.channel, descriptors.stdout, descriptors.stderr):
            os.close(descriptor)
        os.close(descriptors.control)
        pidfd = os.pidfd_open(pid)
        self._wardens[pidfd] = _Warden(pid=pid, latest_end=time.monotonic() + order.limits.wall_s + _GRACE_S)
        self._poll.register(pidfd, select.POLLIN)

    def _close_inherited(self) -> None:
        """In a new warden: let go of the zygote's own socket and pipe, and of the other wardens."""
        self._control.close()
        os.close(self._life_w)
        for pidfd in self._wardens:
            os.close(pidfd)

    def _bury(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(self._wardens.pop(pidfd).pid, 0)
        if status and self._walls.tier is not Tier.FULL:
            self._end_orphans()

    def _end_orphans(self) -> None:
        """Kill what a warden left behind that was killed itself; in tier full its pid namespace has died with it."""
        wardens = {each.pid for each in self._wardens.values()}
        while orphans := [pid for pid in tree.children(os.getpid()) if pid not in wardens]:
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    # The program's group has its number; nothing else of ours is a group's leader.
                    os.killpg(pid, signal.SIGKILL)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def _end_all(self) -> None:
        """End all evaluations and remove what they left."""
        os.close(self._life_w)
        deadline = time.monotonic() + _FAREWELL_S
        while self._wardens and time.monotonic() < deadline:
            for descriptor, _ in self._poll.poll(100):
                if descriptor in self._wardens:
                    self._bury(descriptor)
        if self._setup.scratch:
            scratch.remove(self._setup.scratch)

    def _patience_ms(self) -> float | None:
        if not self._wardens:
            return None
        return 1000 * max(0.0, min(each.latest_end for each in self._wardens.values()) - time.monotonic())

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for each in self._wardens.values():
            if each.latest_end < now:
                os.kill(each.pid, signal.SIGKILL)

"""The process that has numpy and scipy imported and forks a warden for each evaluation.

It runs in a fresh interpreter with an empty environment, holds no secret, and has one thread, so that forking is safe.
In tier full it is process 1 of its own namespaces: when it dies, everything in them dies.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import time
from dataclasses import dataclass
from typing import Final, NoReturn

from sandbox import landlock, linux, namespaces, root, tree, warden, wire
from sandbox.candidate import Walls
from sandbox.lastly import EndsProcess
from sandbox.types import Tier

#: Beyond its own deadline a warden gets this long to end the tree and report before the zygote kills it.
_GRACE_S: Final = 15.0
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_DESCRIPTORS: Final = 5


class _LayerError(Exception):
    """A layer cannot be built here."""

    def __init__(self, layer: str, detail: str) -> None:
        super().__init__(f"{layer}: {detail}")
        self.layer: Final = layer
        self.detail: Final = detail


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
        walls, layers = _prepare(setup)
    except _LayerError as error:
        control.send(wire.pack(wire.Unusable(layer=error.layer, detail=error.detail)))
        os._exit(1)
    control.send(wire.pack(wire.Ready(layers=layers)))
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
            raise _LayerError(layer, str(error)) from error
    inner = os.fork()
    if inner:
        _keep(inner, controller)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        root.mount_proc()
    except OSError as error:
        raise _LayerError("own /proc", str(error)) from error


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


def _prepare(setup: wire.Setup) -> tuple[Walls, dict[str, str]]:
    """Import what programs need and work out what is the same for all of them."""
    tier = setup.tier
    for name in setup.preload:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise _LayerError("preloaded modules", str(error)) from error
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise _LayerError("one thread", f"importing {', '.join(setup.preload)} started {threads - 1} threads")
    abi = 0 if "landlock" in setup.off or tier < Tier.LITE else landlock.abi()
    if tier is Tier.LITE and abi < landlock.SCOPE_ABI:
        raise _LayerError("landlock", f"abi {abi}, {landlock.SCOPE_ABI} is needed: Linux 6.12")
    readable = [] if tier is Tier.FULL else [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in _readable(setup)]
    gc.collect()
    # Collections in the forks would otherwise touch, and so copy, every page of the zygote.
    gc.freeze()
    shared_bytes, address_bytes = tree.own_memory()
    walls = Walls(
        tier=tier,
        is_root=setup.is_root,
        readable=readable,
        landlock_abi=abi,
        seccomp=tier > Tier.NONE and "seccomp" not in setup.off,
        shared_bytes=shared_bytes,
        address_bytes=address_bytes,
        tasks=0,
    )
    layers = {"landlock": f"abi {abi}" if abi else "off", "seccomp": "on" if walls.seccomp else "off"}
    return walls, layers


def _readable(setup: wire.Setup) -> list[str]:
    paths = (*root.SYSTEM, *setup.roots, *root.LINKER_FILES, *root.DEVICES)
    return [path for path in map(os.path.realpath, paths) if os.path.exists(path)]


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
        self._self = os.pidfd_open(os.getpid())
        self._pid_namespaces = namespaces.PidNamespaces()
        self._wardens: dict[int, _Warden] = {}
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
                elif descriptor == self._controller:
                    return
                else:
                    packet, descriptors, _, _ = socket.recv_fds(self._control, wire.PACKET_BYTES, _DESCRIPTORS)
                    if not packet:
                        return
                    self._start(wire.Order.from_packet(packet), warden.Descriptors(*descriptors))

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
                warden.watch(order, self._walls, descriptors, zygote=self._self, scratch_parent=parent)
        for descriptor in (descriptors.source, descriptors.channel, descriptors.stdout, descriptors.stderr):
            os.close(descriptor)
        os.close(descriptors.control)
        pidfd = os.pidfd_open(pid)
        self._wardens[pidfd] = _Warden(pid=pid, latest_end=time.monotonic() + order.limits.wall_s + _GRACE_S)
        self._poll.register(pidfd, select.POLLIN)

    def _close_inherited(self) -> None:
        """In a new warden: let go of the zygote's own socket and of the other wardens."""
        self._control.close()
        for pidfd in self._wardens:
            os.close(pidfd)

    def _bury(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        os.close(pidfd)
        os.waitpid(self._wardens.pop(pidfd).pid, 0)

    def _patience_ms(self) -> float | None:
        if not self._wardens:
            return None
        return 1000 * max(0.0, min(each.latest_end for each in self._wardens.values()) - time.monotonic())

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for each in self._wardens.values():
            if each.latest_end < now:
                os.kill(each.pid, signal.SIGKILL)

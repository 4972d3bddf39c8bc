"""The process that has numpy and scipy imported and forks a warden for each evaluation.

It runs in a fresh interpreter with an empty environment, holds no secret, and has one thread, so that forking is safe.
In tier full it is process 1 of its own namespaces: when it dies, everything in them dies.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import math
import multiprocessing
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Final, NoReturn

from sandbox import linux, mappings, namespaces, root, scratch, seccomp, syscalls, tree, warden, wire
from sandbox.candidate import NICE
from sandbox.lastly import EndsProcess
from sandbox.types import Tier
from sandbox.walls import LayerError, Walls, first_uid, plan

#: Beyond its own deadline a warden gets this long to end the tree and report before the zygote kills it.
_GRACE_S: Final = 15.0
#: What wardens get to end their trees when the zygote has to end; the controller waits a little longer.
_FAREWELL_S: Final = 4.0
#: How often the session's claim to cores may be refused before it stays as it is, and the pause in between.
_CLAIMS: Final = 20
_CLAIM_PAUSE_S: Final = 0.1
#: The niceness of this session among all others.
_AUTOGROUP: Final = "/proc/self/autogroup"
#: poll takes no more than some 24 days.
_LONGEST_POLL_S: Final = 3600.0


def main(argument: str) -> NoReturn:
    """Build the layers, tell the controller, and serve orders until the controller is gone."""
    setup = wire.Setup.from_json(argument)
    control = socket.socket(fileno=setup.control)
    _reset_signals()
    try:
        controller = os.pidfd_open(setup.controller)
        if os.getppid() != setup.controller:
            os._exit(0)
        if setup.tier > Tier.NONE and not seccomp.available():
            raise LayerError(
                "seccomp", "none in this kernel, or no table for this machine: x86-64 and aarch64 have one"
            )
        _give_way()
        if setup.cpus:
            os.sched_setaffinity(0, setup.cpus)  # of this thread, and so of all that is forked
        if setup.tier is Tier.FULL:
            _enter_namespaces(setup, controller)
        linux.prctl(linux.PR_SET_DUMPABLE, 0)
        if "user" not in setup.off:
            linux.drop_bounding_set()
        _preload(setup)
        # Imports may have set some.
        _reset_signals()
        walls = plan(setup)
    except LayerError as error:
        control.send(wire.pack(wire.Unusable(layer=error.layer, detail=error.detail)))
        os._exit(1)
    control.send(wire.pack(walls.ready()))
    _Zygote(setup, walls, control, controller).serve()
    os._exit(0)


def _reset_signals() -> None:
    """Let signals do what they do by default, here and in all that is forked, whatever they do in the controller."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _give_way() -> None:
    """Lower the claim of this session, to which all programs belong, to contended cores.

    Where the kernel shares cores among sessions first (sched_autogroup(7)) the niceness of a process counts inside its
    session alone. Another kernel has no such file, and a container may forbid to write to it; what is asked for is a
    courtesy, not a wall.
    """
    with contextlib.suppress(OSError):
        for _ in range(_CLAIMS):
            try:
                linux.write(_AUTOGROUP, str(NICE))
                return
            except BlockingIOError:  # of other users than root the kernel takes ten a second on the whole machine
                time.sleep(_CLAIM_PAUSE_S)


def _enter_namespaces(setup: wire.Setup, controller: int) -> None:
    """Move into private namespaces; what returns is process 1 of them, what started stays behind and waits."""
    is_root = setup.is_root
    pivot_root = syscalls.numbers(os.uname().machine)["pivot_root"]
    uids = range(first_uid(setup.tier), first_uid(setup.tier) + setup.slots) if is_root else [namespaces.INNER_UID]
    steps = (
        ("namespaces", namespaces.enter_as_root if is_root else namespaces.enter_as_user),
        ("private file system", lambda: root.build(setup.roots, uids=uids, pivot_root_number=pivot_root)),
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
    # The default from Python 3.14 on, forkserver, needs a socket on a path, which is not allowed.
    multiprocessing.set_start_method("fork")
    for name in setup.preload:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise LayerError("preloaded modules", str(error)) from error
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise LayerError("one thread", f"importing {', '.join(setup.preload)} started {threads - 1} more")
    gc.collect()
    mappings.merge_pieces()
    mappings.collapse_heap()
    # Collections in the forks would otherwise touch, and so copy, every page of the zygote.
    gc.freeze()


@dataclass(slots=True, kw_only=True)
class _Warden:
    """One warden, waiting for its order or at work."""

    pid: int
    pidfd: int
    orders: socket.socket
    latest_end: float = math.inf


class _Zygote:
    """Forks wardens ahead, hands orders to them, and waits for their ends."""

    def __init__(self, setup: wire.Setup, walls: Walls, control: socket.socket, controller: int) -> None:
        self._setup = setup
        self._walls = walls
        self._control = control
        self._controller = controller
        # Wardens hold the other end, and end their evaluations when this one closes, be it by our death.
        self._life_r, self._life_w = os.pipe()
        self._pid_namespaces = namespaces.PidNamespaces()
        self._wardens: dict[int, _Warden] = {}
        self._spare: _Warden | None = None
        # Off after one of them died in waiting, lest we fork without end; the next order will tell what is wrong.
        self._forks_ahead = True
        if self._walls.tier is not Tier.FULL:
            linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        self._poll = select.poll()
        for descriptor in (control.fileno(), controller):
            self._poll.register(descriptor, select.POLLIN)

    def serve(self) -> None:
        """Serve until the controller closes its socket or ends."""
        while True:
            if self._spare is None and self._forks_ahead:
                with contextlib.suppress(OSError):
                    # No room for one more process now; the next order will tell.
                    self._spare = self._fork()
            ready = [descriptor for descriptor, _ in self._poll.poll(self._patience_ms())]
            self._end_overdue()
            for descriptor in ready:
                if descriptor in self._wardens:
                    self._bury(descriptor)
                elif descriptor == self._controller or not self._take_order():
                    self._end_all()
                    return

    def _take_order(self) -> bool:
        """Have a warden carry out what the controller orders, and return whether it can order more."""
        taken = wire.receive_order(self._control)
        if taken is None:
            return False
        packet, descriptors = taken
        try:
            wall_s = wire.Order.from_packet(packet).limits.wall_s
            chosen, self._spare = self._spare or self._fork(), None
            wire.send_order(chosen.orders, packet, descriptors)
            chosen.orders.close()
            chosen.latest_end = time.monotonic() + wall_s + _GRACE_S
        except OSError as error:
            control = socket.socket(fileno=os.dup(descriptors.control))
            with control, contextlib.suppress(OSError):
                control.send(wire.pack(wire.Failed(detail=f"the zygote cannot fork: {error}")))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _fork(self) -> _Warden:
        """Return a new warden.

        Raises:
            OSError: There is no room for one more process.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = self._pid_namespaces.fork() if self._walls.tier is Tier.FULL else linux.fork()
        if pid == 0:
            with EndsProcess():
                ours.close()
                self._close_inherited()
                warden.serve(theirs, self._walls, life=self._life_r, scratch_parent=self._setup.scratch)
        theirs.close()
        forked = _Warden(pid=pid, pidfd=os.pidfd_open(pid), orders=ours)
        self._wardens[forked.pidfd] = forked
        self._poll.register(forked.pidfd, select.POLLIN)
        return forked

    def _close_inherited(self) -> None:
        """In a new warden: let go of the zygote's own socket and pipe, and of the other wardens."""
        self._control.close()
        os.close(self._life_w)
        for each in self._wardens.values():
            os.close(each.pidfd)
            each.orders.close()

    def _bury(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        os.close(pidfd)
        buried = self._wardens.pop(pidfd)
        buried.orders.close()
        if buried is self._spare:
            self._spare = None
            self._forks_ahead = False
        _, status = os.waitpid(buried.pid, 0)
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
        first = min((each.latest_end for each in self._wardens.values()), default=math.inf)
        return None if first == math.inf else 1000 * min(max(0.0, first - time.monotonic()), _LONGEST_POLL_S)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for each in self._wardens.values():
            if each.latest_end < now:
                os.kill(each.pid, signal.SIGKILL)

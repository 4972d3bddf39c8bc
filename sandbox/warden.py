"""The process that watches one evaluation: process 1 of its pid namespace in tier full, else its subreaper.

It is forked before there is an order, and forks the program's process at once too: forks are what an evaluation costs
most, so they are done ahead. Neither runs anything of a program's before the walls are up; the warden never does.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from typing import Final

from sandbox import candidate, linux, root, scratch, wire
from sandbox.lastly import EndsProcess
from sandbox.types import Tier
from sandbox.walls import Walls
from sandbox.watch import Watch
from sandbox.wire import Order

_SETUP_S: Final = 20.0


class _SetupError(Exception):
    """A wall could not be built."""


def serve(orders: socket.socket, walls: Walls, *, life: int, scratch_parent: str) -> None:
    """Prepare for one evaluation, wait for its order, run it, and report to the controller.

    Args:
        orders: Where the zygote sends the order.
        walls: What holds for all programs.
        life: Pipe that the zygote holds the other end of; when it closes, the evaluation is to end.
        scratch_parent: Folder for the scratch folder, where scratch space is not private.
    """
    folder = ""
    try:
        try:
            folder = _build(walls, scratch_parent)
            program = _Program(walls, folder)
        except OSError as error:
            _refuse(orders, life, str(error))
            return
        if (taken := _await(orders, life)) is None:
            return
        packet, descriptors = taken
        order = Order.from_packet(packet)
        with socket.socket(fileno=descriptors.control) as control:
            try:
                _furnish(order, walls, folder)
                program.start(packet, descriptors, control)
                control.send(wire.pack(wire.Started()))
                control.send(wire.pack(Watch(order.limits, walls, program.pid, folder).until_end(control, life)))
            except (OSError, _SetupError) as error:
                control.send(wire.pack(wire.Failed(detail=str(error))))
    finally:
        if walls.tier is not Tier.FULL and folder:
            scratch.remove(folder)


class _Program:
    """The process that will run the program."""

    def __init__(self, walls: Walls, folder: str) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._gate, gate = os.pipe()
        warden = os.getpid()
        self.pid = linux.fork()
        if self.pid == 0:
            with EndsProcess():
                # Or the process would hold its own order's socket open, and never see its warden's end.
                self._orders.close()
                candidate.wait(theirs, walls, parent=warden, gate=gate, scratch=folder)
        theirs.close()
        os.close(gate)

    def start(self, packet: bytes, descriptors: wire.Descriptors, control: socket.socket) -> None:
        """Pass the order's packet on, and return once the walls around the process are up.

        Raises:
            _SetupError: They could not be built.
        """
        wire.send_order(self._orders, packet, descriptors)
        self._orders.close()
        for descriptor in descriptors:
            if descriptor != control.fileno():
                os.close(descriptor)
        poll = select.poll()
        poll.register(self._gate, select.POLLIN)
        answer = os.read(self._gate, 1) if poll.poll(_SETUP_S * 1000) else b""
        os.close(self._gate)
        if answer != candidate.READY:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            raise _SetupError("the program's process did not come up")


def _build(walls: Walls, scratch_parent: str) -> str:
    """Build what does not depend on the order, and return the program's folder."""
    if walls.tier is Tier.FULL:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        # A network of its own, too, for in a shared one programs see the names of each other's abstract sockets.
        linux.unshare(linux.CLONE_NEWNS | linux.CLONE_NEWNET)
        root.mount_proc()
        folder = root.SCRATCH
    else:
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)
        folder = scratch.create(scratch_parent)
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    return folder


def _furnish(order: Order, walls: Walls, folder: str) -> None:
    """Give the program its scratch space."""
    uid = walls.uid(order.slot)
    if walls.tier is Tier.FULL:
        root.mount_scratch(size_bytes=order.limits.scratch_mib << 20, inodes=order.limits.inodes, uid=uid)
    elif uid != os.geteuid():
        os.chown(folder, uid, uid)


def _await(orders: socket.socket, life: int) -> tuple[bytes, wire.Descriptors] | None:
    """Return the order's packet and what came with it; nothing if the zygote ends first."""
    poll = select.poll()
    for descriptor in (orders.fileno(), life):
        poll.register(descriptor, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll()}
    return wire.receive_order(orders) if orders.fileno() in ready else None


def _refuse(orders: socket.socket, life: int, detail: str) -> None:
    """Answer the order with why it cannot be carried out."""
    if (taken := _await(orders, life)) is not None:
        with socket.socket(fileno=taken[1].control) as control:
            control.send(wire.pack(wire.Failed(detail=detail)))

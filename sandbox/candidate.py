"""Turns the forked process that will run a program into a prisoner, one layer after the other.

Order matters: what needs a privilege comes before it is dropped, what writes /proc before Landlock, seccomp last.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import resource
import signal
import socket
from typing import Final, NoReturn

from sandbox import harness, landlock, linux, namespaces, root, seccomp, wire
from sandbox.types import Limits, Tier
from sandbox.walls import Walls
from sandbox.wire import Descriptors, Order

#: Where the write end of the pipe to the warden lies until the walls are up.
_GATE: Final = 4
_STACK_BYTES: Final = 8 << 20
_LOCKED_BYTES: Final = 64 << 10
_QUEUED_SIGNALS: Final = 256
_ALL_DESCRIPTORS: Final = (1 << 31) - 1
#: Programs give way to who waits for them, a model on the same cores above all: a quarter of a contended core is left.
NICE: Final = 5
#: What the gate says once all walls are up.
READY: Final = b"+"


def wait(orders: socket.socket, walls: Walls, *, parent: int, gate: int, scratch: str) -> None:
    """Wait for the order, put up all walls around this process, and run the program in it.

    Args:
        orders: Where the warden sends the order; nothing happens if it closes.
        walls: What holds for all programs.
        parent: Process id of the warden.
        gate: Pipe to the warden; it gets `READY` once the walls are up.
        scratch: The program's own folder.

    Raises:
        OSError: A wall could not be built. The program has not run.
    """
    # A group of its own, by which it is killed, in the session of all programs, which share what cores are left them.
    os.setpgid(0, 0)
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    # A warden that died before the death signal was set sends none.
    if os.getppid() == parent and (taken := wire.receive_order(orders)) is not None:
        packet, descriptors = taken
        _become(Order.from_packet(packet), descriptors, walls, gate=gate, scratch=scratch)


def _become(order: Order, descriptors: Descriptors, walls: Walls, *, gate: int, scratch: str) -> NoReturn:
    with open(descriptors.source, "rb") as file:
        file.seek(0)
        source = file.read().decode()
    with contextlib.suppress(OSError):
        # Where it fails, the canaries notice, and the warden's own count holds.
        os.write(descriptors.group, b"0")
    _change_user(walls, walls.uid(order.slot))
    with contextlib.suppress(OSError):
        # The kernel's own memory killer shall take programs first.
        linux.write("/proc/self/oom_score_adj", "1000")
    os.nice(NICE)
    _restrict_files(walls, scratch)
    _place_descriptors(descriptors, gate)
    os.chdir(scratch)
    os.umask(0o077)
    if "limits" not in walls.off:
        _limit_resources(order.limits, math.ceil(order.cpu_budget_s), walls)
    if "user" not in walls.off:
        linux.drop_capabilities()
    # Also where neither Landlock nor seccomp sets it: no program gains rights by executing a file.
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    if scratch != root.SCRATCH:
        # Written, not read: the program's own environment, which is ours to make.
        os.environ.update(HOME=scratch, TMPDIR=scratch)  # noqa: TID251
    if program := walls.filter_for(order.limits):
        seccomp.install(program, os.uname().machine)
    os.write(_GATE, READY)
    os.close(_GATE)
    harness.run(source, entry_point=order.entry_point, seed=order.seed)


def _change_user(walls: Walls, uid: int) -> None:
    if walls.is_root and walls.tier is not Tier.NONE and "user" not in walls.off:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    # The warden must be able to read this process's memory maps, and a new user namespace its own map files. Other
    # programs cannot: another pid namespace, or Landlock and another user id, or seccomp, is in the way.
    linux.prctl(linux.PR_SET_DUMPABLE, 1)
    if not walls.is_root and walls.tier is Tier.FULL and "user" not in walls.off:
        # A user namespace of its own gives each program its own count of processes (user_namespaces(7)), and no id in
        # it is root's.
        linux.unshare(linux.CLONE_NEWUSER)
        namespaces.map_self(inner=namespaces.INNER_UID, outer_uid=0, outer_gid=0)
        linux.drop_bounding_set()


def _restrict_files(walls: Walls, scratch: str) -> None:
    if not walls.landlock_abi:
        return
    readable, writable = list(walls.readable), [scratch, "/dev/null"]
    if walls.tier is Tier.FULL:
        readable.append(os.open("/", os.O_PATH))
        writable.append(root.SHARED_MEMORY)
    opened = [os.open(path, os.O_PATH) for path in writable]
    landlock.restrict(readable=readable, writable=opened, version=walls.landlock_abi)


def _place_descriptors(descriptors: Descriptors, gate: int) -> None:
    """Leave descriptors 0 (nothing to read), 1, 2, 3 and the gate, and close all others."""
    given = (descriptors.channel, descriptors.stdout, descriptors.stderr, gate)
    channel, stdout, stderr, gate = (fcntl.fcntl(number, fcntl.F_DUPFD, 16) for number in given)
    nothing = fcntl.fcntl(os.open(os.devnull, os.O_RDONLY), fcntl.F_DUPFD, 16)
    for target, opened in enumerate((nothing, stdout, stderr, channel)):
        os.dup2(opened, target)
    os.dup2(gate, _GATE, inheritable=False)
    os.closerange(_GATE + 1, _ALL_DESCRIPTORS)


def _limit_resources(limits: Limits, cpu_s: int, walls: Walls) -> None:
    memory = limits.memory_mib << 20
    wanted = {
        # A little above the limit, so that the tree monitor, which names the cause, comes first.
        resource.RLIMIT_DATA: (walls.address_bytes + memory + memory // 8,) * 2,
        resource.RLIMIT_AS: (walls.address_bytes + 4 * memory + (2 << 30),) * 2,
        # SIGXCPU at the first value, SIGKILL at the second.
        resource.RLIMIT_CPU: (cpu_s, cpu_s + 1),
        resource.RLIMIT_NOFILE: (limits.open_files,) * 2,
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (limits.file_mib << 20,) * 2,
        resource.RLIMIT_NPROC: (limits.processes + walls.other_tasks,) * 2,
        resource.RLIMIT_STACK: (_STACK_BYTES,) * 2,
        resource.RLIMIT_MEMLOCK: (_LOCKED_BYTES,) * 2,
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_SIGPENDING: (_QUEUED_SIGNALS,) * 2,
    }
    for kind, (soft, hard) in wanted.items():
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(kind, (soft, hard))

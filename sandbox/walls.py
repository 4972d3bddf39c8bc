"""What a zygote works out once about the walls that it will build around every program."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sandbox import landlock, namespaces, root, seccomp, tree, wire
from sandbox.lastly import EndsProcess
from sandbox.policy import Policy
from sandbox.types import Limits, Tier

#: Where the kernel counts a program's processes together with everything else of the user's, what other programs and
#: wardens may need besides; the warden's own count keeps the limit there.
_SHARED_COUNT_ROOM: Final = 256


class LayerError(Exception):
    """A layer cannot be built here; `detail` says why, and what would help."""

    def __init__(self, layer: str, detail: str) -> None:
        super().__init__(f"{layer}: {detail}")
        self.layer: Final = layer
        self.detail: Final = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """What is the same for all programs of a zygote.

    Attributes:
        tier: The tier to build.
        is_root: Whether the controller is root, so that programs get user ids of their own.
        readable: Descriptors, opened with O_PATH, of what programs may read where there is no private root.
        landlock_abi: ABI to use; 0 leaves Landlock out.
        policy: The system calls that are allowed; None leaves seccomp out.
        filter: The compiled policy.
        filter_alone: The compiled policy of a program that may create no process.
        shared_bytes: Anonymous memory that each fork shares with the zygote.
        address_bytes: Writable private address space that each fork inherits.
        other_tasks: Processes and threads that the kernel counts against the limit besides the program's own.
        off: Layers left out for a test.
    """

    tier: Tier
    is_root: bool
    readable: Sequence[int]
    landlock_abi: int
    policy: Policy | None
    filter: bytes
    filter_alone: bytes
    shared_bytes: int
    address_bytes: int
    other_tasks: int
    off: frozenset[str]

    def uid(self, slot: int) -> int:
        """Return the user id that the program of `slot` takes, in the zygote's user namespace."""
        if not self.is_root:
            return 0 if self.tier is Tier.FULL else os.geteuid()
        return first_uid(self.tier) + slot

    def ready(self) -> wire.Ready:
        """Return what the controller may tell of these walls."""
        calls = len(self.policy.allowed() | self.policy.rules().keys()) if self.policy is not None else 0
        own_uid = self.tier is Tier.FULL or (self.is_root and self.tier > Tier.NONE)
        return wire.Ready(landlock_abi=self.landlock_abi, calls=calls, own_uid=own_uid)

    def filter_for(self, limits: Limits) -> bytes:
        """Return the filter that the calling process has to install to run a program within `limits`."""
        if self.policy is None:
            return b""
        if self.policy.only_target is not None:
            return seccomp.build(_policy(self.tier, self.is_root, self.landlock_abi, os.getpid()), os.uname().machine)
        return self.filter if limits.processes > 1 else self.filter_alone


def plan(setup: wire.Setup) -> Walls:
    """Return the walls of this zygote, which is in its namespaces and has imported what programs need.

    Raises:
        LayerError: The tier needs a layer that the kernel or the machine does not have.
    """
    tier = setup.tier
    off = frozenset(setup.off)
    if setup.is_root and tier > Tier.NONE:
        _check_readable(setup)
    abi = min(landlock.abi(), setup.landlock_abi)
    if tier is Tier.LITE and abi < landlock.SCOPE_ABI:
        raise LayerError("landlock", f"abi {abi} of {landlock.SCOPE_ABI}; Linux 6.12 or newer has it")
    if tier < Tier.LITE or "landlock" in off:
        abi = 0
    machine = os.uname().machine
    policy = None
    filters = (b"", b"")
    if tier > Tier.NONE and "seccomp" not in off:
        policy = _policy(tier, setup.is_root, abi, os.getpid())
        alone = _policy(tier, setup.is_root, abi, os.getpid(), new_processes=False)
        filters = (seccomp.build(policy, machine), seccomp.build(alone, machine))
    shared_bytes, address_bytes = tree.own_memory()
    return Walls(
        tier=tier,
        is_root=setup.is_root,
        readable=[] if tier is Tier.FULL else _open_readable(setup),
        landlock_abi=abi,
        policy=policy,
        filter=filters[0],
        filter_alone=filters[1],
        shared_bytes=shared_bytes,
        address_bytes=address_bytes,
        other_tasks=_other_tasks(setup),
        off=off,
    )


def first_uid(tier: Tier) -> int:
    """Return the user id of slot 0 when the controller is root, in the zygote's user namespace."""
    return 1 if tier is Tier.FULL else namespaces.FIRST_UID + 1


def _check_readable(setup: wire.Setup) -> None:
    """Try, as a program's user, to enter the folders that programs import from."""
    closed_r, closed_w = os.pipe()
    child = os.fork()
    if child == 0:
        with EndsProcess():
            uid = first_uid(setup.tier)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            closed = [path for path in setup.roots if not os.access(path, os.R_OK | os.X_OK)]
            if setup.scratch and not os.access(setup.scratch, os.X_OK):
                closed.append(setup.scratch)
            os.write(closed_w, "".join(closed[:1]).encode())
    os.close(closed_w)
    _, status = os.waitpid(child, 0)
    with open(closed_r, "rb") as file:
        closed_path = file.read().decode()
    if status or closed_path:
        cure = "Python, its packages and the folder for temporary files must lie where all users may read, as in /opt"
        raise LayerError(
            "readable interpreter", f"{closed_path or 'they'} cannot be used by a user other than root; {cure}"
        )


def _policy(tier: Tier, is_root: bool, abi: int, pid: int, *, new_processes: bool = True) -> Policy:
    # Without Landlock, programs of one user that is not root are kept apart only by having no processes to send and no
    # signals to receive.
    exposed = tier is Tier.LITE_MINUS and not is_root
    return Policy(
        private_files=tier is Tier.FULL,
        read_only=exposed,
        private_processes=tier is Tier.FULL,
        # Abstract ones are the program's own, as its network namespace is; Landlock stays the second wall.
        unix_sockets=tier is Tier.FULL and abi >= landlock.SCOPE_ABI,
        new_processes=new_processes and not exposed,
        only_target=pid if exposed else None,
    )


def _open_readable(setup: wire.Setup) -> list[int]:
    paths = map(os.path.realpath, (*root.SYSTEM, *setup.roots, *root.LINKER_FILES, *root.DEVICES))
    return [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in paths if os.path.exists(path)]


def _other_tasks(setup: wire.Setup) -> int:
    if setup.tier is Tier.FULL or (setup.is_root and setup.tier > Tier.NONE):
        return 0  # a user namespace or a user id of its own
    return tree.tasks_of_user(os.geteuid()) + _SHARED_COUNT_ROOM

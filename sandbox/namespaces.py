"""The zygote's own namespaces, entered once, and the pid namespace of each evaluation."""

from __future__ import annotations

import errno
import os
from typing import Final

from sandbox import linux

#: First of the user ids that programs run under when the controller is root: above those that distributions give out,
#: below systemd's dynamic users (https://systemd.io/UIDS-GIDS).
FIRST_UID: Final = 60000
#: Id that a program sees as its own when the controller is not root.
INNER_UID: Final = 1000

_PRIVATE: Final = (
    linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC | linux.CLONE_NEWUTS | linux.CLONE_NEWCGROUP
)


def enter_as_root() -> None:
    """Enter new mount, network, IPC, UTS and cgroup namespaces that real root owns.

    Raises:
        OSError: The process lacks CAP_SYS_ADMIN, or an outer jail forbids it.
    """
    linux.unshare(_PRIVATE)


def enter_as_user() -> None:
    """Enter new user, mount, network, IPC, UTS and cgroup namespaces, as their root.

    Raises:
        OSError: The kernel's settings or an outer jail forbid user namespaces.
    """
    uid, gid = os.geteuid(), os.getegid()
    linux.unshare(linux.CLONE_NEWUSER | _PRIVATE)
    map_self(inner=0, outer_uid=uid, outer_gid=gid)


def give_up_root(slots: int) -> None:
    """Enter a user namespace whose root is `FIRST_UID` outside, with `slots` more ids for programs.

    The mounts that real root made are locked by this: not even the namespace's root can change them.

    Raises:
        OSError: User namespaces are forbidden, or these ids do not exist in this container.
    """
    entered_r, entered_w = os.pipe()
    mapped_r, mapped_w = os.pipe()
    outer = os.getpid()
    writer = os.fork()
    if writer == 0:
        # Only a process that stayed outside may map more ids than its own.
        try:
            os.close(entered_w)
            os.read(entered_r, 1)
            for kind in ("uid", "gid"):
                linux.write(f"/proc/{outer}/{kind}_map", f"0 {FIRST_UID} {slots + 1}\n")
            os.write(mapped_w, b"1")
        finally:
            os._exit(0)
    os.close(mapped_w)
    try:
        linux.unshare(linux.CLONE_NEWUSER | linux.CLONE_NEWNS)
    finally:
        os.close(entered_w)
        mapped = os.read(mapped_r, 1)
        os.waitpid(writer, 0)
        os.close(entered_r)
        os.close(mapped_r)
    if not mapped:
        raise OSError(errno.EPERM, f"the user ids {FIRST_UID} to {FIRST_UID + slots} could not be mapped")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def map_self(*, inner: int, outer_uid: int, outer_gid: int) -> None:
    """Map the one id of this process, which has just entered a user namespace, to `inner`.

    Raises:
        OSError: The process is not dumpable, or has entered no namespace.
    """
    linux.write("/proc/self/setgroups", "deny")
    linux.write("/proc/self/uid_map", f"{inner} {outer_uid} 1\n")
    linux.write("/proc/self/gid_map", f"{inner} {outer_gid} 1\n")


class PidNamespaces:
    """Forks children that are process 1 of a pid namespace of their own."""

    def __init__(self) -> None:
        # Not closed: setns needs it as long as the zygote lives.
        self._own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def fork(self) -> int:
        """Fork; return the child's process id in the parent and 0 in the child.

        Raises:
            OSError: The kernel has no room for another namespace or process.
        """
        linux.unshare(linux.CLONE_NEWPID)
        child = -1
        try:
            child = linux.fork()
            return child
        finally:
            if child != 0:
                # Back, or the next evaluation would share this one's namespace.
                linux.setns(self._own, linux.CLONE_NEWPID)

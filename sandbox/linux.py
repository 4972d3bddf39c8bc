"""System calls through ctypes: those that Python 3.11 does not wrap, or wraps in more than a fork should pay for.

Numbers and structures: include/uapi/linux/{sched,mount,prctl,capability}.h of Linux 6.12.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
#: Calls through this keep the interpreter's lock, so that a fork's child has it too.
_LOCKED_LIBC: Final = ctypes.PyDLL(None, use_errno=True)

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWCGROUP: Final = 0x0200_0000
CLONE_NEWUTS: Final = 0x0400_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000
CLONE_NEWTIME: Final = 0x0000_0080
CLONE_THREAD: Final = 0x0001_0000

MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2
MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NOSUID: Final = 2
MOUNT_ATTR_NODEV: Final = 4
AT_FDCWD: Final = -100
AT_RECURSIVE: Final = 0x8000

PR_SET_PDEATHSIG: Final = 1
PR_GET_PDEATHSIG: Final = 2
PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
PR_SET_NAME: Final = 15
PR_GET_NAME: Final = 16
PR_GET_SECCOMP: Final = 21
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39
PR_SET_VMA: Final = 0x53564D41

_CAPABILITY_VERSION_3: Final = 0x20080522
#: Numbers that are the same on every architecture with 64 bits since Linux 5.12 unified the tables.
_MOUNT_SETATTR: Final = 442


def check(result: int, what: str) -> int:
    """Return `result` of a C call.

    Raises:
        OSError: The call failed; the message says `what` was tried.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int, *arguments: int | ctypes.c_char_p | ctypes.Array[ctypes.c_char], what: str) -> int:
    """Return what system call `number` returns.

    Raises:
        OSError: The call failed.
    """
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return check(LIBC.syscall(ctypes.c_long(number), *words), what)


def fork() -> int:
    """Fork without Python's hooks; return the child's process id in the parent and 0 in the child.

    The hooks renew what another thread may have held, and the state of `random`. A process with one thread, whose
    programs are given seeds, needs neither, and in each child they write to, and so copy, some 250 pages.

    Raises:
        OSError: There is no room for one more process.
    """
    return check(_LOCKED_LIBC.fork(), "fork")


def write(path: str, text: str) -> None:
    """Write `text` to a file of /proc, in one call.

    Raises:
        OSError: The kernel refuses.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def prctl(option: int, value: int = 0) -> int:
    """Return what `prctl(option, value, 0, 0, 0)` returns.

    Raises:
        OSError: The call failed.
    """
    zero = ctypes.c_ulong(0)
    return check(LIBC.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def unshare(flags: int) -> None:
    """Move this process into new namespaces (for `CLONE_NEWPID`: its next child).

    Raises:
        OSError: The kernel, its settings or an outer jail forbid it.
    """
    check(LIBC.unshare(flags), f"unshare {flags:#x}")


def setns(descriptor: int, kind: int) -> None:
    """Enter the namespace that `descriptor` names.

    Raises:
        OSError: The process lacks the capability.
    """
    check(LIBC.setns(descriptor, kind), "setns")


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """Mount `source` at `target`.

    Raises:
        OSError: The kernel or an outer jail forbids it.
    """

    def encode(text: str | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    result = LIBC.mount(encode(source), encode(target), encode(kind), ctypes.c_ulong(flags), encode(options))
    check(result, f"mount {kind or source} on {target}")


def make_read_only(target: str, *, recursive: bool, devices: bool = False) -> None:
    """Make the mount at `target` read-only, without set-user-id programs, and without devices unless they are wanted.

    A device can be written to all the same; its times, mode and owner cannot be changed.

    Raises:
        OSError: The kernel is older than 5.12, or an outer jail forbids it.
    """
    wanted = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | (0 if devices else MOUNT_ATTR_NODEV)
    attributes = (ctypes.c_uint64 * 4)(wanted, 0, 0, 0)
    raw = ctypes.create_string_buffer(bytes(attributes), 32)
    path = ctypes.c_char_p(os.fsencode(target))
    flags = AT_RECURSIVE if recursive else 0
    syscall(_MOUNT_SETATTR, AT_FDCWD, path, flags, raw, 32, what=f"mount_setattr {target}")


def change_root(target: str, *, pivot_root_number: int) -> None:
    """Make the mount at `target` the root and let go of the old one.

    Both arguments of pivot_root are ".", which stacks the old root on the new one: no folder has to hold it
    (pivot_root(2), "pivot_root(".", ".")").

    Raises:
        OSError: The kernel or an outer jail forbids it.
    """
    os.chdir(target)
    dot = ctypes.c_char_p(b".")
    syscall(pivot_root_number, dot, dot, what="pivot_root")
    check(LIBC.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def drop_bounding_set() -> None:
    """Empty the capability bounding set; does nothing without CAP_SETPCAP."""
    number = 0
    try:
        while True:
            prctl(PR_CAPBSET_DROP, number)
            number += 1
    except OSError:
        # EINVAL past the kernel's last capability; EPERM where there is nothing to drop with.
        return


def drop_capabilities() -> None:
    """Give up every effective, permitted and inheritable capability.

    Raises:
        OSError: The kernel refuses, which it does for no process.
    """
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    check(LIBC.capset(header, (ctypes.c_uint32 * 6)()), "capset")

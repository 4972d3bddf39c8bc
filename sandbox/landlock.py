"""Landlock: what a process and its children may reach in the file system, the network and the process table.

Constants and structures: include/uapi/linux/landlock.h. ABI by kernel: 1 = 5.13, 2 = 5.19 (rename across folders),
3 = 6.2 (truncate), 4 = 6.7 (TCP), 5 = 6.10 (ioctl on devices), 6 = 6.12 (signals, abstract sockets).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable
from typing import Final

from sandbox import linux

#: First ABI that scopes signals and abstract sockets, without which tier lite has no wall between programs.
SCOPE_ABI: Final = 6

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1
_PATH_BENEATH: Final = 1

_EXECUTE: Final = 1
_WRITE_FILE: Final = 2
_READ_FILE: Final = 4
_READ_DIR: Final = 8
_MAKE_CHAR: Final = 64
_MAKE_BLOCK: Final = 2048
_REFER: Final = 8192
_TRUNCATE: Final = 16384
_IOCTL_DEV: Final = 32768
_FIRST_ABI_ACCESS: Final = (1 << 13) - 1
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
_ON_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV


def abi() -> int:
    """Return the kernel's Landlock ABI; 0 if it has none."""
    try:
        return linux.syscall(_CREATE_RULESET, 0, 0, _VERSION, what="landlock version")
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0
        raise


def restrict(*, readable: Iterable[int], writable: Iterable[int], version: int) -> None:
    """Leave this process nothing but reading beneath `readable` and everything but devices beneath `writable`.

    TCP is denied from ABI 4 on; signals and abstract sockets across this border from ABI 6 on. Irrevocable.

    Args:
        readable: Descriptors of files and folders, opened with O_PATH.
        writable: The same.
        version: The ABI to use, at most that of the kernel.

    Raises:
        OSError: The kernel refuses.
    """
    handled = _FIRST_ABI_ACCESS
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        if version >= since:
            handled |= right
    tcp = 3 if version >= 4 else 0  # bind, connect
    scopes = 3 if version >= SCOPE_ABI else 0  # abstract sockets, signals
    attributes = struct.pack("QQQ", handled, tcp, scopes)
    size = 24 if version >= SCOPE_ABI else 16 if version >= 4 else 8
    ruleset = linux.syscall(_CREATE_RULESET, ctypes.c_char_p(attributes), size, 0, what="landlock ruleset")
    try:
        for descriptors, access in (
            (readable, _READ),
            (writable, handled & ~(_EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV)),
        ):
            for descriptor in descriptors:
                folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
                rule = struct.pack("=Qi", access & handled & (-1 if folder else _ON_FILES), descriptor)
                linux.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.c_char_p(rule), 0, what="landlock rule")
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        linux.syscall(_RESTRICT_SELF, ruleset, 0, what="landlock restrict")
    finally:
        os.close(ruleset)

"""The file system of tier full: a read-only root with interpreter and libraries, four devices, and scratch space."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sandbox import linux

SCRATCH: Final = "/box"
SHARED_MEMORY: Final = "/dev/shm"
#: Not /dev/zero: mapped, it gives shared memory that no process need hold (see `policy.py`).
DEVICES: Final = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")
#: Folders of the system itself; the dynamic linker and, where the interpreter lives there, the standard library.
SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store")
LINKER_FILES: Final = ("/etc/ld.so.cache", "/etc/localtime")
#: Where the new root is put together. Only our own mount namespace sees it, and nothing of it is left behind.
_SITES: Final = ("/mnt", "/sys", "/media", "/opt")


def build(roots: Iterable[str], *, uids: Iterable[int], pivot_root_number: int) -> None:
    """Make a fresh root with `roots` bound read-only and enter it; the calling process has its own mount namespace.

    The host's /proc is bound too, because the kernel lets a user namespace mount its own only where one is visible.
    `uids` are the users that programs run as; each has a name.

    Raises:
        OSError: The kernel or an outer jail forbids a mount.
    """
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    sources = [os.path.realpath(path) for path in roots]
    sites = [site for site in _SITES if os.path.isdir(site) and not any(path.startswith(site) for path in sources)]
    if not sites:
        raise FileNotFoundError(errno.ENOENT, f"none of {', '.join(_SITES)} is a folder to mount on")
    site = sites[0]
    linux.mount("tmpfs", site, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=4m,mode=755")
    for path in (*SYSTEM, *sorted(sources), *LINKER_FILES):
        _show(path, site)
    for device in DEVICES:
        _touch(site + device)
        linux.mount(device, site + device, None, linux.MS_BIND)
        # Or programs could speak to those after them by the times of these files, which all may write to.
        linux.make_read_only(site + device, recursive=False, devices=True)
    for folder in (SCRATCH, SHARED_MEMORY, "/proc", "/etc"):
        os.makedirs(site + folder, exist_ok=True)
    users = "".join(f"sandbox{uid}:x:{uid}:{uid}::{SCRATCH}:/bin/false\n" for uid in uids)
    Path(f"{site}/etc/passwd").write_text(users)
    if not os.path.lexists(f"{site}/tmp"):
        os.symlink(SCRATCH.lstrip("/"), f"{site}/tmp")
    linux.mount("/proc", f"{site}/proc", None, linux.MS_BIND | linux.MS_REC)
    linux.change_root(site, pivot_root_number=pivot_root_number)
    linux.make_read_only("/", recursive=False)


def mount_scratch(*, size_bytes: int, inodes: int, uid: int) -> None:
    """Mount private scratch space, owned by `uid`, and shared memory within it, so that both share one quota.

    Raises:
        OSError: The kernel forbids it.
    """
    options = f"size={size_bytes},nr_inodes={inodes},mode=700,uid={uid},gid={uid}"
    flags = linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("tmpfs", SCRATCH, "tmpfs", flags, options)
    shared = f"{SCRATCH}/.shm"
    os.mkdir(shared, 0o700)
    os.chown(shared, uid, uid)
    linux.mount(shared, SHARED_MEMORY, None, linux.MS_BIND)


def mount_proc() -> None:
    """Mount the process table of this process's own pid namespace, without the files about the machine.

    Raises:
        OSError: The kernel forbids it, or parts of the outer /proc are hidden, as in most containers.
    """
    flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
    linux.mount("proc", "/proc", "proc", flags, "subset=pid")


def _show(path: str, site: str) -> None:
    """Bind `path` into the new root, unless it is absent or part of what is bound already."""
    target = site + path
    if not os.path.lexists(path) or os.path.lexists(target):
        return
    if os.path.islink(path) and path in SYSTEM:
        os.symlink(os.readlink(path), target)
        return
    if stat.S_ISDIR(os.stat(path).st_mode):
        os.makedirs(target)
    else:
        _touch(target)
    linux.mount(os.path.realpath(path), target, None, linux.MS_BIND | linux.MS_REC)
    linux.make_read_only(target, recursive=True)


def _touch(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))

"""Scratch folders on the host's file system, for tiers without a private one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile


def create(parent: str) -> str:
    """Return a new folder in `parent` that only its owner may enter.

    Raises:
        OSError: It cannot be created.
    """
    return tempfile.mkdtemp(dir=parent, prefix="run-")


def remove(folder: str) -> None:
    """Remove `folder` whatever a program left in it, following no symlink; what resists is left.

    The program is dead, so nothing changes meanwhile. Folders without permissions are opened first; depth is bounded
    neither by recursion nor by the length of a path, since `os.fwalk` goes by descriptors.
    """
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)
        for _, folders, _, descriptor in os.fwalk(folder, follow_symlinks=False):
            for name in folders:
                with contextlib.suppress(OSError):
                    if not os.path.islink(f"/proc/self/fd/{descriptor}/{name}"):
                        os.chmod(name, 0o700, dir_fd=descriptor)
    shutil.rmtree(folder, ignore_errors=True)

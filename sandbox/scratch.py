"""Scratch folders on the host's file system, for tiers without a private one."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile


def create(parent: str) -> str:
    """Return a new folder in `parent` that only its owner may enter.

    Raises:
        OSError: It cannot be created.
    """
    return tempfile.mkdtemp(dir=parent, prefix="run-")


def remove(folder: str) -> None:
    """Remove `folder` whatever a program left in it, following no symlink; what resists is left.

    The program is dead, so nothing changes meanwhile. Each folder gets permissions first, and what folders it holds are
    moved to the top, so that depth is bounded neither by recursion, nor by descriptors, nor by the length of a path.
    """
    pending = [folder]
    while pending:
        path = pending.pop()
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
            with os.scandir(path) as listing:
                entries = list(listing)
            for entry in entries:
                with contextlib.suppress(OSError):
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)
                        continue
                    # A folder can be moved only by who may write to it.
                    os.chmod(entry.path, 0o700)
                    top = os.path.join(folder, secrets.token_hex(16))
                    os.rename(entry.path, top)
                    pending.append(top)
            if path != folder:
                os.rmdir(path)
    with contextlib.suppress(OSError):
        os.rmdir(folder)

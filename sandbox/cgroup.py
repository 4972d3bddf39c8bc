"""Memory and process limits of a whole tree by the kernel, in control groups of version 2, where a subtree is ours.

A group qualifies if it is the controller's own or one above it, may be written to, and already hands the memory and
pids controllers down: so it does for root, and for what systemd runs in a user's delegated slice. In groups that we did
not make, no controller is switched on and no process moved. Source: Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from pathlib import Path
from typing import Final, Self

from sandbox.errors import SandboxFailure
from sandbox.types import Limits

_PREFIX: Final = "sandbox-"
_CONTROLLERS: Final = frozenset({"memory", "pids"})
_REMOVE_S: Final = 1.0


class Groups:
    """A folder of control groups, one for each evaluation under way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        #: Whether a program has been seen in one of the groups.
        self.proven = False

    @classmethod
    def make(cls) -> Self | None:
        """Return a new folder of groups, or nothing where there is no place for one."""
        for parent in _own_groups():
            with contextlib.suppress(OSError):
                _sweep(parent)
                if not _hands_down(parent):
                    continue
                folder = parent / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
                folder.mkdir()
                try:
                    (folder / "cgroup.subtree_control").write_text("+memory +pids")
                except OSError:
                    folder.rmdir()
                    continue
                return cls(folder)
        return None

    def group(self, limits: Limits) -> Group:
        """Return a new group with `limits`.

        Raises:
            SandboxFailure: The folder is gone.
        """
        path = self._folder / secrets.token_hex(8)
        try:
            path.mkdir()
            (path / "memory.max").write_text(str(limits.memory_mib << 20))
            (path / "memory.oom.group").write_text("1")
            (path / "pids.max").write_text(str(limits.processes))
        except OSError as error:
            raise SandboxFailure(f"no control group for the program: {error}") from error
        with contextlib.suppress(FileNotFoundError):  # a kernel without swap
            (path / "memory.swap.max").write_text("0")
        return Group(path)

    def close(self) -> None:
        """Remove the folder; groups in use stay, and are removed when a sandbox is next opened."""
        with contextlib.suppress(OSError):
            self._folder.rmdir()


class Group:
    """The control group of one evaluation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: Whether a process has been seen in it.
        self.joined = False

    def look(self) -> None:
        """Note whether a process is in the group."""
        with contextlib.suppress(OSError):
            self.joined = "populated 1" in (self._path / "cgroup.events").read_text()

    def open(self) -> int:
        """Return a descriptor; a process that writes "0" to it joins, whatever its user and namespaces are.

        Raises:
            OSError: The group is gone.
        """
        return os.open(self._path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

    def ran_out_of_memory(self) -> bool:
        """Return whether the kernel has killed the group for its memory.

        Raises:
            SandboxFailure: The group is gone.
        """
        try:
            words = (self._path / "memory.events").read_text().split()
        except OSError as error:
            raise SandboxFailure(f"the control group is gone: {error}") from error
        return int(dict(zip(words[::2], words[1::2], strict=True)).get("oom_kill", "0")) > 0

    def remove(self) -> None:
        """Remove the group once its last process is gone; after a second it is left for a later sweep."""
        deadline = time.monotonic() + _REMOVE_S
        while time.monotonic() < deadline:
            try:
                self._path.rmdir()
            except OSError:
                time.sleep(0.001)
            else:
                return


def _own_groups() -> list[Path]:
    """Return this process's group of version 2 and those above it, the nearest first."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [(words[3], words[4]) for words in mounts if words[words.index("-") + 1] == "cgroup2"]
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    if not points or not own:
        return []
    root, point = points[0]
    top = Path(point)
    # What is mounted may itself be a group below the root, as in containers.
    below = own[0].removeprefix(root if root != "/" else "").strip("/")
    group = top / below
    return [folder for folder in (group, *group.parents) if folder == top or top in folder.parents]


def _hands_down(group: Path) -> bool:
    enabled = set((group / "cgroup.subtree_control").read_text().split())
    return enabled >= _CONTROLLERS and os.access(group, os.W_OK) and os.access(group / "cgroup.procs", os.W_OK)


def _sweep(parent: Path) -> None:
    """Remove what killed controllers have left: groups without processes, named after a process that is gone."""
    for folder in parent.glob(f"{_PREFIX}*-*"):
        if not Path(f"/proc/{folder.name.split('-')[1]}").exists():
            for group in (*folder.iterdir(), folder):
                with contextlib.suppress(OSError):
                    group.rmdir()

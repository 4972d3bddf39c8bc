"""The world outside the walls, and whether it is still as it was."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from sandbox import syscalls, tree

#: Name of the secret in the environment of the process that holds the sandbox.
SECRET_NAME = "ATTACK_SECRET"
CONTENT = "untouched\n"


class World(contextlib.ExitStack):
    """A sentinel process, files, listeners and a secret, all of the same user as the sandbox."""

    def __init__(self, secret: str) -> None:
        super().__init__()
        self._secret = secret
        self._folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="attack-")))
        # Open to all, so that nothing but the walls protects it.
        self._folder.chmod(0o777)
        self._file = self._folder / "file"
        self._file.write_text(CONTENT)
        self._file.chmod(0o666)
        self._secret_file = self._folder / "secret"
        self._secret_file.write_text(secret)
        self._secret_file.chmod(0o644)
        self._sentinel = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
        self.callback(self._end_sentinel)
        self._address = f"attack-{secrets.token_hex(8)}"
        self._tcp = self.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = self._tcp.getsockname()[1]
        self._udp = self._bind(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port))
        self._abstract = self._bind(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + self._address)
        self._path = self._bind(socket.AF_UNIX, socket.SOCK_STREAM, str(self._folder / "socket"))
        self._datagrams = self._bind(socket.AF_UNIX, socket.SOCK_DGRAM, str(self._folder / "datagrams"))
        for name in ("socket", "datagrams"):
            (self._folder / name).chmod(0o777)
        for listener in (self._tcp, self._abstract, self._path):
            listener.listen()
            listener.setblocking(False)
        self._state = self._files()

    def targets(self, zygote: int) -> dict[str, Any]:
        """Return what attacks are told of the world."""
        return {
            "controller": os.getpid(),
            "sentinel": self._sentinel.pid,
            "zygote": zygote,
            "folder": str(self._folder),
            "file": str(self._file),
            "secret_file": str(self._secret_file),
            "driver": __file__,
            "port": self._tcp.getsockname()[1],
            "address": self._address,
            "nr": syscalls.numbers(os.uname().machine),
        }

    def damage(self, *, zygote: int, full: bool, scratch: str, outputs: str) -> list[str]:
        """Return what is no longer as it was; `outputs` is all that a program gave out."""
        found = []
        if self._sentinel.poll() is not None:
            found.append("the sentinel is dead")
        if not Path(f"/proc/{zygote}").exists():
            found.append("the zygote is dead")
        if survivors := self._survivors(zygote, full=full):
            found.append(f"processes survive: {survivors}")
        if left := self._left_folders(scratch):
            found.append(f"scratch folders are left: {left}")
        if self._files() != self._state:
            found.append("files are changed")
        if self._secret in outputs:
            found.append("the secret is out")
        if Path("/tmp/pickled").exists():
            found.append("a pickle was executed")
        return found + [f"{name} was reached" for name in self._reached()]

    def _end_sentinel(self) -> None:
        self._sentinel.kill()
        self._sentinel.wait()

    def _bind(self, family: int, kind: int, address: Any) -> socket.socket:
        listener = self.enter_context(socket.socket(family, kind))
        listener.bind(address)
        listener.setblocking(False)
        return listener

    def _files(self) -> dict[str, Any]:
        entries = {}
        for path in [self._folder, *sorted(self._folder.iterdir())]:
            status = path.lstat()
            content = path.read_text() if path.is_file() else ""
            names = os.listxattr(path, follow_symlinks=False)
            entries[path.name] = (status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns, content, names)
        return entries

    def _reached(self) -> list[str]:
        reached = []
        for name, listener in (("TCP", self._tcp), ("abstract socket", self._abstract), ("socket", self._path)):
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                reached.append(name)
        for name, receiver in (("UDP", self._udp), ("datagram socket", self._datagrams)):
            with contextlib.suppress(BlockingIOError):
                receiver.recv(1)
                reached.append(name)
        return reached

    def _survivors(self, zygote: int, *, full: bool) -> list[int]:
        """Return the processes below the zygote, if they are more than it has by itself once all wardens have ended.

        By itself it has one warden in waiting, with the process that waits for a program; in tier full the first one
        below is the zygote proper.
        """
        own = 3 if full else 2
        deadline = time.monotonic() + 30
        while len(left := list(tree.descendants(zygote))) > own:
            if time.monotonic() > deadline:
                return left
            time.sleep(0.002)
        return []

    def _left_folders(self, scratch: str) -> list[Path]:
        """Return scratch folders, if they are more than the empty one of the warden in waiting."""
        deadline = time.monotonic() + 30
        while scratch:
            left = list(Path(scratch).iterdir())
            with contextlib.suppress(FileNotFoundError):
                if len(left) <= 1 and not any(list(path.iterdir()) for path in left):
                    break
            if time.monotonic() > deadline:
                return left
            time.sleep(0.002)
        return []

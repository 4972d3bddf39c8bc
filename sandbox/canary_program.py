"""The program of the canaries, run inside the walls from its text: tries to get out, and tells what stopped it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping

REACHED = "REACHED"
#: More than any process number can be.
_NOBODY = 1 << 30


def attempt(targets: dict[str, str]) -> dict[str, str]:
    """Return, for each way out, the name of the error that closed it, or `REACHED`."""
    controller = int(targets["controller"])
    if _is_another(controller, targets["started"]):
        # In a pid namespace of our own, the number may be this process's or the warden's.
        controller = _NOBODY
    ways: Mapping[str, Callable[[], object]] = {
        "read the controller's file": lambda: _read(targets["file"]),
        "change the controller's file": lambda: _append(targets["file"]),
        "read the controller's environment": lambda: _read(f"/proc/{controller}/environ"),
        "signal the controller": lambda: os.kill(controller, 0),
        "connect by TCP": lambda: _connect(socket.AF_INET, ("127.0.0.1", int(targets["port"]))),
        "connect by UNIX socket": lambda: _connect(socket.AF_UNIX, "\0" + targets["address"]),
        "become root": lambda: os.setuid(0),
        "use an inherited descriptor": _find_descriptor,
        "hold memory that no process maps": lambda: os.memfd_create("canary"),
    }
    return {name: _outcome(way) for name, way in ways.items()}


def _is_another(pid: int, started: str) -> bool:
    """Return whether `pid` is visibly another process than the one that started at `started` (proc_pid_stat(5), 22)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19] != started
    except OSError:
        return False


def _outcome(way: Callable[[], object]) -> str:
    try:
        way()
    except OSError as error:
        return type(error).__name__ if type(error) is not OSError else f"errno {error.errno}"
    return REACHED


def _read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def _append(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"!")


def _connect(family: int, address: tuple[str, int] | str) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        sock.connect(address)


def _find_descriptor() -> None:
    """Succeed if a descriptor beyond the four that every program has is open."""
    error: OSError | None = None
    for descriptor in range(4, 256):
        try:
            os.fstat(descriptor)
        except OSError as closed:
            error = closed
        else:
            return
    if error is not None:
        raise error

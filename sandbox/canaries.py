"""Start-up proofs that the walls stand: attacks by our own programs, for a layer that reports success may be absent."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sandbox import canary_program
from sandbox.canary_program import REACHED
from sandbox.converse import converse
from sandbox.types import Ending, Job, Limits, Sandbox, Tier

_LIMITS: Final = Limits(wall_s=10.0, memory_mib=256, processes=8)
#: Name to source, limits, and the endings that prove the wall.
_ENDINGS: Final[Mapping[str, tuple[str, Limits, frozenset[Ending]]]] = {
    "trace a process": (
        "import ctypes\nctypes.CDLL(None).ptrace(0, 0, 0, 0)",
        _LIMITS,
        frozenset({Ending.VIOLATION}),
    ),
    "enter a user namespace": (
        "import ctypes\nctypes.CDLL(None).unshare(0x10000000)",
        _LIMITS,
        frozenset({Ending.VIOLATION}),
    ),
    "run for ever": ("while True: pass", Limits(wall_s=0.2, memory_mib=256), frozenset({Ending.TIMEOUT})),
    "use all memory": (
        "hoard = []\nwhile True: hoard.append(bytearray(1 << 20))",
        Limits(wall_s=20.0, memory_mib=64),
        frozenset({Ending.MEMORY}),
    ),
    "fork without end": (
        "import os, time\nwhile True: os.fork()",
        Limits(wall_s=10.0, memory_mib=256, processes=4),
        # The fork that fails raises, or the warden counts first.
        frozenset({Ending.ERROR, Ending.KILLED}),
    ),
}
_PROMISED_BY_NONE: Final = frozenset({"run for ever", "use all memory", "fork without end"})
#: Without Landlock and without a user id of its own, a program reads what its user may read.
_OPEN_IN_LITE_MINUS: Final = frozenset({"read the controller's file", "read the controller's environment"})


def release(sandbox: Sandbox) -> dict[str, str]:
    """Return each attack and what stopped it, or `REACHED`.

    Raises:
        SandboxFailure: The sandbox broke.
    """
    seen = _ways_out(sandbox)
    for name, (source, limits, expected) in _ENDINGS.items():
        job = Job(source=source, entry_point="attempt", seed=0, limits=limits)
        ending = converse(sandbox, job).result.ending
        seen[name] = str(ending) if ending in expected else REACHED
    return seen


def broken(seen: Mapping[str, str], tier: Tier, *, is_root: bool) -> list[str]:
    """Return the attacks that got through although `tier` promises that they do not."""
    reached = {name for name, outcome in seen.items() if outcome == REACHED}
    if tier is Tier.NONE:
        return sorted(reached & _PROMISED_BY_NONE)
    if tier is Tier.LITE_MINUS and not is_root:
        return sorted(reached - _OPEN_IN_LITE_MINUS)
    return sorted(reached)


def _ways_out(sandbox: Sandbox) -> dict[str, str]:
    """Try all ways out of one program, with real targets on this side."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="canary-"))
        file = Path(folder, "secret")
        file.write_text(secrets.token_hex())
        if sandbox.report.tier >= Tier.LITE:
            # Open to all, so that nothing but the walls protects it.
            os.chmod(folder, 0o755)
            os.chmod(file, 0o666)
        address = f"canary-{secrets.token_hex(8)}"
        unix = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        unix.bind("\0" + address)
        unix.listen()
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        targets = {
            "controller": str(os.getpid()),
            "started": started,
            "file": str(file),
            "port": str(port),
            "address": address,
        }
        job = Job(source=Path(canary_program.__file__).read_text(), entry_point="attempt", seed=0, limits=_LIMITS)
        conversation = converse(sandbox, job, [[targets]])
    answer = conversation.answers[0] if conversation.answers else None
    if not isinstance(answer, dict):
        return {"run the canaries": REACHED}
    return {name: str(outcome) for name, outcome in answer.items()}

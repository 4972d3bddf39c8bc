"""Starts a zygote and speaks to it, on the controller's side."""

from __future__ import annotations

import importlib.util
import os
import select
import socket
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from typing import Final

from sandbox import scratch, wire
from sandbox.errors import SandboxFailure
from sandbox.slots import SLOTS
from sandbox.types import Tier

_START_S: Final = 120.0
_STOP_S: Final = 5.0
_WORDS_BYTES: Final = 2000
_ENVIRONMENT: Final = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/box",
    "TMPDIR": "/box",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
_CURES: Final = {
    "namespaces": (
        "; allow user namespaces (sysctl kernel.unprivileged_userns_clone=1 or"
        " kernel.apparmor_restrict_unprivileged_userns=0; in a container, a seccomp profile with unshare and mount)"
    ),
    "user ids": "; root needs CAP_SETUID and CAP_SETGID",
    "own /proc": "; in a container, run with --security-opt systempaths=unconfined",
}
#: Loads this package by its own folder, so that nothing beside it becomes importable for programs.
_BOOTSTRAP: Final = """
import importlib.util, sys
folder, setup, packages = sys.argv[1], sys.argv[2], sys.argv[3:]
sys.argv = ["candidate"]
sys.path += packages
spec = importlib.util.spec_from_file_location("sandbox", folder + "/__init__.py", submodule_search_locations=[folder])
package = importlib.util.module_from_spec(spec)
sys.modules["sandbox"] = package
spec.loader.exec_module(package)
from sandbox import zygote
zygote.main(setup)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """What kind of zygote to start.

    Attributes:
        tier: The tier to build, exactly.
        preload: Modules to import. From the folders that hold their packages programs can import anything.
        off: Layers to leave out, for the test that proves that each is needed.
        landlock_abi: Newest Landlock ABI to use, for the test that older kernels are served.
        runs: Evaluations after which a zygote is replaced.
        cpus: Processors that programs may use; all if empty.
    """

    tier: Tier
    preload: tuple[str, ...]
    off: tuple[str, ...] = ()
    landlock_abi: int = 1 << 16
    runs: int = 2000
    cpus: tuple[int, ...] = ()


class LayerMissing(SandboxFailure):
    """The zygote could not build a layer of its tier on this machine."""

    def __init__(self, layer: str, detail: str) -> None:
        super().__init__(f"{layer}: {detail}{_CURES.get(layer, '')}")
        self.layer: Final = layer


class ZygoteProcess:
    """One zygote, from its start to its end; safe to order from many threads."""

    def __init__(self, blueprint: Blueprint) -> None:
        """Start it and wait until its layers are up.

        Raises:
            LayerMissing: The machine lacks a layer.
            SandboxFailure: It died, or did not answer in time.
        """
        packages = package_folders(blueprint.preload)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self.scratch = tempfile.mkdtemp(prefix="sandbox-") if blueprint.tier is not Tier.FULL else ""
        setup = wire.Setup(
            tier=blueprint.tier,
            is_root=os.geteuid() == 0,
            preload=blueprint.preload,
            roots=(*_interpreter_folders(), *packages),
            control=theirs.fileno(),
            controller=os.getpid(),
            slots=SLOTS,
            scratch=self.scratch,
            landlock_abi=blueprint.landlock_abi,
            off=blueprint.off,
            cpus=blueprint.cpus,
        )
        if self.scratch:
            os.chmod(self.scratch, 0o711)
        folder = os.path.dirname(os.path.abspath(__file__))
        self._log = open(os.memfd_create("zygote-stderr"), "w+b", buffering=0)  # noqa: SIM115  (closed by `close`)
        command = [_interpreter(), "-I", "-S", "-c", _BOOTSTRAP, folder, setup.to_json(), *packages]
        self._process = subprocess.Popen(
            command,
            env=_ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()
        self.runs = 0
        try:
            self.ready = self._await_ready()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Process id of the zygote, in tier full of the process that waits for it."""
        return self._process.pid

    def order(self, order: wire.Order, descriptors: wire.Descriptors) -> None:
        """Send an order with its descriptors, which the caller still has to close.

        Raises:
            SandboxFailure: The zygote is gone.
        """
        try:
            wire.send_order(self._control, order.to_packet(), descriptors)
        except OSError as error:
            raise SandboxFailure(f"the zygote is gone: {error}; {self.last_words()}") from error

    def close(self) -> None:
        """End it and everything it runs."""
        self._control.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
        if self.scratch:
            scratch.remove(self.scratch)

    def _await_ready(self) -> wire.Ready:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        packet = self._control.recv(wire.PACKET_BYTES) if poll.poll(_START_S * 1000) else b""
        if not packet:
            raise SandboxFailure(f"the zygote did not start: {self.last_words()}")
        notice = wire.unpack(packet)
        if isinstance(notice, wire.Unusable):
            raise LayerMissing(notice.layer, notice.detail)
        if not isinstance(notice, wire.Ready):
            raise SandboxFailure(f"the zygote began with {type(notice).__name__}")
        return notice

    def last_words(self) -> str:
        """Return the end of what it wrote to stderr."""
        if self._log.closed:
            return "no message"
        # Read at a place of our own: the zygote writes at the offset that both share.
        descriptor = self._log.fileno()
        end = os.fstat(descriptor).st_size
        words = os.pread(descriptor, _WORDS_BYTES, max(0, end - _WORDS_BYTES))
        return words.decode(errors="replace").strip() or "no message"


def package_folders(preload: tuple[str, ...]) -> tuple[str, ...]:
    """Return the folders that hold the top-level packages of `preload`, in order and without repeats.

    Raises:
        LayerMissing: One is not installed.
    """
    folders: list[str] = []
    for name in preload:
        top = name.partition(".")[0]
        spec = importlib.util.find_spec(top)
        if spec is None:
            raise LayerMissing("preloaded modules", f"{top!r} is not installed")
        if not spec.has_location or spec.origin is None:
            continue  # built into the interpreter
        where = os.path.dirname(os.path.realpath(spec.origin))
        folder = os.path.dirname(where) if spec.submodule_search_locations else where
        if folder not in folders:
            folders.append(folder)
    return tuple(folders)


def _interpreter() -> str:
    """Return the interpreter outside any virtual environment: inside the walls the environment's folder is absent."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _interpreter_folders() -> tuple[str, ...]:
    paths = {os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)}
    paths |= {os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")}
    return tuple(sorted(path for path in paths if path not in ("/", "/usr")))

"""What controller, zygote and warden say to each other: JSON in one packet of a SEQPACKET socket.

All of them are trusted; nothing here ever carries what a program wrote.
"""

from __future__ import annotations

import enum
import json
import socket
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple, Self

from sandbox.types import Limits, Tier

#: Packets are small: the largest holds an error message.
PACKET_BYTES: Final = 1 << 16


class Cause(enum.StrEnum):
    """Why the warden ended an evaluation."""

    EXIT = "exit"
    TIMEOUT = "timeout"
    CPU = "cpu"
    MEMORY = "memory"
    PROCESSES = "processes"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a new zygote has to know; crosses as its command line.

    Attributes:
        tier: `Tier` to build.
        is_root: Whether the controller is root, so that programs can be given user ids of their own.
        preload: Modules to import before the first fork.
        roots: Files and folders that programs may read.
        control: Descriptor of the zygote's socket.
        controller: Process id of the controller.
        slots: User ids set aside for programs, from `FIRST_UID` on; used when the controller is root.
        scratch: Folder for scratch folders, in tiers without a private file system.
        landlock_abi: Newest Landlock ABI to use, for the test that older kernels are served.
        off: Layers left out, for the test that proves that each is needed.
        cpus: Processors that programs may use; all if empty.
    """

    tier: Tier
    is_root: bool
    preload: tuple[str, ...]
    roots: tuple[str, ...]
    control: int
    controller: int
    slots: int
    scratch: str
    landlock_abi: int
    off: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()

    def to_json(self) -> str:
        """Return the one-line form that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` wrote."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(text).items()
        }
        return cls(**{**fields, "tier": Tier(fields["tier"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Controller to zygote to warden to the program's process: run this. `Descriptors` come with it."""

    entry_point: str
    seed: int
    slot: int
    limits: Limits
    cpu_budget_s: float

    def to_packet(self) -> bytes:
        """Return the packet that `from_packet` reads."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_packet(cls, packet: bytes) -> Self:
        """Return what `to_packet` wrote."""
        fields: dict[str, Any] = json.loads(packet)
        return cls(**{**fields, "limits": Limits(**fields["limits"])})


class Descriptors(NamedTuple):
    """What comes along with an order, in this order.

    Attributes:
        source: Memory file with the program's text.
        channel: The program's end of the channel to its verifier.
        stdout: Write end of a pipe.
        stderr: Write end of a pipe.
        control: Socket to the controller; when it closes, the evaluation is to end.
        group: File that a process joins the evaluation's control group by; /dev/null if it has none.
    """

    source: int
    channel: int
    stdout: int
    stderr: int
    control: int
    group: int


def send_order(sock: socket.socket, packet: bytes, descriptors: Descriptors) -> None:
    """Send an order's packet and its descriptors, which the caller still has to close.

    Raises:
        OSError: The peer is gone.
    """
    socket.send_fds(sock, [packet], list(descriptors))


def receive_order(sock: socket.socket) -> tuple[bytes, Descriptors] | None:
    """Return the next order's packet and descriptors, or nothing if the peer has closed."""
    packet, descriptors, _, _ = socket.recv_fds(sock, PACKET_BYTES, len(Descriptors._fields))
    return (packet, Descriptors(*descriptors)) if packet else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Zygote to controller: layers are up, orders are welcome.

    Attributes:
        landlock_abi: The ABI in use; 0 for none.
        calls: System calls that programs may make; 0 if all.
        own_uid: Whether programs run as users of their own.
    """

    landlock_abi: int
    calls: int
    own_uid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """Zygote to controller: `layer` could not be built, `detail` says why and what would help."""

    layer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Warden to controller: the walls are up, the program runs next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Warden to controller: the walls could not be built; the program never ran."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Warden to controller: every process of the program is dead.

    Attributes:
        cause: Why.
        status: Wait status of the program's first process.
        wall_s: Seconds from `Started`.
        cpu_s: Processor seconds of all its processes.
        peak_bytes: Largest memory seen.
        peak_processes: Most processes and threads seen.
    """

    cause: str
    status: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    peak_processes: int


Notice = Ready | Unusable | Started | Failed | Ended
_KINDS: Final = {kind.__name__: kind for kind in (Ready, Unusable, Started, Failed, Ended)}


def pack(notice: Notice) -> bytes:
    """Return the packet that `unpack` reads."""
    fields = {name: getattr(notice, name) for name in notice.__slots__}
    return json.dumps([type(notice).__name__, fields]).encode()


def unpack(packet: bytes) -> Notice:
    """Return what `pack` wrote."""
    name, fields = json.loads(packet)
    notice: Notice = _KINDS[name](**fields)
    return notice

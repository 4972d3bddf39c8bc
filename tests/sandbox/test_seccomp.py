"""The filter does what the policy says, number by number, on both architectures."""

from __future__ import annotations

import errno
import struct

import pytest

from sandbox import policy, seccomp, syscalls
from sandbox.generate_syscalls import GENERIC, VERSION, X86_64, aarch64, x86_64
from sandbox.policy import Policy

FULL = Policy(private_files=True, read_only=False, private_processes=True, unix_sockets=True, new_processes=True)
LITE = Policy(private_files=False, read_only=False, private_processes=False, unix_sockets=False, new_processes=True)
EXPOSED = Policy(
    private_files=False,
    read_only=True,
    private_processes=False,
    unix_sockets=False,
    new_processes=False,
    only_target=77,
)
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def verdict(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """Return what a filter says of a call: an interpreter of classic BPF as seccomp(2) describes it."""
    words = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, audit, 0, *[word & 0xFFFF_FFFF_FFFF_FFFF for word in words])
    accumulator = position = 0
    while True:
        code, if_true, if_false, operand = struct.unpack_from("=HBBI", program, 8 * position)
        position += 1
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, operand)[0]
        elif code == 0x54:
            accumulator &= operand
        elif code == 0x05:
            position += operand
        elif code == 0x15:
            position += if_true if accumulator == operand else if_false
        elif code == 0x35:
            position += if_true if accumulator >= operand else if_false
        elif code == 0x06:
            return int(operand)
        else:
            raise ValueError(f"no such instruction: {code:#x}")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("chosen", [FULL, LITE, EXPOSED], ids=["full", "lite", "exposed"])
def test_every_number_gets_the_fate_of_its_name(machine: str, chosen: Policy) -> None:
    """Allowed, hostile, absent, known and unknown numbers are told apart, each one of them."""
    program = seccomp.build(chosen, machine)
    table = syscalls.numbers(machine)
    names = {number: name for name, number in table.items()}
    for number in range(max(names) + 50):
        name = names.get(number)
        if name in chosen.rules():
            continue
        if name in chosen.allowed():
            expected = ALLOW
        elif name in policy.HOSTILE:
            expected = KILL
        elif name is None or name in policy.ABSENT:
            expected = ERRNO | errno.ENOSYS
        else:
            expected = ERRNO | errno.EPERM
        assert verdict(program, AUDIT[machine], number) == expected, name


@pytest.mark.parametrize(
    ("chosen", "name", "arguments", "expected"),
    [
        (FULL, "mmap", (0, 4096, 3, 0x22), ALLOW),
        (FULL, "mmap", (0, 4096, 3, 0x20022), ALLOW),
        (FULL, "mmap", (0, 4096, 3, 0x01, 5), ALLOW),
        (FULL, "mmap", (0, 4096, 3, 0x21), ERRNO | errno.EPERM),
        (FULL, "mmap", (0, 4096, 3, 0x40022), ERRNO | errno.EPERM),
        (EXPOSED, "mmap", (0, 4096, 3, 0x23), ERRNO | errno.EPERM),
        (FULL, "setsockopt", (3, 1, 2), ALLOW),
        (FULL, "setsockopt", (3, 1, 7), ERRNO | errno.EPERM),
        (FULL, "setsockopt", (3, 1, 32), ERRNO | errno.EPERM),
        (FULL, "clone", (0x11,), ALLOW),
        (FULL, "clone", (0x003D0F00,), ALLOW),
        (FULL, "clone", (0x10000011,), KILL),
        (FULL, "clone", (0x02000011,), KILL),
        (EXPOSED, "clone", (0x003D0F00,), ALLOW),
        (EXPOSED, "clone", (0x11,), ERRNO | errno.EPERM),
        (FULL, "ioctl", (0, 0x5401), ALLOW),
        (FULL, "ioctl", (0, 0x5412), ERRNO | errno.ENOTTY),
        (FULL, "ioctl", (0, 0x1_0000_5412), ERRNO | errno.ENOTTY),
        (FULL, "fcntl", (0, 1030), ALLOW),
        (FULL, "fcntl", (0, 6), ERRNO | errno.EPERM),
        (FULL, "prlimit64", (0, 7), ALLOW),
        (FULL, "prlimit64", (1, 7), ERRNO | errno.EPERM),
        (FULL, "prctl", (15,), ALLOW),
        (FULL, "prctl", (1,), ERRNO | errno.EPERM),
        (FULL, "prctl", (22,), ERRNO | errno.EPERM),
        (FULL, "socket", (1, 1, 0), ALLOW),
        (FULL, "socket", (2, 1, 0), ERRNO | errno.EACCES),
        (LITE, "socket", (1, 1, 0), ERRNO | errno.EACCES),
        (LITE, "socketpair", (1, 1 | 0o2000000, 0), ALLOW),
        (LITE, "socketpair", (1, 5, 0), ALLOW),
        (LITE, "socketpair", (1, 2, 0), ERRNO | errno.EACCES),
        (EXPOSED, "kill", (77, 9), ALLOW),
        (EXPOSED, "kill", (-1, 9), ERRNO | errno.EPERM),
        (EXPOSED, "tgkill", (77, 77, 9), ALLOW),
        (EXPOSED, "openat", (0, 0, 0o2000000), ALLOW),
        (EXPOSED, "openat", (0, 0, 1), ERRNO | errno.EROFS),
        (EXPOSED, "openat", (0, 0, 0o100), ERRNO | errno.EROFS),
    ],
)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_arguments_decide_where_they_must(
    machine: str, chosen: Policy, name: str, arguments: tuple[int, ...], expected: int
) -> None:
    """Conditions look at the right argument, at its low half only, and fail as the policy says."""
    program = seccomp.build(chosen, machine)

    assert verdict(program, AUDIT[machine], syscalls.numbers(machine)[name], *arguments) == expected


def test_foreign_calls_are_deadly() -> None:
    """Calls of the 32-bit and x32 ABIs, whose numbers mean something else, are killed."""
    program = seccomp.build(FULL, "x86_64")

    assert verdict(program, 0x40000003, 20) == KILL
    assert verdict(program, AUDIT["x86_64"], 0x40000000 + 39) == KILL
    assert verdict(program, AUDIT["x86_64"], 0xFFFFFFFF) == KILL


def test_names_of_the_policy_are_known() -> None:
    """A name with a slip would allow nothing, or deny nothing, in silence."""
    lists = (policy.HOSTILE, policy.ABSENT, policy.CHANGES, policy.KILLS, policy.METADATA, policy.GROUPS)
    names = set(FULL.allowed()) | set(FULL.rules()) | {name for group in lists for name in group}

    assert names <= set(syscalls.numbers("x86_64"))
    assert not FULL.allowed() & (set(policy.HOSTILE) | set(policy.ABSENT) | set(FULL.rules()))


def test_the_tables_are_those_of_the_headers() -> None:
    """Where the headers of the same kernel are installed, the generator writes what is checked in."""
    if not (VERSION.exists() and X86_64.exists() and "PATCHLEVEL 1\n" in VERSION.read_text()):
        pytest.skip("needs the headers of Linux 6.1")

    assert x86_64(X86_64.read_text()) == syscalls.numbers("x86_64")
    assert aarch64(GENERIC.read_text()) == syscalls.numbers("aarch64")


def test_known_numbers() -> None:
    """A few numbers as the architecture manuals have them."""
    intel, arm = syscalls.numbers("x86_64"), syscalls.numbers("aarch64")

    assert (intel["read"], intel["execve"], intel["seccomp"], intel["openat"]) == (0, 59, 317, 257)
    assert (arm["read"], arm["execve"], arm["seccomp"], arm["openat"]) == (63, 221, 277, 56)
    assert {"fork", "open", "arch_prctl"}.isdisjoint(arm)

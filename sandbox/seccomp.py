"""seccomp: turns a `Policy` into a filter of classic BPF and installs it.

The filter finds the call's number by bisection, so it costs some eight steps, and the kernel remembers the numbers that
are allowed whatever their arguments (Documentation/userspace-api/seccomp_filter.rst; kernel/seccomp.c, "action cache").
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Sequence
from typing import Final

from sandbox import linux, syscalls
from sandbox.policy import ABSENT, HOSTILE, Policy, Rule

#: include/uapi/linux/audit.h
_AUDIT_ARCH: Final = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
#: Calls of the x32 ABI have this bit, and would otherwise pass for others.
_X32_BIT: Final = 0x4000_0000

_KILL: Final = 0x8000_0000
_ERRNO: Final = 0x0005_0000
_ALLOW: Final = 0x7FFF_0000
_LOAD: Final = 0x20
_AND: Final = 0x54
_JUMP: Final = 0x05
_JUMP_EQUAL: Final = 0x15
_JUMP_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
#: Offsets in struct seccomp_data; the low half of an argument, for both machines are little-endian.
_NUMBER: Final = 0
_MACHINE: Final = 4
_ARGUMENTS: Final = 16
_SET_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def build(policy: Policy, machine: str) -> bytes:
    """Return the filter for `policy` as an array of struct sock_filter.

    Raises:
        KeyError: There is no table for `machine`.
    """
    program: list[Instruction] = [
        (_LOAD, 0, 0, _MACHINE),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    program += _bisect(_ranges(policy, machine))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def install(program: bytes, machine: str) -> None:
    """Bind this process, all its threads and their children to the filter; irrevocable.

    Raises:
        OSError: The kernel has no seccomp, or refuses the filter.
    """
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    wrapped = _Program(len(program) // 8, program)
    number = syscalls.numbers(machine)["seccomp"]
    raw = ctypes.cast(ctypes.pointer(wrapped), ctypes.c_char_p)
    linux.syscall(number, _SET_MODE_FILTER, _ALL_THREADS, raw, what="seccomp")


def available() -> bool:
    """Return whether the kernel can filter system calls, and this machine has a table."""
    try:
        linux.prctl(linux.PR_GET_SECCOMP)
    except OSError:
        return False
    return os.uname().machine in _AUDIT_ARCH


def _ranges(policy: Policy, machine: str) -> list[tuple[int, list[Instruction]]]:
    """Return the first number of each run of numbers with one fate, in order, with the instructions for that fate."""
    table = syscalls.numbers(machine)
    allowed, rules = policy.allowed(), policy.rules()
    fate: dict[int, list[Instruction]] = {}
    for name, number in table.items():
        if name in rules:
            fate[number] = _conditions(rules[name])
        elif name in allowed:
            fate[number] = [(_RETURN, 0, 0, _ALLOW)]
        elif name in HOSTILE:
            fate[number] = [(_RETURN, 0, 0, _KILL)]
        elif name not in ABSENT:
            fate[number] = [(_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    unknown: list[Instruction] = [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    ranges: list[tuple[int, list[Instruction]]] = []
    for number in range(max(table.values()) + 2):
        instructions = fate.get(number, unknown)
        if not ranges or ranges[-1][1] != instructions:
            ranges.append((number, instructions))
    return [*ranges, (_X32_BIT, [(_RETURN, 0, 0, _KILL)])]


def _bisect(ranges: Sequence[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """Return a binary tree of comparisons, with the number in the accumulator."""
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _bisect(ranges[:middle]), _bisect(ranges[middle:])
    # A conditional jump reaches 255 instructions only, so a plain one follows it.
    return [(_JUMP_AT_LEAST, 0, 1, ranges[middle][0]), (_JUMP, 0, 0, len(below)), *below, *above]


def _conditions(rules: Sequence[Rule]) -> list[Instruction]:
    program: list[Instruction] = []
    for rule in rules:
        refusal = _KILL if rule.error is None else _ERRNO | rule.error
        program += [(_LOAD, 0, 0, _ARGUMENTS + 8 * rule.argument), (_AND, 0, 0, rule.mask)]
        for index, value in enumerate(rule.values):
            # Over the comparisons that are left and the refusal.
            program.append((_JUMP_EQUAL, len(rule.values) - index, 0, value & 0xFFFF_FFFF))
        program.append((_RETURN, 0, 0, refusal))
    return [*program, (_RETURN, 0, 0, _ALLOW)]

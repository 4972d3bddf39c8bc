"""Fewer and larger mappings in the zygote: the kernel copies them at every fork, and takes them down at every end."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable
from itertools import pairwise
from typing import Final, NamedTuple

from sandbox import linux

#: include/uapi/asm-generic/mman-common.h; since Linux 6.1.
_COLLAPSE: Final = 25
_HUGE_PAGE_BYTES: Final = 2 << 20


class Mapping(NamedTuple):
    """One line of /proc/self/maps; `name` is empty where there is none."""

    begin: int
    end: int
    rights: str
    name: str


def merge_pieces() -> None:
    """Make neighbouring pieces of each library alike, so that the kernel joins them: five become two.

    Constants beside code become executable, and what the linker sealed after relocation becomes writable again, like
    the variables beside it. To programs this gives nothing, for they may map what they like; processes of our own go
    without a second net. Where a policy of the machine forbids it, the pieces stay as they are.
    """
    for one, other in pairwise(_own()):
        if not one.name.startswith("/") or one.name != other.name or one.end != other.begin:
            continue
        match one.rights, other.rights:
            case "r--p", "r-xp":
                _protect(one, mmap.PROT_READ | mmap.PROT_EXEC)
            case "r-xp", "r--p":
                _protect(other, mmap.PROT_READ | mmap.PROT_EXEC)
            case "r--p", "rw-p":
                _protect(one, mmap.PROT_READ | mmap.PROT_WRITE)


def collapse_heap() -> None:
    """Put the heap as it is now into huge pages, as far as the kernel can.

    It is dense, and programs seldom write to it: the strings and tables of imported modules. A fork then copies one
    entry for 512 pages, and one that a program does write to is split in its process alone. The mapping is not marked,
    so that memory to come is not filled by huge pages, of which a small program would use little.
    """
    for mapping in _own():
        if mapping.name == "[heap]":
            begin = -(-mapping.begin // _HUGE_PAGE_BYTES) * _HUGE_PAGE_BYTES
            length = mapping.end - begin
            if length >= _HUGE_PAGE_BYTES:
                linux.LIBC.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), _COLLAPSE)


def parse(lines: Iterable[str]) -> list[Mapping]:
    """Return the mappings that lines of /proc/self/maps tell of (proc_pid_maps(5))."""
    found = []
    for line in lines:
        place, rights, _, _, _, *name = line.rstrip("\n").split(None, 5)
        begin, _, end = place.partition("-")
        found.append(Mapping(int(begin, 16), int(end, 16), rights, *name or [""]))
    return found


def _own() -> list[Mapping]:
    with open("/proc/self/maps") as file:
        return parse(file)


def _protect(mapping: Mapping, rights: int) -> None:
    length = ctypes.c_size_t(mapping.end - mapping.begin)
    linux.LIBC.mprotect(ctypes.c_void_p(mapping.begin), length, rights)

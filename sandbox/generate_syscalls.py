"""Writes `syscalls.py` from the kernel's headers: `python -m sandbox.generate_syscalls > sandbox/syscalls.py`.

x86-64 has a header of its own, `asm/unistd_64.h`; aarch64 uses the generic one, `asm-generic/unistd.h`, in its form for
64 bits. Package linux-libc-dev of Debian and Ubuntu has both on an x86-64 machine.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Final

X86_64: Final = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
GENERIC: Final = Path("/usr/include/asm-generic/unistd.h")
VERSION: Final = Path("/usr/include/linux/version.h")
_HEAD: Final = '''"""System-call numbers of Linux {version}, written by `generate_syscalls.py`: do not edit."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

X86_64: Final = """
{x86_64}
"""

AARCH64: Final = """
{aarch64}
"""


@cache
def numbers(machine: str) -> Mapping[str, int]:
    """Return name to number for `machine`, as `os.uname` calls it.

    Raises:
        KeyError: There is no table for that machine.
    """
    words = {{"x86_64": X86_64, "aarch64": AARCH64}}[machine].split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))
'''


def x86_64(header: str) -> dict[str, int]:
    """Return name to number.

    >>> x86_64("#define __NR_read 0")
    {'read': 0}
    """
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", header)}


def aarch64(header: str) -> dict[str, int]:
    r"""Return name to number from the generic header, whose `__NR3264_` names get their 64-bit name further down.

    >>> aarch64("#define __NR3264_mmap 222\n#define __NR_mmap __NR3264_mmap\n#define __NR_mmap2 __NR3264_mmap")
    {'mmap': 222}
    """
    table = {
        name: int(number)
        for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", header)
        # 32 bits only; "syscalls" is the count, "arch_specific_syscall" the start of a range.
        if not name.endswith(("time64", "gettime64", "settime64", "syscalls", "arch_specific_syscall"))
    }
    shared = dict(re.findall(r"#define __NR3264_(\w+)\s+(\d+)", header))
    for name, target in re.findall(r"#define __NR_(\w+)\s+__NR3264_(\w+)", header):
        number = shared.pop(target, None)
        if number is not None:
            table[name] = int(number)
    return table


def main() -> None:
    """Write the module to stdout."""
    code = int(re.findall(r"LINUX_VERSION_CODE (\d+)", VERSION.read_text())[0])
    tables = {"x86_64": x86_64(X86_64.read_text()), "aarch64": aarch64(GENERIC.read_text())}
    text = {
        machine: textwrap.fill(" ".join(f"{name} {table[name]}" for name in sorted(table, key=table.__getitem__)), 118)
        for machine, table in tables.items()
    }
    sys.stdout.write(_HEAD.format(version=f"{code >> 16}.{code >> 8 & 255}", **text))


if __name__ == "__main__":
    main()

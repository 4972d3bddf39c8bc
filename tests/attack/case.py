"""What an attack is, and how its success would show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sandbox import Ending
from sandbox.frame import FrameFault

REACHED = "REACHED"

#: Before every attack: `solve` gets `targets`, what there is to hit, and tells what stopped each of its tries.
PRELUDE = """
import ctypes, errno, os, signal, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def tried(way):
    try:
        way()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    except (ValueError, RuntimeError, MemoryError) as error:
        return type(error).__name__
    return "REACHED"

def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
"""


def anything(answers: Any) -> bool:
    """Accept all answers."""
    return answers is not None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One attack.

    Attributes:
        row: Row of the list of attacks in `sandbox/README.md`.
        name: What it tries.
        source: The program, after `PRELUDE`.
        endings: How the program may end.
        check: Whether the answers show that nothing was reached.
        fault: What the decoder must say of the first answer that it refuses.
        any_fault: Whether the decoder may also say anything else, because the attack is a race.
        limits: Limits that differ from the suite's.
        tiers: Where it must fail; elsewhere it is not tried, because the tier does not promise it.
        follow_up: A second program, run after the first one's end; then `check` looks at its answers.
        calls: How often `solve` is called.
    """

    row: int
    name: str
    source: str
    endings: frozenset[Ending] = frozenset({Ending.FINISHED})
    check: Callable[[Any], bool] = anything
    fault: FrameFault | None = None
    any_fault: bool = False
    limits: dict[str, float] = field(default_factory=dict)
    tiers: tuple[str, ...] = ("full", "lite")
    follow_up: str = ""
    calls: int = 1


def stopped(answers: Any) -> bool:
    """Return whether the one answer, a dictionary of tries, tells of no success."""
    return len(answers) == 1 and bool(answers[0]) and REACHED not in answers[0].values()


def tries(row: int, name: str, ways: str, **more: Any) -> Case:
    """Return a case whose program tries `ways`, lines of `"name": lambda: ...`, and must see each of them fail."""
    lines = "".join(f"        {line.strip()}\n" for line in ways.strip().splitlines())
    before = more.pop("before", "")
    source = (
        f"{before}\ndef solve(targets):\n    nr = targets['nr']\n    ways = {{\n{lines}    }}\n"
        "    return {name: tried(way) for name, way in ways.items()}\n"
    )
    return Case(row=row, name=name, source=source, check=stopped, **more)


def violation(row: int, name: str, statement: str) -> Case:
    """Return a case whose program makes one system call that gets it killed."""
    source = f"def solve(targets):\n    nr = targets['nr']\n    {statement}\n"
    return Case(row=row, name=name, source=source, endings=frozenset({Ending.VIOLATION}))

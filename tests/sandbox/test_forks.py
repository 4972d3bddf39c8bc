"""What makes forks cheap, and what of the controller's they must not carry into programs."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import sandbox
from sandbox.candidate import NICE
from sandbox.mappings import Mapping, parse

ROOT = Path(__file__).parents[2]


def run_python(code: str) -> list[str]:
    """Return the lines that `code` prints in an interpreter of its own, which it may bend as it likes."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_mappings_are_read_from_the_kernels_words() -> None:
    """A place is two hexadecimal numbers; names may hold blanks, or be absent."""
    lines = [
        "7f00-7f10 r-xp 00001000 fe:00 2401267                    /opt/a b/_c.so\n",
        "7f10-7f20 rw-p 00000000 00:00 0 \n",
        "55ac-55ad rw-p 00000000 00:00 0                          [heap]\n",
    ]

    assert parse(lines) == [
        Mapping(0x7F00, 0x7F10, "r-xp", "/opt/a b/_c.so"),
        Mapping(0x7F10, 0x7F20, "rw-p", ""),
        Mapping(0x55AC, 0x55AD, "rw-p", "[heap]"),
    ]


def test_pieces_of_libraries_are_joined_and_still_work() -> None:
    """Less than two thirds of the mappings are left, nothing sealed lies before variables, and the code still runs."""
    code = (
        "import ctypes, decimal, hashlib\n"
        "from sandbox import mappings\n"
        "files = lambda: [each for each in mappings._own() if each.name.startswith('/')]\n"
        "before = len(files())\n"
        "mappings.merge_pieces()\n"
        "mappings.collapse_heap()\n"
        "after = files()\n"
        "sealed = [a for a, b in zip(after, after[1:])\n"
        "          if a.name == b.name and a.end == b.begin and (a.rights, b.rights) == ('r--p', 'rw-p')]\n"
        "print(len(after) < before * 2 / 3, sealed, decimal.Decimal('1.5') * 2, hashlib.sha256(b'').hexdigest()[:8])\n"
    )

    assert run_python(code) == ["True [] 3.0 e3b0c442"]


def test_a_fork_runs_no_hook_and_tells_when_there_is_no_room() -> None:
    """The child goes on at once, and the kernel's refusal is an OSError."""
    code = (
        "import os, resource\n"
        "from sandbox import linux\n"
        "os.register_at_fork(after_in_child=lambda: os._exit(9))\n"
        "child = linux.fork()\n"
        "if child == 0: os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "if os.geteuid() == 0: os.setresuid(65534, 65534, 65534)\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n"
        "try:\n"
        "    if linux.fork() == 0: os._exit(0)\n"
        "except BlockingIOError: print('refused')\n"
    )

    assert run_python(code) == ["7", "refused"]


def test_programs_do_not_inherit_what_the_controller_does_with_signals() -> None:
    """A controller that ignores or blocks signals gives its programs the defaults all the same, and loses no run."""
    source = (
        "import signal\n"
        "def solve():\n"
        "    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)\n"
        "    kept = [int(number) for number in numbers if signal.getsignal(number) is not signal.SIG_DFL]\n"
        "    return kept + [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())]\n"
    )
    code = (
        "import signal\n"
        "from sandbox import Job, Tier\n"
        "from sandbox.converse import converse\n"
        "from sandbox.runner import Blueprint, start\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})\n"
        "with start(Blueprint(tier=Tier.NONE, preload=('json',)), prove=False) as runner:\n"
        f"    job = Job(source={source!r}, entry_point='solve', seed=0)\n"
        "    print([converse(runner, job).answers for _ in range(2)])\n"
    )

    assert run_python(code) == ["[([],), ([],)]"]


def test_a_controller_without_descriptors_fails_and_loses_none(box: sandbox.Sandbox) -> None:
    """Whichever of its pipes, sockets and files cannot be opened, the sandbox fails, and nothing stays open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    job = sandbox.Job(source="def solve(): return 1", entry_point="solve", seed=0)
    for room in range(1, 8):
        free = free_descriptors()
        ours, theirs = socket.socketpair()
        ours.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (free_descriptors()[room], hard))
        try:
            with pytest.raises(sandbox.SandboxFailure, match="Too many open files"):
                box.run(job, theirs)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert free_descriptors() == free
    ours, theirs = socket.socketpair()
    ours.close()

    assert box.run(job, theirs).ending is sandbox.Ending.FINISHED


def free_descriptors() -> list[int]:
    """Return the small numbers that no file of this process has."""
    taken = {int(path.name) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    return [number for number in range(256) if number not in taken]


def test_every_program_gives_way_however_fast_they_come(play) -> None:
    """Each has a group of its own, in a session whose claim to contended cores is lowered once for all of them."""
    autogroup = Path("/proc/self/autogroup")
    new_session = subprocess.run(
        ["cat", str(autogroup)], start_new_session=True, capture_output=True, text=True, check=False
    )
    if not new_session.stdout:
        pytest.skip("this kernel does not share cores among sessions")
    source = (
        "import os\n"
        "def solve():\n"
        "    group = open('/proc/self/autogroup').read()\n"
        "    return group, os.getpriority(os.PRIO_PROCESS, 0), os.getpgid(0) == os.getpid()\n"
    )
    mine = autogroup.read_text()  # nothing at all in the kernel's first session, that of process 1

    for group, niceness, leads in (play(source).answers[0] for _ in range(30)):
        assert group.split()[0] not in mine.split()
        assert group.endswith(f"nice {NICE}\n")
        assert (niceness, leads) == (NICE, True)

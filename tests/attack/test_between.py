"""What happens between programs, and when a part of the sandbox itself is killed."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from attack.case import PRELUDE
from attack.conftest import PERSONAS, command_for, environment

from sandbox import Ending, Job, Limits, SandboxError, SandboxFailure, Tier, tree
from sandbox.converse import Conversation, converse
from sandbox.runner import Blueprint, Runner, start

PRELOAD = ("numpy", "scipy.optimize")
#: Eight processes, of which seven keep away from the channel, on which one of them might answer before a kill.
EIGHT = (
    "import os\n"
    "for _ in range(7):\n"
    "    if not os.fork():\n"
    "        time.sleep(20)\n"
    "        os._exit(0)\n"
    "def solve(): time.sleep(20)\n"
)


@pytest.fixture(scope="module", params=[Tier.FULL, Tier.LITE], ids=str)
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """Yield a sandbox of each tier that this machine and interpreter can have."""
    try:
        opened = start(Blueprint(tier=request.param, preload=PRELOAD))
    except SandboxError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


def play(runner: Runner, source: str, **limits: float) -> Conversation:
    """Run `source` and call its `solve` once."""
    chosen = Limits(**{"wall_s": 10.0, "memory_mib": 512, **limits})  # type: ignore[arg-type]
    return converse(runner, Job(source=PRELUDE + source, entry_point="solve", seed=1, limits=chosen))


def play_beside(runner: Runner, sources: list[str], **limits: float) -> list[Conversation]:
    """Run all `sources` at once."""
    with concurrent.futures.ThreadPoolExecutor(len(sources)) as pool:
        return list(pool.map(lambda source: play(runner, source, **limits), sources))


def test_two_programs_cannot_meet_at_a_socket(runner: Runner) -> None:
    """Each program has a network namespace of its own or no sockets: an address of one is out of the other's reach."""
    server = (
        "def solve():\n"
        "    try:\n"
        "        listener = socket.socket(socket.AF_UNIX)\n"
        "        listener.bind(chr(0) + 'meeting')\n        listener.listen()\n        listener.settimeout(2)\n"
        "        listener.accept()\n"
        "    except OSError as error: return type(error).__name__\n"
        "    return 'met'\n"
    )
    client = (
        "def solve():\n"
        "    end, seen = time.monotonic() + 1.5, set()\n"
        "    while time.monotonic() < end:\n"
        "        seen.add(tried(lambda: socket.socket(socket.AF_UNIX).connect(chr(0) + 'meeting')))\n"
        "        time.sleep(0.05)\n"
        "    return sorted(seen)\n"
    )
    met, tries = (played.answers[0] for played in play_beside(runner, [server, client]))

    assert met in ("TimeoutError", "PermissionError")
    assert "REACHED" not in str(tries)


def test_two_programs_cannot_tell_each_other_by_the_names_of_sockets(runner: Runner) -> None:
    """No program sees what abstract addresses another has bound, nor finds one of them taken."""
    source = (
        "def solve():\n"
        "    try:\n"
        "        socket.socket(socket.AF_UNIX).bind(chr(0) + 'before')\n"
        "        holder = socket.socket(socket.AF_UNIX)\n"
        "        holder.bind(chr(0) + 'message')\n"
        "    except OSError as error: return type(error).__name__\n"
        "    time.sleep(2)\n"
        "    try: return open('/proc/self/net/unix').read().count('@message')\n"
        "    except OSError as error: return type(error).__name__\n"
    )
    answers = [played.answers[0] for played in play_beside(runner, [source, source])]

    assert answers == ([1, 1] if runner.report.tier is Tier.FULL else ["PermissionError"] * 2)


def test_programs_do_not_see_or_signal_each_other(runner: Runner) -> None:
    """A program that kills every process number in reach leaves its neighbour alone."""
    killer = (
        "def solve():\n"
        "    for pid in range(2, 32768):\n"
        "        if pid != os.getpid(): tried(lambda: os.kill(pid, 9))\n"
        "    return 1\n"
    )
    neighbour = "def solve():\n    time.sleep(1)\n    return 1\n"
    one, two = play_beside(runner, [killer, neighbour])

    assert (one.answers, two.answers) == ((1,), (1,))


def test_a_fork_bomb_does_not_use_up_its_neighbours_processes(runner: Runner) -> None:
    """The count of processes is each program's own, or where the kernel has one count for all, the bomb soon ends."""
    bomb = "while True:\n    try: os.fork()\n    except OSError: time.sleep(0.01)\n"
    neighbour = (
        "def solve():\n"
        "    time.sleep(0.4)\n"
        "    forks, end = 0, time.monotonic() + 4\n"
        "    while forks < 6 and time.monotonic() < end:\n"
        "        try: pid = os.fork()\n"
        "        except OSError: time.sleep(0.01); continue\n"
        "        if pid == 0: os._exit(0)\n"
        "        os.wait()\n"
        "        forks += 1\n"
        "    return forks\n"
    )
    bombed, untouched = play_beside(runner, [bomb, neighbour], wall_s=8.0, processes=12)

    assert bombed.result.ending in (Ending.TIMEOUT, Ending.KILLED)
    assert untouched.answers == (6,)


def test_the_zygotes_death_is_no_programs_fault_and_the_next_run_works(runner: Runner) -> None:
    """A run whose zygote is killed raises; nothing survives, and the sandbox starts another by itself."""
    assert play(runner, "def solve(): return 5").answers == (5,)
    zygote, folder = runner.zygote.pid, runner.zygote.scratch
    below: list[int] = []

    def kill() -> None:
        busiest(tree.children(zygote)[0] if runner.report.tier is Tier.FULL else zygote, 8)
        below.extend(tree.descendants(zygote))
        os.kill(zygote, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(SandboxFailure):
        play(runner, EIGHT, wall_s=20.0)
    thread.join()

    assert len(below) >= 8
    assert gone(below)
    assert runner.report.tier is Tier.FULL or nothing_left(folder)
    assert play(runner, "def solve(): return 5").answers == (5,)


def busiest(parent: int, count: int) -> int:
    """Return the child of `parent` that first has `count` descendants."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        for pid in tree.children(parent):
            if len(list(tree.descendants(pid))) >= count:
                return pid
        time.sleep(0.05)
    raise TimeoutError(f"process {parent} has no child with {count} descendants")


def test_a_zygote_that_died_idle_costs_no_run(runner: Runner) -> None:
    """The set-up fails, is tried on a new zygote, and the caller notices nothing."""
    assert play(runner, "def solve(): return 5").answers == (5,)
    below = [runner.zygote.pid, *tree.descendants(runner.zygote.pid)]
    os.kill(runner.zygote.pid, signal.SIGKILL)
    assert gone(below)

    assert play(runner, "def solve(): return 5").answers == (5,)


def test_a_warden_in_waiting_leaves_nothing(runner: Runner) -> None:
    """However early its zygote dies, a warden that waits for an order ends, and so does its program's process."""
    for delay in range(8):
        with start(runner.blueprint, prove=False) as opened:
            time.sleep(delay / 1000)
            below = [opened.zygote.pid, *tree.descendants(opened.zygote.pid)]
            os.kill(opened.zygote.pid, signal.SIGKILL)

            assert gone(below)
            # In tier full the namespace has died with its zygote; elsewhere the folder names all that is the zygote's.
            assert not opened.zygote.scratch or nothing_left(opened.zygote.scratch)


def test_zygotes_are_replaced_while_programs_run(runner: Runner) -> None:
    """After its share of runs a zygote takes no new ones, finishes what it has, and ends."""
    with start(replace(runner.blueprint, runs=3), prove=False) as opened:
        zygotes = set()

        def run(number: int) -> object:
            zygotes.add(opened.zygote.pid)
            return play(opened, f"def solve():\n    time.sleep(0.2)\n    return {number}\n").answers[0]

        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            assert list(pool.map(run, range(12))) == list(range(12))

        assert len(zygotes) >= 3
        assert gone(list(zygotes - {opened.zygote.pid}))


def test_a_wardens_death_is_no_programs_fault(runner: Runner) -> None:
    """Killing one warden takes its program's whole tree along."""
    assert play(runner, "def solve(): return 5").answers == (5,)
    zygote = runner.zygote.pid
    below: list[int] = []

    def kill() -> None:
        inner = tree.children(zygote)[0] if runner.report.tier is Tier.FULL else zygote
        warden = busiest(inner, 8)
        below.extend([warden, *tree.descendants(warden)])
        os.kill(warden, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(SandboxFailure):
        play(runner, EIGHT, wall_s=20.0)
    thread.join()

    assert len(below) >= 9
    assert gone(below)


def test_closing_ends_what_runs(runner: Runner) -> None:
    """A sandbox that is closed while programs run leaves none of them, and the callers get an exception."""
    closing = start(runner.blueprint, prove=False)
    failures: list[SandboxFailure] = []

    def run() -> None:
        try:
            play(closing, "def solve(): time.sleep(20)\n", wall_s=20.0)
        except SandboxFailure as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    below = [closing.zygote.pid, *tree.descendants(closing.zygote.pid)]
    closing.close()
    for thread in threads:
        thread.join()

    assert len(below) >= 7
    assert len(failures) == 3
    assert gone(below)
    with pytest.raises(SandboxFailure):
        play(closing, "def solve(): return 1")


def test_as_many_evaluations_run_as_there_are_callers(runner: Runner) -> None:
    """Twelve programs that begin by a certain time and end after it run at once; a busy machine may need longer."""
    for wait_s in (0.5, 4.0, 16.0):
        until = time.monotonic() + wait_s
        source = (
            f"def solve():\n    begin = time.monotonic()\n    time.sleep(max(0.0, {until} - begin))\n    return begin\n"
        )
        played = play_beside(runner, [source] * 12, wall_s=60.0)
        assert all(each.result.ending is Ending.FINISHED for each in played)
        if all(each.answers[0] < until for each in played):
            return
    pytest.fail("twelve programs never ran at once")


CONTROLLER = """
import socket, sys, threading
from sandbox import *
from sandbox.runner import Blueprint, start
runner = start(Blueprint(tier=Tier.from_name(sys.argv[1]), preload=("numpy",)), prove=False)
source = "import os, time\\nfor _ in range(2): os.fork()\\nopen('file', 'w').write('x')\\ntime.sleep(60)"
for _ in range(3):
    ours, theirs = socket.socketpair()
    job = Job(source=source, entry_point="solve", seed=0, limits=Limits(wall_s=60))
    threading.Thread(target=runner.run, args=(job, theirs)).start()
import time
time.sleep(1.5)
import json
print(json.dumps([runner.zygote.pid, runner.zygote.scratch]), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("persona", PERSONAS)
def test_killing_the_controller_leaves_nothing(persona: str) -> None:
    """After SIGKILL of the process that holds the sandbox, its processes and scratch folders are soon gone."""
    (path, _, tier), who = command_for(persona)
    command = [path, "-c", CONTROLLER, tier]
    process = subprocess.Popen(
        command, env=environment("s"), cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **who
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    zygote, scratch = json.loads(line)
    below = [zygote, *tree.descendants(zygote)]
    process.kill()
    process.communicate()

    assert len(below) >= 1 + 3 + 3 * 4
    assert gone(below)
    assert nothing_left(f'"controller": {process.pid},')
    assert not scratch or not Path(scratch).exists()


def gone(pids: list[int]) -> bool:
    """Return whether all processes end within ten seconds; one that waits for its parent counts as ended."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def nothing_left(mark: str) -> bool:
    """Return whether, within ten seconds, no process is left whose zygote was started with `mark` in its arguments."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(mark in command_line(path) for path in Path("/proc").iterdir() if path.name.isdecimal()):
            return True
        time.sleep(0.02)
    return False


def command_line(process: Path) -> str:
    """Return the arguments of a process that runs."""
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_text()
    return ""


def alive(pid: int) -> bool:
    """Return whether process `pid` runs."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_a_sandbox_in_a_thread_outlives_the_thread() -> None:
    """The zygote hangs on the controller's process, not on the thread that happened to start it."""
    opened: list[Runner] = []
    thread = threading.Thread(
        target=lambda: opened.append(start(Blueprint(tier=Tier.NONE, preload=("numpy",)), prove=False))
    )
    thread.start()
    thread.join()
    time.sleep(0.3)
    with opened[0] as runner:
        assert play(runner, "def solve(): return 5").answers == (5,)


def test_nothing_stays_open_in_the_controller(runner: Runner) -> None:
    """Runs of every ending leave the controller's descriptors and threads as they were."""
    sources = ["def solve(): return 1", "1/0", "os.abort()", "while True: os.write(1, bytes(65536))"]
    for source in sources:
        play(runner, source)
    before = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    for source in sources * 3:
        play(runner, source)

    assert (len(list(Path("/proc/self/fd").iterdir())), threading.active_count()) == before


def test_an_unread_socket_of_the_peer_does_not_stop_a_run(runner: Runner) -> None:
    """A peer that never reads costs its program the wall-clock limit and nobody else anything."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.sendall(b'EVR1\x0c\0\0\0{"value":[]}')
        source = "def solve(): return 'x' * 900000"
        result = runner.run(Job(source=source, entry_point="solve", seed=0, limits=Limits(wall_s=1.0)), theirs)

    assert result.ending is Ending.TIMEOUT

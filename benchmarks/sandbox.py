"""What the sandbox costs and how exactly it keeps its limits.

    python -m benchmarks.sandbox [--tier full] [--soak 0] [--seconds 3]

Measures in one run, minimum and median: a fresh interpreter that imports numpy and scipy.optimize against an evaluation
of ours; evaluations per second with 1, 2, 4 and 16 in flight; one round trip on the channel; how late a deadline ends
one process and a tree of 200; how far memory exceeds its limit. `--soak N` runs N more evaluations, of all endings, and
reports what has grown.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sandbox import Ending, Job, Limits, Result, Tier, frame, tree
from sandbox.converse import converse
from sandbox.runner import Blueprint, Runner, start

PRELOAD = ("numpy", "scipy.optimize")
TRIVIAL = "def solve(x): return x"
FRESH = f"import sys; sys.path[:] = {sys.path!r}; import numpy, scipy.optimize"
#: Writes numpy pages as fast as the machine gives them.
HOARD = "import numpy as np\nhoard = []\nwhile True: hoard.append(np.ones(1 << 20))"
TREE = "import os, time\nfor _ in range(199):\n    if os.fork() == 0: time.sleep(60)\ntime.sleep(60)"
#: One program for each ending, and an honest one that computes, for the soak.
MIXTURE = (
    TRIVIAL,
    "import numpy as np\ndef solve(x): return np.linalg.norm(np.random.rand(200, 200))",
    "1/0",
    "import os\nos.abort()",
    "import os\nfor i in range(50): open(f'f{i}', 'w').write('x' * 1000)\nos.fork()\ndef solve(x): return 1",
    "import ctypes\nctypes.CDLL(None).unshare(0x10000000)",
    "import os\nos.fork()\nos.fork()\nprint('x' * 100000)\ndef solve(x): return [0.5] * 1000",
    "while True: pass",
)

VERSION = sys.version.split()[0]


def spread(values: list[float], unit: str = "ms", factor: float = 1e3) -> str:
    """Return minimum and median as text."""
    return f"min {min(values) * factor:8.1f} {unit}   median {statistics.median(values) * factor:8.1f} {unit}"


def timed(action: Callable[[], object]) -> float:
    """Return how many seconds `action` takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def evaluate(runner: Runner, source: str = TRIVIAL, **limits: float) -> Result:
    """Run a program and call it once."""
    chosen = Limits(**{"wall_s": 20.0, **limits})  # type: ignore[arg-type]
    return converse(runner, Job(source=source, entry_point="solve", seed=1, limits=chosen), [[1]]).result


def latency(runner: Runner) -> None:
    """Print a fresh interpreter's time and ours, and their ratio."""
    command = [sys.executable, "-c", FRESH]
    environment = {"PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    fresh = [timed(lambda: subprocess.run(command, env=environment, check=True)) for _ in range(10)]
    ours = [timed(lambda: evaluate(runner)) for _ in range(300)]
    print(f"fresh interpreter    {spread(fresh)}   (10)")
    print(f"one evaluation       {spread(ours)}   (300)")
    ratio = statistics.median(fresh) / statistics.median(ours)
    print(f"ratio                min {min(fresh) / min(ours):8.1f}      median {ratio:8.1f}")


def throughput(runner: Runner, seconds: float) -> None:
    """Print evaluations per second for several numbers in flight."""
    for workers in (1, 2, 4, 16):
        end = time.perf_counter() + seconds

        def work(end: float = end) -> int:
            count = 0
            while time.perf_counter() < end:
                evaluate(runner)
                count += 1
            return count

        with ThreadPoolExecutor(workers) as pool:
            begin = time.perf_counter()
            total = sum(pool.map(lambda _: work(), range(workers)))
            took = time.perf_counter() - begin
        print(f"{workers:2d} in flight         {total / took:8.1f} evaluations/s   ({total} in {took:.1f} s)")


def round_trip(runner: Runner) -> None:
    """Print the time of one call of a running program."""
    ours, theirs = socket.socketpair()
    times: list[float] = []

    def ask() -> None:
        with ours:
            for _ in range(5000):
                begin = time.perf_counter()
                frame.send(ours, [1.5])
                frame.receive(ours, answer_bytes=1 << 20, array_bytes=0)
                times.append(time.perf_counter() - begin)

    asker = threading.Thread(target=ask)
    asker.start()
    runner.run(Job(source=TRIVIAL, entry_point="solve", seed=1), theirs)
    asker.join()
    print(f"round trip           {spread(times, 'us', 1e6)}   (5000)")


def deadlines(runner: Runner) -> None:
    """Print how long after its deadline a program is gone, seen by the caller of `run`."""
    setup = statistics.median([timed(lambda: evaluate(runner)) for _ in range(20)])
    for name, source, limit, count, processes in (
        ("one process", "while True: pass", 0.3, 15, 8),
        ("200 processes", TREE, 3.0, 7, 256),
    ):
        late, seen = [], []
        for _ in range(count):
            begin = time.perf_counter()
            result = evaluate(runner, source, wall_s=limit, processes=processes, memory_mib=4096)
            late.append(time.perf_counter() - begin - limit - setup)
            seen.append(result.usage.peak_processes)
        name = f"late, {name}"
        print(f"{name:20s} {spread(late)}   max {max(late) * 1e3:.1f} ms   ({count}; {max(seen)} seen)")


def memory(runner: Runner) -> None:
    """Print the largest memory seen of a program that writes all it can, against its limit."""
    for limit in (256, 512, 1024):
        results = [evaluate(runner, HOARD, memory_mib=limit) for _ in range(5)]
        peaks = [result.usage.peak_memory_mib / limit - 1 for result in results]
        endings = sorted({str(result.ending) for result in results})
        print(f"memory over {limit:5d} MiB {spread(peaks, '%', 100)}   max {max(peaks) * 100:.1f} %   {endings}")


def entries(folder: str) -> int:
    """Return how many entries `folder` has; 0 if they may not be seen, as those of a zygote of another user."""
    try:
        return len(list(Path(folder).iterdir()))
    except PermissionError:
        return 0


def state(runner: Runner) -> dict[str, float]:
    """Return everything that could grow from run to run."""
    keeper = runner.zygote.pid
    zygote = (tree.children(keeper) or [keeper])[0] if runner.report.tier is Tier.FULL else keeper
    status = Path(f"/proc/{zygote}/status").read_text()
    resident_kib = int(status.split("VmRSS:")[1].split()[0])
    return {
        "descriptors": entries("/proc/self/fd"),
        "zygote's descriptors": entries(f"/proc/{zygote}/fd"),
        "threads": threading.active_count(),
        "processes": len(list(tree.descendants(os.getpid()))),
        "mounts": Path("/proc/self/mountinfo").read_text().count("\n"),
        "zygote's mounts": Path(f"/proc/{zygote}/mountinfo").read_text().count("\n"),
        "temporary files": entries(tempfile.gettempdir()),
        "shared memory files": entries("/dev/shm"),
        "zygote's MiB": resident_kib / 1024,
    }


def soak(runner: Runner, count: int) -> None:
    """Print what `count` evaluations leave behind."""
    for source in MIXTURE:
        evaluate(runner, source, wall_s=0.2)
    time.sleep(0.5)
    before = state(runner)
    begin = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda number: evaluate(runner, MIXTURE[number % 8], wall_s=0.2), range(count)))
    took = time.perf_counter() - begin
    time.sleep(1)
    after = state(runner)
    endings = {str(ending): sum(result.ending is ending for result in results) for ending in Ending}
    print(f"soak                 {count} evaluations in {took:.0f} s: {endings}")
    for name, value in before.items():
        print(f"  {name:22s} {value:8.1f} -> {after[name]:8.1f}")


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tier", default="full")
    parser.add_argument("--soak", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    blueprint = Blueprint(tier=Tier.from_name(options.tier), preload=PRELOAD)
    where = f"uid {os.geteuid()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {VERSION}"
    print(f"tier {options.tier}, {where}")
    begin = time.perf_counter()
    with start(blueprint) as runner:
        print(f"open with canaries   {(time.perf_counter() - begin) * 1e3:12.1f} ms")
        latency(runner)
        throughput(runner, options.seconds)
        round_trip(runner)
        deadlines(runner)
        memory(runner)
        if options.soak:
            soak(runner, options.soak)


if __name__ == "__main__":
    main()

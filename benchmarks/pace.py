"""How fast a thread of Python is on this machine, alone and beside busy processes: `python -m benchmarks.pace`.

A loop over 256 records, somewhat as a scheduler of completions goes through its requests, for a second at a time:
alone, then beside as many busy processes as there are processors but three, and so on in turn. Where the figures of one
kind differ by as much as the two kinds, no single comparison of two programs can be trusted on the machine. Printed:
rounds/s, and the load of the machine.
"""

import multiprocessing
import os
import time

import numpy as np

#: Pairs of measurements.
PAIRS = 8


def rounds(seconds: float) -> float:
    """Return how many rounds the loop makes in a second."""
    records = [(i, list(range(300))) for i in range(256)]
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        out: dict[int, tuple[int, int]] = {}
        for number, tokens in records:
            tokens[done % 300] = done
            out[number] = (done, len(tokens))
        done += 1
    return done / seconds


def busy() -> None:
    """Compute what packings compute, until killed."""
    centers = np.random.default_rng(0).random((26, 2))
    while True:
        for i in range(26):
            for j in range(i):
                np.linalg.norm(centers[i] - centers[j])


def main() -> None:
    """Measure and print."""
    others = max(1, len(os.sched_getaffinity(0)) - 3)
    for _ in range(PAIRS):
        print(f"alone: {rounds(1.0):.0f} rounds/s, load {os.getloadavg()[0]:.1f}", flush=True)
        processes = [multiprocessing.Process(target=busy, daemon=True) for _ in range(others)]
        for process in processes:
            process.start()
        time.sleep(0.5)
        print(f"beside {others} busy processes: {rounds(1.0):.0f} rounds/s", flush=True)
        for process in processes:
            process.kill()
            process.join()


if __name__ == "__main__":
    main()

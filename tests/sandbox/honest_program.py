"""Honest things that programs do, run inside the walls from this text: each function must pass."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import faulthandler
import gzip
import math
import multiprocessing
import os
import pickle
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.optimize
import scipy.sparse
import scipy.sparse.linalg
import scipy.spatial
import scipy.stats


def linear_algebra() -> None:
    a = np.random.default_rng().random((200, 200))
    np.linalg.svd(a)
    scipy.linalg.expm(a[:20, :20])
    scipy.sparse.linalg.eigsh(scipy.sparse.eye(50) * 2.0, k=3)
    scipy.fft.fft(np.random.default_rng().random((4096, 16)), workers=2)


def optimisation() -> None:
    scipy.optimize.differential_evolution(lambda x: (x**2).sum(), [(-1, 1)] * 3, maxiter=10)
    scipy.optimize.dual_annealing(lambda x: (x**2).sum(), [(-1, 1)] * 2, maxiter=10)
    scipy.optimize.minimize(lambda x: (x**2).sum(), [1, 1], method="SLSQP")
    scipy.optimize.milp([1, 1], integrality=[1, 1], constraints=scipy.optimize.LinearConstraint([[1, 2]], 3))


def geometry_and_statistics() -> None:
    points = np.random.default_rng().random((50, 2))
    scipy.spatial.Delaunay(points)
    scipy.spatial.cKDTree(points).query(points, k=3, workers=2)
    scipy.stats.qmc.Sobol(2).random(8)


def processes() -> None:
    with multiprocessing.Pool(2) as pool:
        pool.map(abs, range(5))
    with concurrent.futures.ProcessPoolExecutor(2) as executor:
        list(executor.map(abs, range(5)))
    queue: multiprocessing.Queue[int] = multiprocessing.Queue()
    process = multiprocessing.Process(target=queue.put, args=(1,))
    process.start()
    queue.get(timeout=5)
    process.join()
    block = shared_memory.SharedMemory(create=True, size=100)
    block.close()
    block.unlink()


def children() -> None:
    subprocess.run([sys.executable, "-c", "print(1)"], check=True, capture_output=True)
    subprocess.run("echo hello | cat", shell=True, check=True, stdout=subprocess.DEVNULL)


def threads() -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(math.sqrt, range(50)))
    thread = threading.Thread(target=time.sleep, args=(0.01,))
    thread.start()
    thread.join()


def events() -> None:
    async def both() -> None:
        process = await asyncio.create_subprocess_exec("/bin/true")
        await asyncio.gather(asyncio.sleep(0.01), process.wait())

    asyncio.run(both())


def alarms() -> None:
    def stop(number: int, frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    with contextlib.suppress(TimeoutError):
        time.sleep(5)
    signal.alarm(0)
    faulthandler.enable()


def files() -> None:
    np.save("a.npy", np.ones(5))
    np.savez("b.npz", a=np.load("a.npy"))
    np.memmap("m", dtype="f8", mode="w+", shape=(10,))[:] = 1
    with zipfile.ZipFile("z.zip", "w") as archive:
        archive.writestr("a", "b")
    with gzip.open("g.gz", "wb") as compressed:
        compressed.write(pickle.dumps([1]))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(".", f"{folder}/copy", ignore=shutil.ignore_patterns("tmp*", ".*"))
    with Path(os.devnull).open("w") as nothing, contextlib.redirect_stdout(nothing):
        print("unseen")


def databases() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table numbers (n)")
    connection.close()


def questions_about_the_machine() -> None:
    os.cpu_count()
    os.sched_getaffinity(0)
    os.uname()
    resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    time.process_time()
    os.urandom(8)
    with contextlib.suppress(EOFError):
        input()


def depth() -> None:
    sys.setrecursionlimit(30_000)

    def down(n: int) -> int:
        return 0 if n == 0 else down(n - 1)

    down(15_000)


def solve() -> dict[str, str]:
    """Return what each function raised, if anything."""
    todo: list[Callable[[], None]] = [
        linear_algebra,
        optimisation,
        geometry_and_statistics,
        processes,
        children,
        threads,
        events,
        alarms,
        files,
        databases,
        questions_about_the_machine,
        depth,
    ]
    wrong = {}
    for function in todo:
        try:
            function()
        except (OSError, RuntimeError, ValueError, EOFError, subprocess.SubprocessError, sqlite3.Error) as error:
            wrong[function.__name__] = f"{type(error).__name__}: {error}"
    return wrong

"""Which processors of this machine a run's programs are evaluated on, and how many at once."""

import os

from evolve.config import Config, VllmConfig
from evolve.errors import ConfigError


def evaluation_workers(config: Config) -> int:
    """Return how many evaluations run at once.

    Beside vLLM a third of the cores is left to it, where there are more than two: on 16 cores and one H100 ten
    evaluations at once end 20 programs/s (docs/results).
    """
    if config.sandbox.workers:
        return config.sandbox.workers
    cores = len(os.sched_getaffinity(0))
    return max(min(cores, 2), 2 * cores // 3) if isinstance(config.engine, VllmConfig) else cores


def evaluation_cpus(config: Config) -> tuple[int, ...]:
    """Return the numbers of the processors that programs may use; empty for all.

    Raises:
        ConfigError: `sandbox.cpus` is no list of processors, or names one that this process may not use.
    """
    text = config.sandbox.cpus
    if text is None:
        return ()
    here = os.sched_getaffinity(0)
    try:
        cpus = listed(text)
    except ValueError:
        cpus = frozenset()
    if not cpus or not cpus <= here:
        least, most = min(here), max(here)
        raise ConfigError(
            f"sandbox.cpus={text} names no processors of this process, which may use {len(here)} from {least} to "
            f"{most}: write them like {least}-{most} or {least},{most}"
        )
    return tuple(sorted(cpus))


def listed(text: str) -> frozenset[int]:
    """Return the numbers in a list as the kernel and taskset(1) write it: 2-7,12.

    Raises:
        ValueError: It is no such list.
    """
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(numbers)

"""The program databases of two other systems, measured as `benchmarks.database` measures ours.

    PYTHON benchmarks/peer_databases.py openevolve|shinka [1000 10000]

PYTHON has openevolve 0.4.0 or shinka-evolve 0.0.7; this file needs nothing of ours. Programs are 1.5 kB long, their
scores rise slowly. At each size it prints, in milliseconds:

    draw       draw 32 parents with 4 inspirations each (extrapolated where 32 take longer than half a minute)
    insert     add 512 children
    program    both, for each of the 512
    list       read all programs, as their viewers do
    resume     open the stored database anew, with the peak memory of this process

OpenEvolve keeps its programs in memory and stores them as a folder of JSON files when it is told to; here it is told
once, for `resume`. Its population limit, which deletes programs, is off. Neither finds a duplicate before it is run.
"""

import importlib
import logging
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Protocol

PARENTS, STEP, INSPIRATIONS, ISLANDS = 32, 512, 4, 5
WORDS = ("for", "range(n):", "radius", "=", "min(gap,", "best[i])", "return", "centre", ">", "0.5", "*", "np.sqrt(x)")
#: The longest that the draws of a step are timed, in seconds.
PATIENCE_S = 30.0


class Peer(Protocol):
    """What is measured of a system."""

    def add(self, number: int, parent: int, code: str, score: float) -> None:
        """Add one child."""

    def draw(self, number: int) -> None:
        """Draw a parent and inspirations."""

    def list_programs(self) -> None:
        """Read all programs."""

    def store(self) -> None:
        """Make it durable, where adding did not."""

    def resume(self) -> None:
        """Open what was stored."""


class OpenEvolve:
    """OpenEvolve's `ProgramDatabase`."""

    def __init__(self, folder: Path) -> None:
        config = importlib.import_module("openevolve.config")
        self._database = importlib.import_module("openevolve.database")
        self._settings = config.DatabaseConfig(
            population_size=10**9, num_islands=ISLANDS, archive_size=100, random_seed=1, log_prompts=False
        )
        self._folder = folder / "checkpoint"
        self._programs = self._database.ProgramDatabase(self._settings)

    def add(self, number: int, parent: int, code: str, score: float) -> None:
        """Add one child to the island of its number."""
        program = self._database.Program(
            id=f"p{number}",
            code=code,
            language="python",
            parent_id=f"p{parent}" if number else None,
            generation=number // STEP,
            iteration_found=number,
            metrics={"combined_score": score},
        )
        self._programs.add(program, iteration=number, target_island=number % ISLANDS)

    def draw(self, number: int) -> None:
        """Draw as its controller does for each child."""
        self._programs.sample_from_island(number % ISLANDS, INSPIRATIONS)

    def list_programs(self) -> None:
        """Read all programs."""
        [program.to_dict() for program in self._programs.programs.values()]

    def store(self) -> None:
        """Write a checkpoint."""
        self._programs.save(str(self._folder), 1)

    def resume(self) -> None:
        """Read the checkpoint."""
        self._database.ProgramDatabase(self._settings).load(str(self._folder))


class Shinka:
    """ShinkaEvolve's `ProgramDatabase`, without embeddings."""

    def __init__(self, folder: Path) -> None:
        self._database: ModuleType = importlib.import_module("shinka.database")
        self._settings = self._database.DatabaseConfig(
            db_path=str(folder / "evolution.sqlite"),
            num_islands=ISLANDS,
            archive_size=40,
            num_archive_inspirations=INSPIRATIONS,
            num_top_k_inspirations=0,
            parent_selection_strategy="weighted",
        )
        self._programs = self._database.ProgramDatabase(self._settings, embedding_model="")
        self._programs._print_sampling_summary_helper = lambda *_, **__: None  # a table on the terminal for each draw

    def add(self, number: int, parent: int, code: str, score: float) -> None:
        """Add one child as its asynchronous runner does: insert it, then keep up archive and islands."""
        program = self._database.Program(
            id=f"p{number}",
            code=code,
            language="python",
            parent_id=f"p{parent}" if number else None,
            generation=number // STEP,
            combined_score=score,
            correct=True,
            public_metrics={"score": score},
        )
        self._programs.add(program, defer_maintenance=True)
        self._programs.run_post_add_maintenance_batch([program], recompute_embeddings=False)

    def draw(self, number: int) -> None:
        """Draw a parent and its inspirations."""
        del number
        self._programs.sample()

    def list_programs(self) -> None:
        """Read what its viewer reads."""
        self._programs.get_programs_summary()

    def store(self) -> None:
        """Every add was durable already."""
        self._programs.close()

    def resume(self) -> None:
        """Open the database."""
        self._programs = self._database.ProgramDatabase(self._settings, embedding_model="")


def elapsed_ms(call: Callable[[], object]) -> float:
    """Return how long `call` takes."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def code(number: int, rng: random.Random) -> str:
    """Return a program of 1.5 kB."""
    return f"# {number}\ndef answer():\n    return '{' '.join(rng.choices(WORDS, k=220))}'\n"


def add_step(peer: Peer, first: int, rng: random.Random) -> float:
    """Add 512 children; return the milliseconds spent in the system."""
    spent = 0.0
    for number in range(first, first + STEP):
        text, score = code(number, rng), rng.gauss(number / STEP / 100, 1.0)
        parent = rng.randrange(max(0, first - 4 * STEP), first) if first else 0
        spent += elapsed_ms(lambda: peer.add(number, parent, text, score))  # noqa: B023
    return spent


def draw_step(peer: Peer) -> float:
    """Return the milliseconds of 32 draws."""
    spent, made = 0.0, 0
    while made < PARENTS and spent < PATIENCE_S * 1e3:
        spent += elapsed_ms(lambda: peer.draw(made))  # noqa: B023
        made += 1
    return spent * PARENTS / made


def measure(name: str, size: int) -> str:
    """Return one row of the table: a database of `size` programs, and one more step."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        peer: Peer = {"openevolve": OpenEvolve, "shinka": Shinka}[name](Path(folder))
        for first in range(0, size, STEP):
            add_step(peer, first, rng)
        first = -(-size // STEP) * STEP
        draw, insert = draw_step(peer), add_step(peer, first, rng)
        listed = elapsed_ms(peer.list_programs)
        peer.store()
        resumed = elapsed_ms(peer.resume)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = (draw, insert, (draw + insert) / STEP, listed, resumed)
    return f"{first:8} " + " ".join(f"{figure:11.3f}" for figure in figures) + f" {peak:11.0f}"


def main() -> None:
    """Print the table of one system, or why there is none."""
    logging.disable(logging.CRITICAL)
    name, sizes = sys.argv[1], [int(word) for word in sys.argv[2:]] or [1000, 10_000]
    try:
        importlib.import_module(f"{name}.database")
    except ImportError as error:
        print(f"skipped: {sys.executable} cannot import {name}.database: {error}")
        return
    heads = ("draw", "insert", "program", "list", "resume", "peak MiB")
    print("programs " + " ".join(f"{head:>11}" for head in heads) + "   (ms)")
    for size in sizes:
        print(measure(name, size), flush=True)


if __name__ == "__main__":
    main()

"""How fast the program database is, and whether it stays so as a run grows; ours beside those of two other systems.

    python -m benchmarks.database [--sizes 1000 10000 100000] [--url sqlite:///FILE]
                                  [--peers PYTHON] [--peer-sizes 1000 10000]

Grows one run to each size in steps of 512 children of 32 parents, as the loop does: parents and inspirations are drawn
and read, children are inserted one by one by 8 threads, each durable before its thread goes on, and the step is ended
by selection and store. Texts are as long as a small model's: prompts of 6 kB that 16 children share, replies of 2 kB,
programs of 1.5 kB; two in three children are valid. At each size it measures, as the median of three steps:

    draw       draw 32 parents with 4 inspirations each and read their programs
    insert     insert 512 children, one by one
    bulk       insert 512 children in one transaction
    finish     let the children into the population, and store the end of the step
    program    draw, insert and finish together, for each of the 512 programs
    cpu        the processor's part of that, which other work on the machine stretches less
    stored     find out that nothing is stored of the next step, as the loop does first in each step
    known      find out whether a program is known, for each of 32 programs that are and 32 that are not
    list       what `evolve show run=DIR` reads
    resume     in a process of its own: open the database and restore the population; with its peak memory

With --peers, an interpreter that has openevolve 0.4.0 or shinka-evolve 0.0.7 measures these in the same way, with
programs as long as ours; see benchmarks/peer_databases.py.
"""

import argparse
import functools
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from database import RunStore, open_database
from database.codec import pack_text
from evolve.selection import MapElites, MapElitesSettings, as_member, restore
from evolve.standing import best_curve
from evolve.types import (
    Attempt,
    Completion,
    Direction,
    Draw,
    Evaluation,
    FinishReason,
    Message,
    Outcome,
    StepReport,
)

PARENTS, SAMPLES, INSPIRATIONS, THREADS = 32, 16, 4, 8
STEP = PARENTS * SAMPLES
FOLDER = "/benchmark"
WORDS = ("for", "range(n):", "radius", "=", "min(gap,", "best[i])", "return", "centre", ">", "0.5", "*", "np.sqrt(x)")
HEADS = ("draw", "insert", "bulk", "finish", "program", "cpu", "stored", "known", "list", "resume")


class Model:
    """Makes attempts without a model: random words, as long as a small model's replies.

    Attributes:
        packed_bytes: Of the compressed texts so far, each distinct text once.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._text = " ".join(self._random.choices(WORDS, k=50_000))
        self.packed_bytes = 0

    def step(self, number: int, draws: Sequence[Draw]) -> list[Attempt]:
        """Return the attempts of a step, the group of each draw in turn."""
        attempts = []
        for group, draw in enumerate(draws):
            prompt = (Message(role="user", content=self._words(6000)),)
            self.packed_bytes += len(pack_text(prompt[0].content))
            for sample in range(SAMPLES):
                id_ = 1 + (number - 1) * STEP + group * SAMPLES + sample
                attempts.append(self.attempt(id_, number, draw, prompt))
        return attempts

    def attempt(self, number: int, step: int, draw: Draw, prompt: tuple[Message, ...] = ()) -> Attempt:
        """Return an attempt; two in three are valid, one in six crashed, one in six held no code."""
        reply, source = self._words(2000), f"# {number}\n{self._words(1500)}"
        outcome = self._random.choice((Outcome.VALID,) * 4 + (Outcome.CRASHED, Outcome.NO_CODE))
        if number == 0:
            outcome = Outcome.VALID
        score = self._random.gauss(step / 100, 1.0) if outcome is Outcome.VALID else None
        has_program = outcome is not Outcome.NO_CODE
        construction = None if score is None else "[1]"
        evaluation = Evaluation(outcome=outcome, seed=1, score=score, construction=construction)
        self.packed_bytes += len(pack_text(reply)) + (len(pack_text(source)) if has_program else 0)
        return Attempt(
            id=number,
            step=step,
            draw=draw,
            prompt=prompt,
            completion=Completion(
                group=(number - 1) % STEP // SAMPLES,
                sample=(number - 1) % SAMPLES,
                text=reply,
                tokens=600,
                prompt_tokens=1800,
                finish_reason=FinishReason.STOP,
            ),
            outcome=outcome,
            feedback="ZeroDivisionError: division by zero" if outcome is Outcome.CRASHED else "",
            reward=score or 0.0,
            identity=identity(number) if has_program else None,
            source=source if has_program else None,
            evaluations=(evaluation,) if has_program else (),
            score=score,
            finished_s=float(number),
        )

    def _words(self, length: int) -> str:
        start = self._random.randrange(len(self._text) - length)
        return self._text[start : start + length]


class Growth:
    """A run that grows, and the milliseconds of its last step: of its parts, and of the processor for all of them."""

    def __init__(self, run: RunStore, model: Model, pool: ThreadPoolExecutor) -> None:
        self._run = run
        self._program = functools.lru_cache(maxsize=4096)(run.program)  # as the loop does
        self._model = model
        self._pool = pool
        self._selection = population()
        self._step = -1
        self.size = 0
        self.times: dict[str, float] = {}
        self.cpu_ms = 0.0

    def begin(self) -> None:
        """Store the seed program."""
        seed = self._model.attempt(0, 0, Draw(island=0, parent_id=0))
        self._run.insert_attempt(seed)
        self._finish([seed])

    def grow(self, *, bulk: bool = False) -> None:
        """Make one step."""
        self.times = {}
        processor_s = time.process_time()
        with timed(self.times, "draw"):
            draws = [
                self._selection.draw(group, inspirations=INSPIRATIONS, seed=f"{self._step + 1}:{group}")
                for group in range(PARENTS)
            ]
            for draw in draws:
                for program in (draw.parent_id, *draw.inspiration_ids):
                    self._program(program)
        processor_s -= time.process_time()
        attempts = self._model.step(self._step + 1, draws)
        processor_s += time.process_time()
        if bulk:
            with timed(self.times, "bulk"):
                self._run.insert_attempts(attempts)
        else:
            with timed(self.times, "insert"):
                list(self._pool.map(self._run.insert_attempt, attempts))
        with timed(self.times, "finish"):
            self._finish(attempts)
        self.cpu_ms = (time.process_time() - processor_s) * 1e3
        self.size += STEP

    def _finish(self, attempts: Sequence[Attempt]) -> None:
        self._step += 1
        born = [(as_member(attempt), attempt.draw.island) for attempt in attempts if attempt.source is not None]
        settled = self._selection.finish_step(self._step, born)
        report = StepReport(
            step=self._step,
            attempts=len(attempts),
            outcomes={Outcome.VALID: len(born)},
            best=1.0,
            improved=0,
            tokens=0,
            prompt_tokens=0,
            generate_s=0.0,
            tail_s=0.0,
            database_s=0.0,
            stragglers=0,
            finished_s=0.0,
        )
        self._run.finish_step(report, settled.memberships, settled.cells)


class timed:  # noqa: N801 - reads as a statement
    """Adds the milliseconds of its block to `times`."""

    def __init__(self, times: dict[str, float], name: str) -> None:
        self._times, self._name = times, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._times[self._name] = self._times.get(self._name, 0.0) + (time.perf_counter() - self._start) * 1e3


def population() -> MapElites:
    """Return an empty population with the default rules."""
    return MapElites(MapElitesSettings(), Direction.MAX)


def identity(number: int) -> str:
    """Return what stands for the hash of a program's syntax tree."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:064x}"


def elapsed_ms(call: Callable[[], object]) -> float:
    """Return how long `call` takes."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def peak_mib() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resume(url: str) -> None:
    """Open the database, restore the population and print seconds and MiB as JSON: a process of its own does this."""
    start = time.perf_counter()
    with open_database(url) as database:
        run = database.find_run(FOLDER)
        if run is None:
            raise LookupError(FOLDER)
        opened = time.perf_counter()
        selection = population()
        restore(selection, run)
        selection.draw(0, inspirations=INSPIRATIONS, seed="")
        restored = time.perf_counter()
        reports = run.reports()
        run.token_totals(), run.outcome_counts()
        run.attempts_of(len(reports)), run.unsettled(before_step=len(reports))
    end = time.perf_counter()
    parts = {"open_s": opened - start, "population_s": restored - opened, "rest_s": end - restored}
    print(json.dumps({"resume_s": end - start, "peak_mib": peak_mib(), **parts}))


def list_run(run: RunStore) -> None:
    """Read what `evolve show` shows of a run."""
    run.best_programs(10, Direction.MAX), run.outcome_counts(), run.token_totals(), run.reports()
    run.evaluated(), best_curve(run.reports(), Direction.MAX)


def measure(run: RunStore, growth: Growth, url: str) -> dict[str, float]:
    """Return the figures at the present size; they take four more steps."""
    steps: list[dict[str, float]] = []
    cpu_ms = []
    for _ in range(3):
        growth.grow()
        steps.append(growth.times)
        cpu_ms.append(growth.cpu_ms)
    figures = {head: statistics.median(times[head] for times in steps) for head in ("draw", "insert", "finish")}
    figures["program"] = statistics.median(sum(times.values()) for times in steps) / STEP
    figures["cpu"] = statistics.median(cpu_ms) / STEP
    growth.grow(bulk=True)
    figures["bulk"] = growth.times["bulk"]
    numbers = random.Random(1).choices(range(1, growth.size), k=32)
    asked = [identity(number) for number in (*numbers, *(-number for number in numbers))]
    step = growth.size // STEP + 1
    figures["stored"] = statistics.median(elapsed_ms(lambda: run.attempts_of(step)) for _ in range(3))
    known = [elapsed_ms(lambda: run.known(each, before_step=step)) for each in asked]  # noqa: B023
    figures["known"] = statistics.fmean(known)
    figures["list"] = elapsed_ms(lambda: list_run(run))
    words = [sys.executable, "-m", "benchmarks.database", "--resume", url]
    resumed = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    figures["resume"] = resumed.pop("resume_s") * 1e3
    return figures | resumed


def ours(sizes: Sequence[int], url: str | None) -> None:
    """Print the table of this system."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(THREADS) as pool:
        path = Path(folder) / "evolve.db"
        where = url or f"sqlite:///{path}"
        print("programs " + " ".join(f"{head:>9}" for head in HEADS) + "  (ms)   resume  MiB: resume, growing")
        with open_database(where) as database:
            run = database.create_run(problem="p", model="m", folder=FOLDER, seed=1, config="", started_at=0.0)
            model = Model(1)
            growth = Growth(run, model, pool)
            growth.begin()
            for size in sorted(sizes):
                while growth.size < size:
                    growth.grow(bulk=True)
                at, figures = growth.size, measure(run, growth, where)
                row = " ".join(f"{figures[head]:9.3f}" for head in HEADS)
                parts = "+".join(f"{figures[part]:.1f}" for part in ("open_s", "population_s", "rest_s"))
                print(f"{at:8} {row}  {parts} s  {figures['peak_mib']:.0f}, {peak_mib():.0f}", flush=True)
        if url is None:
            beside = (path.stat().st_size - model.packed_bytes) / growth.size
            print(
                f"file: {beside:.0f} bytes a program beside {model.packed_bytes / growth.size:.0f} of compressed text"
            )


def peers(python: str, sizes: Sequence[int]) -> None:
    """Print the tables of other systems, or why there is none."""
    script = Path(__file__).with_name("peer_databases.py")
    for name in ("openevolve", "shinka"):
        words = [python, str(script), name, *map(str, sizes)]
        print(f"\n{name}:", flush=True)
        for line in _lines(words):
            print(line, flush=True)


def _lines(words: Sequence[str]) -> Iterator[str]:
    try:
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            if process.stdout is not None:
                yield from (line.rstrip() for line in process.stdout)
    except OSError as error:
        yield f"skipped: cannot run {words[0]}: {error.strerror}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="How fast the program database is as a run grows.")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--url", help="a fresh database; a temporary SQLite file if not given")
    parser.add_argument("--peers", help="an interpreter that has the other systems")
    parser.add_argument("--peer-sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--resume", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.resume:
        resume(arguments.resume)
        return
    if arguments.sizes:
        ours(arguments.sizes, arguments.url)
    if arguments.peers:
        peers(arguments.peers, arguments.peer_sizes)


if __name__ == "__main__":
    main()

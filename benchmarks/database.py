"""How fast the store is, and whether it stays so as a run grows.

    python -m benchmarks.database [--sizes 1000 10000 100000] [--url sqlite:///FILE]

Grows one run in steps of 512 attempts to each size and measures there, in milliseconds: storing one attempt (mean and
99th percentile of a step), ending a step, a look for a known program and for a parent's last failure, reading a step's
attempts, the members, and opening the database anew up to the point where a search could go on. Texts are as long as
a small model's: prompts of 6 kB that 16 attempts share, replies of 2 kB, programs of 1.5 kB, two in three valid.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from database import RunStore, open_database
from database.codec import pack_text
from evolve.types import (
    Attempt,
    Completion,
    Draw,
    Evaluation,
    FinishReason,
    Member,
    Membership,
    Message,
    Outcome,
    StepReport,
)

STEP = 512
SAMPLES = 16
FOLDER = "/benchmark"
WORDS = ("for", "range(n):", "radius", "=", "min(gap,", "best[i])", "return", "centre", ">", "0.5", "*", "np.sqrt(x)")


class Model:
    """Makes attempts without a model: random words, as long as a small model's replies."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._text = " ".join(self._random.choices(WORDS, k=50_000))
        self._prompt = ""
        self.packed_bytes = 0

    def attempt(self, number: int, step: int, parents: Sequence[int]) -> Attempt:
        """Return attempt `number`; two in three are valid, one in six crashed, one in six held no code."""
        if number % SAMPLES == 0:
            self._prompt = self._words(6000)
            self.packed_bytes += len(pack_text(self._prompt))
        reply, source = self._words(2000), f"# {number}\n{self._words(1500)}"
        outcome = self._random.choice((Outcome.VALID,) * 4 + (Outcome.CRASHED, Outcome.NO_CODE))
        score = self._random.random() if outcome is Outcome.VALID else None
        has_program = outcome is not Outcome.NO_CODE
        evaluation = Evaluation(outcome=outcome, seed=1, score=score, construction="[1]" if score else None)
        self.packed_bytes += len(pack_text(reply)) + (len(pack_text(source)) if has_program else 0)
        return Attempt(
            id=number,
            step=step,
            draw=Draw(island=number % 4, parent_id=self._random.choice(parents), inspiration_ids=(0, 0)),
            prompt=(Message(role="user", content=self._prompt),),
            completion=Completion(
                group=0, sample=number, text=reply, tokens=600, prompt_tokens=1800, finish_reason=FinishReason.STOP
            ),
            outcome=outcome,
            feedback="ZeroDivisionError: division by zero" if outcome is Outcome.CRASHED else "",
            reward=score or 0.0,
            identity=f"{number:064x}" if has_program else None,
            source=source if has_program else None,
            evaluations=(evaluation,) if has_program else (),
            score=score,
            finished_s=float(number),
        )

    def _words(self, length: int) -> str:
        start = self._random.randrange(len(self._text) - length)
        return self._text[start : start + length]


class Growth:
    """A run that grows, and the times of its last step."""

    def __init__(self, run: RunStore, model: Model) -> None:
        self._run = run
        self._model = model
        self._step = 0
        self._valid = [0]
        self.size = 0
        self.insert_ms: list[float] = []
        self.finish_ms = 0.0

    def seed(self) -> None:
        """Store the seed program."""
        attempt = self._model.attempt(0, 0, [0])
        while attempt.outcome is not Outcome.VALID:
            attempt = self._model.attempt(0, 0, [0])
        self._run.insert_attempt(attempt)
        self._finish([0])

    def grow(self) -> None:
        """Make one step."""
        self._step += 1
        attempts = [self._model.attempt(self.size + 1 + k, self._step, self._valid[-5000:]) for k in range(STEP)]
        self.insert_ms = [elapsed_ms(lambda: self._run.insert_attempt(attempt)) for attempt in attempts]  # noqa: B023
        born = [attempt.id for attempt in attempts if attempt.outcome is Outcome.VALID]
        self.finish_ms = elapsed_ms(lambda: self._finish(born))
        self._valid += born
        self.size += STEP

    def _finish(self, born: Sequence[int]) -> None:
        report = StepReport(
            step=self._step,
            attempts=STEP,
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
        places = [Membership(program_id=id_, island=id_ % 4, step=self._step, migrant=False) for id_ in born]
        self._run.finish_step(report, places)


def elapsed_ms(call: Callable[[], object]) -> float:
    """Return how long `call` takes."""
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def resume(url: str) -> Sequence[Member]:
    """Open the database and read what a search needs to go on."""
    with open_database(url) as database:
        run = database.find_run(FOLDER)
        if run is None:
            raise LookupError(FOLDER)
        run.memberships(), run.reports(), run.token_totals(), run.outcome_counts()
        run.attempts_of(len(run.reports())), run.unsettled(before_step=len(run.reports()))
        return run.members()


def measure(run: RunStore, growth: Growth, url: str) -> list[float]:
    """Return a row of the table, after its size."""
    numbers = random.Random(1).choices(range(1, growth.size), k=300)
    step = growth.size // STEP + 1
    known = [elapsed_ms(lambda: run.known(f"{n:064x}", before_step=step)) for n in numbers]  # noqa: B023
    failed = [elapsed_ms(lambda: run.last_failure(n, before_step=step)) for n in numbers]  # noqa: B023
    inserts = sorted(growth.insert_ms)
    return [
        statistics.fmean(inserts),
        inserts[int(0.99 * len(inserts))],
        growth.finish_ms,
        statistics.fmean(known),
        statistics.fmean(failed),
        elapsed_ms(lambda: run.attempts_of(step - 1)),
        elapsed_ms(run.members),
        elapsed_ms(lambda: resume(url)),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="How fast the store is as a run grows.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--url", help="a fresh database; a temporary SQLite file if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "evolve.db"
        url = arguments.url or f"sqlite:///{path}"
        heads = ["insert", "p99", "finish", "known", "failure", "attempts_of", "members", "resume"]
        print("attempts " + " ".join(f"{head:>11}" for head in heads) + "   (ms)")
        with open_database(url) as database:
            run = database.create_run(problem="p", model="m", folder=FOLDER, seed=1, config="", started_at=0.0)
            model = Model(1)
            growth = Growth(run, model)
            growth.seed()
            for size in sorted(arguments.sizes):
                while growth.size < size:
                    growth.grow()
                print(f"{growth.size:8} " + " ".join(f"{ms:11.3f}" for ms in measure(run, growth, url)), flush=True)
        if arguments.url is None:
            file_bytes, packed = path.stat().st_size, model.packed_bytes
            print(
                f"file: {file_bytes / growth.size:.0f} bytes per attempt, of which {packed / growth.size:.0f} are text"
            )


if __name__ == "__main__":
    main()

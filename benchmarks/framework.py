"""What one mutation costs beside the model and the program: `python -m benchmarks.framework`.

A scripted engine answers at once with programs of about 1.8 kB that do almost nothing, so that what is left is the
framework: draw, prompt, parse, compare, sandbox, verifier, reward, database. It is measured with a population of 100,
1,000 and 10,000 programs in the database. CPU of this process is the framework's own; CPU of the children is the
sandbox's, the verifiers' and the candidates'.
"""

import io
import json
import random
import resource
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from database.store import RunStore
from evolve import compose
from evolve.engine.scripted import ScriptedEngine
from evolve.options import dump_config, load_config, parse_options
from evolve.run_folder import new_run_folder
from evolve.selection import Selection, as_member
from evolve.session import Outside, begin
from evolve.types import Attempt, Completion, Draw, FinishReason, Outcome, StepReport

TRIVIAL = Path(__file__).parent / "trivial"
#: Characters of a child, like the programs of the peers' benchmarks.
SOURCE_CHARS = 1800
MEASURED_STEPS = 8
STEP = (8, 8)


def program(number: int, rng: random.Random) -> str:
    """Return a distinct program of about `SOURCE_CHARS` characters whose answer is about `number`."""
    lines = ["def answer():", f"    total = {number}"]
    while sum(len(line) + 1 for line in lines) < SOURCE_CHARS:
        lines.append(
            f"    total = total + {rng.randrange(9)} - {rng.randrange(9)} if total > {rng.randrange(99)} else 1"
        )
    return "\n".join([*lines, "    return max(0, total)"])


def fill(store: RunStore, selection: Selection, size: int, rng: random.Random) -> int:
    """Put at least `size` evaluated programs into the population, as whole steps; return how many steps."""
    per_step = STEP[0] * STEP[1]
    steps = -(-size // per_step)
    for step in range(1, steps + 1):
        attempts = [filled(step, 1 + (step - 1) * per_step + place, rng) for place in range(per_step)]
        for attempt in attempts:
            store.insert_attempt(attempt)
        report = StepReport(
            step=step,
            attempts=per_step,
            outcomes={Outcome.VALID: per_step},
            best=float(attempts[-1].id),
            improved=per_step,
            tokens=0,
            prompt_tokens=0,
            generate_s=0.0,
            tail_s=0.0,
            database_s=0.0,
            stragglers=0,
            finished_s=0.0,
        )
        born = [(as_member(attempt), attempt.draw.island) for attempt in attempts]
        settled = selection.finish_step(step, born)
        store.finish_step(report, settled.memberships, settled.cells)
    return steps


def filled(step: int, number: int, rng: random.Random) -> Attempt:
    """Return an attempt that made a valid program, as if it had been evaluated."""
    source = program(number, rng)
    return Attempt(
        id=number,
        step=step,
        draw=Draw(island=number % 4, parent_id=0),
        prompt=(),
        completion=Completion(
            group=0, sample=0, text=source, tokens=500, prompt_tokens=900, finish_reason=FinishReason.STOP
        ),
        outcome=Outcome.VALID,
        feedback="",
        reward=float(number),
        identity=f"filled{number}",
        source=source,
        score=float(number),
    )


def children_cpu() -> float:
    """Return the CPU seconds of ended and reaped children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(size: int, folder: Path) -> dict[str, float]:
    """Return milliseconds a mutation with `size` programs in the database: wall, CPU here, database."""
    rng = random.Random(size)
    parents, samples = STEP
    count = parents * samples * MEASURED_STEPS
    replies = folder / "replies.jsonl"
    lines = [json.dumps({"text": f"```python\n{program(10**6 + i, rng)}\n```"}) for i in range(count)]
    replies.write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = parse_options(
        [
            "problem=trivial",
            f"problem.path={TRIVIAL}",
            "engine=scripted",
            f"engine.file={replies}",
            f"rollout.parents={parents}",
            f"rollout.samples={samples}",
            "sandbox.require=none",
            f"run.dir={folder / 'run'}",
        ]
    )
    problem = compose.problem_of(config)
    clocks = compose.Clocks(monotonic=time.monotonic, wall=time.time)
    with (
        new_run_folder(folder / "run") as run_folder,
        compose.open_workshop(problem, require="none", workers=2) as workshop,
        compose.open_run_database(config, run_folder) as database,
    ):
        outside = Outside(clocks=clocks, console=Console(file=io.StringIO()))
        evaluations = compose.check_seed(workshop, seed=0)
        session = begin(config, run_folder, database, workshop, evaluations, outside)
        store = session.store
        before = fill(store, session.selection, size, rng)
        config = load_config(dump_config(config), [f"budget.steps={before + MEASURED_STEPS}"])
        session = replace(session, config=config)
        wall, cpu, database_s = time.perf_counter(), time.process_time(), store.database_s
        session.go(ScriptedEngine(replies, latency_s=0.0), None)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        reports = store.reports()[-MEASURED_STEPS:]
        if store.outcome_counts()[Outcome.VALID] != parents * samples * (before + MEASURED_STEPS):
            raise SystemExit(f"not all children were evaluated: {store.outcome_counts()}")
    return {
        "cpu": 1000 * cpu / count,
        "wall": 1000 * wall / count,
        "database": 1000 * (store.database_s - database_s) / count,
        "median step": 1000 * statistics.median(r.generate_s + r.tail_s for r in reports) / (parents * samples),
    }


def main() -> None:
    """Print the figures."""
    print("milliseconds a mutation; 2 s of set-up and the report are in wall and cpu")
    print(f"{'programs':>10} " + " ".join(f"{name:>12}" for name in ("cpu here", "wall", "median step", "database")))
    for size in (100, 1_000, 10_000):
        with tempfile.TemporaryDirectory() as folder:
            row = measure(size, Path(folder))
        print(
            f"{size:>10} {row['cpu']:>10.2f} {row['wall']:>10.2f} {row['median step']:>12.2f} {row['database']:>10.2f}"
        )
    print(f"CPU of all children together: {children_cpu():.1f} s")


if __name__ == "__main__":
    main()

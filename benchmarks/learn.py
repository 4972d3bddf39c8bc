"""A run that trains: `python -m benchmarks.learn MODEL OUT [seconds=N] [key=value ...]`.

The run is what `evolve run problem=circle_packing learner=grpo` does, at 16 x 16 completions a step; any option can be
given, `learner=frozen` too, for the same search without training. OUT receives `figures.json` after every step, so that
a run that is cut loses nothing: for each step the seconds by what the GPU did, tokens/s, how the completions ended,
reward, entropy, distinct programs, memory, and the best score. At the end it receives the report and the database, too.

With `seconds=N` the search ends itself `RESERVE_S` seconds before N, counted from the start of this process; what is
left is for the update of the step that was cut, the last checkpoint and the report. The run's folder, with checkpoints
of 12 bytes a parameter, is not in OUT but `learn-NAME` in the folder for temporary files, NAME being OUT's, unless
`run.dir=` names another. Typed again, the command goes on with that run, by the options it has; `evolve export run=...
to=FOLDER` works on it.
"""

import contextlib
import dataclasses
import json
import shutil
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from database.store import RunStore
from evolve import compose
from evolve.engine.build import build_engine
from evolve.options import load_config, parse_options
from evolve.run_folder import existing_run_folder, new_run_folder
from evolve.session import Outside, Session, begin, reopen
from evolve.types import Outcome, StepReport

#: Kept for the last checkpoint, the report and the copies.
RESERVE_S = 75.0
#: What the defaults of `evolve run` are changed to.
WORDS = (
    "problem=circle_packing",
    "learner=grpo",
    "rollout.parents=16",
    "rollout.samples=16",
    # Beside 1.8 billion parameters in training on 80 GB.
    "engine.gpu_memory_utilization=0.45",
    "learner.save_steps=1000000",
    "learner.keep=1",
    "learner.report_to=[]",
    # A program that does not end holds up a step: the slowest 2 % took half of all evaluation time at 20 s.
    "problem.wall_s=6",
)


def step_row(store: RunStore, report: StepReport) -> dict[str, Any]:
    """Return what is known of one step."""
    attempts = store.attempts_of(report.step)
    tokens = sum(attempt.completion.tokens for attempt in attempts)
    identities = [attempt.identity for attempt in attempts if attempt.identity is not None]
    rewards = [attempt.reward for attempt in attempts if attempt.reward is not None]
    return {
        "step": report.step,
        "finished_s": report.finished_s,
        "completions": len(attempts),
        "tokens": tokens,
        "tokens_per_s": tokens / max(report.generate_s, 1e-9),
        "generate_s": report.generate_s,
        "tail_s": report.tail_s,
        "stragglers": report.stragglers,
        "valid": sum(attempt.outcome is Outcome.VALID for attempt in attempts) / max(len(attempts), 1),
        "improved": report.improved / max(report.attempts, 1),
        "distinct": len(set(identities)) / max(len(identities), 1),
        "mean_reward": statistics.fmean(rewards) if rewards else None,
        "outcomes": {str(outcome): count for outcome, count in report.outcomes.items()},
        "best": report.best,
    }


def figures(rows: Sequence[dict[str, Any]], engine_s: float, words: Sequence[str]) -> dict[str, Any]:
    """Return everything that the result page shows."""
    means: dict[str, float] = {}
    for name in ("sync_s", "generate_s", "wait_s", "train_s"):
        values = [row["training"][name] for row in rows if row["training"]]
        if values:
            means[name] = statistics.fmean(values)
    most = {
        name: max((row["training"].get(name, 0.0) for row in rows if row["training"]), default=None)
        for name in ("peak_memory_gib", "gpu_memory_gib")
    }
    return {
        "words": list(words),
        "machine": machine(),
        "engine_ready_s": engine_s,
        "steps": len(rows),
        "completions": sum(row["completions"] for row in rows),
        "seconds_a_step": means | ({"total": sum(means.values())} if means else {}),
        "gpu_waits": means["wait_s"] / sum(means.values()) if means else None,
        **most,
        "tokens_per_s": sum(row["tokens"] for row in rows) / max(sum(row["generate_s"] for row in rows), 1e-9),
        "best": rows[-1]["best"] if rows else None,
        "each_step": list(rows),
    }


def machine() -> str:
    """Return the name of the GPU, if there is one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"


class Figures:
    """Writes the figures whenever a step or an update has been stored, from a thread of its own."""

    def __init__(self, store: RunStore, out: Path, engine_s: float, words: Sequence[str]) -> None:
        self._store = store
        self._out = out
        self._engine_s = engine_s
        self._words = words
        self._rows: dict[int, dict[str, Any]] = {}
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="figures")

    def __enter__(self) -> "Figures":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.write()

    def write(self) -> dict[str, Any]:
        """Write and return the figures; the file is complete at any moment."""
        with self._lock:
            return self._write()

    def _write(self) -> dict[str, Any]:
        trained = {training.step: dict(training.values) for training in self._store.trainings()}
        reports = self._store.reports()
        for report in reports[1:]:
            # What is late is late by one step: older rows stand, for reading them again would cost the engine its core.
            if report.step not in self._rows or report.step >= reports[-1].step - 1:
                self._rows[report.step] = step_row(self._store, report)
            self._rows[report.step]["training"] = trained.get(report.step)
        row = figures(list(self._rows.values()), self._engine_s, self._words)
        partial = self._out / "figures.json.partial"
        partial.write_text(json.dumps(row, indent=1), encoding="utf-8")
        partial.rename(self._out / "figures.json")
        return row

    def _watch(self) -> None:
        seen = (0, 0)
        while not self._ended.wait(2.0):
            now = (len(self._store.reports()), len(self._store.trainings()))
            if now != seen:
                seen = now
                self.write()


def split(words: Iterable[str]) -> tuple[float | None, list[str]]:
    """Return the time limit in seconds, if one is given, and the run's own options."""
    seconds, options = None, []
    for word in words:
        key, _, value = word.partition("=")
        if key == "seconds":
            seconds = float(value)
        else:
            options.append(word)
    return seconds, options


def merged(words: Sequence[str]) -> list[str]:
    """Return `WORDS` with those replaced that `words` give; a learner without options takes none."""
    given = {word.partition("=")[0] for word in words}
    if "problem.path" in given:
        given.add("problem")
    frozen = "learner=frozen" in words
    kept = [word for word in WORDS if word.partition("=")[0] not in given]
    return [word for word in kept if not (frozen and word.startswith("learner."))] + list(words)


def limited(session: Session, seconds: float) -> Session:
    """Return the session with its search ended after `seconds` more."""
    asked = session.config.budget.minutes
    minutes = (session.store.reports()[-1].finished_s + max(0.0, seconds)) / 60
    budget = dataclasses.replace(session.config.budget, minutes=minutes if asked is None else min(minutes, asked))
    return dataclasses.replace(session, config=dataclasses.replace(session.config, budget=budget))


@contextlib.contextmanager
def opened(words: Sequence[str], model: Path, console: Console) -> Iterator[Session]:
    """Begin the run that the words ask for, or go on with it where its folder holds one, which keeps its options."""
    outside = Outside(clocks=compose.Clocks(monotonic=time.monotonic, wall=time.time), console=console)
    config = parse_options(words)
    path = Path(str(config.run.dir))
    goes_on = (path / "run.yaml").exists()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(existing_run_folder(path) if goes_on else new_run_folder(path))
        if goes_on:
            text, run_id = folder.read_run()
            config = load_config(text)
        workshop = stack.enter_context(compose.workshop_of(config, compose.problem_of(config)))
        evaluations = () if goes_on else compose.check_seed(workshop, seed=config.run.seed)
        compose.check_learner(config, model, folder)
        database = stack.enter_context(compose.open_run_database(config, folder))
        if goes_on:
            yield reopen(config, folder, database.run(run_id), workshop, outside)
        else:
            yield begin(config, folder, database, workshop, evaluations, outside)


def main() -> None:
    """Run, measure, print and write the figures."""
    started = time.monotonic()
    model, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    seconds, options = split(sys.argv[3:])
    words = merged([f"model={model}", f"run.dir={Path(tempfile.gettempdir()) / f'learn-{out.name}'}", *options])
    console = Console(width=160)
    out.mkdir(parents=True, exist_ok=True)
    with opened(words, model, console) as session:
        engine = build_engine(session.config, model)
        engine_s = time.monotonic() - started
        console.print(
            f"engine ready after {engine_s:.1f} s; sandbox {session.workshop.sandbox.report.tier}; {machine()}"
        )
        with Figures(session.store, out, engine_s, words) as watched:
            if seconds is not None:
                session = limited(session, seconds - engine_s - RESERVE_S)
            ended = session.go(engine, model)
            row = watched.write()
        console.print(f"{ended.reason}; best {ended.best!r}; the run is in {session.folder.path}")
        shutil.copytree(session.folder.report, out / "report", dirs_exist_ok=True)
        database = session.folder.path / "evolve.db"
        with sqlite3.connect(database) as source, sqlite3.connect(out / "evolve.db") as target:
            source.backup(target)  # a copy of the file would lack what still lies beside it
        engine.close()
    console.print("\n".join(f"{name}: {value}" for name, value in row.items() if name != "each_step"), highlight=False)


if __name__ == "__main__":
    main()

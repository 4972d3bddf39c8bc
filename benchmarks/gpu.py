"""A run with a real model, and between its steps the model alone: `python -m benchmarks.gpu MODEL OUT [key=value ...]`.

The run is what `evolve run problem=circle_packing` does, at 16 x 16 completions a step. After every fifth step, or
every Nth with the word `bare_every=N`, the run is held until nothing is decoded and no program runs any more, which
costs it what other steps gain by beginning beside the end of the one before. Then its engine, in its own process,
decodes the last step's prompts again by a bare `LLM.generate`, its prefix cache emptied first; so each step is compared
with its own prompts, seconds later, and what makes a machine faster or slower for a while does so to both. What is
printed: tokens/s of both, evaluations/s, how the completions ended, the best score, and the seconds of a step, without
those of the bare calls. OUT receives the report, the database and the figures as JSON.
"""

import functools
import json
import shutil
import sys
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.learn import step_row
from database.store import RunStore
from evolve import compose
from evolve.config import FrozenConfig, VllmConfig
from evolve.engine.apart import PolicyApart
from evolve.engine.build import vllm_start
from evolve.engine.vllm import VllmEngine
from evolve.options import parse_options
from evolve.run_folder import new_run_folder
from evolve.session import Outside, Session, begin
from evolve.types import Completion, Request, StepReport

#: After so many steps the last one's prompts are decoded again, if no other number is asked for.
BARE_EVERY = "bare_every=5"
#: Looks at the sandbox, 20 ms apart, that find no program before a bare call.
_IDLE = 10


class BareEngine(VllmEngine):
    """The run's engine, which also decodes as plain vLLM would be asked to."""

    def bare(self, prompts: Sequence[list[int]], samples: int) -> dict[str, float]:
        """Return tokens and seconds of `LLM.generate` for `samples` completions of each prompt."""
        # vLLM runs in the engine's own thread.
        return self._thread.submit(self._bare, prompts, samples).result()

    def _bare(self, prompts: Sequence[list[int]], samples: int) -> dict[str, float]:
        from vllm import SamplingParams

        params = SamplingParams(
            n=samples,
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            max_tokens=self._sampling.max_tokens,
        )
        self._empty_cache()
        started = time.perf_counter()
        outputs = self._llm.generate([{"prompt_token_ids": prompt} for prompt in prompts], params, use_tqdm=False)
        seconds = time.perf_counter() - started
        self._empty_cache()  # or the next step would find prompts that no step of its own has left there
        return {
            "tokens": sum(len(reply.token_ids) for output in outputs for reply in output.outputs),
            "seconds": seconds,
            "prompts": len(prompts),
        }


class Interleaved:
    """The engine of the run, which decodes some of its steps again before it begins the next one."""

    def __init__(self, engine: PolicyApart, sandbox: Any, samples: int, bare_every: int, console: Console) -> None:
        self._engine = engine
        self._bare_every = bare_every
        self._console = console
        self._sandbox = sandbox
        self._samples = samples
        self._last: Sequence[Request] = ()
        self._beginning = threading.Lock()
        self._streams = 0
        self._open: set[int] = set()
        self._held_s = 0.0
        #: One row for each bare call.
        self.rows: list[dict[str, float]] = []

    def clock(self) -> float:
        """Return the seconds that the run has had, from any start: not those of the bare calls."""
        return time.monotonic() - self._held_s

    def stream(self, requests: Sequence[Request]) -> Generator[Completion, None, None]:
        """Decode a step, after the last one has been decoded again if it is its turn."""
        with self._beginning:
            if self._streams and self._streams % self._bare_every == 0:
                self._decode_again()
            self._streams += 1
            step = self._streams
            self._open.add(step)
            self._last = requests
        try:
            yield from self._engine.stream(requests)
        finally:
            self._open.remove(step)

    def give_up(self) -> None:
        """End every open stream soon."""
        self._engine.give_up()

    def _decode_again(self) -> None:
        idle = 0
        while idle < _IDLE:  # a worker takes the next program a moment after the last one
            time.sleep(0.02)
            idle = 0 if self._open or any(self._sandbox._users.values()) else idle + 1
        held = time.monotonic()
        prompts = [self._engine.encode(request.messages) for request in self._last]
        row: dict[str, float] = self._engine._ask("bare", prompts, self._samples)
        self.rows.append({"step": self._streams, **row})
        self._console.print(f"bare: {self.rows[-1]}")
        self._held_s += time.monotonic() - held

    def close(self) -> None:
        """End the engine."""
        self._engine.close()


def rate(store: RunStore, reports: list[StepReport], *, with_tail: bool) -> float:
    """Return generated tokens/s over the steps, of the generation alone or of whole steps.

    Tokens belong to the step that generated them, also where their evaluation counted in a later one.
    """
    seconds = sum(report.generate_s + (report.tail_s if with_tail else 0.0) for report in reports)
    tokens = sum(attempt.completion.tokens for report in reports for attempt in store.attempts_of(report.step))
    return tokens / seconds


def figures(store: RunStore, session: Session, bare: list[dict[str, float]], elapsed: float) -> dict[str, Any]:
    """Return everything that the result page shows."""
    reports = list(store.reports()[1:])
    result = session.result("")
    whole = sum(report.generate_s + report.tail_s for report in reports)
    bare_tokens = sum(row["tokens"] for row in bare) / sum(row["seconds"] for row in bare) if bare else None
    again = {row["step"] for row in bare}
    compared = [report for report in reports if report.step in again]
    return {
        "seed_program_wall_s": store.evaluations(0)[0].wall_s,
        "steps": len(reports),
        "completions": store.attempts_made(),
        "seconds_of_all_steps": whole,
        "seconds_of_the_session": elapsed,
        "tokens_per_s_generation": rate(store, reports, with_tail=False),
        "tokens_per_s_whole_steps": rate(store, reports, with_tail=True),
        "bare_tokens_per_s": bare_tokens,
        "share_of_bare": None if bare_tokens is None else rate(store, compared, with_tail=False) / bare_tokens,
        "evaluations_per_s": sum(report.attempts for report in reports) / whole,
        "outcomes": {str(outcome): count for outcome, count in result.outcomes.items()},
        "improved": sum(report.improved for report in reports),
        "best": result.best.score,
        "best_construction": result.construction[1].exact,
        "best_against_time": [list(point) for point in result.curve],
        "each_step": [step_row(store, report) | {"database_s": report.database_s} for report in reports],
        "bare": bare,
    }


def main() -> None:
    """Run, measure, print and write the figures."""
    model, out, rest = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    every = next((word for word in rest if word.startswith("bare_every=")), BARE_EVERY)
    words = [word for word in rest if word != every]
    config = parse_options(
        [
            "problem=circle_packing",
            f"model={model}",
            "rollout.parents=16",
            "rollout.samples=16",
            f"run.dir={out / 'run'}",
            *words,
        ]
    )
    if not isinstance(config.engine, VllmConfig) or not isinstance(config.learner, FrozenConfig):
        raise SystemExit("this benchmark compares with vLLM alone; leave engine=vllm and learner=frozen")
    settings = vllm_start(config, config.engine, model).args
    problem = compose.problem_of(config)
    console = Console(width=160)
    with (
        new_run_folder(out / "run") as folder,
        compose.workshop_of(config, problem) as workshop,
        compose.open_run_database(config, folder) as database,
    ):
        evaluations = compose.check_seed(workshop, seed=config.run.seed)
        started = time.perf_counter()
        apart = PolicyApart(functools.partial(BareEngine, *settings))
        engine = Interleaved(apart, workshop.sandbox, config.rollout.samples, int(every.partition("=")[2]), console)
        console.print(
            f"engine ready after {time.perf_counter() - started:.1f} s; sandbox {workshop.sandbox.report.tier}"
        )
        clocks = compose.Clocks(monotonic=engine.clock, wall=time.time)
        session = begin(config, folder, database, workshop, evaluations, Outside(clocks=clocks, console=console))
        started = engine.clock()
        ended = session.go(engine, model)
        elapsed = engine.clock() - started
        console.print(f"{ended.reason}; best {ended.best!r}")
        row = figures(session.store, session, engine.rows, elapsed)
        (out / "figures.json").write_text(json.dumps(row, indent=1), encoding="utf-8")
        shutil.copytree(folder.report, out / "report", dirs_exist_ok=True)
        engine.close()
    tables = ("each_step", "best_against_time")
    console.print("\n".join(f"{name}: {value}" for name, value in row.items() if name not in tables), highlight=False)


if __name__ == "__main__":
    main()

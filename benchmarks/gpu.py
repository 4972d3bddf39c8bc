"""A run with a real model, then the model alone on its prompts: `python -m benchmarks.gpu MODEL OUT [key=value ...]`.

The run is what `evolve run problem=circle_packing` does, at 16 x 16 completions a step. When it is over and its engine
closed, a bare `LLM.generate` with the same settings decodes the prompts of some of its steps again, in this process,
where nothing else goes on any more, its prefix cache emptied first. What is printed: tokens/s of both, evaluations/s,
how the completions ended, the best score, and the seconds of a step. OUT receives the report, the database and the
figures as JSON.
"""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from database.store import RunStore
from evolve import compose
from evolve.config import FrozenConfig, VllmConfig
from evolve.engine.build import build_engine, vllm_start
from evolve.options import parse_options
from evolve.run_folder import new_run_folder
from evolve.session import Outside, Session, begin
from evolve.types import Outcome, StepReport

#: Steps whose prompts the bare engine decodes again.
BARE_STEPS = 6


def bare_rate(engine: Any, store: RunStore, steps: list[int], samples: int) -> list[dict[str, float]]:
    """Return tokens and seconds of `LLM.generate` on the prompts of each of `steps`."""
    from vllm import SamplingParams

    llm: Any = engine._llm
    tokenizer = llm.get_tokenizer()
    rows = []
    for step in steps:
        # One prompt for each group, equal ones too, so that both decode the same number of completions.
        prompts = {(attempt.id - 1) // samples: attempt.prompt for attempt in store.attempts_of(step)}
        ids = [
            tokenizer.apply_chat_template(
                [{"role": message.role, "content": message.content} for message in prompt],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
            )["input_ids"]
            for prompt in prompts.values()
        ]
        params = SamplingParams(
            n=samples,
            temperature=engine._sampling.temperature,
            top_p=engine._sampling.top_p,
            max_tokens=engine._sampling.max_tokens,
        )
        llm.reset_prefix_cache()
        started = time.perf_counter()
        outputs = llm.generate([{"prompt_token_ids": list(prompt)} for prompt in ids], params, use_tqdm=False)
        seconds = time.perf_counter() - started
        tokens = sum(len(reply.token_ids) for output in outputs for reply in output.outputs)
        rows.append({"step": step, "tokens": tokens, "seconds": seconds, "prompts": len(ids)})
    return rows


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
        "each_step": [
            {
                "step": report.step,
                "tokens": report.tokens,
                "generate_s": report.generate_s,
                "tail_s": report.tail_s,
                "database_s": report.database_s,
                "stragglers": report.stragglers,
                "best": report.best,
                "improved": report.improved,
                "valid": report.outcomes.get(Outcome.VALID, 0),
            }
            for report in reports
        ],
        "bare": bare,
    }


def keep(row: dict[str, Any], report: Path, out: Path) -> None:
    """Write the figures and the report; what is written survives a time limit during the rest."""
    (out / "figures.json").write_text(json.dumps(row, indent=1), encoding="utf-8")
    shutil.copytree(report, out / "report", dirs_exist_ok=True)


def main() -> None:
    """Run, measure, print and write the figures."""
    model, out, words = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
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
    start = vllm_start(config, config.engine, model)
    problem = compose.problem_of(config)
    clocks = compose.Clocks(monotonic=time.monotonic, wall=time.time)
    console = Console(width=160)
    with (
        new_run_folder(out / "run") as folder,
        compose.workshop_of(config, problem) as workshop,
        compose.open_run_database(config, folder) as database,
    ):
        evaluations = compose.check_seed(workshop, seed=config.run.seed)
        session = begin(config, folder, database, workshop, evaluations, Outside(clocks=clocks, console=console))
        store = session.store
        started = time.perf_counter()
        engine = build_engine(config, model)
        console.print(
            f"engine ready after {time.perf_counter() - started:.1f} s; sandbox {workshop.sandbox.report.tier}"
        )
        started = time.perf_counter()
        ended = session.go(engine, model)
        elapsed = time.perf_counter() - started
        console.print(f"{ended.reason}; best {ended.best!r}")
        steps = [report.step for report in store.reports()[1:-1]]  # a budget may have cut the last one
        chosen = steps[:: max(1, len(steps) // BARE_STEPS)][:BARE_STEPS]
        keep(figures(store, session, [], elapsed), folder.report, out)
        engine.close()
        alone = start()
        # vLLM runs in the engine's own thread, so the bare calls are made there too.
        bare = alone._thread.submit(bare_rate, alone, store, chosen, config.rollout.samples).result()
        row = figures(store, session, bare, elapsed)
        keep(row, folder.report, out)
        alone.close()
    tables = ("each_step", "best_against_time")
    console.print("\n".join(f"{name}: {value}" for name, value in row.items() if name not in tables), highlight=False)


if __name__ == "__main__":
    main()

"""What makes the model alone faster on a run's prompts: `python -m benchmarks.decoding MODEL RUN OUT [key=value ...]`.

Three steps of RUN are decoded again by a bare `LLM.generate`, as the configuration with the given words starts vLLM
(`problem=circle_packing engine.max_num_seqs=256`), every completion a request of its own: their prompts for full
rewrites, as they were sent, and prompts for edits made of the same draws. Compared are

    together     the samples of a prompt one after the other, as the loop sends them
    sorted       and prompts that begin alike next to each other
    mixed        first samples of all prompts, then second ones, and so on
    guessing K   together, with engine.speculate=K, which guesses that the reply goes on as the prompt did; on a GPU

Printed and written to OUT/figures.json: tokens/s, which share of the prompts' tokens came from the prefix cache, and
the mean log-probability of a token that was drawn, which guesses must leave as it is.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch

from database.store import RunStore
from evolve import compose
from evolve.config import Config, VllmConfig
from evolve.engine.build import vllm_start
from evolve.engine.vllm import llm_arguments, set_environment
from evolve.options import parse_options
from evolve.types import Attempt

#: Steps whose prompts are decoded again.
STEPS = 3
#: Tokens that are guessed at once.
GUESSED = (4, 8)
Chat = list[dict[str, str]]


def prompts_of(config: Config, store: RunStore, model: Path, reply_format: str) -> list[list[Chat]]:
    """Return for each chosen step the prompt of each completion, made anew from its draw."""
    problem = compose.problem_of(config)
    asked = replace(config, prompt=replace(config.prompt, format=reply_format))
    prompter = compose.build_prompter(asked, problem, model)

    def prompt(attempt: Attempt) -> Chat:
        draw = attempt.draw
        shown = [store.program(number) for number in draw.inspiration_ids]
        # One move for a group, as the loop has it.
        rng = Random((attempt.id - 1) // config.rollout.samples)
        messages = prompter.messages(store.program(draw.parent_id), shown, None, rng)
        return [{"role": message.role, "content": message.content} for message in messages]

    steps = [report.step for report in store.reports()[1:-1]]  # a budget may have cut the last one
    chosen = steps[:: max(1, len(steps) // STEPS)][:STEPS]
    return [[prompt(attempt) for attempt in store.attempts_of(step)] for step in chosen]


def ordered(step: Sequence[Chat], samples: int, order: str) -> list[Chat]:
    """Return a step's prompts in the order in which they are sent."""
    if order == "sorted":
        return sorted(step, key=lambda chat: chat[-1]["content"])
    if order == "mixed":
        return [chat for sample in range(samples) for chat in step[sample::samples]]
    return list(step)


def measure(llm: Any, sampling: Any, steps: Sequence[Sequence[Chat]]) -> dict[str, float]:
    """Return how fast the engine decodes the steps, one after the other, each with an empty cache."""
    tokens, seconds, before = 0, 0.0, counters(llm)
    for chats in steps:
        encoded = [
            llm.get_tokenizer().apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)
            for chat in chats
        ]
        llm.reset_prefix_cache()
        started = time.perf_counter()
        outputs = llm.generate(
            [{"prompt_token_ids": list(prompt["input_ids"])} for prompt in encoded], sampling, use_tqdm=False
        )
        seconds += time.perf_counter() - started
        tokens += sum(len(output.outputs[0].token_ids) for output in outputs)
    grown = {name: value - before[name] for name, value in counters(llm).items()}
    return {
        "tokens": tokens,
        "seconds": seconds,
        "tokens_per_s": tokens / seconds,
        "from_prefix_cache": grown["hits"] / max(grown["queries"], 1),
        "guessed": grown["drafts"],
        "right": grown["accepted"] / max(grown["drafts"], 1),
    }


def mean_logprob(llm: Any, sampling: Mapping[str, Any], chats: Sequence[Chat]) -> float:
    """Return the mean log-probability of the tokens drawn for these prompts, each under the distribution it is from."""
    from vllm import SamplingParams

    outputs = llm.chat(list(chats), SamplingParams(**sampling, logprobs=0), use_tqdm=False)
    replies = [output.outputs[0] for output in outputs]
    drawn = [
        place[token].logprob for reply in replies for token, place in zip(reply.token_ids, reply.logprobs, strict=True)
    ]
    return sum(drawn) / len(drawn)


def counters(llm: Any) -> dict[str, float]:
    """Return vLLM's own counts so far."""
    names = {
        "queries": "vllm:prefix_cache_queries",
        "hits": "vllm:prefix_cache_hits",
        "drafts": "vllm:spec_decode_num_draft_tokens",
        "accepted": "vllm:spec_decode_num_accepted_tokens",
    }
    values = {metric.name: metric.value for metric in llm.get_metrics() if hasattr(metric, "value")}
    return {ours: float(values.get(theirs, 0.0)) for ours, theirs in names.items()}


def decode(job: Path) -> None:
    """Do one job in this process, and write its figures beside it."""
    set_environment()
    from vllm import LLM, SamplingParams

    given = json.loads(job.read_text(encoding="utf-8"))
    llm = LLM(**given["engine"] | {"disable_log_stats": False})
    sampling = SamplingParams(**given["sampling"])
    measure(llm, sampling, [given["formats"]["full"][0][:8]])  # what is compiled at first use
    rows: dict[str, dict[str, float]] = {
        f"{reply_format}, {name}": measure(
            llm, sampling, [ordered(step, given["samples"], order) for step in given["formats"][reply_format]]
        )
        for reply_format, name, order in given["measured"]
    }
    for row, (reply_format, _, _) in zip(rows.values(), given["measured"], strict=True):
        row["mean_logprob"] = mean_logprob(llm, given["sampling"], given["formats"][reply_format][-1])
    job.with_suffix(".out").write_text(json.dumps(rows), encoding="utf-8")


def main() -> None:
    """Make the prompts, measure each engine in a process of its own, print and write."""
    if sys.argv[1] == "--job":
        decode(Path(sys.argv[2]))
        return
    model, run, out, words = Path(sys.argv[1]).resolve(), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
    out.mkdir(parents=True, exist_ok=True)
    config = parse_options([f"model={model}", *words])
    if not isinstance(config.engine, VllmConfig):
        raise SystemExit("this benchmark measures vLLM: leave engine=vllm")
    with compose.open_run(run) as (stored, store):
        formats = {name: prompts_of(stored, store, model, name) for name in ("full", "edits")}
        samples = stored.rollout.samples
    common = {
        "formats": formats,
        "samples": samples,
        "sampling": {
            "temperature": config.sampling.temperature,
            "top_p": config.sampling.top_p,
            "max_tokens": config.sampling.max_tokens,
        },
    }
    set_environment()
    settings = replace(vllm_start(config, config.engine, model).args[2], logprobs=True)
    orders = [["full", "together", "together"], ["full", "sorted", "sorted"], ["full", "mixed", "mixed"]]
    jobs = {"plain": (settings, [*orders, ["edits", "together", "together"]])} | {
        f"guessing {tokens}": (
            replace(settings, speculate=tokens),
            [[reply_format, f"guessing {tokens}", "together"] for reply_format in ("full", "edits")],
        )
        for tokens in (GUESSED if torch.cuda.is_available() else ())
    }
    rows: dict[str, Any] = {}
    for name, (own, measured) in jobs.items():
        job = out / f"{name}.job"
        row = {"engine": llm_arguments(model, own), "measured": measured}
        job.write_text(json.dumps(common | row), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.decoding", "--job", str(job)], capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
        rows |= json.loads(job.with_suffix(".out").read_text(encoding="utf-8"))
        job.unlink()
        (out / "figures.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    for name, row in rows.items():
        print(
            f"{name:20} {row['tokens_per_s']:8.0f} tokens/s  {100 * row['from_prefix_cache']:5.1f} % from the prefix "
            f"cache  {row['guessed']:8.0f} tokens guessed, {100 * row['right']:.0f} % of them right, mean logprob "
            f"{row['mean_logprob']:.4f}"
        )


if __name__ == "__main__":
    main()

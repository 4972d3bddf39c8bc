"""What makes the model alone faster: `python -m benchmarks.decoding MODEL OUT [JOB ...] [key=value ...]`.

A bare `LLM.generate` decodes the prompts with which runs of `problem=circle_packing` begin, every completion a request
of its own, as the configuration with the given words starts vLLM. Sizes are 16 x 16, 8 x 8 and 64 x 16 completions at
once; `sizes=16x16,8x8` names others. Jobs, all of them unless some are named:

    plain      as `evolve run` does it
    compiled   with engine.compile=true

On a machine without a GPU there is `plain` alone; with `prompt.format=edits` prompts ask for edits. Printed and written
to OUT/figures.json, size after size: tokens/s, which share of the prompts' tokens came from the prefix cache, the
share of replies that hold a program, and the mean log-probability of a token that was drawn; compiling must leave the
last two as they are. Of `plain` the operations that take the most time are written to OUT/profile-SIZE.txt, for 20
tokens of each completion.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from evolve import compose
from evolve.config import Config, VllmConfig
from evolve.engine.build import vllm_start
from evolve.engine.vllm_start import llm_arguments, set_environment
from evolve.options import parse_options
from evolve.parse import Child, parse_reply
from evolve.types import Outcome, Problem, Program

#: Groups and samples of a group.
SIZES = "16x16,8x8,64x16"
#: What differs from the configuration, by job.
JOBS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "compiled": {"compile": True},
}
#: Tokens of each completion while the profiler looks on, and lines of its table.
PROFILED, LINES = 20, 40
Chat = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Decoder:
    """One engine and how it is asked.

    Attributes:
        llm: vLLM's.
        sampling: Arguments of `SamplingParams`.
        config: Of the run whose prompts are decoded.
        problem: Its problem.
    """

    llm: Any
    sampling: Mapping[str, Any]
    config: Config
    problem: Problem

    def encoded(self, groups: int, samples: int) -> list[dict[str, list[int]]]:
        """Return the prompt of each completion: the samples of a group one after the other, as the loop sends them."""
        tokenizer = self.llm.get_tokenizer()
        prompts = [
            tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)
            for chat in first_prompts(self.config, self.problem, groups)
        ]
        return [{"prompt_token_ids": list(prompt["input_ids"])} for prompt in prompts for _ in range(samples)]

    def measure(self, prompts: Sequence[dict[str, list[int]]]) -> dict[str, float]:
        """Return how fast the prompts are decoded, from an empty cache, and what came of it."""
        from vllm import SamplingParams

        self.llm.reset_prefix_cache()
        started = time.perf_counter()
        outputs = self.llm.generate(list(prompts), SamplingParams(**self.sampling), use_tqdm=False)
        seconds = time.perf_counter() - started
        replies = [output.outputs[0] for output in outputs]
        tokens = sum(len(reply.token_ids) for reply in replies)
        return {
            "tokens": tokens,
            "seconds": seconds,
            "tokens_per_s": tokens / seconds,
            "longest": max(len(reply.token_ids) for reply in replies),
            # Of each request's own count: in this process vLLM 0.25 does not add up its counters of all requests.
            "from_prefix_cache": sum(output.num_cached_tokens for output in outputs)
            / sum(len(output.prompt_token_ids) for output in outputs),
            "programs": sum(self._is_program(reply.text) for reply in replies) / len(replies),
            "mean_logprob": self._mean_logprob(prompts),
        }

    def _is_program(self, reply: str) -> bool:
        parsed = parse_reply(
            reply,
            parent=self.problem.seed_source,
            entry_point=self.problem.entry_point,
            source_chars=self.problem.limits.source_chars,
        )
        return isinstance(parsed, Child)

    def _mean_logprob(self, prompts: Sequence[dict[str, list[int]]]) -> float:
        """Return the mean log-probability of the tokens drawn, each under the distribution it is from."""
        from vllm import SamplingParams

        outputs = self.llm.generate(list(prompts[:256]), SamplingParams(**self.sampling, logprobs=0), use_tqdm=False)
        drawn = [
            place[token].logprob
            for output in outputs
            for token, place in zip(output.outputs[0].token_ids, output.outputs[0].logprobs, strict=True)
        ]
        return sum(drawn) / len(drawn)

    def profile(self, prompts: Sequence[dict[str, list[int]]]) -> str:
        """Return the operations that take the most time."""
        from vllm import SamplingParams

        on_gpu = torch.cuda.is_available()
        few = SamplingParams(**self.sampling | {"max_tokens": PROFILED}, ignore_eos=True)
        with torch.profiler.profile(record_shapes=False) as seen:
            self.llm.generate(list(prompts), few, use_tqdm=False)
        order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
        return str(seen.key_averages().table(sort_by=order, row_limit=LINES, max_name_column_width=80))


def first_prompts(config: Config, problem: Problem, groups: int) -> list[Chat]:
    """Return the prompts of a run's first step, whose parents are all the seed program; the moves differ."""
    prompter = compose.build_prompter(config, problem, None)
    parent = Program(
        id=0, parent_id=None, step=0, identity="", source=problem.seed_source, outcome=Outcome.VALID, score=0.0
    )
    every = [prompter.messages(parent, [], None, prompter.move(group, seed=0)) for group in range(groups)]
    return [[{"role": message.role, "content": message.content} for message in messages] for messages in every]


def configured(model: Path, words: Sequence[str]) -> tuple[Config, VllmConfig]:
    """Return the run's options, and its engine's."""
    config = parse_options(["problem=circle_packing", f"model={model}", "engine.max_num_seqs=1024", *words])
    if not isinstance(config.engine, VllmConfig):
        raise SystemExit("this benchmark measures vLLM: leave engine=vllm")
    return config, config.engine


def decode(model: Path, out: Path, job: str, sizes: Sequence[tuple[int, int]], words: Sequence[str]) -> None:
    """Do one job in this process; its figures are complete after each size."""
    config, engine = configured(model, words)
    settings = replace(vllm_start(config, engine, model).args[2], logprobs=True, **JOBS[job])
    set_environment()
    from vllm import LLM

    started = time.perf_counter()
    llm = LLM(**llm_arguments(model, settings))
    ready_s = time.perf_counter() - started
    sampling = config.sampling
    asked = {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_tokens}
    decoder = Decoder(llm, asked, config, compose.problem_of(config))
    decoder.measure(decoder.encoded(1, 2))  # what is compiled at first use
    rows: dict[str, dict[str, float]] = {}
    for groups, samples in sizes:
        prompts = decoder.encoded(groups, samples)
        rows[f"{job}, {groups}x{samples}"] = decoder.measure(prompts) | {"ready_s": ready_s}
        (out / f"{job}.part").write_text(json.dumps(rows), encoding="utf-8")
        if job == "plain":
            table = decoder.profile(prompts)
            (out / f"profile-{groups}x{samples}.txt").write_text(table, encoding="utf-8")


def main() -> None:
    """Measure each engine in a process of its own, print and write."""
    words = sys.argv[1:]
    one = words[0] == "--job"
    model, out = (Path(word).resolve() for word in words[one : 2 + one])
    named = [word for word in words[2 + one :] if word in JOBS]
    rest = [word for word in words[2 + one :] if word not in JOBS]
    sizes = next((word.partition("=")[2] for word in rest if word.startswith("sizes=")), SIZES)
    options = [word for word in rest if not word.startswith("sizes=")]
    if one:
        pairs = [size.split("x") for size in sizes.split(",")]
        decode(model, out, named[0], [(int(groups), int(samples)) for groups, samples in pairs], options)
        return
    out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, Any] = {}
    for job in named or (JOBS if torch.cuda.is_available() else ["plain"]):
        command = [sys.executable, "-m", "benchmarks.decoding", "--job", str(model), str(out), job, *rest]
        done = subprocess.run(command, capture_output=True, text=True)
        part = out / f"{job}.part"
        if part.exists():
            rows |= json.loads(part.read_text(encoding="utf-8"))
            part.unlink()
        (out / "figures.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
        if done.returncode:
            print(f"{job} failed:\n{done.stderr[-3000:]}")
    for name, row in rows.items():
        print(
            f"{name:20} {row['tokens_per_s']:8.0f} tokens/s  {100 * row['from_prefix_cache']:5.1f} % from the prefix "
            f"cache  {100 * row['programs']:.0f} % programs, mean logprob {row['mean_logprob']:.4f}"
        )


if __name__ == "__main__":
    main()

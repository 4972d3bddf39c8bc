"""In which type a model runs faster on this machine: `python -m benchmarks.precision MODEL`.

Printed for bfloat16 and float32, each in a process of its own: seconds to read a prompt of some 430 tokens, and
tokens/s of 1 and of 16 completions that are decoded at once. `engine.dtype=auto` chooses by the processor's
instructions; this says whether it is right.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from evolve.engine.precision import dtype_here
from evolve.engine.vllm_start import VllmSettings, llm_arguments, set_environment

#: A prompt as a run has them: a program.
PROMPT = (Path(__file__).parents[1] / "problems" / "circle_packing" / "seed.py").read_text(encoding="utf-8")
#: Decoded by each completion.
TOKENS = 24
BATCHES = (1, 16)


def measure(model: Path, dtype: str) -> str:
    """Return a line of figures; vLLM runs in this process."""
    set_environment()
    from vllm import LLM, SamplingParams

    settings = VllmSettings(
        max_model_len=2048,
        max_num_seqs=max(BATCHES),
        gpu_memory_utilization=0.5,
        kv_cache_gib=1,
        compile=False,
        logprobs=False,
        seed=0,
        dtype=dtype,
    )
    llm = LLM(**llm_arguments(model, settings))

    def seconds(prompts: list[str], tokens: int) -> float:
        started = time.perf_counter()
        llm.generate(prompts, SamplingParams(max_tokens=tokens, ignore_eos=True), use_tqdm=False)
        return time.perf_counter() - started

    seconds(["warm up"], 4)
    read = seconds([PROMPT], 1)
    words = [f"{dtype}: {prompt_tokens(llm)} tokens of a prompt in {read:.1f} s"]
    for batch in BATCHES:  # the prompt is in the cache by now
        words.append(f"{batch} at once {batch * TOKENS / seconds([PROMPT] * batch, TOKENS):.1f} tokens/s")
    return ", ".join(words)


def prompt_tokens(llm: Any) -> int:
    """Return how long the prompt is."""
    return len(llm.get_tokenizer().encode(PROMPT))


def main() -> None:
    """Compare the types, or measure the one that is named."""
    model, *rest = sys.argv[1:]
    if rest:
        print(measure(Path(model), rest[0]), flush=True)
        return
    print(f"engine.dtype=auto is {dtype_here('auto')} here", flush=True)
    for dtype in ("bfloat16", "float32"):
        subprocess.run([sys.executable, "-m", "benchmarks.precision", model, dtype], check=True)


if __name__ == "__main__":
    main()

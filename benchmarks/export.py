"""Does the model that a run trained work elsewhere? `python -m benchmarks.export RUN OUT`.

`evolve export` writes RUN's model to OUT/model. Then plain `transformers` and plain vLLM load it, each in a process of
its own that imports nothing of ours, and answer one question without sampling. OUT/figures.json receives seconds and
answers. The two may differ where the model is undecided, for they round differently.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from evolve.cli import call

QUESTION = "Write a Python function that adds two numbers."
TOKENS = 60
TRANSFORMERS = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, question, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
device = "cuda" if torch.cuda.is_available() else "cpu"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(device)
ids = tokenizer.apply_chat_template(
    [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
).to(device)
out = model.generate(**ids, max_new_tokens=tokens, do_sample=False)
open("answer.txt", "w").write(tokenizer.decode(out[0][ids["input_ids"].shape[1]:], skip_special_tokens=True))
"""
VLLM = """
import sys
from vllm import LLM, SamplingParams
if __name__ == "__main__":
    folder, question, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
    llm = LLM(folder, dtype="bfloat16", max_model_len=512, max_num_seqs=4, enforce_eager=True)
    (out,) = llm.chat(
        [{"role": "user", "content": question}], SamplingParams(temperature=0, max_tokens=tokens), use_tqdm=False
    )
    open("answer.txt", "w").write(out.outputs[0].text)
"""


def answer(script: Path, folder: Path) -> dict[str, object]:
    """Return what the model in `folder` says to `QUESTION` under a script, and after how many seconds."""
    started = time.perf_counter()
    (script.parent / "answer.txt").unlink(missing_ok=True)
    words = [sys.executable, str(script), str(folder), QUESTION, str(TOKENS)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=script.parent)
    if done.returncode:
        raise SystemExit(f"{script.stem} does not load the model:\n{done.stderr[-3000:]}")
    return {"seconds": time.perf_counter() - started, "answer": (script.parent / "answer.txt").read_text()}


def main() -> None:
    """Export, load, ask, and print and write what came of it."""
    run, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    if call(["export", f"run={run}", f"to={out / 'model'}"]):
        raise SystemExit("nothing was exported")
    row: dict[str, object] = {"export_s": time.perf_counter() - started}
    for name, text in (("transformers", TRANSFORMERS), ("vllm", VLLM)):
        script = out / f"with_{name}.py"
        script.write_text(text, encoding="utf-8")
        row[name] = answer(script, out / "model")
        (out / "figures.json").write_text(json.dumps(row, indent=1), encoding="utf-8")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()

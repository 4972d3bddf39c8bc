"""Runs of the real command with the scripted engine, on a problem whose evaluation costs nothing."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRIVIAL = ROOT / "benchmarks" / "trivial"

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def evolve(tmp_path: Path) -> Command:
    """Run `evolve` in a process of its own, in an empty folder."""

    def call(*words: str, timeout_s: float = 120.0) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "evolve", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    return call


@pytest.fixture
def replies(tmp_path: Path) -> Callable[[Sequence[str]], Path]:
    """Write texts as the completions of a scripted engine."""

    def write(texts: Sequence[str]) -> Path:
        file = tmp_path / "replies.jsonl"
        file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        return file

    return write


def program(answer: object, *, sleep_s: float = 0.0) -> str:
    """Return a reply with a program that answers after a while."""
    wait = f"    import time\n    time.sleep({sleep_s})\n" if sleep_s else ""
    return f"Here it is.\n```python\ndef answer():\n{wait}    return {answer!r}\n```\n"


def trivial(replies: Path, run: Path, *words: str) -> list[str]:
    """Return the words of `evolve run` for the trivial problem."""
    return [
        "run",
        "problem=trivial",
        f"problem.path={TRIVIAL}",
        "engine=scripted",
        f"engine.file={replies}",
        "sandbox.require=none",
        f"run.dir={run}",
        *words,
    ]

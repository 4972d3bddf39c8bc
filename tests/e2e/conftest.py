"""Runs of the real command with the scripted engine, on a problem whose evaluation costs nothing."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

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

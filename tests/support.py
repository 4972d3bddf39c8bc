"""What several test files share."""

from pathlib import Path

from evolve.reward import LazyMode, Nearness, Penalties, Rewarder, RewardMode
from evolve.types import Problem

ROOT = Path(__file__).parents[1]
TRIVIAL = ROOT / "benchmarks" / "trivial"


def program(answer: object, *, sleep_s: float = 0.0) -> str:
    """Return a reply with a program that answers after a while."""
    wait = f"    import time\n    time.sleep({sleep_s})\n" if sleep_s else ""
    return f"Here it is.\n```python\ndef answer():\n{wait}    return {answer!r}\n```\n"


def raw_rewarder(problem: Problem) -> Rewarder:
    """Return what pays a valid program its score, repetitions included."""
    return Rewarder(
        mode=RewardMode.RAW,
        lazy=LazyMode.NONE,
        near=Nearness(),
        direction=problem.direction,
        shape=problem.shape,
        penalties=Penalties(),
    )


def trivial(replies: Path, run: Path, *words: str) -> list[str]:
    """Return the words of `evolve run` for the trivial problem."""
    return [
        "run",
        "problem=trivial",
        f"problem.path={TRIVIAL}",
        "engine=scripted",
        f"engine.file={replies}",
        "sandbox.require=none",
        "rollout.late=0",
        f"run.dir={run}",
        *words,
    ]

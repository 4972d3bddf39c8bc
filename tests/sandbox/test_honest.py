"""Honest programs notice little of the walls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import sandbox
from sandbox import Ending, Job, Limits, Tier
from sandbox.converse import converse


def test_honest_programs_run(box: sandbox.Sandbox) -> None:
    """What numpy and scipy programs do works in tier full: pools, children, threads, alarms, files, event loops."""
    if box.report.tier is not Tier.FULL:
        pytest.skip("needs tier full")
    source = Path(__file__).with_name("honest_program.py").read_text()
    played = converse(box, Job(source=source, entry_point="solve", seed=1, limits=Limits(wall_s=60.0)))

    assert (played.answers, played.result.ending) == (({},), Ending.FINISHED), played.result.feedback


def test_a_program_can_be_a_module_of_dataclasses_and_classes(play) -> None:
    """The source runs as a module of its own, so that what looks itself up in `sys.modules` works."""
    source = (
        "from __future__ import annotations\n"
        "import pickle\n"
        "from dataclasses import dataclass\n"
        "from typing import NamedTuple\n"
        "@dataclass\nclass Circle:\n    r: float\n"
        "class Pair(NamedTuple):\n    a: int\n    b: int\n"
        "def solve():\n"
        "    circle = pickle.loads(pickle.dumps(Circle(0.5)))\n"
        "    return [circle.r, list(Pair(1, 2)), __name__]\n"
        "if __name__ == '__main__':\n    raise SystemExit('not a script')\n"
    )

    assert play(source).answers == ([0.5, [1, 2], "candidate"],)


def test_the_example_of_the_readme_runs(box: sandbox.Sandbox) -> None:
    """What a reader copies first works as it stands."""
    if box.report.tier is not Tier.FULL:
        pytest.skip("needs tier full")
    text = (Path(sandbox.__file__).parent / "README.md").read_text()
    exec(compile(text.split("```python\n")[1].split("```")[0], "README.md", "exec"), {})


def test_programs_stay_on_the_processors_that_are_left_to_them() -> None:
    """Whatever the caller may use; what is not named stays free for the model."""
    last = max(os.sched_getaffinity(0))
    source = "import os\ndef solve():\n    return sorted(os.sched_getaffinity(0))\n"
    with sandbox.open_sandbox(require=Tier.NONE, preload=("json",), cpus=(last,)) as opened:
        played = converse(opened, Job(source=source, entry_point="solve", seed=1, limits=Limits(wall_s=10.0)))

    assert played.answers == ([last],), played.result.feedback

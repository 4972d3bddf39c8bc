"""Runs all attacks on one tier as whoever it is started by, and prints one JSON line for each: `driver.py TIER`."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from typing import Any

from attack import answers, escapes, resources
from attack.case import PRELUDE, Case
from attack.world import SECRET_NAME, World

from sandbox import Ending, Job, Limits, Tier
from sandbox.converse import Conversation, converse
from sandbox.runner import Blueprint, Runner, start

CASES: tuple[Case, ...] = (*resources.CASES, *escapes.CASES, *answers.CASES)
PRELOAD = ("numpy", "scipy.optimize")
LIMITS: dict[str, Any] = {"wall_s": 20.0, "memory_mib": 512, "processes": 24}


def run_case(case: Case, runner: Runner, world: World) -> dict[str, Any]:
    """Return what came of one attack."""
    zygote = runner.zygote.pid
    targets = world.targets(zygote)
    begin = time.monotonic()
    first = last = _run(case.source, case, runner, targets)
    if case.follow_up:
        last = _run(case.follow_up, case, runner, targets)
    seconds = time.monotonic() - begin
    told = repr([(each.result, each.answers) for each in (first, last)])
    wrong = world.damage(
        zygote=zygote, full=runner.report.tier is Tier.FULL, scratch=runner.zygote.scratch, outputs=told
    )
    if first.result.ending not in case.endings:
        wrong.append(f"it ended by {first.result.ending}: {first.result.detail}")
    if case.follow_up and last.result.ending is not Ending.FINISHED:
        wrong.append(f"the next program ended by {last.result.ending}: {last.result.detail}")
    if last.fault is not case.fault and not case.any_fault:
        wrong.append(f"the decoder said {last.fault}")
    if not wrong and not _holds(case, last):
        wrong.append(f"it answered {last.answers!r:.500}")
    usage = asdict(first.result.usage)
    return {"name": case.name, "row": case.row, "wrong": wrong, "seconds": seconds, **usage}


def _holds(case: Case, conversation: Conversation) -> bool:
    try:
        return bool(case.check(conversation.answers))
    except (IndexError, TypeError, KeyError):
        return False


def _run(source: str, case: Case, runner: Runner, targets: dict[str, Any]) -> Conversation:
    job = Job(source=PRELUDE + source, entry_point="solve", seed=1, limits=Limits(**{**LIMITS, **case.limits}))
    return converse(runner, job, [[targets]] * case.calls)


def main() -> None:
    """Print one line per case, and one at the end."""
    tier = Tier.from_name(sys.argv[1])
    off = tuple(sys.argv[2].split(",")) if len(sys.argv) > 2 and sys.argv[2] else ()
    chosen = set(sys.argv[3].split(";")) if len(sys.argv) > 3 and sys.argv[3] else set()
    blueprint = Blueprint(tier=tier, preload=PRELOAD, off=off)
    with start(blueprint, prove=not off) as runner, World(os.environ[SECRET_NAME]) as world:  # noqa: TID251
        for case in CASES:
            if str(tier) in case.tiers and (not chosen or case.name in chosen):
                print(json.dumps(run_case(case, runner, world)), flush=True)
    print(json.dumps({"end": True}), flush=True)


if __name__ == "__main__":
    main()

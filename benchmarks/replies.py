"""What a run's stored replies say of its engine and its selection: `python -m benchmarks.replies RUN`.

RUN is a run's folder. Two tables are printed:

  pace      for each step of RUN the milliseconds of one decoding step, by the number of completions in flight. All
            completions of a step begin together, so one that ended after n tokens tells when step n was done
  parents   of how many groups the run's best programs were the parent, or were shown beside it; and the share of groups
            whose parent was among the best there were, those in quarantine left out
"""

import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from evolve import compose
from evolve.types import Attempt, Direction

#: Completions that end this many tokens apart are compared; fewer would measure noise.
SPAN = 100
#: Programs whose draws are printed, and of how many best ones a parent is counted.
BEST = 12
AMONG = (8, 32, 128)


def pace(attempts: Sequence[Attempt]) -> list[tuple[int, float]]:
    """Return completions in flight and milliseconds of a decoding step, for spans of the same step's completions."""
    ended = sorted((attempt.completion.tokens, attempt.completion.seconds) for attempt in attempts)
    rows = []
    at = 0
    for number, (tokens, seconds) in enumerate(ended):
        if tokens - ended[at][0] >= SPAN:
            rows.append((len(ended) - at - 1, 1000 * (seconds - ended[at][1]) / (tokens - ended[at][0])))
            at = number
    return rows


def parents(
    steps: Sequence[Sequence[Attempt]], samples: int, quarantine: Collection[int], direction: Direction
) -> None:
    """Print how often the best programs were drawn; a step holds groups of `samples` attempts."""
    born = [attempt for attempts in steps for attempt in attempts if attempt.source is not None]
    scores = {
        attempt.id: attempt.score for attempt in born if attempt.score is not None and attempt.id not in quarantine
    }
    groups = {(attempt.id - 1) // samples: (attempt.step, attempt.draw) for attempts in steps for attempt in attempts}
    drawn = Counter(draw.parent_id for _, draw in groups.values())
    shown = Counter(program for _, draw in groups.values() for program in draw.inspiration_ids)
    step_of = {attempt.id: attempt.step for attempt in born}
    for program in sorted(scores, key=lambda program: direction.rank(scores[program]), reverse=True)[:BEST]:
        print(
            f"program {program} of step {step_of[program]}, {scores[program]:.4f}: parent of {drawn[program]} of "
            f"{len(groups)} groups, shown in {shown[program]}"
        )
    for best in AMONG:
        among = 0
        for step, draw in groups.values():
            there = [direction.rank(score) for program, score in scores.items() if step_of[program] < step]
            parent = scores.get(draw.parent_id)
            if parent is not None:
                among += sum(rank > direction.rank(parent) for rank in there) < best
        print(f"parent among the best {best}: {among / len(groups):.0%} of the groups")


def main() -> None:
    """Read, count and print."""
    with compose.open_run(Path(sys.argv[1])) as (config, store):
        steps = [store.attempts_of(report.step) for report in store.reports()[1:]]
        quarantine = {each.program_id for each in store.confirmations() if not each.confirmed}
        direction = compose.problem_of(config).direction
    for number, attempts in enumerate(steps, start=1):
        words = "  ".join(f"{flying:4}: {milliseconds:5.2f}" for flying, milliseconds in pace(attempts))
        print(f"step {number:3}  in flight: ms  {words}")
    parents(steps, config.rollout.samples, quarantine, direction)


if __name__ == "__main__":
    main()

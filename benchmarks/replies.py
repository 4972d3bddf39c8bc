"""What a run's stored replies say of its engine and its selection: `python -m benchmarks.replies RUN TOKENIZER`.

RUN is a run's folder, TOKENIZER a model's. Three tables are printed:

  pace      for each step of RUN the milliseconds of one decoding step, by the number of completions in flight. All
            completions of a step begin together, so one that ended after n tokens tells when step n was done
  guesses   how many tokens a step would have given if K tokens had been guessed at once (`engine.speculate=K`), by what
            followed the last few tokens in the prompt or the reply, the earliest place and the longest match first;
            counted with TOKENIZER's tokens on some of the replies
  parents   of how many groups the run's best programs were the parent, or were shown beside it; and the share of groups
            whose parent was among the best there were, those in quarantine left out
"""

import random
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from evolve import compose
from evolve.types import Attempt, Direction

#: Completions that end this many tokens apart are compared; fewer would measure noise.
SPAN = 100
#: Replies that are guessed, of a run that begins with its second step: the first one's prompts are alike.
REPLIES = 150
GUESSED = (4, 8, 12)
#: How many tokens must have stood there before.
ALIKE = range(6, 2, -1)
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


def steps_of(prompt: Sequence[int], reply: Sequence[int], guessed: int) -> int:
    """Return the decoding steps of a reply, each of which yields the guesses that are right and one token more."""
    seen: dict[tuple[int, ...], int] = {}
    tokens: list[int] = []

    def append(token: int) -> None:
        tokens.append(token)
        for length in ALIKE:
            if len(tokens) >= length:
                seen.setdefault(tuple(tokens[-length:]), len(tokens))

    for token in prompt:
        append(token)
    steps = done = 0
    while done < len(reply):
        steps += 1
        places = (
            seen[key]
            for key in (tuple(tokens[-length:]) for length in ALIKE)
            if seen.get(key, len(tokens)) < len(tokens)
        )
        place = next(places, len(tokens))
        right = 0
        for guess, said in zip(tokens[place : place + guessed], reply[done:], strict=False):
            if guess != said:
                break
            right += 1
        for said in reply[done : done + right + 1]:
            append(said)
        done += right + 1
    return steps


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
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(sys.argv[2])
    with compose.open_run(Path(sys.argv[1])) as (config, store):
        steps = [store.attempts_of(report.step) for report in store.reports()[1:]]
        quarantine = {each.program_id for each in store.confirmations() if not each.confirmed}
        direction = compose.problem_of(config).direction
    for number, attempts in enumerate(steps, start=1):
        words = "  ".join(f"{flying:4}: {milliseconds:5.2f}" for flying, milliseconds in pace(attempts))
        print(f"step {number:3}  in flight: ms  {words}")
    later = [attempt for attempts in steps[1:] for attempt in attempts]
    chosen = random.Random(0).sample(later, min(REPLIES, len(later)))
    pairs = [
        (tokenizer.encode(attempt.prompt[-1].content), tokenizer.encode(attempt.completion.text)) for attempt in chosen
    ]
    for guessed in GUESSED:
        made = sum(len(reply) for _, reply in pairs) / sum(steps_of(*pair, guessed) for pair in pairs)
        print(f"{guessed} tokens guessed at once: {made:.2f} tokens a step")
    parents(steps, config.rollout.samples, quarantine, direction)


if __name__ == "__main__":
    main()

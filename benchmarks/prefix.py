"""How much of a step's prompts an engine with a prefix cache reads once: `python -m benchmarks.prefix RUN [RUN ...]`.

For each run, from its stored prompts, the mean over its steps of three shares of all characters that were sent:
`samples` is what the completions of one prompt share with each other, `prompts` what different prompts of a step share
with another one of it beside that (their longest common beginnings, in the best order), and `opening` the part of that
which all prompts of a step have in common. Then the same for other orders of a prompt's parts, made of the same texts.

Characters stand for tokens. vLLM caches whole blocks of 16 tokens, so that a little less is shared there.
"""

import itertools
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from evolve.compose import open_run

#: A prompt's parts begin with these headings, in the order in which they are sent.
HEADINGS = (
    *("## Another program.", "## An earlier version", "## The same function", "## The current program."),
    *("## One function of", "## The last change", "## Task"),
)
Order = Callable[[list[str]], list[str]]


def parts_of(prompt: str) -> list[str]:
    """Return the opening and the parts after it; a heading inside a program's text is none of them."""
    return re.split("\n\n(?=" + "|".join(map(re.escape, HEADINGS)) + ")", prompt)


def moved(heading: str) -> Order:
    """Return the order in which the parts with this heading come right after the opening."""

    def order(parts: list[str]) -> list[str]:
        first = [part for part in parts[1:] if part.startswith(heading)]
        return [parts[0], *first, *(part for part in parts[1:] if part not in first)]

    return order


#: What is compared with the order as sent.
ORDERS: dict[str, Order] = {
    "as sent": lambda parts: parts,
    "parent first": moved("## The current program."),
    "best inspiration first": lambda parts: [
        parts[0],
        *reversed([part for part in parts if part.startswith(HEADINGS[0])]),
        *(part for part in parts[1:] if not part.startswith(HEADINGS[0])),
    ],
    "task first": moved("## Task"),
}


def common(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    unequal = (k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(unequal, min(len(one), len(other)))


def shared(prompts: Sequence[str]) -> int:
    """Return how many characters of different prompts stand in a common beginning with another one, counted once less.

    Sorted texts have their longest common beginnings with their neighbours, so that the sum of these over neighbours is
    what a cache saves.
    """
    return sum(itertools.starmap(common, itertools.pairwise(sorted(set(prompts)))))


def shares(steps: Sequence[Sequence[str]], order: Order) -> tuple[float, float, float]:
    """Return the mean shares of `samples`, `prompts` and `opening`; each step holds a prompt for each completion."""
    rows = []
    for prompts in steps:
        texts = ["\n\n".join(order(parts_of(prompt))) for prompt in prompts]
        whole, different = sum(map(len, texts)), sorted(set(texts))
        opening = common(different[0], different[-1]) * (len(different) - 1)
        rows.append(((whole - sum(map(len, different))) / whole, shared(different) / whole, opening / whole))
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))  # type: ignore[return-value]


def main() -> None:
    """Print a line for each run and order."""
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    print(f"{'run':32} {'order':24} samples  prompts  of it opening  read anew")
    for folder in map(Path, sys.argv[1:]):
        with open_run(folder) as (_, store):
            numbers = [report.step for report in store.reports() if report.step]
            steps = [[attempt.prompt[-1].content for attempt in store.attempts_of(number)] for number in numbers]
        for name, order in ORDERS.items():
            samples, prompts, opening = shares([step for step in steps if step], order)
            print(
                f"{folder.name:32} {name:24} {100 * samples:5.1f} %  {100 * prompts:5.1f} %  {100 * opening:11.1f} %  "
                f"{100 * (1 - samples - prompts):7.1f} %"
            )


if __name__ == "__main__":
    main()

"""How long does each problem's verifier take on the longest construction that it accepts?

Usage: python -m benchmarks.verifiers [NAME ...]

A construction at the cap is the seed program's where its size is fixed, and a list of random numbers where only its
length is limited; a rule is the seed's, called in this process, so that the time is the play's. Goals on one core: 26
circles 18 ms, minimum overlap of 1024 steps 13 ms, first autocorrelation of 30000 steps 190 ms.
"""

import statistics
import sys
import time
from array import array
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from evolve.types import Problem, ProblemKind, Verdict
from problems import Verifier, load_problem, load_verifier, problem_names
from problems.rules import LocalRule

_REPEATS = 5
#: Longest lists that are tried, the longest first.
_LENGTHS = (30_000, 4096, 2048, 2000, 1024)
#: Whole numbers are drawn up to this one.
_LARGEST = 1 << 20


def seed_function(problem: Problem) -> Callable[..., Any]:
    """Return the seed program's entry point, which answers with plain lists."""
    scope: dict[str, Any] = {}
    exec(problem.seed_source, scope)

    def call(*arguments: object) -> object:
        arrays = (np.asarray(argument) if isinstance(argument, array) else argument for argument in arguments)
        return plain(scope[problem.entry_point](*arrays))

    return call


def plain(value: Any) -> Any:
    """Return a value with its arrays as lists."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return {key: plain(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def at_cap(verifier: Verifier, seed: object) -> tuple[str, object]:
    """Return the longest list of random numbers that the verifier accepts, else the seed's construction."""
    for length in _LENGTHS:
        rng = Random(length)
        for numbers in ([rng.random() for _ in range(length)], [0, *rng.sample(range(1, _LARGEST), length - 1)]):
            if verifier.verify(numbers).valid:
                return f"{length} random {type(numbers[0]).__name__}s", numbers
    return "its seed's construction", seed


def judging(problem: Problem) -> tuple[str, Callable[[], Verdict]]:
    """Return what is judged, and one judgement."""
    verifier, function = load_verifier(problem), seed_function(problem)
    if problem.kind is ProblemKind.RULE:
        return "its seed's rule", lambda: verifier.judge(LocalRule(function))
    what, construction = at_cap(verifier, function(*problem.arguments))
    return what, lambda: verifier.verify(construction)


def main() -> None:
    """Print a table: problem, what was judged, median and slowest of five verdicts in milliseconds."""
    print("| problem | judged | median ms | slowest ms |\n|---|---|---|---|")
    for name in sys.argv[1:] or problem_names():
        what, judge = judging(load_problem(name))
        times = []
        for _ in range(_REPEATS):
            started = time.perf_counter()
            verdict = judge()
            times.append(1000 * (time.perf_counter() - started))
        state = "" if verdict.valid else f" (invalid: {verdict.reason})"
        print(f"| {name} | {what}{state} | {statistics.median(times):.1f} | {max(times):.1f} |")


if __name__ == "__main__":
    main()
